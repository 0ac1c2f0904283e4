"""Subsets: repeatable row by row, and distributed as they say."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from datamodels.errors import UsageError
from datamodels.streams import stream_words
from datamodels.training import masks as masks_module
from datamodels.training.masks import row_seed, subset_mask, subset_masks

KINDS = ["fixed", "bernoulli"]


def digest(mask: np.ndarray) -> str:
    return hashlib.sha256(np.packbits(mask, bitorder="little").tobytes()).hexdigest()[:16]


GOLDEN = {  # a store made with one version must be recomputable with every later one
    ("fixed", 1_437, 0.5, 0, 0): "8884d1a219ba5d04",
    ("fixed", 1_437, 0.5, 0, 1_999): "43c4d1bfbcaf4598",
    ("fixed", 50_000, 0.2, 2**64 - 1, 299_999): "55addbd12b8fbbdf",
    ("bernoulli", 1_437, 0.5, 0, 0): "7f28fbd4bbf9d6fa",
    ("bernoulli", 1_437, 0.5, 0, 1_999): "e8aa90f12ccf66ac",
    ("bernoulli", 50_000, 0.2, 2**64 - 1, 299_999): "98c74c92702f8ba4",
}


@pytest.mark.parametrize(("case", "expected"), GOLDEN.items(), ids=str)
def test_rows_never_change(case, expected):
    kind, n_train, alpha, seed, index = case
    assert digest(subset_mask(index, n_train, alpha=alpha, seed=seed, kind=kind)) == expected


def test_short_rows_never_change():
    assert np.flatnonzero(subset_mask(3, 12, alpha=0.5, seed=1)).tolist() == [3, 5, 6, 9, 10, 11]
    bernoulli = subset_mask(3, 12, alpha=0.5, seed=1, kind="bernoulli")
    assert np.flatnonzero(bernoulli).tolist() == [0, 1, 2, 4, 5, 9, 10]


def slow_fixed(n_train: int, size: int, seed: int, index: int) -> np.ndarray:
    words = stream_words("fixed", seed=seed, index=index, count=n_train).tolist()
    chosen = sorted(range(n_train), key=lambda example: (words[example], example))[:size]
    mask = np.zeros(n_train, dtype=bool)
    mask[chosen] = True
    return mask


def slow_bernoulli(n_train: int, alpha: float, seed: int, index: int) -> np.ndarray:
    words = stream_words("bernoull", seed=seed, index=index, count=n_train).tolist()
    halves = [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)][:n_train]
    return np.array([half < round(alpha * 2**32) for half in halves])


@settings(max_examples=60, deadline=None)
@given(
    n_train=st.integers(1, 400),
    alpha=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**64 - 1),
    index=st.integers(0, 2**64 - 1),
)
def test_equals_the_definition(n_train, alpha, seed, index):
    bernoulli = subset_mask(index, n_train, alpha=alpha, seed=seed, kind="bernoulli")
    np.testing.assert_array_equal(bernoulli, slow_bernoulli(n_train, alpha, seed, index))
    size = round(alpha * n_train)
    if size > 0:
        fixed = subset_mask(index, n_train, alpha=alpha, seed=seed)
        np.testing.assert_array_equal(fixed, slow_fixed(n_train, size, seed, index))


def test_equal_words_are_chosen_in_order(monkeypatch):
    def tied_words(stream, *, seed, index, count):
        return np.array([9, 5, 5, 1, 5, 5], dtype=np.uint64)[:count]

    monkeypatch.setattr(masks_module, "stream_words", tied_words)
    chosen = [np.flatnonzero(subset_mask(0, 6, alpha=k / 6, seed=0)).tolist() for k in range(1, 7)]
    assert chosen == [[3], [1, 3], [1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_equals_its_rows_in_any_partition(kind):
    indices = [5, 0, 17, 5, 2**40]
    block = subset_masks(indices, 101, alpha=0.3, seed=9, kind=kind)
    assert block.shape == (5, 101)
    assert block.dtype == np.bool_
    one_by_one = [subset_mask(index, 101, alpha=0.3, seed=9, kind=kind) for index in indices]
    np.testing.assert_array_equal(block, one_by_one)
    parts = [
        subset_masks(part, 101, alpha=0.3, seed=9, kind=kind)
        for part in (indices[:2], [], np.array(indices[2:]))
    ]
    np.testing.assert_array_equal(block, np.concatenate(parts))


@pytest.mark.parametrize("n_train", [1, 2, 3, 10, 999, 50_000])
def test_every_size_can_be_had(n_train):
    for size in {1, n_train // 3, n_train // 2, n_train - 1, n_train} - {0}:
        assert subset_mask(8, n_train, alpha=size / n_train, seed=0).sum() == size


@pytest.mark.parametrize("kind", KINDS)
def test_alpha_one_chooses_all(kind):
    assert subset_masks(range(20), 33, alpha=1, seed=0, kind=kind).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_alpha_chooses_a_subset_of_a_larger(kind):
    small = subset_masks(range(30), 500, alpha=0.2, seed=4, kind=kind)
    large = subset_masks(range(30), 500, alpha=0.5, seed=4, kind=kind)
    assert (small <= large).all()


# Counts over B rows are binomial; 5 standard deviations leave a chance below 1e-6 a count, and
# the seeds are fixed: these tests pass always or never.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.75])
def test_each_example_is_chosen_at_rate_alpha(kind, alpha):
    rows = 4_000
    counts = subset_masks(range(rows), 300, alpha=alpha, seed=2, kind=kind).sum(axis=0)
    z = (counts - alpha * rows) / np.sqrt(rows * alpha * (1 - alpha))
    assert np.abs(z).max() < 5
    assert 0.8 < z.std() < 1.2


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_chosen_together_as_theory_says(kind):
    rows, n_train, alpha = 4_000, 60, 0.5
    x = subset_masks(range(rows), n_train, alpha=alpha, seed=3, kind=kind) - alpha
    products = (x.T @ x)[np.triu_indices(n_train, 1)]
    variance = alpha * (1 - alpha)
    covariance = -variance / (n_train - 1) if kind == "fixed" else 0.0  # without replacement
    z = (products - rows * covariance) / np.sqrt(rows * variance**2)
    assert np.abs(z).max() < 5
    assert 0.9 < z.std() < 1.1
    assert abs(z.mean()) < 5 / np.sqrt(len(z))


def test_bernoulli_sizes_are_binomial():
    sizes = subset_masks(range(4_000), 1_000, alpha=0.3, seed=5, kind="bernoulli").sum(axis=1)
    assert abs(sizes.mean() - 300) < 5 * np.sqrt(1_000 * 0.21 / 4_000)
    assert abs(sizes.var() / (1_000 * 0.21) - 1) < 0.15


def test_all_subsets_of_a_size_are_equally_likely():
    masks = subset_masks(range(10_500), 7, alpha=3 / 7, seed=6)
    codes = masks @ (1 << np.arange(7))
    subsets = [sum(1 << i for i in subset) for subset in itertools.combinations(range(7), 3)]
    counts = np.array([np.count_nonzero(codes == code) for code in subsets])
    assert counts.sum() == 10_500
    assert stats.chisquare(counts).pvalue > 1e-3


def test_all_bernoulli_subsets_have_their_probability():
    masks = subset_masks(range(16_000), 4, alpha=0.25, seed=6, kind="bernoulli")
    counts = np.bincount(masks @ (1 << np.arange(4)), minlength=16)
    sizes = np.array([code.bit_count() for code in range(16)])
    expected = 16_000 * 0.25**sizes * 0.75 ** (4 - sizes)
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_rows_seeds_and_kinds_are_uncorrelated():
    n_train = 20_000
    rows = np.concatenate(
        [
            subset_masks([0, 1, 2**32], n_train, alpha=0.5, seed=seed, kind=kind)
            for seed in (0, 1, 2**32)
            for kind in KINDS
        ]
    )
    correlation = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(n_train)


@pytest.mark.parametrize("alpha", [0, -0.1, 1.0001, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", KINDS)
def test_alpha_out_of_range(alpha, kind):
    with pytest.raises(UsageError, match=r"alpha=.* above 0 and at most 1"):
        subset_mask(0, 10, alpha=alpha, seed=0, kind=kind)


def test_an_empty_fixed_subset_is_refused():
    with pytest.raises(UsageError, match=r"alpha=0.01 of n_train=10 .* raise alpha to 0.1"):
        subset_mask(0, 10, alpha=0.01, seed=0)


@pytest.mark.parametrize("n_train", [0, -3, 2.5])
def test_bad_n_train(n_train):
    with pytest.raises(UsageError, match="n_train="):
        subset_mask(0, n_train, alpha=0.5, seed=0)


def test_bad_index_seed_and_kind():
    with pytest.raises(UsageError, match="index=-1"):
        subset_masks([3, -1], 10, alpha=0.5, seed=0)
    with pytest.raises(UsageError, match="seed=-1"):
        subset_masks([], 10, alpha=0.5, seed=-1)
    with pytest.raises(UsageError, match=r"kind='poisson' .* 'fixed' or 'bernoulli'"):
        subset_mask(0, 10, alpha=0.5, seed=0, kind="poisson")


def test_row_seeds_are_unlike_one_another_and_pinned():
    seeds = {row_seed(index, seed=seed) for index in range(200) for seed in range(5)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert [row_seed(0, seed=0), row_seed(7, seed=3)] == [2264997308169100724, 9022774265123697540]
    with pytest.raises(UsageError, match="index=-1"):
        row_seed(-1, seed=0)
