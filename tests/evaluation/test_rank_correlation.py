"""Spearman's correlation: equal to scipy's, column by column."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from datamodels.errors import InputError
from datamodels.evaluation import rank_correlation
from datamodels.evaluation.rank_correlation import doubled_ranks, spearman


def slow_spearman(predictions: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """The oracle: scipy one target at a time, and our conventions where it has no answer."""
    scores = []
    for a, b in zip(np.asarray(predictions).T, np.asarray(outputs).T, strict=True):
        if np.all(b == b[0]):
            scores.append(np.nan)
        elif np.all(a == a[0]):
            scores.append(0.0)
        else:
            scores.append(stats.spearmanr(a, b).statistic)
    return np.array(scores)


def few_values(n_models: int, n_targets: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, (n_models, n_targets)).astype(float)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8, np.bool_])
@pytest.mark.parametrize("n_models", [3, 10, 257])
def test_equals_scipy_with_and_without_ties(n_models, dtype):
    rng = np.random.default_rng(0)
    outputs = (2 * rng.standard_normal((n_models, 23))).astype(dtype)
    predictions = outputs + rng.standard_normal((n_models, 23))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        expected = slow_spearman(predictions, outputs)
    np.testing.assert_allclose(spearman(predictions, outputs), expected, rtol=0, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    pair=hnp.arrays(
        np.float64, (2, 6, 3), elements=st.sampled_from([-np.inf, -1.5, 0.0, -0.0, 2.0, np.inf])
    )
)
def test_equals_scipy_on_ties_and_infinities(pair):
    predictions, outputs = pair
    expected = slow_spearman(predictions, outputs)
    np.testing.assert_allclose(spearman(predictions, outputs), expected, rtol=0, atol=1e-12)


def test_doubled_ranks_are_scipys_average_ranks():
    values = few_values(50, 7, 1)
    ranks = stats.rankdata(values, axis=0)
    np.testing.assert_array_equal(doubled_ranks(values), (2 * ranks - 51).T)


def test_is_invariant_to_increasing_functions_and_to_model_order():
    rng = np.random.default_rng(2)
    predictions, outputs = rng.standard_normal((2, 40, 5))
    scores = spearman(predictions, outputs)
    order = rng.permutation(40)
    np.testing.assert_array_equal(spearman(np.exp(predictions), outputs * 3 + 1), scores)
    np.testing.assert_array_equal(spearman(predictions[order], outputs[order]), scores)
    np.testing.assert_array_equal(spearman(-predictions, outputs), -scores)


def test_does_not_depend_on_the_blocks_of_targets(monkeypatch):
    predictions, outputs = few_values(30, 11, 3), few_values(30, 11, 4)
    whole = spearman(predictions, outputs)
    monkeypatch.setattr(rank_correlation, "_VALUES_PER_BLOCK", 4 * 30)  # 4 + 4 + 3 targets
    np.testing.assert_array_equal(spearman(predictions, outputs), whole)


def test_constant_columns():
    varying, constant = np.arange(4.0)[:, None], np.ones((4, 1))
    assert spearman(constant, varying) == 0
    assert np.isnan(spearman(varying, constant))
    assert np.isnan(spearman(constant, constant))


def test_large_integers_are_not_merged():
    values = np.array([[2**60], [2**60 + 1], [2**60 + 2]])
    assert spearman(values, values[::-1]) == -1


def test_no_target_gives_no_score():
    assert spearman(np.empty((5, 0)), np.empty((5, 0))).shape == (0,)


@pytest.mark.parametrize("name", ["predictions", "outputs"])
def test_nan_is_named(name, monkeypatch):
    monkeypatch.setattr(rank_correlation, "_VALUES_PER_BLOCK", 2 * 5)
    arrays = {"predictions": np.zeros((5, 9)), "outputs": np.zeros((5, 9), dtype=np.float16)}
    arrays[name][3, 7] = np.nan
    with pytest.raises(InputError, match=f"{name} hold NaN at model 3, target 7"):
        spearman(**arrays)


@pytest.mark.parametrize(
    ("predictions", "outputs", "message"),
    [
        (np.zeros((5, 2)), np.zeros((5, 3)), r"shape \(5, 2\) and outputs \(5, 3\)"),
        (np.zeros(5), np.zeros((5, 1)), r"predictions of shape \(5,\)"),
        (np.zeros((5, 1)), np.zeros((5, 1), dtype=complex), "outputs of dtype complex128"),
        (np.zeros((2, 1)), np.zeros((2, 1)), "needs 3 or more models; there are 2"),
    ],
)
def test_bad_arrays(predictions, outputs, message):
    with pytest.raises(InputError, match=message):
        spearman(predictions, outputs)
