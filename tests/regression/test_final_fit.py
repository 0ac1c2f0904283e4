"""The saved fit: certified in float64 from the raw rows, and equal to scikit-learn's."""

from dataclasses import replace

import numpy as np
import pytest

from datamodels.regression import final_fit, support_descent
from datamodels.regression.design import DesignBuilder, FloatDesign
from datamodels.regression.exact_problem import RowProblem, TableProblem
from datamodels.regression.final_fit import refit
from datamodels.regression.moment_pass import moments_of
from datamodels.regression.row_source import ArraySource
from datamodels.regression.sparse_rows import to_sparse
from datamodels.regression.standardized import standardize
from datamodels.regression.status import Status
from tests.regression.problems import PROBLEMS, Exact, Problem, outputs_of, random_masks

TOL = 1e-7
KINDS = ("table", "rows")


def design_of(x, use_bias=True):
    builder = DesignBuilder(*x.shape, shifted=use_bias)
    builder.add(x)
    return builder.finish()


def exact_problem(kind, x, y, use_bias=True, groups=None):
    rows = np.arange(len(x))
    moments = moments_of(ArraySource(x, y), rows, groups=groups)
    if kind == "table":
        return TableProblem(standardize(moments, use_bias))
    standardized = standardize(replace(moments, xx=None), use_bias)
    number = None if groups is None else np.searchsorted(standardized.groups.labels, groups)
    return RowProblem(standardized, design_of(x, use_bias), number)


def run_refit(
    problem, share, use_bias=True, tol=TOL, max_sweeps=100_000, warm=None, kind="table", factors=1.0
):
    """(FinalFit, Exact) at ``share`` of each target's lambda_max."""
    exact = Exact.of(problem.x, problem.y, use_bias)
    n_targets, n_features = problem.y.shape[1], problem.x.shape[1]
    warm = np.zeros((n_targets, n_features)) if warm is None else warm
    factors = np.broadcast_to(factors, (1, n_features)) if np.ndim(factors) < 2 else factors
    fit = refit(
        exact_problem(kind, problem.x, problem.y, use_bias),
        slice(0, n_targets),
        share * exact.lambda_max,
        to_sparse(warm),
        factors,
        tol,
        max_sweeps,
    )
    return fit, exact


def raw_weights(fit, n_features):
    """(p, t)"""
    return fit.weights.dense(n_features).T


def standardized_weights(fit, exact):
    return raw_weights(fit, len(exact.scale)) * exact.scale[:, None]


def explicit_gap(z, y, w, lam, factors):
    """Relative gap (t,) from the raw rows: the dual point is the residual less its projection on
    the unpenalized columns, scaled. factors (p, t)."""
    n = len(y)
    gaps = []
    for t in range(y.shape[1]):
        v = factors[:, t]
        residual = y[:, t] - z @ w[:, t]
        free = z[:, v == 0]
        point = residual - free @ np.linalg.lstsq(free, residual, rcond=None)[0]
        penalized = v > 0
        steepest = (np.abs(z[:, penalized].T @ point) / n / v[penalized]).max()
        point *= min(1, lam[t] / steepest)
        weighted = v[w[:, t] != 0] @ np.abs(w[w[:, t] != 0, t])
        primal = residual @ residual / (2 * n) + lam[t] * weighted
        dual = y[:, t] @ point / n - point @ point / (2 * n)
        gaps.append((primal - dual) / (y[:, t] @ y[:, t] / n))
    return np.array(gaps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("name", PROBLEMS)
def test_saved_weights_have_the_gap_that_is_claimed(name, share, use_bias, kind):
    fit, exact = run_refit(PROBLEMS[name](), share, use_bias, kind=kind)
    gap = exact.relative_gap(standardized_weights(fit, exact), fit.lam)
    np.testing.assert_allclose(gap, fit.gap, atol=1e-3 * TOL)
    assert (fit.gap <= TOL).all()
    assert (fit.status == Status.CONVERGED).all()


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("name", PROBLEMS)
def test_fit_equals_scikit_learn(name, share, use_bias):
    problem = PROBLEMS[name]()
    fit, exact = run_refit(problem, share, use_bias)
    w = standardized_weights(fit, exact)
    reference = np.stack(
        [exact.sklearn_path(t, fit.lam[[t]], 1e-12)[:, 0] for t in range(w.shape[1])], axis=1
    )
    rms = np.sqrt(exact.yy)
    difference = exact.objective(w, fit.lam) - exact.objective(reference, fit.lam)
    assert (np.abs(difference) <= TOL * exact.yy).all()
    np.testing.assert_allclose(exact.z @ w / rms, exact.z @ reference / rms, atol=2e-3)
    if problem.unique:
        np.testing.assert_allclose(w / rms, reference / rms, atol=1e-3)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", PROBLEMS)
def test_table_and_rows_give_the_same_fit(name, use_bias):
    problem = PROBLEMS[name]()
    table, exact = run_refit(problem, 0.05, use_bias, kind="table")
    rows, _ = run_refit(problem, 0.05, use_bias, kind="rows")
    np.testing.assert_allclose(rows.train_mse, table.train_mse, rtol=1e-5)
    np.testing.assert_allclose(rows.gap, table.gap, atol=TOL)
    if problem.unique:
        scale = np.sqrt(exact.yy) / np.where(exact.scale > 0, exact.scale, 1)[:, None]
        np.testing.assert_allclose(
            raw_weights(rows, len(exact.scale)) / scale,
            raw_weights(table, len(exact.scale)) / scale,
            atol=1e-5,
        )
        np.testing.assert_allclose(rows.bias, table.bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", PROBLEMS)
def test_products_and_blocks_are_those_of_the_raw_rows(name, use_bias):
    problem = PROBLEMS[name]()
    exact = Exact.of(problem.x, problem.y, use_bias)
    p = len(exact.scale)
    gram = exact.z.T @ exact.z / len(exact.z)
    rng = np.random.default_rng(2)
    weights = rng.standard_normal((3, p)) * (rng.random((3, p)) < [[0.5], [0.0], [0.2]])
    start = rng.standard_normal((3, p))
    for kind in KINDS:
        given = exact_problem(kind, problem.x, problem.y, use_bias)
        gradients = start.copy()
        given.subtract_product(to_sparse(weights), gradients)
        np.testing.assert_allclose(gradients, start - weights @ gram, atol=1e-10)
        blocks, places = given.active_grams(to_sparse(weights))
        for r, row in enumerate(weights):
            active = np.flatnonzero(row)
            block = blocks[places[r] : places[r + 1]].reshape(len(active), len(active))
            np.testing.assert_allclose(block, gram[np.ix_(active, active)], atol=1e-11)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_shift_of_the_columns_does_not_matter(grouped):
    problem, groups = grouped_problem()
    groups = groups if grouped else None
    plain = exact_problem("rows", problem.x, problem.y, groups=groups)
    shift = np.linspace(-1, 2, 45)
    number = np.unique(groups, return_inverse=True)[1] if grouped else None
    shifted = RowProblem(
        plain.standardized, FloatDesign(problem.x.T - shift[:, None], shift), number
    )
    weights = to_sparse(np.random.default_rng(0).standard_normal((2, 45)))
    expected, gradients = np.zeros((2, 45)), np.zeros((2, 45))
    plain.subtract_product(weights, expected)
    shifted.subtract_product(weights, gradients)
    np.testing.assert_allclose(gradients, expected, atol=1e-12)
    blocks, _ = shifted.active_grams(weights)
    np.testing.assert_allclose(blocks, plain.active_grams(weights)[0], atol=1e-12)


@pytest.mark.parametrize("use_bias", [True, False])
def test_saved_weights_predict_raw_masks(use_bias):
    problem = PROBLEMS["unequal_alphas"]()
    fit, exact = run_refit(problem, 0.01, use_bias)
    predictions = problem.x.astype(float) @ raw_weights(fit, problem.x.shape[1]) + fit.bias
    np.testing.assert_allclose(
        ((problem.y - predictions) ** 2).mean(axis=0), fit.train_mse, rtol=1e-4
    )
    assert (fit.train_mse < 0.5 * exact.yy).all()
    assert use_bias or not fit.bias.any()


def test_saved_weights_are_float32_and_none_is_zero():
    fit, _ = run_refit(PROBLEMS["plain"](), 0.05)
    np.testing.assert_array_equal(fit.weights.value.astype(np.float32), fit.weights.value)
    assert fit.weights.value.all()
    np.testing.assert_array_equal(fit.weight_nz, fit.weights.counts())


def test_constant_columns_get_no_weight():
    fit, _ = run_refit(PROBLEMS["constant_columns"](), 0.001)
    assert not np.isin(fit.weights.feature, [3, 20]).any()


@pytest.mark.parametrize("kind", KINDS)
def test_constant_targets_get_their_mean(kind):
    problem = PROBLEMS["plain"]()
    y = problem.y.copy()
    y[:, 2] = 0.3
    given = exact_problem(kind, problem.x, y)
    warm = to_sparse(np.full((5, 60), 0.1))
    lam = np.array([0.1, 0.1, 0.0, 0.1, 0.1])
    fit = refit(given, slice(0, 5), lam, warm, np.ones((1, 60)), TOL, 1000)
    assert fit.weight_nz[2] == fit.gap[2] == fit.train_mse[2] == 0
    assert fit.bias[2] == np.float32(0.3)
    assert (fit.status == Status.CONVERGED).all()
    assert (np.delete(fit.weight_nz, 2) > 0).all()


def test_start_does_not_matter():
    problem = PROBLEMS["plain"]()
    cold, exact = run_refit(problem, 0.05)
    noise = np.random.default_rng(0).standard_normal((5, 60))
    warm, _ = run_refit(problem, 0.05, warm=noise)
    scale = np.sqrt(exact.yy) / exact.scale[:, None]
    np.testing.assert_allclose(
        raw_weights(warm, 60) / scale, raw_weights(cold, 60) / scale, atol=1e-3
    )
    assert (warm.gap <= TOL).all()


@pytest.mark.parametrize("kind", KINDS)
def test_fit_is_the_same_however_the_targets_are_divided(kind, monkeypatch):
    problem = PROBLEMS["few_rows"]()
    factors = np.random.default_rng(4).uniform(0.5, 2, (4, 150))
    factors[:, :3] = 0
    exact = Exact.of(problem.x, problem.y)
    given = exact_problem(kind, problem.x, problem.y)
    warm = np.random.default_rng(0).standard_normal((4, 150)) * 0.01
    lam = 0.05 * exact.lambda_max

    def fit(targets):
        start = to_sparse(warm[targets])
        return refit(given, targets, lam[targets], start, factors[targets], TOL, 10_000)

    whole = fit(slice(0, 4))
    monkeypatch.setattr(final_fit, "_DENSE_BYTES", 3 * 8 * 4 * 150)  # three targets at a time
    monkeypatch.setattr(final_fit, "_GRAM_BYTES", 1)
    for part in (slice(0, 4), slice(1, 3), slice(3, 4)):
        divided = fit(part)
        expected = whole.weights.take(np.arange(4)[part])
        np.testing.assert_array_equal(divided.weights.start, expected.start)
        np.testing.assert_array_equal(divided.weights.feature, expected.feature)
        np.testing.assert_allclose(divided.weights.value, expected.value, rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(divided.bias.shape, whole.bias[part].shape)
        assert (divided.gap <= TOL).all()


@pytest.mark.parametrize("name", ["few_rows", "duplicate_columns", "plain"])
def test_violators_may_join_a_few_at_a_time(name, monkeypatch):
    """As they do from a poor start; equal columns violate their bounds equally."""
    problem = PROBLEMS[name]()
    factors = factors_of(problem.x.shape[1])
    factors[::20] = 0
    factors[1::20] = np.inf
    at_once, exact = run_refit(problem, 0.05, factors=factors)
    monkeypatch.setattr(final_fit, "_LEAST_ROOM", 3)
    monkeypatch.setattr(final_fit, "_MAX_ROUNDS", 100)
    few, _ = run_refit(problem, 0.05, factors=factors)
    w = standardized_weights(few, exact)
    gap = explicit_gap(exact.z, exact.y, w, few.lam, np.repeat(factors[:, None], w.shape[1], 1))
    np.testing.assert_allclose(gap, few.gap, atol=1e-10)
    assert (few.gap <= TOL).all()
    np.testing.assert_allclose(few.train_mse, at_once.train_mse, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cold_start_with_more_violators_than_join_at_once_converges(kind):
    x = random_masks(90, 1501)
    problem = Problem(x, outputs_of(x, 2))
    fit, exact = run_refit(problem, 0.02, kind=kind)
    gap = exact.relative_gap(standardized_weights(fit, exact), fit.lam)
    np.testing.assert_allclose(gap, fit.gap, atol=1e-10)
    assert (fit.status == Status.CONVERGED).all()


def test_no_targets_are_a_fit_of_none():
    problem = PROBLEMS["plain"]()
    given = exact_problem("table", problem.x, problem.y)
    fit = refit(
        given, slice(2, 2), np.zeros(0), to_sparse(np.zeros((0, 60))), np.ones((1, 60)), TOL, 10
    )
    assert fit.weights.n_rows == len(fit.bias) == len(fit.status) == 0


def test_a_lambda_above_lambda_max_gives_the_mean():
    problem = PROBLEMS["plain"]()
    fit, exact = run_refit(problem, 1.0001)
    assert not fit.weight_nz.any()
    np.testing.assert_allclose(fit.bias, exact.mean_y, rtol=1e-6)
    np.testing.assert_allclose(fit.train_mse, exact.yy)
    assert (fit.iterations == 0).all()


def test_lambda_zero_marks_a_target_that_is_not_fitted():
    problem = PROBLEMS["plain"]()
    fit, exact = run_refit(problem, 0.0)
    assert not fit.weight_nz.any()
    np.testing.assert_allclose(fit.bias, exact.mean_y, rtol=1e-6)
    assert (fit.status == Status.CONVERGED).all()


@pytest.mark.parametrize("kind", KINDS)
def test_iteration_limit_is_a_status_and_the_gap_stays_honest(kind):
    fit, exact = run_refit(PROBLEMS["few_rows"](), 0.001, max_sweeps=2, kind=kind)
    assert (fit.status == Status.ITERATION_LIMIT).all()
    assert (fit.iterations == 2).all()
    gap = exact.relative_gap(standardized_weights(fit, exact), fit.lam)
    np.testing.assert_allclose(gap, fit.gap, rtol=1e-6)
    assert (fit.gap > TOL).all()


@pytest.mark.parametrize("kind", KINDS)
def test_violators_still_outside_after_the_last_round_are_no_limit_of_float32(kind, monkeypatch):
    monkeypatch.setattr(final_fit, "_LEAST_ROOM", 3)
    monkeypatch.setattr(final_fit, "_MAX_ROUNDS", 2)
    fit, _ = run_refit(PROBLEMS["few_rows"](), 0.02, kind=kind)
    assert (fit.gap > TOL).all()
    assert (fit.status == Status.ITERATION_LIMIT).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_float32_weights_cannot_reach_is_not_claimed(kind):
    fit, exact = run_refit(PROBLEMS["plain"](), 0.01, tol=1e-10, kind=kind)
    gap = exact.relative_gap(standardized_weights(fit, exact), fit.lam)
    np.testing.assert_allclose(gap, fit.gap, atol=1e-12)
    assert (fit.gap < 1e-7).all()
    assert (fit.status == Status.FLOAT32_LIMIT).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_moments_that_are_not_finite_end_as_non_finite(value, kind):
    problem = PROBLEMS["plain"]()
    given = exact_problem(kind, problem.x, problem.y)
    given.standardized.xy[3, 1] = value
    warm = to_sparse(np.zeros((5, 60)))
    fit = refit(given, slice(0, 5), np.full(5, 0.1), warm, np.ones((1, 60)), TOL, 1000)
    assert fit.status[1] == Status.NON_FINITE
    assert fit.weight_nz[1] == 0
    assert np.isfinite(fit.bias).all()
    assert (np.delete(fit.status, 1) == Status.CONVERGED).all()


def test_raw_weights_beyond_float32_end_as_non_finite():
    problem = PROBLEMS["plain"]()
    huge = Problem(problem.x * np.float32(1e-10), problem.y * np.float32(1e29))
    fit, _ = run_refit(huge, 0.1)
    assert (fit.status == Status.NON_FINITE).all()
    assert not fit.weight_nz.any()
    np.testing.assert_allclose(fit.bias, huge.y.astype(np.float64).mean(axis=0), rtol=1e-5)


# Direct solutions on a support


@pytest.mark.parametrize("place", [0, 4, 11, 12])
def test_a_factor_without_one_feature_is_that_of_the_others(place):
    columns = np.random.default_rng(place).standard_normal((40, 13))
    gram = columns.T @ columns
    support = np.arange(13)
    factor = np.zeros((13, 13))
    assert support_descent.extend_factor(gram, support, factor, 0) == 13
    support_descent.drop_from_factor(factor, place, 13)
    others = np.delete(support, place)
    expected = np.linalg.cholesky(gram[np.ix_(others, others)])
    np.testing.assert_allclose(np.tril(factor[:12, :12]), expected, atol=1e-12)
    assert support_descent.extend_factor(gram, np.append(others, place), factor, 12) == 13
    np.testing.assert_allclose(
        np.tril(factor) @ np.tril(factor).T,
        gram[np.ix_(np.append(others, place), np.append(others, place))],
        atol=1e-10,
    )


def test_as_many_weights_as_rows_are_solved_in_few_sweeps():
    """Sweeps alone need tens of thousands."""
    x = random_masks(150, 220)
    problem = Problem(x, outputs_of(x, 3))
    fit, _ = run_refit(problem, 2e-4, max_sweeps=2000)
    assert (fit.weight_nz > 130).all()
    assert (fit.status == Status.CONVERGED).all()


# Penalty factors


def factors_of(p, seed=3):
    return np.random.default_rng(seed).uniform(0.3, 3, p)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["plain", "few_rows", "float_masks", "duplicate_columns"])
def test_penalty_factors_are_a_scaling_of_the_columns(name, kind):
    problem = PROBLEMS[name]()
    n_features = problem.x.shape[1]
    factors = factors_of(n_features)
    fit, exact = run_refit(problem, 0.05, kind=kind, factors=factors)
    # With columns z_j / v_j the weights are v_j w_j, all penalized alike.
    scaled = replace(exact, z=exact.z / factors)
    w = standardized_weights(fit, exact) * factors[:, None]
    np.testing.assert_allclose(scaled.relative_gap(w, fit.lam), fit.gap, atol=1e-10)
    assert (fit.gap <= TOL).all()
    for t in range(w.shape[1]):
        reference = scaled.sklearn_path(t, fit.lam[[t]], 1e-12)[:, 0]
        np.testing.assert_allclose(scaled.z @ w[:, t], scaled.z @ reference, atol=5e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_each_target_may_have_penalty_factors_of_its_own(kind):
    problem = PROBLEMS["plain"]()
    factors = np.stack([factors_of(60, seed) for seed in range(5)])
    factors[1, 4] = factors[2, 5] = 0
    factors[1, 6] = factors[3, 5] = np.inf
    together, exact = run_refit(problem, 0.05, kind=kind, factors=factors)
    for t in range(5):
        alone, _ = run_refit(problem, 0.05, kind=kind, factors=factors[t])
        np.testing.assert_allclose(
            raw_weights(together, 60)[:, t], raw_weights(alone, 60)[:, t], atol=1e-6
        )
    gap = explicit_gap(
        exact.z, exact.y, standardized_weights(together, exact), together.lam, factors.T
    )
    np.testing.assert_allclose(gap, together.gap, atol=1e-10)
    assert (together.gap <= TOL).all()


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_infinite_factor_are_left_out(kind):
    problem = PROBLEMS["plain"]()
    factors = np.ones(60)
    left_out = np.arange(5, 60, 7)
    factors[left_out] = np.inf
    warm = np.full((5, 60), 0.1)
    fit, exact = run_refit(problem, 0.05, kind=kind, factors=factors, warm=warm)
    kept = np.setdiff1d(np.arange(60), left_out)
    assert not np.isin(fit.weights.feature, left_out).any()
    smaller = replace(exact, z=exact.z[:, kept])
    gap = smaller.relative_gap(standardized_weights(fit, exact)[kept], fit.lam)
    np.testing.assert_allclose(gap, fit.gap, atol=1e-10)
    assert (fit.gap <= TOL).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("share", [2.0, 0.5, 0.02])
@pytest.mark.parametrize("name", ["plain", "few_rows", "float_masks", "constant_columns"])
def test_unpenalized_features_are_projected_out(name, share, use_bias, kind):
    problem = PROBLEMS[name]()
    n, n_features = problem.x.shape
    factors = factors_of(n_features)
    free = np.array([0, 3, 11, 17])  # column 3 is constant in one problem
    factors[free] = 0
    fit, exact = run_refit(problem, share, use_bias, kind=kind, factors=factors)
    w = standardized_weights(fit, exact)
    gap = explicit_gap(exact.z, exact.y, w, fit.lam, np.repeat(factors[:, None], w.shape[1], 1))
    np.testing.assert_allclose(gap, fit.gap, atol=1e-10)
    assert (fit.gap <= TOL).all()
    assert (fit.status == Status.CONVERGED).all()

    def off_free(columns):
        return columns - exact.z[:, free] @ np.linalg.lstsq(exact.z[:, free], columns)[0]

    rest = np.setdiff1d(np.arange(n_features), free)
    projected = Exact(
        off_free(exact.z[:, rest]) / factors[rest], off_free(exact.y), *[np.zeros(0)] * 3
    )
    w_rest = w[rest] * factors[rest, None]
    assert (projected.relative_gap(w_rest, fit.lam) * projected.yy <= 1.01 * TOL * exact.yy).all()
    residual = exact.y - exact.z @ w
    np.testing.assert_allclose(exact.z[:, free].T @ residual / n, 0, atol=1e-5)
    np.testing.assert_allclose((residual**2).mean(axis=0), fit.train_mse, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_unpenalized_features_may_depend_on_one_another_and_others_on_them(kind):
    x = random_masks(200, 40).astype(np.float64)
    x[:, 5] = x[:, 2]
    x[:, 9] = x[:, 2] + x[:, 7]  # all three unpenalized
    x[:, 20] = 1 - x[:, 7]  # penalized, and explained by an unpenalized one
    factors = np.ones(40)
    factors[[2, 5, 7, 9]] = 0
    problem = Problem(x, outputs_of(x, 3))
    fit, exact = run_refit(problem, 0.02, kind=kind, factors=factors)
    w = standardized_weights(fit, exact)
    gap = explicit_gap(exact.z, exact.y, w, fit.lam, np.repeat(factors[:, None], 3, 1))
    np.testing.assert_allclose(gap, fit.gap, atol=1e-10)
    assert (fit.status == Status.CONVERGED).all()
    assert not w[20].any()


@pytest.mark.parametrize("kind", KINDS)
def test_features_all_unpenalized_are_least_squares(kind):
    problem = PROBLEMS["plain"]()
    fit, exact = run_refit(problem, 0.1, kind=kind, factors=0.0)
    expected = np.linalg.lstsq(exact.z, exact.y)[0]
    np.testing.assert_allclose(standardized_weights(fit, exact), expected, atol=1e-6)
    assert (fit.gap <= TOL).all()


def test_weights_whose_unpenalized_gradient_is_not_zero_do_not_pass():
    """Zero weights at a lambda above lambda_max: only the unpenalized feature is unsolved."""
    problem = PROBLEMS["plain"]()
    factors = np.ones(60)
    factors[4] = 0
    unsolved, _ = run_refit(problem, 1.5, factors=factors, max_sweeps=0)
    assert (unsolved.gap > 1e-4).all()
    assert (unsolved.status == Status.ITERATION_LIMIT).all()
    solved, _ = run_refit(problem, 1.5, factors=factors)
    assert (solved.gap <= TOL).all()
    assert (solved.weights.feature == 4).all()


# Groups of rows


def grouped_problem():
    """Rows of 7 groups of unequal size, each with an effect of its own on masks and outputs."""
    rng = np.random.default_rng(11)
    groups = rng.choice([3, 4, 8, 15, 16, 23, 42], size=230, p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    x = rng.random((230, 45)) < (0.3 + groups[:, None] / 100)
    x[:, 12] = groups > 15  # constant within groups
    return Problem(x, outputs_of(x, 4) + (groups[:, None] % 5).astype(np.float32)), groups


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.02])
@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_groups_are_centred_each_by_itself(share, kind, dtype):
    problem, groups = grouped_problem()
    x, y = problem.x.astype(float), problem.y.astype(float)
    centred_x, centred_y = x.copy(), y.copy()
    for group in np.unique(groups):
        centred_x[groups == group] -= x[groups == group].mean(axis=0)
        centred_y[groups == group] -= y[groups == group].mean(axis=0)
    scale = np.sqrt((centred_x**2).mean(axis=0))
    scale[12] = 0
    exact = Exact(
        centred_x / np.where(scale > 0, scale, np.inf), centred_y, x.mean(0), scale, y.mean(0)
    )
    given = exact_problem(kind, problem.x.astype(dtype), problem.y, groups=groups)
    lam = share * exact.lambda_max
    factors = factors_of(45)[None]
    factors[0, 30] = 0
    fit = refit(given, slice(0, 4), lam, to_sparse(np.zeros((4, 45))), factors, TOL, 10_000)
    w = standardized_weights(fit, exact)
    gap = explicit_gap(exact.z, exact.y, w, lam, np.repeat(factors.T, 4, 1))
    np.testing.assert_allclose(gap, fit.gap, atol=1e-10)
    assert (fit.gap <= TOL).all()
    raw = raw_weights(fit, 45)
    assert not raw[12].any()
    np.testing.assert_allclose(fit.bias, y.mean(axis=0) - x.mean(axis=0) @ raw, rtol=1e-5)


def test_rows_that_do_not_belong_to_the_moments_are_refused():
    problem, groups = grouped_problem()
    plain = exact_problem("table", problem.x, problem.y).standardized
    uncentred = exact_problem("table", problem.x, problem.y, use_bias=False).standardized
    grouped = exact_problem("table", problem.x, problem.y, groups=groups).standardized
    design = design_of(problem.x)
    shifted = FloatDesign(problem.x.T - 1.0, np.ones(45))
    with pytest.raises(ValueError, match="229 rows, the moments 230"):
        RowProblem(plain, design_of(problem.x[1:]))
    with pytest.raises(ValueError, match="must not be shifted"):
        RowProblem(uncentred, shifted)
    with pytest.raises(ValueError, match="only with these"):
        RowProblem(plain, design, groups)
    with pytest.raises(ValueError, match="only with these"):
        RowProblem(grouped, design)
    with pytest.raises(ValueError, match="230 numbers below 7"):
        RowProblem(grouped, design, groups)  # labels, not numbers
    with pytest.raises(ValueError, match="no table"):
        TableProblem(replace(plain, xx=None))
