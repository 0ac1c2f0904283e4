import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datamodels.training.row_values import RowError, encode_row, encode_value
from datamodels.training.spec import Field


def field(dtype, *shape, allow_nonfinite=False):
    return Field(shape, np.dtype(dtype), allow_nonfinite)


@pytest.mark.parametrize(
    ("to", "value", "expected"),
    [
        (field(bool, 3), [1.0, 0.0, 1.0], [True, False, True]),
        (field(bool, 3), np.array([1, 0, 1], np.uint8), [True, False, True]),
        (field(bool, 3), True, [True] * 3),
        (field("float16", 2), 1 / 3, [np.float16(1 / 3)] * 2),
        (field("float32", 2), torch.tensor([1.5, 2.5], requires_grad=True), [1.5, 2.5]),
        (field("float32", 2), torch.tensor([1.5, 2.5], dtype=torch.bfloat16), [1.5, 2.5]),
        (field("float32"), torch.tensor([3.0]), 3.0),
        (field("float32", 2), [[[1, 2]]], [1.0, 2.0]),
        (field("float32", 2, 2), [1, 2], [[1, 2], [1, 2]]),
        (field("uint8", 2), [255.0, 0.0], [255, 0]),
        (field("int64"), np.uint64(2**62), 2**62),
        (field("float64", 1), 1 + 0j, [1.0]),
        (field("float32", 0), [], []),
        (field("S3"), b"abc", b"abc"),
    ],
)
def test_what_numpy_broadcasts_to_the_row_is_accepted(to, value, expected):
    encoded = encode_value("key", to, value)
    assert encoded.dtype == to.dtype
    assert encoded.shape == to.shape
    assert encoded.flags.c_contiguous
    np.testing.assert_array_equal(encoded, np.asarray(expected, to.dtype))


@pytest.mark.parametrize(
    ("to", "value", "needle"),
    [
        (field("float16", 2), [70_000.0, 1], "70000.0, beyond 65504"),
        (field(bool, 2), [0.3, 1], "0.3, which is neither 0 nor 1"),
        (field(bool, 2), [2, 1], "2, which is neither 0 nor 1"),
        (field("uint8", 2), [256, 1], "256, outside 0..255"),
        (field("uint8", 2), [-1, 1], "-1, outside 0..255"),
        (field("int64", 1), np.array([2**63], np.uint64), "outside"),
        (field("int64", 1), 1e19, "outside"),
        (field("int32", 1), np.nan, "NaN or infinity"),
        (field("float32", 2), [np.nan, 1], "1 of 2 values NaN or infinite"),
        (field("float32", 2), [np.inf, np.inf], '"allow_nonfinite": true'),
        (field("float32", 3), [1, 2], "shape (2,), which does not broadcast"),
        (field("float32", 3), np.zeros((2, 3)), "shape (2, 3), which does not broadcast"),
        (field("float32", 2), [[1], [1, 2]], "numpy cannot read"),
        (field("float32", 2), None, "None"),
        (field("float32", 2), "a", "dtype <U1"),
        (field("float32", 2), {"a": 1}, "no array of numbers"),
        (field("float32", 1), 1j, "complex"),
        (field("S3"), b"abcd", "dtype"),
    ],
)
def test_what_would_be_damaged_is_refused(to, value, needle):
    with pytest.raises(RowError) as caught:
        encode_value("key", to, value)
    assert needle in str(caught.value)
    assert "'key'" in str(caught.value)
    assert str(to.shape) in str(caught.value)


def test_nonfinite_passes_where_the_spec_allows_it():
    encoded = encode_value("k", field("float16", 2, allow_nonfinite=True), [np.nan, np.inf])
    assert np.isnan(encoded[0])
    assert np.isinf(encoded[1])
    with pytest.raises(RowError, match="beyond"):  # finite there, infinite here
        encode_value("k", field("float16", 1, allow_nonfinite=True), 70_000)


def test_fractions_for_an_integer_field_are_rounded_with_a_warning():
    with pytest.warns(UserWarning, match="rounded"):
        assert encode_value("k", field("int32", 2), [1.6, -1.6]).tolist() == [2, -2]


@given(
    hnp.arrays(
        st.sampled_from(["?", "i1", "u2", "i8", "f4", "f8"]),
        hnp.array_shapes(max_dims=2, max_side=4),
    ),
    st.sampled_from(["?", "u1", "i4", "f2", "f4", "f8"]),
)
def test_an_accepted_value_equals_what_came_to_the_precision_of_the_dtype(value, dtype):
    to = Field(value.shape, np.dtype(dtype), allow_nonfinite=True)
    if value.dtype.kind == "f" and to.dtype.kind in "iu":
        value = np.rint(value)
    try:
        encoded = encode_value("k", to, value)
    except RowError:
        return
    with np.errstate(over="ignore"):
        expected = value.astype(to.dtype)
    np.testing.assert_array_equal(encoded, expected)
    if to.dtype.kind != "f":  # nothing but floats may lose anything
        np.testing.assert_array_equal(encoded.astype(np.float64), value.astype(np.float64))


def test_all_faults_of_a_row_are_listed():
    schema = {"masks": field(bool, 3), "margins": field("float16")}
    with pytest.raises(RowError) as caught:
        encode_row(schema, {"mask": [1, 0, 1], "margins": 70_000})
    assert "did you mean 'masks'?" in str(caught.value)
    assert "70000" in str(caught.value)


@pytest.mark.parametrize("row", [None, 3, [1, 2], np.zeros(3)])
def test_a_row_is_a_dict(row):
    with pytest.raises(RowError, match="must return a dict"):
        encode_row({"masks": field(bool, 3)}, row)
