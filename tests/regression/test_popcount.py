"""Counts from packed bits are the integers that the slow way gives."""

import numba
import numpy as np
import pytest

from datamodels.regression import popcount
from tests.regression.problems import random_masks


def slow_counts(masks):
    return masks.astype(np.int64).T @ masks.astype(np.int64)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 513])
@pytest.mark.parametrize("p", [1, 3, 8, 9, 131])
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
    for block in (8, 24, 64, 1024):
        counts = np.zeros((150, 150), np.int32)
        popcount._add_counts(packed, counts, packed.shape[1], block, 1)
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


def test_counts_taken_away_leave_those_of_the_other_rows():
    masks = random_masks(500, 30)
    counts = popcount.pair_counts(masks)
    held_out = popcount.packed_zeros(180, 30)
    popcount.pack_columns(masks[320:], held_out)
    popcount.add_counts(held_out, counts, 180, sign=-1)
    popcount.mirror(counts)
    np.testing.assert_array_equal(counts, slow_counts(masks[:320]))


@pytest.mark.parametrize("n", [64, 65, 16_384 + 70])
def test_counts_do_not_depend_on_the_number_of_threads_or_the_dtype(n):
    masks = random_masks(n, 21)
    packed = popcount.packed_zeros(n, 21)
    popcount.pack_columns(masks, packed)
    before = numba.get_num_threads()
    for threads in (1, before):
        numba.set_num_threads(threads)
        counts = np.zeros((21, 21), np.int64)
        popcount.add_counts(packed, counts, n)
        popcount.mirror(counts)
        np.testing.assert_array_equal(counts, slow_counts(masks))


def packed_of(masks):
    packed = popcount.packed_zeros(*masks.shape)
    popcount.pack_columns(masks, packed)
    return packed


@pytest.mark.parametrize("n", [5, 200, 17_000])
@pytest.mark.parametrize("features", [[], [3], [8, 2, 2, 40, 0], list(range(0, 41, 2))])
def test_pair_products_are_the_counts_of_some_features(n, features):
    masks = random_masks(n, 41)
    chosen = np.array(features, np.int64)
    got = popcount.pair_products(packed_of(masks), chosen)
    np.testing.assert_array_equal(got, slow_counts(masks[:, chosen]))


def test_packed_masks_begin_at_a_cache_line_and_unpack_to_themselves():
    masks = random_masks(130, 9)
    packed = packed_of(masks)
    assert packed.ctypes.data % 64 == 0
    some = np.array([8, 0, 3])
    np.testing.assert_array_equal(popcount.unpack_columns(packed, some, 130), masks.T[some])
    np.testing.assert_array_equal(popcount.take_lines(packed, some)[:3], packed[some])


def test_packed_bits_of_other_masks_are_refused():
    packed = packed_of(random_masks(100, 9))
    with pytest.raises(ValueError, match="100 rows of 20 features"):
        popcount.add_counts(packed, np.zeros((20, 20), np.int32), 100)
    with pytest.raises(ValueError, match="600 rows of 9 features"):
        popcount.add_counts(packed, np.zeros((9, 9), np.int32), 600)
