"""The linear datamodeling score and its bootstrap interval."""

import subprocess
import sys
import warnings

import numba
import numpy as np
import pytest
from scipy import stats

from datamodels.errors import InputError, UsageError
from datamodels.evaluation import rank_correlation, scoring
from datamodels.evaluation.bootstrap import bootstrap_means, multiplicities, resampled_spearman
from datamodels.evaluation.scoring import (
    linear_datamodeling_score,
    predict_outputs,
    score_weights,
)

pytestmark = pytest.mark.filterwarnings("ignore::scipy.stats.ConstantInputWarning")


def noisy_outputs(n_models: int, n_targets: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and outputs with ties in some columns, and correlations near a half."""
    rng = np.random.default_rng(seed)
    predictions = rng.standard_normal((n_models, n_targets))
    outputs = 0.5 * predictions + rng.standard_normal((n_models, n_targets))
    predictions[:, ::3] = predictions[:, ::3].round()
    outputs[:, ::2] = outputs[:, ::2].round()
    return predictions, outputs


def slow_scores(predictions: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    scores = np.empty(outputs.shape[1])
    for t, (a, b) in enumerate(zip(predictions.T, outputs.T, strict=True)):
        scores[t] = stats.spearmanr(a, b).statistic
        if np.ptp(a) == 0:
            scores[t] = 0.0
        if np.ptp(b) == 0:
            scores[t] = np.nan
    return scores


def slow_resamples(predictions, outputs, counts):
    """The oracle: write every resample out and rank it again; (n_targets, n_resamples)."""
    drawn = [np.repeat(np.arange(len(outputs)), count) for count in counts]
    return np.array([slow_scores(predictions[rows], outputs[rows]) for rows in drawn]).T


def test_scores_and_mean_equal_scipys():
    predictions, outputs = noisy_outputs(50, 13)
    score = linear_datamodeling_score(predictions, outputs, n_resamples=0)
    expected = slow_scores(predictions, outputs)
    np.testing.assert_allclose(score.per_target, expected, rtol=0, atol=1e-12)
    assert score.mean == pytest.approx(expected.mean(), abs=1e-12)
    assert score.interval is None
    assert (score.n_models, score.n_targets, score.n_undefined) == (50, 13, 0)


@pytest.mark.parametrize(("n_models", "n_resamples"), [(3, 70), (4, 64), (25, 65), (101, 20)])
def test_bootstrap_equals_ranking_every_resample_again(n_models, n_resamples):
    predictions, outputs = noisy_outputs(n_models, 7, seed=n_models)
    counts = multiplicities(n_models, n_resamples, seed=1)
    fast = resampled_spearman(predictions, outputs, counts)
    slow = slow_resamples(predictions, outputs, counts)
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-12)


def test_interval_is_the_recentred_percentiles_of_the_resampled_means():
    predictions, outputs = noisy_outputs(30, 6)
    outputs[:, 2] = 5.0  # undefined: out of every mean
    counts = multiplicities(30, 200, seed=4)
    means = np.nanmean(slow_resamples(predictions, outputs, counts), axis=0)
    score = linear_datamodeling_score(predictions, outputs, n_resamples=200, level=0.8, seed=4)
    expected = np.quantile(means, [0.1, 0.9]) - means.mean() + score.mean
    assert score.interval == pytest.approx(expected, abs=1e-12)
    assert score.level == 0.8


def test_multiplicities_draw_every_model_alike():
    counts = multiplicities(7, 4_000, seed=0)
    assert (counts.sum(axis=1) == 7).all()
    assert stats.chisquare(counts.sum(axis=0)).pvalue > 1e-3
    assert counts.var() == pytest.approx(6 / 7, rel=0.05)  # binomial(7, 1/7)
    np.testing.assert_array_equal(counts[:10], multiplicities(7, 10, seed=0))
    assert (counts[:10] != multiplicities(7, 10, seed=1)).any()


@pytest.mark.parametrize(("n_models", "n_targets"), [(20, 40), (80, 3)])
def test_interval_covers_the_truth_about_as_often_as_it_says(n_models, n_targets):
    """Normal pairs of correlation r have Spearman correlation 6/pi arcsin(r/2)."""
    r = 0.45
    truth = 6 / np.pi * np.arcsin(r / 2)
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        a, noise = rng.standard_normal((2, n_models, n_targets))
        b = r * a + np.sqrt(1 - r**2) * noise
        interval = linear_datamodeling_score(a, b, n_resamples=192, level=0.9).interval
        covered += interval[0] <= truth <= interval[1]
    assert 165 <= covered <= 195  # 180 expected; the percentiles alone reach 141 at (20, 40)


def test_result_is_the_same_for_any_number_of_threads_and_blocks(monkeypatch):
    predictions, outputs = noisy_outputs(40, 12)
    keep = np.ones(12, dtype=bool)
    several = bootstrap_means(predictions, outputs, keep, n_resamples=100, seed=0)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        one = bootstrap_means(predictions, outputs, keep, n_resamples=100, seed=0)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(one, several)
    monkeypatch.setattr(rank_correlation, "_VALUES_PER_BLOCK", 5 * 40)
    blocks = bootstrap_means(predictions, outputs, keep, n_resamples=100, seed=0)
    np.testing.assert_allclose(blocks, several, rtol=0, atol=1e-14)


def test_is_repeatable_and_depends_on_the_seed():
    predictions, outputs = noisy_outputs(40, 5)
    intervals = [
        linear_datamodeling_score(predictions, outputs, n_resamples=100, seed=seed).interval
        for seed in (1, 1, 2)
    ]
    assert intervals[0] == intervals[1] != intervals[2]


def test_constant_columns_are_counted():
    predictions, outputs = noisy_outputs(20, 5)
    outputs[:, 0] = 1.0
    predictions[:, 0] = 3.0
    predictions[:, 1] = 3.0
    score = linear_datamodeling_score(predictions, outputs, n_resamples=50)
    assert np.isnan(score.per_target).tolist() == [True, False, False, False, False]
    assert score.per_target[1] == 0
    assert score.n_undefined == 1
    assert score.n_constant_predictions == 1
    assert score.mean == pytest.approx(score.per_target[1:].mean())
    assert "1 have constant outputs and are left out" in str(score)


def test_nothing_defined_is_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = linear_datamodeling_score(np.ones((4, 2)), np.ones((4, 2)), n_resamples=10)
    assert np.isnan(score.mean)
    assert score.interval is not None
    assert np.isnan(score.interval).all()


def test_prints_as_one_line():
    a = np.arange(12.0).reshape(6, 2)
    score = linear_datamodeling_score(a, a, n_resamples=20)
    assert str(score) == ("LDS 1.000 (95% interval 1.000 to 1.000) on 6 models, 2 targets")


def weights_and_rows(n_train: int = 30, n_targets: int = 30, n_models: int = 40):
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((n_train, n_targets)) * (rng.random((n_train, n_targets)) < 0.2)
    masks = rng.random((n_models, n_train)) < 0.5
    outputs = masks @ weight + 0.3 * rng.standard_normal((n_models, n_targets))
    return weight.astype(np.float32), masks, outputs


@pytest.mark.parametrize("values_per_block", [2**25, 30 * 7])
def test_weights_score_as_their_predictions(monkeypatch, values_per_block):
    monkeypatch.setattr(scoring, "_VALUES_PER_BLOCK", values_per_block)
    weight, masks, outputs = weights_and_rows()
    score = score_weights(weight, masks, outputs, n_resamples=30)
    expected = linear_datamodeling_score(
        masks @ weight.astype(float) + 7.0, outputs, n_resamples=30
    )
    np.testing.assert_allclose(score.per_target, expected.per_target, rtol=0, atol=1e-12)
    assert score.interval == pytest.approx(expected.interval, abs=1e-12)


@pytest.mark.parametrize("values_per_block", [2**25, 30 * 7])
def test_own_column_can_be_excluded(monkeypatch, values_per_block):
    monkeypatch.setattr(scoring, "_VALUES_PER_BLOCK", values_per_block)
    weight, masks, outputs = weights_and_rows()
    without = weight.copy()
    np.fill_diagonal(without, 0)
    expected = score_weights(without, masks, outputs, n_resamples=0).per_target
    before = weight.copy()
    excluded = score_weights(weight, masks, outputs, exclude_own=True, n_resamples=0).per_target
    np.testing.assert_array_equal(excluded, expected)
    np.testing.assert_array_equal(weight, before)  # the caller's weights are left as they were

    some = np.array([4, 29, 0])
    chosen = score_weights(
        weight[:, some], masks, outputs[:, some], exclude_own=True, own_index=some, n_resamples=0
    )
    np.testing.assert_array_equal(chosen.per_target, expected[some])


@pytest.mark.parametrize("values_per_block", [2**25, 30 * 7])
@pytest.mark.parametrize("own", [False, True])
def test_products_that_leave_zeros_out_are_the_same(monkeypatch, values_per_block, own):
    monkeypatch.setattr(scoring, "_VALUES_PER_BLOCK", values_per_block)
    weight, masks, outputs = weights_and_rows(n_models=70)
    weight[:, :9] *= np.arange(30)[:, None] == 3  # a block with few non-zeros
    masks[5] = masks[6] = masks[66]
    dense = predict_outputs(weight, masks, outputs, exclude_own=own)
    monkeypatch.setattr(scoring, "_WORTH_PACKING", 0)
    for share in (0.05, 1.0):
        monkeypatch.setattr(scoring, "_SPARSE", share)
        sparse = predict_outputs(weight, masks, outputs, exclude_own=own)
        np.testing.assert_allclose(sparse, dense, rtol=0, atol=1e-13)
        np.testing.assert_array_equal(sparse[5], sparse[6])  # equal masks tie, to the bit
        np.testing.assert_array_equal(sparse[5], sparse[66])


def test_only_an_own_weight_predicts_nothing_once_excluded():
    _, masks, outputs = weights_and_rows()
    score = score_weights(np.eye(30) / 3, masks, outputs, exclude_own=True, n_resamples=0)
    assert (score.per_target == 0).all()
    assert score.n_constant_predictions == 30


def test_bad_own_index():
    weight, masks, outputs = weights_and_rows(n_targets=4)
    with pytest.raises(InputError, match="4 targets and 30 training examples: own_index must"):
        score_weights(weight, masks, outputs, exclude_own=True)
    with pytest.raises(UsageError, match="exclude_own is False"):
        score_weights(weight, masks, outputs, own_index=[0, 1, 2, 3])
    with pytest.raises(InputError, match=r"own_index\[2\]=30 is out of range"):
        score_weights(weight, masks, outputs, exclude_own=True, own_index=[0, 1, 30, 3])
    with pytest.raises(InputError, match="an integer for each of the 4 targets"):
        score_weights(weight, masks, outputs, exclude_own=True, own_index=[0, 1])


def test_bad_weights():
    weight, masks, outputs = weights_and_rows()
    with pytest.raises(InputError, match="do not fit"):
        score_weights(weight[:-1], masks, outputs)
    weight[3, 8] = np.inf
    with pytest.raises(InputError, match=r"weight\[3, 8\]=inf is not finite"):
        score_weights(weight, masks, outputs)


@pytest.mark.parametrize("options", [{"n_resamples": -1}, {"level": 0}, {"level": 1.0}])
def test_bad_options(options):
    with pytest.raises(UsageError, match="out of range"):
        linear_datamodeling_score(np.zeros((5, 1)), np.zeros((5, 1)), **options)


def test_scores_without_an_interval_do_not_load_numba():
    code = (
        "import sys, numpy as np; from datamodels.evaluation.scoring import *;"
        "linear_datamodeling_score(np.eye(4), np.eye(4), n_resamples=0);"
        "assert 'numba' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
