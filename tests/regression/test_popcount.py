"""Counts from packed bits are the integers that the slow way gives."""

import numpy as np
import pytest

from datamodels.regression import popcount
from tests.regression.problems import random_masks


def slow_counts(masks):
    return masks.astype(np.int64).T @ masks.astype(np.int64)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 513])
@pytest.mark.parametrize("p", [1, 3, 4, 5, 131])
def test_counts_equal_integer_products(n, p):
    masks = random_masks(n, p, alpha=0.4, seed=n * p)
    np.testing.assert_array_equal(popcount.pair_counts(masks), slow_counts(masks))


def test_counts_of_full_and_empty_masks():
    masks = np.ones((1000, 9), bool)
    masks[:, 4] = False
    np.testing.assert_array_equal(popcount.pair_counts(masks), slow_counts(masks))


def test_counts_are_equal_for_every_block_of_features():
    masks = random_masks(300, 150)
    packed = np.zeros(popcount.packed_shape(*masks.shape), np.uint64)
    popcount.pack_columns(masks, packed)
    for block in (4, 12, 64, 1024):
        counts = np.zeros((150, 150), np.int32)
        popcount._add_counts(packed, counts, packed.shape[1], block)
        popcount.mirror(counts)
        np.testing.assert_array_equal(counts, slow_counts(masks))


def test_counts_add_over_groups_of_rows():
    masks = random_masks(400, 20)
    counts = np.zeros((20, 20), np.int32)
    for group in (masks[:130], masks[130:131], masks[131:]):
        packed = np.zeros(popcount.packed_shape(*group.shape), np.uint64)
        popcount.pack_columns(group, packed)
        popcount.add_counts(packed, counts, len(group))
    popcount.mirror(counts)
    np.testing.assert_array_equal(counts, slow_counts(masks))


def test_rows_may_be_packed_in_steps_of_whole_words():
    masks = random_masks(200, 11)
    at_once = np.zeros(popcount.packed_shape(*masks.shape), np.uint64)
    in_steps = np.zeros_like(at_once)
    popcount.pack_columns(masks, at_once)
    for first in range(0, 200, 64):
        popcount.pack_columns(masks[first : first + 64], in_steps, first)
    np.testing.assert_array_equal(in_steps, at_once)
    with pytest.raises(ValueError, match="multiple of 64"):
        popcount.pack_columns(masks, in_steps, 10)


def test_bit_r_of_word_w_is_row_64w_plus_r():
    masks = np.zeros((130, 3), bool)
    masks[[0, 63, 64, 129], 1] = True
    packed = np.zeros(popcount.packed_shape(*masks.shape), np.uint64)
    popcount.pack_columns(masks, packed)
    assert list(packed[1, :3]) == [1 | 1 << 63, 1, 2]
    assert not packed[[0, 2]].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float64])
def test_packing_takes_zeros_and_ones_of_any_dtype(dtype):
    masks = random_masks(100, 6)
    np.testing.assert_array_equal(popcount.pair_counts(masks.astype(dtype)), slow_counts(masks))
