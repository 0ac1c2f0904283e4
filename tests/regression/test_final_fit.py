"""The saved fit: certified in float64 from the raw rows, and equal to scikit-learn's."""

import numpy as np
import pytest

from datamodels.regression.final_fit import refit
from datamodels.regression.moments import moments_of
from datamodels.regression.row_source import ArraySource
from datamodels.regression.standardized import standardize
from datamodels.regression.status import Status
from tests.regression.problems import PROBLEMS, Exact

TOL = 1e-7


def run_refit(problem, share, use_bias=True, tol=TOL, max_sweeps=100_000, warm=None):
    """(FinalFit, Exact) at ``share`` of each target's lambda_max."""
    exact = Exact.of(problem.x, problem.y, use_bias)
    rows = np.arange(len(problem.x))
    standardized = standardize(moments_of(ArraySource(problem.x, problem.y), rows), use_bias)
    n_targets, n_features = problem.y.shape[1], problem.x.shape[1]
    warm = np.zeros((n_targets, n_features), np.float32) if warm is None else warm
    lam = share * exact.lambda_max
    return refit(standardized, slice(0, n_targets), lam, warm, tol, max_sweeps), exact


def standardized_weights(fit, exact):
    return fit.weight.T.astype(float) * exact.scale[:, None]


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("name", PROBLEMS)
def test_saved_weights_have_the_gap_that_is_claimed(name, share, use_bias):
    fit, exact = run_refit(PROBLEMS[name](), share, use_bias)
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
def test_saved_weights_predict_raw_masks(use_bias):
    problem = PROBLEMS["unequal_alphas"]()
    fit, exact = run_refit(problem, 0.01, use_bias)
    predictions = problem.x.astype(float) @ fit.weight.T + fit.bias
    np.testing.assert_allclose(
        ((problem.y - predictions) ** 2).mean(axis=0), fit.train_mse, rtol=1e-4
    )
    assert (fit.train_mse < 0.5 * exact.yy).all()
    assert use_bias or not fit.bias.any()


def test_constant_columns_get_no_weight():
    fit, _ = run_refit(PROBLEMS["constant_columns"](), 0.001)
    assert not fit.weight[:, [3, 20]].any()


def test_start_does_not_matter():
    problem = PROBLEMS["plain"]()
    cold, exact = run_refit(problem, 0.05)
    noise = np.random.default_rng(0).standard_normal(cold.weight.shape).astype(np.float32)
    warm, _ = run_refit(problem, 0.05, warm=noise)
    scale = np.sqrt(exact.yy)[:, None] / exact.scale
    np.testing.assert_allclose(warm.weight / scale, cold.weight / scale, atol=1e-3)
    assert (warm.gap <= TOL).all()


def test_a_lambda_above_lambda_max_gives_the_mean():
    problem = PROBLEMS["plain"]()
    fit, exact = run_refit(problem, 1.0001)
    assert not fit.weight.any()
    np.testing.assert_allclose(fit.bias, exact.mean_y, rtol=1e-6)
    np.testing.assert_allclose(fit.train_mse, exact.yy)
    assert (fit.iterations == 0).all()


def test_lambda_zero_marks_a_target_that_is_not_fitted():
    problem = PROBLEMS["plain"]()
    fit, exact = run_refit(problem, 0.0)
    assert not fit.weight.any()
    np.testing.assert_allclose(fit.bias, exact.mean_y, rtol=1e-6)
    assert (fit.status == Status.CONVERGED).all()


def test_iteration_limit_is_a_status_and_the_gap_stays_honest():
    fit, exact = run_refit(PROBLEMS["few_rows"](), 0.001, max_sweeps=2)
    assert (fit.status == Status.ITERATION_LIMIT).all()
    assert (fit.iterations == 2).all()
    gap = exact.relative_gap(standardized_weights(fit, exact), fit.lam)
    np.testing.assert_allclose(gap, fit.gap, rtol=1e-6)
    assert (fit.gap > TOL).all()


def test_what_float32_weights_cannot_reach_is_not_claimed():
    fit, exact = run_refit(PROBLEMS["plain"](), 0.01, tol=1e-10)
    gap = exact.relative_gap(standardized_weights(fit, exact), fit.lam)
    np.testing.assert_allclose(gap, fit.gap, atol=1e-12)
    assert (fit.gap < 1e-7).all()
    assert (fit.status == Status.FLOAT32_LIMIT).all()


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_moments_that_are_not_finite_end_as_non_finite(value):
    problem = PROBLEMS["plain"]()
    rows = np.arange(len(problem.x))
    standardized = standardize(moments_of(ArraySource(problem.x, problem.y), rows), True)
    standardized.xy[3, 1] = value
    warm = np.zeros((5, 60), np.float32)
    fit = refit(standardized, slice(0, 5), np.full(5, 0.1), warm, TOL, 1000)
    assert fit.status[1] == Status.NON_FINITE
    assert (np.delete(fit.status, 1) == Status.CONVERGED).all()


def test_raw_weights_beyond_float32_end_as_non_finite():
    problem = PROBLEMS["plain"]()

    class Huge:
        x, y = problem.x * np.float32(1e-6), problem.y * np.float32(1e37)

    fit, _ = run_refit(Huge, 0.1)
    assert (fit.status == Status.NON_FINITE).all()
