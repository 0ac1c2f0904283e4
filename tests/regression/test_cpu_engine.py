"""The cpu engine's own ways: members packed or all features, penalties of every kind, hard cases.

What all engines must do is tested in ``test_engines``.
"""

import numba
import numpy as np
import pytest

from datamodels.regression.engines import cpu
from datamodels.regression.engines.contract import Limits
from datamodels.regression.moment_pass import moments_of
from datamodels.regression.row_source import ArraySource
from datamodels.regression.standardized import standardize
from datamodels.regression.status import Status
from tests.regression.problems import PROBLEMS, Exact, outputs_of, random_masks

TOL = 1e-4
SLACK = 2e-6  # of gaps that come from a float32 Gram matrix
SHARES = {"packed": 1.0, "opened on the way": 0.25, "opened": 0.0}


@pytest.fixture(params=SHARES)
def share(request, monkeypatch):
    """Runs a test with packed members, with all features, and with a change on the way."""
    monkeypatch.setattr(cpu, "open_share", lambda *_: SHARES[request.param])
    return request.param


class Path:
    """The path of some targets of a problem, lambda by lambda."""

    def __init__(self, x, y, *, factors=None, targets=slice(None), tol=TOL, max_sweeps=10_000):
        problem = standardize(moments_of(ArraySource(x, y), np.arange(len(x))))
        factors = np.ones((1, x.shape[1])) if factors is None else factors
        engine = cpu.CpuEngine(problem.gram())
        self.n_features = problem.n_features
        self.units = problem.units(targets)
        self.engine_path = engine.block(problem, targets, factors, Limits(tol, max_sweeps))
        self.all = np.arange(len(self.units))

    def solve(self, share_of_largest):
        """(lambda (t,) in the units of y, weights (p, t) standardized, what was solved)."""
        lam = self.engine_path.lambda_max() * share_of_largest
        solved = self.engine_path.solve(lam, self.all)
        dense = solved.weights.dense(self.n_features) * self.units[:, None]
        return lam * self.units, dense.T, solved

    def follow(self, k=12, eps=1e-2):
        return [self.solve(eps ** (i / (k - 1))) for i in range(k)]


def many_features():
    """More features than members at first, so that packed blocks grow, twice."""
    x = random_masks(700, 517)
    return x, outputs_of(x, 5, noise=2)


# --- packed members ------------------------------------------------------------------------------


def test_gaps_hold_whichever_features_are_swept(share):
    x, y = many_features()
    exact = Exact.of(x, y)
    path = Path(x, y)
    for lam, w, solved in path.follow():
        assert (solved.status == Status.CONVERGED).all()
        assert (exact.relative_gap(w, lam) <= TOL + SLACK).all()
        np.testing.assert_allclose(solved.gap, exact.relative_gap(w, lam), atol=SLACK)
    target = path.engine_path.state.target
    assert target["opened"].all() == (share != "packed")
    assert (target["n_packed"] > 112).all() == (share == "packed")


def test_objectives_agree_with_scikit_learn(share):
    x, y = many_features()
    exact = Exact.of(x, y[:, :1])
    steps = Path(x, y[:, :1]).follow(k=8, eps=0.02)
    theirs = exact.sklearn_path(0, np.array([lam[0] for lam, _, _ in steps]), tol=1e-8)
    for i, (lam, w, _) in enumerate(steps):
        worse = exact.objective(w, lam) - exact.objective(theirs[:, [i]], lam)
        assert -1e-7 * exact.yy <= worse <= (TOL + SLACK) * exact.yy


@pytest.mark.parametrize("name", PROBLEMS)
def test_ends_of_ill_conditioned_paths_are_reached(share, name):
    problem = PROBLEMS[name]()
    exact = Exact.of(problem.x, problem.y)
    path = Path(problem.x, problem.y)
    for lam, w, solved in path.follow(k=20):
        assert (solved.status == Status.CONVERGED).all()
        assert (solved.iterations < 10_000).all()
        assert (exact.relative_gap(w, lam) <= TOL + SLACK).all()


def test_correlated_columns_are_solved(share):
    """Columns with a common part: correlations of 0.9."""
    rng = np.random.default_rng(4)
    x = (rng.standard_normal((300, 1)) * 3 + rng.standard_normal((300, 150))).astype(np.float32)
    y = outputs_of(x, 3)
    exact = Exact.of(x, y)
    for lam, w, solved in Path(x, y).follow():
        assert (solved.status == Status.CONVERGED).all()
        assert (exact.relative_gap(w, lam) <= TOL + 5 * SLACK).all()


def test_a_lambda_may_be_far_from_the_last(share):
    x, y = many_features()
    exact = Exact.of(x, y)
    path = Path(x, y)
    for fraction in (0.05, 0.04, 0.01):
        lam, w, solved = path.solve(fraction)
        assert (solved.status == Status.CONVERGED).all()
        assert (exact.relative_gap(w, lam) <= TOL + SLACK).all()


def test_targets_that_are_left_out_stay_where_they_are(share):
    x, y = many_features()
    path, alone = Path(x, y), Path(x, y)
    for fraction in (0.5, 0.2, 0.1):
        lam = path.engine_path.lambda_max() * fraction
        whole = path.engine_path.solve(lam, path.all)
        some = alone.engine_path.solve(lam[[1, 4]], np.array([1, 4]))
        np.testing.assert_array_equal(whole.weights.dense(517)[[1, 4]], some.weights.dense(517))
    assert not alone.engine_path.state.target["weight_nz"][[0, 2, 3]].any()


def test_weights_are_the_same_to_the_bit_in_blocks_of_any_size(share):
    x, y = many_features()
    whole = [w for _, w, _ in Path(x, y).follow()]
    for block in (slice(0, 1), slice(1, 5)):
        parts = [w for _, w, _ in Path(x, y, targets=block).follow()]
        for w, part in zip(whole, parts, strict=True):
            np.testing.assert_array_equal(w[:, block], part)


def test_weights_are_the_same_to_the_bit_on_one_thread(share):
    x, y = many_features()
    before = numba.get_num_threads()
    many = [w for _, w, _ in Path(x, y).follow()]
    numba.set_num_threads(1)
    try:
        one = [w for _, w, _ in Path(x, y).follow()]
    finally:
        numba.set_num_threads(before)
    for a, b in zip(many, one, strict=True):
        np.testing.assert_array_equal(a, b)


# --- penalty factors -----------------------------------------------------------------------------


def test_factors_are_scales_of_the_columns(share):
    x, y = many_features()
    factors = np.random.default_rng(2).uniform(0.3, 3, (5, 517))
    factors[:, 40:60] = np.inf
    exact = Exact.of(x, y)
    path = Path(x, y, factors=factors)
    for lam, w, solved in path.follow(k=6):
        assert (solved.status == Status.CONVERGED).all()
        assert not w[40:60].any()
        for t in range(5):
            scaled = Exact(
                exact.z / factors[t], exact.y[:, [t]], exact.mean_x, exact.scale, exact.mean_y
            )
            v = np.where(np.isfinite(factors[t]), factors[t], 0)
            np.testing.assert_allclose(
                path.engine_path.lambda_max()[t] * path.units[t], scaled.lambda_max, rtol=1e-5
            )
            gap = scaled.relative_gap((w[:, t] * v)[:, None], lam[t])
            assert gap <= TOL + SLACK


def projected(exact, t, free):
    """The problem of target t and the other features, once those of ``free`` are regressed out."""
    left, values, _ = np.linalg.svd(exact.z[:, free], full_matrices=False)
    basis = left[:, values > 1e-9 * values[0]]
    z = exact.z - basis @ (basis.T @ exact.z)
    y = exact.y[:, [t]] - basis @ (basis.T @ exact.y[:, [t]])
    return Exact(z[:, ~free], y, exact.mean_x, exact.scale, exact.mean_y)


def test_unpenalized_features_are_regressed_out(share):
    """Some that are duplicates, or constant, or the same for all targets."""
    x, y = many_features()
    x[:, 7], x[:, 8] = x[:, 3], True
    factors = np.ones((5, 517))
    factors[0, [3, 7, 8]], factors[1, 100:130], factors[2, 5], factors[3:, 8] = 0, 0, 0, 0
    exact = Exact.of(x, y)
    path = Path(x, y, factors=factors)
    problems = [projected(exact, t, factors[t] == 0) for t in range(5)]
    largest = np.concatenate([problem.lambda_max for problem in problems])
    np.testing.assert_allclose(path.engine_path.lambda_max() * path.units, largest, rtol=1e-4)
    for lam, w, solved in path.follow(k=6):
        assert (solved.status == Status.CONVERGED).all()
        for t, problem in enumerate(problems):
            free = factors[t] == 0
            gap = problem.relative_gap(w[~free][:, [t]], lam[t]) * problem.yy / exact.yy[t]
            assert gap <= TOL + 2 * SLACK
            slope = exact.z[:, free].T @ (exact.y[:, t] - exact.z @ w[:, t]) / len(x)
            assert (np.abs(slope) < 1e-5 * path.units[t]).all()


def test_at_lambda_max_only_unpenalized_features_have_weights(share):
    x, y = many_features()
    factors = np.ones((1, 517))
    factors[0, [2, 30]] = 0
    _, w, solved = Path(x, y, factors=factors).solve(1.0)
    np.testing.assert_array_equal(np.flatnonzero(w.any(axis=1)), [2, 30])
    np.testing.assert_array_equal(solved.weights.counts(), 2)
    exact = Exact.of(x, y)
    least = np.linalg.lstsq(exact.z[:, [2, 30]], exact.y, rcond=None)[0]
    np.testing.assert_allclose(w[[2, 30]], least, atol=1e-5 * np.sqrt(exact.yy.max()))


def test_all_features_may_be_unpenalized(share):
    x = random_masks(200, 20)
    y = outputs_of(x, 2)
    path = Path(x, y, factors=np.zeros((1, 20)))
    np.testing.assert_array_equal(path.engine_path.lambda_max(), 0)
    _, w, solved = path.solve(1.0)
    exact = Exact.of(x, y)
    assert (solved.status == Status.CONVERGED).all()
    np.testing.assert_allclose(w, np.linalg.lstsq(exact.z, exact.y, rcond=None)[0], atol=1e-4)


# --- how it ends ---------------------------------------------------------------------------------


def test_too_few_sweeps_end_at_the_iteration_limit(share):
    x, y = many_features()
    path = Path(x, y, tol=1e-9, max_sweeps=3)
    _, _, solved = path.solve(0.05)
    assert (solved.status == Status.ITERATION_LIMIT).all()
    np.testing.assert_array_equal(solved.iterations, 3)
    assert (solved.gap > 1e-9).all()


def test_a_tolerance_of_zero_comes_to_an_end(share):
    x = random_masks(150, 40)
    path = Path(x, outputs_of(x, 2), tol=0.0, max_sweeps=500)
    _, _, solved = path.solve(0.1)
    assert (np.abs(solved.gap) < 1e-8).all()
    assert (solved.iterations <= 500).all()


def test_non_finite_correlations_are_a_status(share):
    x, y = many_features()
    problem = standardize(moments_of(ArraySource(x, y), np.arange(len(x))))
    problem.xy[:, 2] = np.nan
    problem.xy[30, 3] = np.inf
    block = cpu.CpuEngine(problem.gram()).block(
        problem, slice(None), np.ones((1, 517)), Limits(TOL, 100)
    )
    solved = block.solve(np.full(5, 0.1), np.arange(5))
    ended = [Status.CONVERGED] * 2 + [Status.NON_FINITE] * 2 + [Status.CONVERGED]
    np.testing.assert_array_equal(solved.status, ended)


def test_a_constant_target_has_no_residual(share):
    x = random_masks(90, 12)
    y = outputs_of(x, 3)
    y[:, 1] = 0.25
    path = Path(x, y)
    assert path.engine_path.lambda_max()[1] == 0
    _, w, solved = path.solve(0.1)
    assert not w[:, 1].any()
    assert solved.residual[1] == 0
    assert (solved.status == Status.CONVERGED).all()
