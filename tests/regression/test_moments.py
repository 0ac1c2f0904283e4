"""Moments: exact where they can be, mergeable, and independent of how the rows were read."""

from dataclasses import replace

import numpy as np
import pytest

from datamodels.errors import InputError
from datamodels.regression.moment_pass import moments_of
from datamodels.regression.moment_sums import Moments
from datamodels.regression.row_source import ArraySource
from datamodels.regression.standardized import standardize
from tests.regression.problems import PROBLEMS, Exact, outputs_of, random_masks

SMALL_BLOCK = 8 * 50 * 64  # 64 rows of 50 features


def moments(x, y, rows=None, **options):
    rows = np.arange(len(x)) if rows is None else rows
    return moments_of(ArraySource(x, y), rows, **options)


def assert_same(a: Moments, b: Moments, rtol=1e-12):
    assert a.n == b.n
    np.testing.assert_array_equal(a.sum_x, b.sum_x)
    np.testing.assert_array_equal(a.xx, b.xx)
    b = b.shifted(a.shift)
    scale = np.abs(a.sum_yy).max()
    for name in ("xy", "sum_y", "sum_yy"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol, rtol * scale)


@pytest.fixture(scope="module")
def masks_and_outputs():
    x = random_masks(333, 50)
    return x, outputs_of(x, 3)


def test_sums_equal_the_slow_way(masks_and_outputs):
    x, y = masks_and_outputs
    m = moments(x, y, block_bytes=SMALL_BLOCK)
    shifted = y.astype(float) - m.shift
    assert m.n == 333
    np.testing.assert_array_equal(m.xx, x.astype(int).T @ x.astype(int))
    np.testing.assert_array_equal(m.sum_x, x.sum(axis=0))
    np.testing.assert_allclose(m.xy, x.T.astype(float) @ shifted, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(m.sum_y, shifted.sum(axis=0))
    np.testing.assert_allclose(m.sum_yy, (shifted**2).sum(axis=0))


@pytest.mark.parametrize("max_rows", [1, 64, 100, 128, None])
def test_moments_do_not_depend_on_the_block_of_rows(masks_and_outputs, max_rows):
    x, y = masks_and_outputs
    one_pass = moments(x, y)
    source, rows = ArraySource(x, y), np.arange(len(x))
    from datamodels.regression.blocks import read_blocks
    from datamodels.regression.moment_pass import MomentAccumulator

    accumulator = MomentAccumulator(50, 3)
    for block in read_blocks(source, rows, max_rows=max_rows):
        accumulator.add(block)
    assert_same(one_pass, accumulator.finish())


def test_moments_do_not_depend_on_the_order_of_rows(masks_and_outputs):
    x, y = masks_and_outputs
    order = np.random.default_rng(0).permutation(len(x))
    assert_same(moments(x, y), moments(x, y, order, block_bytes=SMALL_BLOCK))


def test_merged_shards_equal_one_pass(masks_and_outputs):
    x, y = masks_and_outputs
    rows = np.arange(len(x))
    shards = [moments(x, y, part) for part in np.split(rows, [1, 100, 250])]
    merged = shards[2] + shards[0] + shards[3] + shards[1]
    assert merged.counted
    assert_same(moments(x, y), merged)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, np.float32, np.float64])
def test_zeros_and_ones_of_any_dtype_are_counted(masks_and_outputs, dtype):
    x, y = masks_and_outputs
    counted = moments(x.astype(dtype), y)
    assert counted.counted
    assert counted.xx.dtype == np.int32
    np.testing.assert_array_equal(counted.xx, moments(x, y).xx)


def test_a_late_value_other_than_zero_and_one_loses_nothing(masks_and_outputs):
    x, y = masks_and_outputs
    x = x.astype(np.float32)
    x[300, 7] = 0.25
    m = moments(x, y, block_bytes=SMALL_BLOCK)
    assert not m.counted
    np.testing.assert_allclose(m.xx, x.astype(float).T @ x.astype(float), rtol=1e-14)


def test_counts_merge_with_float_sums(masks_and_outputs):
    x, y = masks_and_outputs
    rows = np.arange(len(x))
    floats = x.astype(np.float64)
    floats[200:] *= 0.5
    merged = moments(floats, y, rows[:200]) + moments(floats, y, rows[200:])
    np.testing.assert_allclose(merged.shifted_x(np.zeros(50)).xx, floats.T @ floats, rtol=1e-12)


def test_counts_that_outgrow_int32_are_promoted():
    huge = np.array([[2**31 - 2]], np.int32)
    half = Moments(
        n=2**31 - 2, sum_x=huge[0].astype(np.int64), squares_x=huge[0].astype(np.int64), xx=huge,
        xy=np.zeros((1, 1)), sum_y=np.zeros(1), sum_yy=np.zeros(1), shift=np.zeros(1),
        shift_x=np.zeros(1),
    )  # fmt: skip
    assert (half + half).xx[0, 0] == 2 * (2**31 - 2)


def test_moments_of_other_features_do_not_merge(masks_and_outputs):
    x, y = masks_and_outputs
    with pytest.raises(InputError, match="do not merge"):
        moments(x, y) + moments(x[:, :-1], y)


def test_a_mean_far_above_the_deviation_loses_no_digit():
    x = random_masks(500, 10)
    y = (np.random.default_rng(0).integers(-8, 8, (500, 2)) / 8).astype(np.float32)
    near, far = (standardize(moments(x, values), True) for values in (y, y + np.float32(2**17)))
    np.testing.assert_allclose(far.yy, near.yy, rtol=1e-14)
    np.testing.assert_allclose(
        far.correlations(slice(None)), near.correlations(slice(None)), rtol=1e-11, atol=1e-14
    )
    np.testing.assert_allclose(far.mean_y - 2**17, near.mean_y, atol=1e-10)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", PROBLEMS)
def test_standardized_problem_equals_the_slow_way(name, use_bias):
    problem = PROBLEMS[name]()
    exact = Exact.of(problem.x, problem.y, use_bias)
    ours = standardize(moments(problem.x, problem.y), use_bias)
    n = len(exact.y)
    largest = np.abs(exact.z.T @ exact.z / n).max()
    np.testing.assert_allclose(ours.gram(), exact.z.T @ exact.z / n, atol=1e-7 * largest)
    np.testing.assert_allclose(
        ours.correlations(slice(None)).T, exact.z.T @ exact.y / n, rtol=1e-9, atol=1e-11 * largest
    )
    np.testing.assert_allclose(ours.yy, exact.yy, rtol=1e-11)
    np.testing.assert_allclose(ours.mean_y, exact.mean_y, rtol=1e-12)
    np.testing.assert_allclose(ours.inv_scale[exact.scale > 0] * exact.scale[exact.scale > 0], 1)
    np.testing.assert_array_equal(ours.inv_scale == 0, exact.scale == 0)


def test_gram_is_exact_above_the_row_count_where_products_under_one_root_overflow():
    n, n_i, n_j, n_ij = 300_000, 150_123, 149_871, 75_010
    m = Moments(
        n=n, sum_x=np.array([n_i, n_j]), squares_x=np.array([n_i, n_j]),
        xx=np.array([[n_i, n_ij], [n_ij, n_j]], np.int32),
        xy=np.zeros((2, 1)), sum_y=np.zeros(1), sum_yy=np.ones(1), shift=np.zeros(1),
        shift_x=np.zeros(2),
    )  # fmt: skip
    squares = (n * n_i - n_i**2) * (n * n_j - n_j**2)  # Python integers do not overflow
    expected = (n * n_ij - n_i * n_j) / squares**0.5
    assert abs(standardize(m, True).gram()[0, 1] / expected - 1) < 1e-7


def test_duplicate_columns_are_equal_to_the_bit():
    x = random_masks(1001, 6)
    x[:, 5] = x[:, 2]
    gram = standardize(moments(x, outputs_of(x, 1)), True).gram()
    np.testing.assert_array_equal(gram[5], gram[2])
    np.testing.assert_array_equal(gram, gram.T)


def test_a_constant_target_has_no_variance_to_the_bit():
    x = random_masks(100, 5)
    y = np.full((100, 2), 0.1, np.float32)
    y[50, 1] = 0.2
    yy = standardize(moments(x, y, block_bytes=64 * 8 * 5), True).yy
    assert yy[0] == 0
    assert yy[1] > 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_by_row_and_column(masks_and_outputs, value):
    x, y = masks_and_outputs
    y = y.copy()
    y[17, 2] = value
    with pytest.raises(InputError, match=r"outputs of row 17, target 2, are"):
        moments(x, y, np.arange(10, 300), targets=slice(1, 3))
    x = x.astype(np.float32)
    x[33, 4] = value
    with pytest.raises(InputError, match=r"masks of row 33, feature 4, are"):
        moments(x, y[:, :2])


@pytest.mark.parametrize("value", [1e31, -1e300])
def test_an_output_that_float32_weights_could_not_hold_is_refused(masks_and_outputs, value):
    x, y = masks_and_outputs
    y = y.astype(np.float64)
    y[3, 0] = value
    with pytest.raises(InputError, match=r"row 3, target 0, .* rescale the outputs"):
        moments(x, y)


def test_slices_of_the_targets_see_the_problem_of_the_whole_to_the_bit(masks_and_outputs):
    """So that merged results do not depend on how the targets were shared out."""
    x, _ = masks_and_outputs
    y = outputs_of(x, 37)
    groups = np.random.default_rng(0).integers(0, 23, len(x))
    whole = standardize(moments(x, y, groups=groups))
    for part in (slice(0, 2), slice(5, 6), slice(3, 36)):
        np.testing.assert_array_equal(
            whole.correlations(part), whole.correlations(slice(None))[part]
        )
    for part in (slice(0, 2), slice(3, 36)):
        some = standardize(moments(x, y, groups=groups, targets=part))
        np.testing.assert_array_equal(some.yy, whole.yy[part])
        np.testing.assert_array_equal(some.correlations(slice(None)), whole.correlations(part))


def test_what_was_not_summed_is_missed_by_name(masks_and_outputs):
    summed = moments(*masks_and_outputs)
    with pytest.raises(ValueError, match="no table of pairs"):
        standardize(replace(summed, xx=None)).gram()
    with pytest.raises(ValueError, match="no X'Y"):
        standardize(replace(summed, xy=None))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros(5), np.zeros(5), r"masks have shape \(5,\)"),
        (np.zeros((5, 2, 2)), np.zeros(5), r"masks have shape \(5, 2, 2\)"),
        (np.zeros((5, 2)), np.zeros((5, 1, 1)), r"outputs have shape \(5, 1, 1\)"),
        (np.zeros((5, 2)), np.zeros(4), "masks have 5 rows and outputs 4"),
        (np.zeros((5, 2), complex), np.zeros(5), "dtype complex128"),
    ],
)
def test_arrays_that_are_no_rows_are_refused(x, y, message):
    with pytest.raises(InputError, match=message):
        ArraySource(x, y)


def test_one_dimensional_outputs_are_one_target():
    source = ArraySource(np.zeros((5, 2), bool), np.arange(5.0))
    assert source.n_targets == 1
    np.testing.assert_array_equal(source.read(np.array([3, 1]))[1], [[3], [1]])


@pytest.mark.parametrize("late_floats", [False, True])
def test_moments_counted_by_products_on_a_device_equal_those_of_bits(
    masks_and_outputs, late_floats
):
    from datamodels.regression.blocks import read_blocks
    from datamodels.regression.moment_pass import MomentAccumulator

    x, y = masks_and_outputs
    x = x.astype(np.float32)
    x[200:] *= 0.5 if late_floats else 1
    found = []
    for device in (None, "cpu"):
        accumulator = MomentAccumulator(50, 3, device=device)
        for block in read_blocks(ArraySource(x, y), np.arange(len(x)), max_rows=128):
            accumulator.add(block)
        found.append(accumulator.finish())
    assert_same(*found, rtol=1e-7)
