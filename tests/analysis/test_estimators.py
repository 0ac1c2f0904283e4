import tracemalloc

import numpy as np
import pytest
from scipy.stats import ttest_ind

from datamodels import fit
from datamodels.analysis import estimators as module
from datamodels.analysis.estimators import Estimates, difference_of_means, ridge
from datamodels.analysis.influence import _summary
from datamodels.errors import InputError, UsageError
from datamodels.regression.moment_pass import moments_of
from datamodels.regression.row_source import ArraySource

N, P, T = 90, 12, 5


def problem(seed=0, n=N, p=P, t=T, noise=1.0, alpha=0.5):
    rng = np.random.default_rng(seed)
    masks = rng.random((n, p)) < alpha
    weight = rng.standard_normal((p, t)) * (rng.random((p, t)) < 0.5)
    outputs = masks @ weight + 7 + noise * rng.standard_normal((n, t))
    return masks, outputs.astype(np.float32), weight


def moments(masks, outputs):
    return moments_of(ArraySource(masks, outputs), np.arange(len(masks)))


def standardized(masks, outputs):
    z = (masks - masks.mean(axis=0)) / masks.std(axis=0)
    return z, outputs - outputs.mean(axis=0, dtype=np.float64)


@pytest.fixture(params=[1, 2**27], ids=["target by target", "all at once"])
def _blocks(request, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_BYTES", request.param)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("alpha", [0.5, 0.2])
def test_differences_are_those_of_the_t_test(alpha):
    masks, outputs, _ = problem(alpha=alpha)
    found = difference_of_means(moments(masks, outputs).without_table())
    for j in range(P):
        for t in range(T):
            y = outputs[:, t].astype(float)
            test = ttest_ind(y[masks[:, j]], y[~masks[:, j]])
            low, high = test.confidence_interval(0.95)
            middle = (low + high) / 2
            assert found.weight[j, t] == pytest.approx(middle, abs=1e-5)
            assert found.z[j, t] == pytest.approx(test.statistic, rel=1e-4)
    predicted = masks @ found.weight + found.bias
    np.testing.assert_allclose(predicted.mean(axis=0), outputs.mean(axis=0), rtol=1e-5)
    assert found.n_models == N


@pytest.mark.usefixtures("_blocks")
def test_ridge_is_the_textbook_s():
    masks, outputs, _ = problem()
    lam = 0.3
    found = ridge(moments(masks, outputs), lam)
    z, y = standardized(masks, outputs)
    inverse = np.linalg.inv(z.T @ z / N + lam * np.eye(P))
    weight = inverse @ z.T @ y / N
    hat = z @ inverse @ z.T / N
    sigma2 = ((y - hat @ y) ** 2).sum(axis=0) / (N - 1 - np.trace(hat))
    covariance = inverse @ (z.T @ z / N) @ inverse / N
    error = np.sqrt(np.diag(covariance)[:, None] * sigma2)
    scale = masks.std(axis=0)[:, None]
    np.testing.assert_allclose(found.weight, weight / scale, atol=1e-5)
    np.testing.assert_allclose(found.standard_error, error / scale, rtol=1e-4)
    predicted = masks @ found.weight + found.bias
    np.testing.assert_allclose(predicted - outputs.mean(axis=0), hat @ y, atol=1e-4)


def test_both_agree_with_fit():
    masks, outputs, _ = problem()
    ours = ridge(moments(masks, outputs), 0.2)
    theirs = fit(masks, outputs, estimator="ridge", lam=0.2)
    np.testing.assert_allclose(ours.weight, theirs.weight, atol=1e-3)  # a gap of 1e-7
    np.testing.assert_allclose(ours.bias, theirs.bias, atol=1e-2)
    ours = difference_of_means(moments(masks, outputs))
    theirs = fit(masks, outputs, estimator="difference")
    np.testing.assert_allclose(ours.weight, theirs.weight, atol=1e-3)  # a gap of 1e-7


@pytest.mark.parametrize("n", [N, 8])
def test_lambda_is_that_of_the_least_generalized_cross_validation(n):
    masks, outputs, _ = problem(n=n)
    masks[:2] = [np.zeros(P), np.ones(P)]  # no constant column
    found = ridge(moments(masks, outputs))
    z, y = standardized(masks, outputs)
    lams = module._LAMBDAS * max(1, P / n)
    scores = np.full((len(lams), T), np.inf)
    for i, lam in enumerate(lams):
        hat = z @ np.linalg.solve(z.T @ z / n + lam * np.eye(P), z.T) / n
        left = 1 - (1 + np.trace(hat)) / n
        if left > module._MIN_SHARE_LEFT:
            scores[i] = ((y - hat @ y) ** 2).mean(axis=0) / left**2
    np.testing.assert_allclose(found.lam, lams[scores.argmin(axis=0)], rtol=1e-5)


@pytest.mark.parametrize("estimator", ["difference", "ridge"])
def test_standard_errors_cover_as_often_as_they_say(estimator):
    """The truth is within 1.96 standard errors 95% of the time."""
    covered = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        masks, _, weight = problem(seed=1, n=200)
        if estimator == "difference":  # about masks drawn anew, and what others add is noise
            masks = rng.random(masks.shape) < 0.5
        outputs = (masks @ weight + 2 * rng.standard_normal((200, T))).astype(np.float32)
        found = (
            difference_of_means(moments(masks, outputs))
            if estimator == "difference"
            else ridge(moments(masks, outputs), 1e-6)  # all but unbiased
        )
        covered.append(np.abs(found.weight - weight) < 1.96 * found.standard_error)
    assert 0.93 < np.mean(covered) < 0.97  # of 3,600


def test_examples_that_never_change_have_no_error():
    masks, outputs, _ = problem()
    masks[:, 2], masks[:, 5] = True, False
    for found in (difference_of_means(moments(masks, outputs)), ridge(moments(masks, outputs))):
        assert (found.weight[[2, 5]] == 0).all()
        assert np.isnan(found.standard_error[[2, 5]]).all()
        assert np.isfinite(np.delete(found.standard_error, [2, 5], axis=0)).all()


def test_a_constant_target_has_weights_of_zero():
    masks, outputs, _ = problem()
    outputs[:, 1] = 3.3
    for found in (difference_of_means(moments(masks, outputs)), ridge(moments(masks, outputs))):
        assert (found.weight[:, 1] == 0).all()
        assert (found.standard_error[:, 1] == 0).all()
        assert found.bias[1] == np.float32(3.3)


def test_at_one_half_differences_estimate_banzhaf_values():
    """Of a utility with pairs that interact: its Banzhaf value is what all subsets average to."""
    rng = np.random.default_rng(0)
    p = 8
    pairs = rng.standard_normal((p, p))
    subsets = ((np.arange(2**p)[:, None] >> np.arange(p)) & 1).astype(bool)
    utility = np.einsum("ni,ij,nj->n", subsets, pairs, subsets)
    exact = [utility[subsets[:, j]].mean() - utility[~subsets[:, j]].mean() for j in range(p)]
    drawn = rng.integers(0, 2**p, 4000)
    found = difference_of_means(moments(subsets[drawn], utility[drawn, None].astype(np.float32)))
    assert (np.abs(found.weight[:, 0] - exact) < 4 * found.standard_error[:, 0]).all()
    everything = difference_of_means(moments(subsets, utility[:, None].astype(np.float32)))
    np.testing.assert_allclose(everything.weight[:, 0], exact, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "needle"),
    [
        (lambda m: ridge(m, 0.0), UsageError, "lam=0.0"),
        (lambda m: ridge(m.without_table()), InputError, "table of pairs"),
        (lambda m: difference_of_means(m - m), InputError, "there are 0"),
    ],
)
def test_what_they_do_not_take_is_refused(call, error, needle):
    masks, outputs, _ = problem()
    with pytest.raises(error, match=needle):
        call(moments(masks, outputs))


def test_masks_of_other_numbers_are_refused():
    masks, outputs, _ = problem()
    with pytest.raises(InputError, match="zeros and ones"):
        difference_of_means(moments(masks * 0.5, outputs))


def test_the_summary_of_estimates_takes_no_copy_of_them():
    rng = np.random.default_rng(0)
    weight, error = rng.standard_normal((2, 700, 900)).astype(np.float32)
    error[3] = np.nan
    zeros = np.zeros(900, np.float32)
    estimates = Estimates(weight, np.abs(error), zeros, zeros, 50)
    middle = np.nanmedian(estimates.standard_error)
    tracemalloc.start()
    said = _summary(estimates, "difference", 50, 1.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"standard error  {middle:.3g} in the median" in said
    assert peak < error.nbytes / 2
