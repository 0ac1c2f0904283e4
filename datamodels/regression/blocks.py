"""Rows of a source, read block by block and checked to be finite."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.regression.row_source import Outputs, RowSource

Float64s = NDArray[np.float64]
Int64s = NDArray[np.int64]

WORD_BITS = 64  # masks of zeros and ones are packed into words of so many rows
_LARGEST_MASK = 1e100  # sums of squares of these stay finite
_LARGEST_OUTPUT = 1e30  # weights of these, which are saved in float32, stay finite
DEFAULT_BLOCK_BYTES = 256 * 2**20


class Block(NamedTuple):
    """Some rows as they were read, checked to be finite."""

    masks: NDArray[Any]  # (b, p)
    outputs: Outputs  # (b, t)
    rows: Int64s  # (b,) of the source
    groups: Int64s | None = None  # (b,) labels


def read_blocks(
    source: RowSource,
    rows: Int64s,
    *,
    targets: slice = slice(None),
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    max_rows: int | None = None,
    groups: Int64s | None = None,
) -> Iterator[Block]:
    """``rows`` in order, in blocks of about ``block_bytes``.

    A block has at most ``max_rows`` rows, rounded up to a multiple of 64. ``groups``
    (source.n_rows,): labels of all rows of the source.
    """
    size = _rows_per_block(source, block_bytes, max_rows)
    for start in range(0, len(rows), size):
        block_rows = rows[start : start + size]
        masks, outputs = source.read(block_rows)
        labels = None if groups is None else groups[block_rows]
        block = Block(masks, outputs[:, targets], block_rows, labels)
        named = source.idx[block_rows]
        _check_finite("masks", "feature", block.masks, named, _LARGEST_MASK)
        first = targets.start or 0
        _check_finite("outputs", "target", block.outputs, named, _LARGEST_OUTPUT, first)
        yield block


def _rows_per_block(source: RowSource, block_bytes: int, max_rows: int | None) -> int:
    """A multiple of 64, so that every block but the last fills whole words of bits.

    Masks of bytes are packed to bits as they are; others become float64, as all outputs do.
    """
    mask_bytes = 1 if source.mask_dtype.itemsize == 1 else 8
    row_bytes = mask_bytes * source.n_features + 8 * source.n_targets
    words = max(block_bytes // (row_bytes * WORD_BITS), 1)
    if max_rows is not None:
        words = min(words, -(-max_rows // WORD_BITS))
    return words * WORD_BITS


def _check_finite(
    name: str,
    axis: str,
    values: NDArray[Any],
    named: Int64s,
    largest: float,
    first_column: int = 0,
) -> None:
    if values.dtype.kind != "f":
        return
    fine = np.abs(values) <= min(largest, float(np.finfo(values.dtype).max))  # NaN is not
    if fine.all():
        return
    row, column = np.argwhere(~fine)[0]
    value = values[row, column]
    remedy = "leave the row out, or train that model again"
    if np.isfinite(value):
        remedy = f"rescale the {name}, or leave the row out"
    raise InputError(
        f"{name} of row {named[row]}, {axis} {first_column + column}, are {value}; "
        f"only values up to {largest:g} can be fitted: {remedy}"
    )


def is_zero_one(values: NDArray[Any]) -> bool:
    """Whether every value is 0 or 1, whatever the dtype."""
    if values.dtype == np.bool_:
        return True
    return bool(((values == 0) | (values == 1)).all())
