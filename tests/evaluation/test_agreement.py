import numpy as np
import pytest
from scipy import stats

from datamodels.errors import InputError, UsageError
from datamodels.evaluation.agreement import measure_agreement, wilson_interval


def pairs(n_targets=30, per_target=4, noise=0.5):
    rng = np.random.default_rng(1)
    x = np.round(rng.standard_normal((n_targets, per_target)), 1)  # with ties
    y = 0.7 * x + noise * rng.standard_normal((n_targets, 1))  # noise that a target shares
    return x.ravel(), y.ravel(), np.repeat(np.arange(n_targets) * 3, per_target)


def test_values_are_those_of_scipy():
    x, y, target = pairs()
    found = measure_agreement("m", x, y, target, n_resamples=0)
    assert found.pearson.value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert found.spearman.value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.slope.value == pytest.approx(stats.linregress(x, y).slope)
    assert (found.n, found.n_targets) == (120, 30)
    assert np.isnan(found.pearson.interval).all()


def test_the_interval_is_of_targets_not_of_removals():
    x, y, target = pairs()
    whole = measure_agreement("m", x, y, target).pearson.interval
    alone = measure_agreement("m", x, y, np.arange(len(x))).pearson.interval
    assert whole[1] - whole[0] > 1.3 * (alone[1] - alone[0])
    assert whole[0] < stats.pearsonr(x, y).statistic < whole[1]
    assert whole == measure_agreement("m", x, y, target).pearson.interval
    assert whole != measure_agreement("m", x, y, target, seed=1).pearson.interval


def test_what_does_not_vary_has_no_correlation():
    flat = measure_agreement("m", np.zeros(9), np.arange(9.0), np.arange(9))
    assert np.isnan(flat.pearson.value)
    assert str(flat.pearson) == "-"
    few = measure_agreement("m", [1, 2, 3, 4], [1, 2, 3, 5], [0, 0, 1, 1])
    assert str(few.pearson) == str(few.slope) == "-"  # of two targets
    enough = measure_agreement("m", [1, 2, 3, 4], [1, 2, 3, 5], [0, 0, 1, 2], n_resamples=0)
    assert str(enough.pearson) == "0.98"


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="targets"):
        measure_agreement("m", [1.0], [1.0, 2.0], [0, 1])
    with pytest.raises(UsageError, match="level=1"):
        measure_agreement("m", [1.0], [1.0], [0], level=1)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (50, 70)])
def test_the_interval_of_a_share_is_that_of_scipy(successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-6)
