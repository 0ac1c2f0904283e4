"""The engines few_rows and screened: exact problems, all variants, the same certificate."""

import numba
import numpy as np
import pytest

from datamodels.regression.design import DesignBuilder
from datamodels.regression.engines.contract import Limits
from datamodels.regression.engines.few_rows import FewRowsEngine
from datamodels.regression.engines.screened import ScreenedEngine
from datamodels.regression.sparse_rows import SparseRows
from datamodels.regression.standardized import Standardized
from datamodels.regression.status import Status

from .problems import PROBLEMS, Exact, Problem, outputs_of, random_masks

ENGINES = [FewRowsEngine, ScreenedEngine]
LIMITS = Limits(tol=1e-8, max_sweeps=100_000)


class DenseDesign:
    """The protocol of a design, by plain products in float64."""

    def __init__(self, x, shifted):
        x = x.astype(np.float64)
        self.shift = x[0] if shifted else np.zeros(x.shape[1])
        self.x = x - self.shift
        self.n_rows, self.n_features = x.shape

    def cross(self, columns):
        return self.x.T @ columns

    def predictions(self, weights: SparseRows):
        return weights.dense(self.n_features) @ self.x.T

    def pair_products(self, features):
        return self.x[:, features].T @ self.x[:, features]

    def columns(self, features):
        return np.ascontiguousarray(self.x[:, features].T)


def design_of(x, use_bias):
    return DenseDesign(x, shifted=use_bias and x.dtype != bool)


def built_design(x, use_bias):
    """The design that a fit would hold."""
    builder = DesignBuilder(*x.shape, shifted=use_bias)
    builder.add(x)
    return builder.finish()


def standardized_of(x, y, use_bias=True, groups=None):
    """A problem without a table, straight from the rows."""
    design = design_of(x, use_bias)
    exact = Exact.of(x, y, use_bias)
    members = np.zeros((len(x), 0))
    scale, y_centred = exact.scale, exact.y
    if use_bias:
        labels = np.zeros(len(x)) if groups is None else groups
        members = (labels[:, None] == np.unique(labels)).astype(float)
        members /= np.sqrt(members.sum(axis=0))
        z = x - members @ (members.T @ x)
        scale = np.where(scale > 0, np.sqrt((z**2).mean(axis=0)), 0)
        y_centred = y.astype(float) - members @ (members.T @ y.astype(float))
    scale_inverse = np.divide(1, scale * np.sqrt(len(x)), out=0 * scale, where=scale > 0)
    yy = (y_centred**2).mean(axis=0)
    return Standardized(
        n=len(x),
        xx=None,
        basis=design.x.T @ members,
        scale_inverse=scale_inverse,
        xy=design.x.T @ y_centred,
        mean_x=exact.mean_x,
        mean_y=exact.mean_y,
        yy=np.where(yy > 1e-20, yy, 0),
        groups=None,
    )


class Case:
    """A block of targets of rows, and what is needed to judge its solutions."""

    def __init__(self, x, y, use_bias=True, groups=None, factors=None, targets=None):
        self.problem = standardized_of(x, y, use_bias, groups)
        self.design = design_of(x, use_bias)
        self.y, self.groups = y, groups
        self.targets = targets or slice(0, y.shape[1])
        self.factors = np.ones((1, x.shape[1])) if factors is None else factors

    def path(self, engine, limits=LIMITS, **options):
        started = engine(self.design, self.y, self.groups, **options)
        return started.block(self.problem, self.targets, self.factors, limits)

    def follow(self, engine, fractions, limits=LIMITS, **options):
        """Weights (k, t, p), gaps and lambdas (k, t) down the path."""
        path = self.path(engine, limits, **options)
        lambda_max = path.lambda_max()
        which = np.arange(len(lambda_max))
        solved = [path.solve(lambda_max * f, which) for f in fractions]
        for one in solved:
            assert (one.status == Status.CONVERGED).all()
            assert (one.gap <= limits.tol).all()
        weights = np.stack([one.weights.dense(self.problem.n_features) for one in solved])
        return weights, np.stack([one.gap for one in solved]), np.outer(fractions, lambda_max)


def standardized_rows(x, y, groups=None, use_bias=True):
    """Z (n, p), and y (n, t) in units of rms(y), by explicit centring."""
    x, y = x.astype(float), y.astype(float)
    zx, zy = x.copy(), y.copy()
    groups = np.zeros(len(x)) if groups is None else groups
    for label in np.unique(groups):
        zx[groups == label] -= x[groups == label].mean(axis=0)
        zy[groups == label] -= y[groups == label].mean(axis=0)
    deviation = np.sqrt((zx**2).mean(axis=0))
    deviation[np.ptp(x, axis=0) == 0] = np.inf
    if not use_bias:
        zx, zy = x, y
    return zx / deviation, zy / np.sqrt((zy**2).mean(axis=0))


def exact_gaps(z, y, w, lam, v):
    """Duality gaps (t,) from the rows; w (t, p), v (1 or t, p), lam (t,)."""
    v = np.broadcast_to(v, w.shape)
    r = y - z @ w.T
    g = (z.T @ r / len(z)).T
    assert (np.abs(g[v == 0]) < 1e-10).all()
    steepest = np.max(np.divide(np.abs(g), v, out=np.zeros_like(g), where=v > 0), axis=1)
    s = np.minimum(1, lam / np.maximum(steepest, 1e-300))
    rr, yr = (r**2).mean(axis=0), (y * r).mean(axis=0)
    norm = (np.where(w != 0, v, 0) * np.abs(w)).sum(axis=1)
    return rr / 2 + lam * norm - (s * yr - s**2 * rr / 2)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", list(PROBLEMS))
def test_gaps_are_those_of_the_raw_rows_down_to_a_hundredth(name, engine):
    problem = PROBLEMS[name]()
    fractions = np.geomspace(1, 1e-2, 12)
    weights, gaps, lam = Case(problem.x, problem.y).follow(engine, fractions)
    z, y = standardized_rows(problem.x, problem.y)
    for w, gap, lambdas in zip(weights, gaps, lam, strict=True):
        exact = exact_gaps(z, y, w, lambdas, np.ones((1, z.shape[1])))
        np.testing.assert_allclose(gap, exact, atol=1e-11)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", list(PROBLEMS))
def test_predictions_agree_with_scikit_learn(name, engine):
    problem = PROBLEMS[name]()
    limits = Limits(1e-12, 1_000_000)
    weights, _, lam = Case(problem.x, problem.y).follow(engine, np.array([0.5, 0.05]), limits)
    exact = Exact.of(problem.x, problem.y)
    unit = np.sqrt(exact.yy[0])
    reference = exact.sklearn_path(0, lam[:, 0] * unit)
    got = exact.z @ (weights[:, 0] * unit).T
    np.testing.assert_allclose(got, exact.z @ reference, atol=1e-4 * unit)
    if problem.unique:
        np.testing.assert_allclose(weights[:, 0].T * unit, reference, atol=1e-4 * unit)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["unequal_alphas", "float_masks"])
def test_bits_and_floats_of_a_fit_give_what_plain_products_give(name, engine):
    problem = PROBLEMS[name]()
    case = Case(problem.x, problem.y)
    plain, _, _ = case.follow(engine, np.array([0.3, 0.03]))
    case.design = built_design(problem.x, use_bias=True)
    held, _, _ = case.follow(engine, np.array([0.3, 0.03]))
    np.testing.assert_allclose(held, plain, atol=1e-8)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_small_lambda_is_solved_without_a_path(engine):
    problem = PROBLEMS["few_rows"]()
    case = Case(problem.x, problem.y)
    at_once, _, lam = case.follow(engine, np.array([1e-2]))
    z, y = standardized_rows(problem.x, problem.y)
    assert (exact_gaps(z, y, at_once[0], lam[0], np.ones((1, z.shape[1]))) <= 1.1e-8).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("lam", [1e-9, 1e3, 1e300])
def test_huge_and_tiny_lambdas(engine, lam):
    problem = PROBLEMS["plain"]()
    solved = Case(problem.x, problem.y).path(engine).solve(np.full(5, lam), np.arange(5))
    assert (solved.status == Status.CONVERGED).all()
    assert (solved.weights.counts() == (60 if lam < 1 else 0)).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_lambda_max_is_the_largest_correlation_and_its_solution_zero(engine):
    problem = PROBLEMS["unequal_alphas"]()
    path = Case(problem.x, problem.y).path(engine)
    exact = Exact.of(problem.x, problem.y)
    np.testing.assert_allclose(path.lambda_max(), exact.lambda_max / np.sqrt(exact.yy), rtol=1e-12)
    solved = path.solve(path.lambda_max(), np.arange(3))
    assert not solved.weights.counts().any()
    assert not solved.iterations.any()
    assert (solved.status == Status.CONVERGED).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_block_solves_its_targets_as_each_alone(engine):
    problem = PROBLEMS["plain"]()
    together, _, _ = Case(problem.x, problem.y).follow(engine, np.array([0.3, 0.1]))
    for t in range(5):
        part = Case(problem.x, problem.y, targets=slice(t, t + 1))
        alone, _, _ = part.follow(engine, np.array([0.3, 0.1]))
        np.testing.assert_allclose(alone[:, 0], together[:, t], atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_targets_that_end_leave_the_others_as_they_are(engine):
    problem = PROBLEMS["plain"]()
    case = Case(problem.x, problem.y)
    weights, _, lam = case.follow(engine, np.array([0.5, 0.2, 0.1]))
    path = case.path(engine)
    path.solve(lam[0], np.arange(5))
    path.solve(lam[1, [1, 2, 4]], np.array([1, 2, 4]))
    solved = path.solve(lam[2, [4, 1]], np.array([4, 1]))
    np.testing.assert_allclose(solved.weights.dense(60), weights[2, [4, 1]], atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("masks", ["bool", "float"])
def test_groups_are_explicit_centring_within_groups(engine, masks):
    x = random_masks(210, 50)
    if masks == "float":
        x = x + np.random.default_rng(3).standard_normal((210, 50)).astype(np.float32) + 5
    groups = np.random.default_rng(4).integers(0, 7, 210) * 10 - 3
    y = outputs_of(x, 3) + (groups**2 / 100).astype(np.float32)[:, None]
    weights, gaps, lam = Case(x, y, groups=groups).follow(engine, np.array([0.3, 0.03]))
    z, unit_y = standardized_rows(x, y, groups)
    for w, gap, lambdas in zip(weights, gaps, lam, strict=True):
        exact = exact_gaps(z, unit_y, w, lambdas, np.ones((1, 50)))
        np.testing.assert_allclose(gap, exact, atol=1e-11)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["plain", "float_masks"])
def test_without_an_intercept_nothing_is_centred(engine, name):
    problem = PROBLEMS[name]()
    case = Case(problem.x, problem.y, use_bias=False)
    weights, gaps, lam = case.follow(engine, np.array([0.3, 0.03]))
    z, y = standardized_rows(problem.x, problem.y, use_bias=False)
    for w, gap, lambdas in zip(weights, gaps, lam, strict=True):
        exact = exact_gaps(z, y, w, lambdas, np.ones((1, z.shape[1])))
        np.testing.assert_allclose(gap, exact, atol=1e-11)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_shifted_design_needs_an_intercept(engine):
    problem = PROBLEMS["float_masks"]()
    case = Case(problem.x, problem.y, use_bias=False)
    case.design = design_of(problem.x, use_bias=True)
    with pytest.raises(ValueError, match="shift"):
        case.path(engine)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("per_target", [False, True])
def test_penalty_factors_scale_columns(engine, per_target):
    problem = PROBLEMS["plain"]()
    factors = np.random.default_rng(0).uniform(0.2, 3, (5 if per_target else 1, 60))
    case = Case(problem.x, problem.y, factors=factors)
    weights, _, lam = case.follow(engine, np.array([0.4, 0.04]), Limits(1e-12, 100_000))
    z, y = standardized_rows(problem.x, problem.y)
    for t in range(5):
        v = factors[t if per_target else 0]
        scaled = Exact(z / v, y, np.zeros(60), np.ones(60), np.zeros(5))
        np.testing.assert_allclose(scaled.lambda_max[t], lam[0, t] / 0.4, rtol=1e-10)
        reference = scaled.sklearn_path(t, lam[:, t])
        np.testing.assert_allclose((weights[:, t] * v).T, reference, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("use_bias", [False, True])
def test_a_factor_of_zero_is_free_and_of_infinity_left_out(engine, use_bias):
    problem = PROBLEMS["duplicate_columns"]()
    z, y = standardized_rows(problem.x, problem.y, use_bias=use_bias)
    factors = np.ones((1, 40))
    factors[0, [2, 5, 32]] = 0  # 32 is 2 again, and 35 lies in their span
    factors[0, [7, 8]] = np.inf
    case = Case(problem.x, problem.y, use_bias=use_bias, factors=factors)
    weights, gaps, lam = case.follow(engine, np.array([1, 0.3, 0.01]))
    assert not weights[..., [7, 8, 35]].any()
    assert not weights[0][:, factors[0] > 0].any()
    for w, gap, lambdas in zip(weights, gaps, lam, strict=True):
        exact = exact_gaps(z, y, w, lambdas, factors)
        np.testing.assert_allclose(gap, exact, atol=1e-11)


@pytest.mark.parametrize("engine", ENGINES)
def test_targets_of_a_block_may_be_free_in_different_features(engine):
    problem = PROBLEMS["plain"]()
    factors = np.ones((5, 60))
    factors[[0, 3], 4] = 0
    factors[1, 9] = 0
    case = Case(problem.x, problem.y, factors=factors)
    weights, gaps, lam = case.follow(engine, np.array([1, 0.1]))
    z, y = standardized_rows(problem.x, problem.y)
    for w, gap, lambdas in zip(weights, gaps, lam, strict=True):
        np.testing.assert_allclose(gap, exact_gaps(z, y, w, lambdas, factors), atol=1e-11)
    path = case.path(engine)
    path.solve(lam[0], np.arange(5))
    solved = path.solve(lam[1, [4, 1, 3]], np.array([4, 1, 3]))
    np.testing.assert_allclose(solved.weights.dense(60), weights[1, [4, 1, 3]], atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_all_features_free_is_least_squares(engine):
    problem = PROBLEMS["one_target"]()
    case = Case(problem.x, problem.y, factors=np.zeros((1, 30)))
    solved = case.path(engine).solve(np.ones(1), np.zeros(1, np.int64))
    z, y = standardized_rows(problem.x, problem.y)
    best = np.linalg.lstsq(z, y[:, 0], rcond=None)[0]
    np.testing.assert_allclose(solved.weights.dense(30)[0], best, atol=1e-10)
    assert solved.status[0] == Status.CONVERGED


@pytest.mark.parametrize("engine", ENGINES)
def test_a_constant_target_has_no_weights(engine):
    problem = PROBLEMS["plain"]()
    y = problem.y.copy()
    y[:, 2] = 0.1
    path = Case(problem.x, y).path(engine)
    assert path.lambda_max()[2] == 0
    solved = path.solve(path.lambda_max() * 0.1, np.arange(5))
    assert solved.weights.counts()[2] == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_outputs_that_are_not_finite_are_a_status(engine):
    problem = PROBLEMS["plain"]()
    case = Case(problem.x, problem.y)
    case.y = problem.y.copy()
    case.y[3, 1] = np.nan
    solved = case.path(engine).solve(np.full(5, 0.1), np.arange(5))
    expected = np.full(5, Status.CONVERGED)
    expected[1] = Status.NON_FINITE
    np.testing.assert_array_equal(solved.status, expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_sweeps_that_do_not_suffice_are_a_status(engine):
    problem = PROBLEMS["few_rows"]()
    path = Case(problem.x, problem.y).path(engine, Limits(1e-12, 3))
    solved = path.solve(path.lambda_max() * 0.02, np.arange(4))
    assert (solved.status == Status.ITERATION_LIMIT).all()
    assert (solved.iterations == 3).all()
    assert (solved.gap > 1e-12).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_tolerance_below_rounding_ends(engine):
    problem = PROBLEMS["plain"]()
    path = Case(problem.x, problem.y).path(engine, Limits(1e-25, 10**9))
    solved = path.solve(path.lambda_max() * 0.02, np.arange(5))
    assert (solved.status != Status.NON_FINITE).all()
    assert (np.abs(solved.gap) < 1e-14).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_results_do_not_depend_on_threads(engine):
    problem = Problem(random_masks(70, 1009), outputs_of(random_masks(70, 1009), 5))
    fractions = np.geomspace(1, 2e-2, 9)
    threads = numba.get_num_threads()
    try:
        found = []
        for count in (1, min(2, threads)):
            numba.set_num_threads(count)
            found.append(Case(problem.x, problem.y).follow(engine, fractions))
    finally:
        numba.set_num_threads(threads)
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("engine", ENGINES)
def test_small_tables_only_cost_time(engine):
    problem = Problem(random_masks(70, 509), outputs_of(random_masks(70, 509), 5))
    fractions = np.geomspace(1, 5e-2, 9)
    large, _, _ = Case(problem.x, problem.y).follow(engine, fractions)
    room = 8 * 70 * 150 if engine is FewRowsEngine else 16 * 270**2
    small, _, _ = Case(problem.x, problem.y).follow(engine, fractions, table_bytes=room)
    np.testing.assert_allclose(small, large, atol=1e-10)


def test_a_working_set_that_no_table_holds_ends_its_path_unsolved():
    """And leaves the other targets and the solutions before it alone."""
    problem = PROBLEMS["plain"]()
    path = Case(problem.x, problem.y).path(ScreenedEngine, table_bytes=16 * 6**2)
    largest, which = path.lambda_max(), np.arange(problem.y.shape[1])
    first = path.solve(0.8 * largest, which)
    assert (first.status == Status.CONVERGED).any()
    last = path.solve(0.01 * largest, which)
    assert (last.status == Status.ITERATION_LIMIT).all()
    assert (last.gap > LIMITS.tol).all()
    for t in which[first.status == Status.CONVERGED]:
        np.testing.assert_array_equal(first.weights.row(t)[0], last.weights.row(t)[0])
