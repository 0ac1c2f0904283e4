"""Margins from logits against the plain formulas, however the logits are blocked."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from datamodels.errors import InputError, UsageError
from datamodels.published import margins as module
from datamodels.published.margins import margins_from_logits


def slowly(logits, labels, kind):
    """One output at a time, in float64."""
    m, n, _ = logits.shape
    margins = np.empty((m, n))
    for i in range(m):
        for j in range(n):
            z = logits[i, j].astype(np.float64)
            others = np.delete(z, labels[j])
            margins[i, j] = z[labels[j]] - (
                others.max() if kind == "largest" else logsumexp(others)
            )
    return margins


def made(m=7, n=5, c=4, seed=0, scale=5.0, dtype=np.float16):
    rng = np.random.default_rng(seed)
    return (scale * rng.standard_normal((m, n, c))).astype(dtype), rng.integers(0, c, n)


@given(
    st.integers(1, 6), st.integers(1, 5), st.integers(2, 5), st.integers(0, 99),
    st.sampled_from([1, 7, 20, 2**23]), st.sampled_from(["largest", "logsumexp"]),
)  # fmt: skip
def test_margins_are_those_of_the_formula_whatever_the_blocks(m, n, c, seed, block, kind):
    logits, labels = made(m, n, c, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_VALUES_PER_BLOCK", block)
        margins = margins_from_logits(logits, labels, kind)
    assert margins.dtype == np.float32
    np.testing.assert_allclose(margins, slowly(logits, labels, kind), rtol=1e-5, atol=1e-5)


def test_logsumexp_is_the_log_odds_of_the_right_class():
    logits, labels = made(dtype=np.float64)
    log_p = log_softmax(logits, axis=2)[:, np.arange(5), labels]
    odds = log_p - np.log1p(-np.exp(log_p))
    np.testing.assert_allclose(margins_from_logits(logits, labels, "logsumexp"), odds, rtol=1e-4)


@pytest.mark.parametrize("kind", ["largest", "logsumexp"])
def test_nothing_overflows_and_infinite_logits_stay_where_they_are(kind):
    huge = np.array([[[6e4, -6e4, -6e4], [-6e4, 6e4, 6e4]]], np.float16)
    np.testing.assert_allclose(margins_from_logits(huge, [0, 0], kind), [[12e4, -12e4]], rtol=1e-3)
    logits = np.array([[[1, -np.inf, -np.inf], [np.nan, 0, 0], [0, np.inf, 0]]], np.float16)
    margins = margins_from_logits(logits, [0, 0, 0], kind)
    assert margins[0, 0] == np.inf
    assert np.isnan(margins[0, 1])
    assert margins[0, 2] == -np.inf


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["largest", "logsumexp"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_extremes_are_those_of_the_formula(kind, dtype):
    values = [0, 1, 6e4, -6e4, np.inf, -np.inf, np.nan]
    logits = np.array(list(itertools.product(values, repeat=3)), dtype)[None]
    labels = np.zeros(logits.shape[1], int)
    with np.errstate(all="ignore"):
        exact = slowly(logits, labels, kind)
    margins = margins_from_logits(logits, labels, kind)
    np.testing.assert_allclose(margins, exact, rtol=1e-3, atol=0.01)  # 6e4 in float32


@pytest.mark.filterwarnings("error")
def test_a_margin_that_out_cannot_hold_is_refused_and_an_infinite_one_kept(monkeypatch):
    monkeypatch.setattr(module, "_VALUES_PER_BLOCK", 3)
    logits = np.zeros((2, 3, 2), np.float16)
    logits[0, 0] = [np.inf, 0]
    logits[1, 2] = [6e4, -6e4]
    out = np.zeros((2, 3), np.float16)
    with pytest.raises(InputError, match=r"model 1 for example 2 is 120\d\d\d.*float32"):
        margins_from_logits(logits, [0, 0, 0], out=out)
    assert out[0, 0] == np.inf
    assert margins_from_logits(logits, [0, 0, 0])[1, 2] == np.float32(logits[1, 2, 0]) * 2
    assert margins_from_logits(np.array([[[1e300, 0]]]), [0]) == np.inf  # past float32


def test_maps_are_read_and_written_in_place(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_VALUES_PER_BLOCK", 40)
    logits, labels = made()
    np.save(tmp_path / "logits.npy", logits)
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float16, (7, 5))
    given = np.load(tmp_path / "logits.npy", mmap_mode="r")
    assert margins_from_logits(given, labels, out=out) is out
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npy"), slowly(logits, labels, "largest"), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kind": "softmax"}, UsageError, "one of largest, logsumexp"),
        ({"logits": np.zeros((7, 5))}, InputError, r"shape \(7, 5\)"),
        ({"logits": np.zeros((7, 5, 1))}, InputError, "2 classes"),
        ({"logits": np.zeros((7, 5, 4), int)}, InputError, "int64"),
        ({"labels": np.zeros(4, int)}, InputError, "each of the 5 examples"),
        ({"labels": np.zeros(5)}, InputError, "float64"),
        ({"labels": [0, 1, 4, 0, 0]}, InputError, r"labels\[2\]=4 .* 4 classes, 0 to 3"),
        ({"labels": [0, -1, 0, 0, 0]}, InputError, r"labels\[1\]=-1"),
        ({"out": np.zeros((5, 7), np.float32)}, InputError, r"out has shape \(5, 7\)"),
        ({"out": np.zeros((7, 5), int)}, InputError, "out has .* int64"),
    ],
)
def test_what_does_not_fit_is_refused(change, error, message):
    logits, labels = made()
    with pytest.raises(error, match=message):
        margins_from_logits(**{"logits": logits, "labels": labels, **change})
