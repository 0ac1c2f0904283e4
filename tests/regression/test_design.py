"""Bits and floats are the same design, and both are what plain numpy makes of the rows."""

import numpy as np
import pytest

from datamodels.regression.design import BitDesign, DesignBuilder, FloatDesign
from datamodels.regression.sparse_rows import to_sparse
from tests.regression.problems import random_masks

N, P = 203, 37


def design_of(x, shifted=True, block=64):
    builder = DesignBuilder(*x.shape, shifted=shifted)
    for first in range(0, len(x), block):
        builder.add(x[first : first + block])
    return builder.finish()


def zeros_and_ones(dtype):
    return random_masks(N, P).astype(dtype)


def any_values():
    x = np.random.default_rng(4).standard_normal((N, P)) + 1e4
    return x.astype(np.float32)


def late_halves():
    """Zeros and ones for two blocks, then a value between."""
    x = random_masks(N, P).astype(np.float32)
    x[150, 3] = 0.5
    return x


CASES = {
    "bool": zeros_and_ones(np.bool_),
    "uint8": zeros_and_ones(np.uint8),
    "float16": zeros_and_ones(np.float16),
    "float32": zeros_and_ones(np.float32),
    "any values": any_values(),
    "late halves": late_halves(),
}


@pytest.fixture(params=CASES)
def x(request):
    return CASES[request.param]


@pytest.mark.parametrize("shifted", [True, False])
def test_designs_equal_plain_products(x, shifted):
    design = design_of(x, shifted)
    assert (design.n_rows, design.n_features) == (N, P)
    assert design.shift.shape == (P,)
    raw = x.astype(np.float64)
    plain = raw - design.shift
    some = np.array([5, 3, 30, 3, 36])
    columns = np.random.default_rng(1).standard_normal((N, 9))
    weights = np.random.default_rng(2).standard_normal((4, P))
    weights[:, ::3] = 0
    np.testing.assert_array_equal(design.columns(some), plain.T[some])
    np.testing.assert_allclose(design.cross(columns), plain.T @ columns, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(
        design.predictions(to_sparse(weights)), weights @ plain.T, rtol=1e-10, atol=1e-9
    )
    np.testing.assert_allclose(
        design.pair_products(some), plain[:, some].T @ plain[:, some], rtol=1e-12
    )


def test_designs_are_invariant_to_the_blocks_of_rows(x):
    one, many = design_of(x, block=256), design_of(x, block=64)
    every = np.arange(P)
    np.testing.assert_array_equal(one.shift, many.shift)
    np.testing.assert_array_equal(one.columns(every), many.columns(every))
    np.testing.assert_array_equal(one.pair_products(every), many.pair_products(every))


@pytest.mark.parametrize("name", ["bool", "uint8", "float16", "float32"])
def test_zeros_and_ones_are_kept_as_bits_and_measured_from_zero(name):
    design = design_of(CASES[name])
    assert isinstance(design, BitDesign)
    assert not design.shift.any()


@pytest.mark.parametrize("name", ["any values", "late halves"])
def test_other_values_are_kept_as_floats_less_the_first_row(name):
    design = design_of(CASES[name])
    assert isinstance(design, FloatDesign)
    np.testing.assert_array_equal(design.shift, CASES[name][0])
    assert not design.lines[:, 0].any()
    assert not design_of(CASES[name], shifted=False).shift.any()


def test_pair_products_of_bits_are_exact():
    x = CASES["bool"]
    every = np.arange(P)
    np.testing.assert_array_equal(
        design_of(x).pair_products(every), x.T.astype(np.int64) @ x.astype(np.int64)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions_come_in_the_dtype_asked_for(x, dtype):
    weights = to_sparse(np.eye(2, P))
    assert design_of(x).predictions(weights, dtype).dtype == dtype


def test_fewer_rows_than_expected_are_fine_and_more_are_refused(x):
    builder = DesignBuilder(N, P)
    builder.add(x[:128])
    few = builder.finish()
    np.testing.assert_allclose(
        few.pair_products(np.arange(P)), design_of(x[:128]).pair_products(np.arange(P))
    )
    with pytest.raises(ValueError, match="room for 203"):
        builder.add(x[:128])


def test_packed_bits_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="203 rows of 99 features"):
        BitDesign(design_of(CASES["bool"]).packed, N, 99)
