"""The conformance suite: what every path engine must do, by whichever way it does it."""

import warnings

import numba
import numpy as np
import pytest

from datamodels.regression.engines.build import gram_engine, row_engine
from datamodels.regression.engines.contract import Limits
from datamodels.regression.fit_config import TABLE_ENGINES, FitConfig
from datamodels.regression.lambda_path import Grid
from datamodels.regression.moment_pass import moments_of
from datamodels.regression.row_source import ArraySource
from datamodels.regression.rows_in_memory import load_rows
from datamodels.regression.standardized import standardize
from datamodels.regression.status import Status
from tests.regression.problems import PROBLEMS, Exact, outputs_of, random_masks

CERTIFYING = ("cpu", "torch", "few_rows", "screened")
ENGINES = (*CERTIFYING, "saga")
TOL = 1e-4
SLACK = 2e-6  # of gaps that come from a float32 Gram matrix
SAGA = {"change_eps": 1e-9, "batch_size": 32, "max_sweeps": 3000}


class Run:
    """An engine at work on the targets of a problem."""

    def __init__(
        self,
        engine,
        x,
        y,
        *,
        use_bias=True,
        factors=None,
        tol=TOL,
        targets=slice(None),
        groups=None,
    ):
        config = FitConfig(engine=engine, **(SAGA if engine == "saga" else {}))
        source, rows = ArraySource(x, y), np.arange(len(x))
        if engine in TABLE_ENGINES:
            self.problem = standardize(moments_of(source, rows, groups=groups), use_bias)
            started = gram_engine(config)(self.problem.gram())
        else:
            loaded = load_rows(
                source, rows, slice(None), block_bytes=2**20, groups=groups, centred=use_bias
            )
            self.problem = loaded.standardized(use_bias)
            started = row_engine(config, source, slice(None))(loaded, rows)
        self.units = self.problem.units(targets)
        factors = np.ones((1, x.shape[1])) if factors is None else np.atleast_2d(factors)
        self.path = started.block(self.problem, targets, factors, Limits(tol, config.max_sweeps))
        self.all = np.arange(len(self.units))

    def follow(self, k=8, eps=1e-2):
        """Solutions at k lambdas: lambda (t,) in the units of y and weights (p, t) for each."""
        largest = self.path.lambda_max()
        for lam in Grid(k, eps).lambdas(largest):
            solved = self.path.solve(lam, self.all)
            dense = solved.weights.dense(self.problem.n_features) * self.units[:, None]
            yield lam * self.units, dense.T, solved


def test_every_engine_is_known():
    from datamodels.regression.fit_config import ENGINES as known

    assert set(known) == {"auto", *ENGINES}


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("engine", CERTIFYING)
def test_certificates_hold_when_recomputed_from_the_rows(engine, name, use_bias):
    problem = PROBLEMS[name]()
    exact = Exact.of(problem.x, problem.y, use_bias)
    run = Run(engine, problem.x, problem.y, use_bias=use_bias)
    np.testing.assert_allclose(run.path.lambda_max() * run.units, exact.lambda_max, rtol=1e-5)
    for lam, w, solved in run.follow():
        gap = exact.relative_gap(w, lam)
        assert (solved.status == Status.CONVERGED).all()
        assert (gap <= TOL + SLACK).all()
        np.testing.assert_allclose(solved.gap, gap, atol=SLACK)
        residual = ((exact.y - exact.z @ w) ** 2).mean(axis=0) / exact.yy
        np.testing.assert_allclose(solved.residual, residual, atol=1e-5)
        assert not w[exact.scale == 0].any()


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("engine", ENGINES)
def test_objectives_and_predictions_agree_with_scikit_learn(engine, name):
    problem = PROBLEMS[name]()
    exact = Exact.of(problem.x, problem.y)
    steps = list(Run(engine, problem.x, problem.y).follow(k=5, eps=0.05))
    for t in range(problem.y.shape[1]):
        lambdas = np.array([lam[t] for lam, _, _ in steps])
        theirs = exact.sklearn_path(t, lambdas)
        for i, (lam, w, _) in enumerate(steps):
            ours, best = w[:, [t]], theirs[:, [i]]
            worse = (exact_one(exact, t).objective(ours, lam[t]) -
                     exact_one(exact, t).objective(best, lam[t]))[0] / exact.yy[t]  # fmt: skip
            assert -1e-8 <= worse <= TOL + SLACK
            difference = ((exact.z @ (ours - best)) ** 2).mean() / exact.yy[t]
            assert difference <= 2 * (TOL + SLACK)  # strong convexity of the loss in Z w


def exact_one(exact, t):
    """The problem of one target."""
    return Exact(exact.z, exact.y[:, [t]], exact.mean_x, exact.scale, exact.mean_y[[t]])


@pytest.mark.parametrize("name", [name for name in PROBLEMS if PROBLEMS[name]().unique])
@pytest.mark.parametrize("engine", CERTIFYING)
def test_weights_agree_where_they_are_unique(engine, name):
    problem = PROBLEMS[name]()
    exact = Exact.of(problem.x, problem.y)
    for lam, w, _ in Run(engine, problem.x, problem.y, tol=1e-6).follow(k=4, eps=0.1):
        best = np.stack(
            [exact.sklearn_path(t, lam[[t]])[:, 0] for t in range(problem.y.shape[1])], axis=1
        )
        error = ((w - best) ** 2).sum(axis=0) / exact.yy
        assert (error < 5e-4).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("share", [1e6, 1.0, 1e-4])
def test_huge_and_tiny_lambdas(engine, share):
    x = random_masks(120, 20)
    y = outputs_of(x, 3)
    exact = Exact.of(x, y)
    run = Run(engine, x, y)
    lam = run.path.lambda_max() * share
    solved = run.path.solve(lam, run.all)
    w = solved.weights.dense(20).T * run.units
    if share >= 1:
        assert not w.any()
        np.testing.assert_allclose(solved.residual, 1, atol=1e-6)
    else:
        least = np.linalg.lstsq(exact.z, exact.y, rcond=None)[0]
        np.testing.assert_allclose(exact.z @ w, exact.z @ least, atol=0.05)


@pytest.mark.parametrize("engine", ENGINES)
def test_solutions_are_invariant_to_row_and_feature_order(engine):
    x = random_masks(150, 30)
    y = outputs_of(x, 3)
    rng = np.random.default_rng(0)
    rows, features = rng.permutation(150), rng.permutation(30)
    exact = Exact.of(x, y)
    plain = Run(engine, x, y).follow(k=4)
    moved = Run(engine, x[rows][:, features], y[rows]).follow(k=4)
    for (lam, w, _), (lam_moved, w_moved, _) in zip(plain, moved, strict=True):
        np.testing.assert_allclose(lam, lam_moved, rtol=1e-5)
        back = np.empty_like(w)
        back[features] = w_moved
        gain = exact.objective(w, lam) - exact.objective(back, lam)
        assert (np.abs(gain) <= (TOL + SLACK) * exact.yy).all()


@pytest.mark.parametrize("engine", CERTIFYING)
def test_block_size_does_not_matter(engine):
    """Seven targets at once, and in blocks of one and six."""
    x = random_masks(150, 30)
    y = outputs_of(x, 7)
    whole = [w for _, w, _ in Run(engine, x, y).follow(k=4)]
    for block in (slice(0, 1), slice(1, 7)):
        parts = [w for _, w, _ in Run(engine, x, y, targets=block).follow(k=4)]
        for w, part in zip(whole, parts, strict=True):
            if engine in ("torch", "screened"):  # share products of the block
                np.testing.assert_allclose(w[:, block], part, atol=5e-2)
            else:
                np.testing.assert_array_equal(w[:, block], part)


@pytest.mark.parametrize("engine", CERTIFYING)
def test_thread_count_does_not_matter(engine):
    x = random_masks(150, 30)
    y = outputs_of(x, 5)
    before = numba.get_num_threads()
    many = [w for _, w, _ in Run(engine, x, y).follow(k=4)]
    numba.set_num_threads(1)
    try:
        one = [w for _, w, _ in Run(engine, x, y).follow(k=4)]
    finally:
        numba.set_num_threads(before)
    for a, b in zip(many, one, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("factor", [1e-6, 1e5])
def test_solutions_scale_with_y(engine, factor):
    x = random_masks(120, 25)
    y = outputs_of(x, 2) - 3
    plain = Run(engine, x, y).follow(k=4)
    scaled = Run(engine, x, (y.astype(np.float64) * factor)).follow(k=4)
    for (lam, w, _), (lam_scaled, w_scaled, _) in zip(plain, scaled, strict=True):
        np.testing.assert_allclose(lam * factor, lam_scaled, rtol=1e-4)
        np.testing.assert_allclose(w * factor, w_scaled, atol=0.02 * factor)


@pytest.mark.parametrize("engine", ENGINES)
def test_penalty_factors_are_scales_of_the_columns(engine):
    x = random_masks(150, 25)
    y = outputs_of(x, 3)
    factors = np.random.default_rng(2).uniform(0.3, 3, 25)
    factors[[4, 9]] = np.inf
    exact = Exact.of(x, y)
    scaled = Exact(exact.z / factors, exact.y, exact.mean_x, exact.scale, exact.mean_y)
    finite = np.where(np.isfinite(factors), factors, 0)
    run = Run(engine, x, y, factors=factors)
    np.testing.assert_allclose(run.path.lambda_max() * run.units, scaled.lambda_max, rtol=1e-5)
    for lam, w, _ in run.follow(k=4):
        assert not w[[4, 9]].any()
        gap = scaled.relative_gap(w * finite[:, None], lam)
        assert (gap <= TOL + SLACK).all()


@pytest.mark.parametrize("engine", ["cpu", "few_rows", "screened"])
def test_unpenalized_features_are_projected_out(engine):
    x = random_masks(150, 25)
    y = outputs_of(x, 3)
    factors = np.ones((3, 25))
    factors[0, :2], factors[1, 5] = 0, 0
    run = Run(engine, x, y, factors=factors)
    exact = Exact.of(x, y)
    for lam, w, solved in run.follow(k=5):
        for t in range(3):
            free = factors[t] == 0
            basis = np.linalg.qr(exact.z[:, free])[0]
            z = exact.z - basis @ (basis.T @ exact.z)
            left = exact.y[:, [t]] - basis @ (basis.T @ exact.y[:, [t]])
            projected = Exact(z[:, ~free], left, exact.mean_x, exact.scale, exact.mean_y)
            gap = projected.relative_gap(w[~free][:, [t]], lam[t]) * projected.yy / exact.yy[t]
            assert gap[0] <= TOL + 2 * SLACK
            gradient = exact.z[:, free].T @ (exact.y[:, t] - exact.z @ w[:, t]) / len(x)
            assert (np.abs(gradient) < 1e-4 * run.units[t]).all()
        assert (solved.status == Status.CONVERGED).all()


@pytest.mark.parametrize("engine", CERTIFYING)
def test_groups_are_centred_within(engine):
    rng = np.random.default_rng(3)
    x = random_masks(160, 25)
    groups = rng.integers(0, 6, 160) * 7 - 3  # labels of any size and sign
    y = outputs_of(x, 3) + 5 * np.sin(groups)[:, None].astype(np.float32)
    x_centred, y_centred = x.astype(float), y.astype(float)
    for label in np.unique(groups):
        x_centred[groups == label] -= x_centred[groups == label].mean(axis=0)
        y_centred[groups == label] -= y_centred[groups == label].mean(axis=0)
    exact = Exact.of(x_centred, y_centred, use_bias=True)
    for lam, w, _ in Run(engine, x, y, groups=groups).follow(k=5):
        assert (exact.relative_gap(w, lam) <= TOL + SLACK).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_constant_targets_keep_weights_of_zero(engine):
    x = random_masks(90, 12)
    y = outputs_of(x, 3)
    y[:, 1] = 0.3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _, w, _ in Run(engine, x, y).follow(k=3):
            assert not w[:, 1].any()
            assert np.isfinite(w).all()
