"""Counts and cross products by matrix products are the integers that numpy counts."""

import numpy as np
import pytest
import torch

from datamodels.regression import device_counts
from datamodels.regression.device_counts import add_pair_counts, cross_products


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that divide none of the sizes here."""
    monkeypatch.setattr(device_counts, "_COLUMNS", 13)
    monkeypatch.setattr(device_counts, "_COUNTED_ROWS", 64)
    monkeypatch.setattr(device_counts, "_DIGIT_ROWS", 64)


def random_masks(n: int, p: int) -> np.ndarray:
    return np.random.default_rng(n).random((n, p)) < np.linspace(0.05, 0.95, p)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
@pytest.mark.parametrize("shape", [(1, 1), (63, 13), (131, 47)])
def test_pair_counts_are_exact_and_add_up(shape: tuple[int, int], dtype: torch.dtype) -> None:
    masks = random_masks(*shape)
    counts = torch.full((shape[1], shape[1]), 5, dtype=torch.int32)
    add_pair_counts(torch.from_numpy(masks).to(dtype), counts)
    whole = masks.astype(np.int64)
    np.testing.assert_array_equal(counts.numpy(), whole.T @ whole + 5)


def test_pair_counts_are_exact_beyond_the_range_of_bfloat16_and_float16() -> None:
    masks = torch.ones((4099, 3), dtype=torch.uint8)
    counts = torch.zeros((3, 3), dtype=torch.int32)
    add_pair_counts(masks, counts)
    assert (counts == 4099).all()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_cross_products_are_as_near_as_stated(scale: float) -> None:
    masks = random_masks(200, 31)
    outputs = scale * np.random.default_rng(1).standard_normal((200, 7)).astype(np.float64)
    outputs[:, 3] = 0
    got = cross_products(torch.from_numpy(masks), torch.from_numpy(outputs)).numpy()
    bound = masks.sum(axis=0)[:, None] * np.abs(outputs).max(axis=0) * 2.0**-31
    assert (np.abs(got - masks.T.astype(float) @ outputs) <= bound).all()
    assert (got[:, 3] == 0).all()


def test_cross_products_of_float32_outputs_and_of_one_row() -> None:
    masks = random_masks(1, 5)
    outputs = np.array([[0.1, -3.0]], np.float32)
    got = cross_products(torch.from_numpy(masks), torch.from_numpy(outputs)).numpy()
    np.testing.assert_allclose(got, masks.T * outputs.astype(float), rtol=1e-8)


def test_digits_are_whole_numbers_of_eight_bits() -> None:
    values = torch.from_numpy(np.random.default_rng(2).standard_normal((50, 4)))
    scale, digits = device_counts._digits(values)
    for digit in digits:
        assert (digit == digit.round()).all()
        assert digit.abs().max() <= 128
    back = sum(digit.double() * scale / 256.0 ** (d + 1) for d, digit in enumerate(digits))
    assert (back - values).abs().max() <= values.abs().max() * 2.0**-31
