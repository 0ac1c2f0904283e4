"""Pair counts and cross products of 0/1 masks by matrix products, on the device of the masks.

A count is a sum of ones, so a float32 accumulator holds it exactly up to 2^24 rows, and the factors
may be in any type that holds 0 and 1. Where the device can multiply bfloat16 matrices into a
float32 result, products run on its matrix units; elsewhere in float32. The integers are the same.

Outputs are not 0/1. Each is cut into digits, whole numbers of at most 8 bits that bfloat16 holds
too, so their sums over masks are exact integers as well:

    y_rt = 2^e_t sum_d D_drt 256^-(d+1) + rest,  |D_drt| <= 128,  |rest| <= 2^e_t 256^-4 / 2

and the only error of X'Y is that of y itself, cut off some 31 bits below the largest of its target.
"""

from functools import cache

import torch
from torch import Tensor

# Columns of the masks in one product: bounds what is allocated beside the results.
_COLUMNS = 4096

# Rows in one product: sums of so many ones, or of so many digits, are exact in float32 (2^24).
_COUNTED_ROWS = 2**24
_DIGIT_ROWS = 2**16

_DIGITS = 4
_BASE = 256.0


def add_pair_counts(masks: Tensor, counts: Tensor) -> None:
    """counts (p, p) int32 += masks' masks, exactly; masks (b, p) uint8 or bool of 0 and 1.

    Beside the arguments about 3 b x 4096 elements and 4096 x 4096 float32 are allocated.
    """
    for rows in torch.split(masks, _COUNTED_ROWS):
        for i in range(0, rows.shape[1], _COLUMNS):
            left = slice(i, i + _COLUMNS)
            factor = _factor(rows[:, left])
            for j in range(i, rows.shape[1], _COLUMNS):
                right = slice(j, j + _COLUMNS)
                block = _product(factor, _factor(rows[:, right])).to(torch.int32)
                counts[left, right] += block
                if j > i:
                    counts[right, left] += block.T


def cross_products(masks: Tensor, outputs: Tensor) -> Tensor:
    """masks' outputs (p, t) float64; masks (b, p) uint8 or bool of 0 and 1, outputs (b, t) float.

    With m_t the largest |outputs| of target t, each output enters with an error of at most
    m_t 2^-31, so an entry is off by at most n_i m_t 2^-31 (n_i: ones of feature i), and float64
    rounding. Means far from zero spend digits: centre outputs before.
    """
    total = torch.zeros(
        (masks.shape[1], outputs.shape[1]), dtype=torch.float64, device=masks.device
    )
    for first in range(0, len(masks), _DIGIT_ROWS):
        rows = masks[first : first + _DIGIT_ROWS]
        scale, digits = _digits(outputs[first : first + _DIGIT_ROWS])
        for i in range(0, masks.shape[1], _COLUMNS):
            part = slice(i, i + _COLUMNS)
            factor = _factor(rows[:, part])
            for d, digit in enumerate(digits):
                total[part] += _product(factor, digit).double() * (scale / _BASE ** (d + 1))
    return total


def _digits(values: Tensor) -> tuple[Tensor, list[Tensor]]:
    """2^e_t (t,) in float64 and the digits D (b, t) of ``values``, in the type of factors."""
    rest = values.double()
    _, exponent = torch.frexp(rest.abs().amax(dim=0))  # |y| < 2^exponent
    scale = torch.exp2(exponent.double() + 1)  # so that |y| / scale < 1/2, a signed digit
    rest = rest / scale
    digits = []
    for _ in range(_DIGITS):
        rest = rest * _BASE
        digit = rest.round()
        digits.append(_factor(digit))
        rest = rest - digit
    return scale, digits


def _factor(values: Tensor) -> Tensor:
    """Small whole numbers in the type that the device multiplies fastest, still exactly."""
    return values.to(torch.bfloat16 if _has_wide_product(values.device) else torch.float32)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """left'right in float32."""
    if left.dtype == torch.float32:
        return left.T @ right
    return torch.mm(left.T, right, out_dtype=torch.float32)


@cache
def _has_wide_product(device: torch.device) -> bool:
    """Whether bfloat16 matrices can be multiplied into float32 there. By trial: no version of torch
    says so; 257 ones count to a number that bfloat16 does not hold."""
    ones = torch.ones((257, 16), dtype=torch.bfloat16, device=device)
    try:
        product = torch.mm(ones.T, ones, out_dtype=torch.float32)
    except (RuntimeError, TypeError):  # on this device; in this version of torch
        return False
    return bool((product == 257).all())
