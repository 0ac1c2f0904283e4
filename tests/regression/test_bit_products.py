"""Products from bits are those of plain numpy, and each number depends on its own terms alone."""

import numba
import numpy as np
import pytest

from datamodels.regression import bit_products, popcount
from datamodels.regression.sparse_rows import SparseRows, to_sparse
from tests.regression.problems import random_masks

SHAPES = [(1, 1), (7, 3), (63, 5), (64, 4), (300, 37), (1001, 130)]  # (n, p)
TARGETS = [1, 7, 17, 64, 130]


def packed_of(masks):
    packed = popcount.packed_zeros(*masks.shape)
    popcount.pack_columns(masks, packed)
    return packed


def cross_of(masks, columns, dtype=np.float64):
    return bit_products.cross(packed_of(masks), len(masks), columns, masks.shape[1], dtype)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def random_weights(r, p, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((r, p)) * (rng.random((r, p)) < share)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = numba.get_num_threads()
    if request.param > before:
        pytest.skip("one thread only")
    numba.set_num_threads(request.param)
    yield request.param
    numba.set_num_threads(before)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("t", TARGETS)
def test_cross_equals_the_float64_product(shape, t):
    masks, columns = random_masks(*shape, seed=t), numbers(shape[0], t)
    magnitude = masks.T.astype(float) @ np.abs(columns)
    error = np.abs(cross_of(masks, columns) - masks.T.astype(float) @ columns)
    assert np.all(error <= 2e-15 * magnitude)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("t", TARGETS)
def test_float32_cross_keeps_its_bound(shape, t):
    masks, columns = random_masks(*shape, seed=t), numbers(shape[0], t) + 2
    magnitude = masks.T.astype(float) @ np.abs(columns)
    error = np.abs(cross_of(masks, columns, np.float32) - masks.T.astype(float) @ columns)
    assert np.all(error <= 16 * 2.0**-24 * magnitude)


def test_float32_error_does_not_grow_with_the_rows():
    """A sum of 40,000 equal numbers in plain float32 would be off by far more."""
    n = 40_000
    masks = np.ones((n, 2), bool)
    got = cross_of(masks, np.full((n, 1), 1 / 3), np.float32)
    np.testing.assert_allclose(got, n / 3, rtol=1e-6)


def test_whole_numbers_are_summed_exactly():
    masks = random_masks(20_001, 33)
    columns = np.random.default_rng(1).integers(-1000, 1000, (20_001, 9)).astype(float)
    np.testing.assert_array_equal(cross_of(masks, columns), masks.T.astype(float) @ columns)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_slices_of_targets_equal_the_whole_to_the_bit(dtype):
    masks, columns = random_masks(700, 90), numbers(700, 45)
    whole = cross_of(masks, columns, dtype)
    for part in (slice(0, 1), slice(3, 20), slice(44, 45), slice(7, None)):
        np.testing.assert_array_equal(cross_of(masks, columns[:, part], dtype), whole[:, part])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_features_do_not_depend_on_one_another(dtype):
    masks, columns = random_masks(400, 2100), numbers(400, 3)
    whole = cross_of(masks, columns, dtype)
    np.testing.assert_array_equal(cross_of(masks[:, 700:731], columns, dtype), whole[700:731])


def test_results_do_not_depend_on_the_number_of_threads(threads):
    masks, columns = random_masks(500, 1100), numbers(500, 30)
    weights = to_sparse(random_weights(5, 1100, 0.02))
    got = cross_of(masks, columns)
    values = bit_products.predictions(packed_of(masks), 500, weights)
    numba.set_num_threads(1)
    np.testing.assert_array_equal(got, cross_of(masks, columns))
    np.testing.assert_array_equal(values, bit_products.predictions(packed_of(masks), 500, weights))


def test_products_of_groups_of_rows_add_up_in_place():
    masks, columns = random_masks(1000, 50), numbers(1000, 11)
    packed, out = packed_of(masks), np.ones((50, 11))
    for first, stop in ((0, 64), (64, 640), (640, 1000)):
        bit_products.add_cross(packed, stop - first, columns[first:stop], out, first_row=first)
    np.testing.assert_allclose(out, 1 + masks.T.astype(float) @ columns, rtol=1e-13, atol=1e-12)


def test_rows_that_do_not_fit_are_refused():
    packed, out = packed_of(random_masks(100, 3)), np.zeros((3, 2))
    with pytest.raises(ValueError, match="multiple of 64"):
        bit_products.add_cross(packed, 10, np.zeros((10, 2)), out, first_row=10)
    with pytest.raises(ValueError, match="columns has 90 rows"):
        bit_products.add_cross(packed, 100, np.zeros((90, 2)), out)
    with pytest.raises(ValueError, match="600 rows were asked for; at most 512"):
        bit_products.add_cross(packed, 600, np.zeros((600, 2)), out)
    with pytest.raises(ValueError, match="out has 99 features"):
        bit_products.add_cross(packed, 100, np.zeros((100, 2)), np.zeros((99, 2)))
    with pytest.raises(ValueError, match="600 rows were asked for"):
        bit_products.predictions(packed, 600, to_sparse(np.ones((1, 3))))


@pytest.mark.parametrize("shape", SHAPES)
def test_predictions_are_sums_in_the_order_of_the_features(shape):
    n, p = shape
    masks, weights = random_masks(n, p, seed=3), random_weights(6, p)
    expected = np.zeros((6, n))
    for j in range(p):
        expected += weights[:, [j]] * masks[:, j]
    got = bit_products.predictions(packed_of(masks), n, to_sparse(weights))
    np.testing.assert_array_equal(got, expected)


def test_float32_predictions_keep_their_bound():
    masks, weights = random_masks(5000, 200), random_weights(4, 200)
    got = bit_products.predictions(packed_of(masks), 5000, to_sparse(weights), np.float32)
    assert got.dtype == np.float32
    bound = (weights != 0).sum(axis=1) * 2.0**-24 * np.abs(weights).sum(axis=1)
    assert np.all(np.abs(got - weights @ masks.T) <= bound[:, None])


def test_predictions_of_no_weights_are_zero():
    packed = packed_of(random_masks(100, 5))
    none = SparseRows(np.zeros(4, np.int64), np.zeros(0, np.int64), np.zeros(0))
    np.testing.assert_array_equal(bit_products.predictions(packed, 100, none), np.zeros((3, 100)))
