"""Kendall's and Pearson's correlations, pooled ones, and their bootstrap: equal to scipy's."""

import numpy as np
import pytest
from scipy import stats

from datamodels.errors import InputError, UsageError
from datamodels.evaluation import rank_correlation
from datamodels.evaluation.bootstrap import multiplicities
from datamodels.evaluation.measures import correlate_by, pooled_correlation, resample_by
from datamodels.evaluation.scoring import linear_datamodeling_score

SCIPY = {"spearman": stats.spearmanr, "kendall": stats.kendalltau, "pearson": stats.pearsonr}
NAMES = list(SCIPY)


def pairs(n_models, n_targets, seed=0):
    """Predictions and outputs, with ties in some columns."""
    rng = np.random.default_rng(seed)
    predictions = rng.standard_normal((n_models, n_targets))
    outputs = 0.5 * predictions + rng.standard_normal((n_models, n_targets))
    predictions[:, ::3] = predictions[:, ::3].round()
    outputs[:, ::2] = outputs[:, ::2].round()
    return predictions, outputs


def slow(name, predictions, outputs):
    """The oracle: scipy one target at a time, and our conventions where it has no answer."""
    scores = []
    for a, b in zip(predictions.T, outputs.T, strict=True):
        if np.ptp(b) == 0:
            scores.append(np.nan)
        elif np.ptp(a) == 0:
            scores.append(0.0)
        else:
            scores.append(SCIPY[name](a, b).statistic)
    return np.array(scores)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8])
@pytest.mark.parametrize("n_models", [3, 4, 257])
def test_equals_scipy_with_and_without_ties(name, n_models, dtype):
    predictions, outputs = pairs(n_models, 13)
    outputs = (3 * outputs).astype(dtype)
    expected = slow(name, predictions, outputs.astype(np.float64))
    np.testing.assert_allclose(correlate_by(name)(predictions, outputs), expected, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n_models", "n_resamples"), [(3, 40), (25, 33), (60, 16)])
def test_bootstrap_equals_scoring_every_resample_again(name, n_models, n_resamples):
    predictions, outputs = pairs(n_models, 7, seed=n_models)
    counts = multiplicities(n_models, n_resamples, seed=1)
    drawn = [np.repeat(np.arange(n_models), count) for count in counts]
    expected = np.array([slow(name, predictions[rows], outputs[rows]) for rows in drawn]).T
    fast = resample_by(name)(predictions, outputs, counts)
    np.testing.assert_allclose(fast, expected, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_pooled_is_one_correlation_over_all_pairs(name):
    predictions, outputs = pairs(20, 9)
    expected = SCIPY[name](predictions.ravel(), outputs.ravel()).statistic
    pooled = pooled_correlation(predictions, outputs, correlation=name)
    assert pooled == pytest.approx(expected, abs=1e-12)


def test_pooled_sees_differences_between_targets_that_the_score_does_not():
    rng = np.random.default_rng(0)
    means = 10 * rng.standard_normal(30)
    predictions = means + rng.standard_normal((50, 30))  # nothing of the models
    outputs = means + rng.standard_normal((50, 30))
    assert pooled_correlation(predictions, outputs) > 0.9
    assert abs(linear_datamodeling_score(predictions, outputs, n_resamples=0).mean) < 0.1


@pytest.mark.parametrize("name", ["kendall", "pearson"])
def test_does_not_depend_on_the_blocks_of_targets(name, monkeypatch):
    predictions, outputs = pairs(30, 11)
    whole = correlate_by(name)(predictions, outputs)
    monkeypatch.setattr(rank_correlation, "_VALUES_PER_BLOCK", 4 * 30)
    np.testing.assert_allclose(correlate_by(name)(predictions, outputs), whole, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_constant_columns(name):
    varying, constant = np.arange(4.0)[:, None], np.full((4, 1), 0.1)
    assert correlate_by(name)(constant, varying) == 0
    assert np.isnan(correlate_by(name)(varying, constant))
    assert np.isnan(correlate_by(name)(constant, constant))


@pytest.mark.parametrize("name", NAMES)
def test_the_interval_is_of_the_correlation_asked_for(name):
    predictions, outputs = pairs(40, 6)
    score = linear_datamodeling_score(predictions, outputs, correlation=name, n_resamples=100)
    low, high = score.interval
    assert low < score.mean < high
    assert score.mean == pytest.approx(slow(name, predictions, outputs).mean(), abs=1e-12)
    assert str(score).startswith("LDS 0." if name == "spearman" else "LDS by ")


def test_infinities_have_ranks_and_no_pearson():
    predictions, outputs = pairs(6, 2)
    outputs[3, 1] = np.inf
    assert np.isfinite(correlate_by("kendall")(predictions, outputs)).all()
    with pytest.raises(InputError, match="outputs are infinite at model 3, target 1"):
        correlate_by("pearson")(predictions, outputs)


def test_an_unknown_correlation_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean kendall"):
        linear_datamodeling_score(*pairs(5, 2), correlation="kendal")
