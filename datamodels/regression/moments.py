"""Moments: all that a fit needs to know of its rows, and they add up.

    n,  sum x (p,),  X'X (p, p),  X'Y (p, t),  sum y (t,),  sum y^2 (t,)

Masks of zeros and ones give exact integers; other masks float64 products. Outputs enter as
y - shift, shift being the first row's y: the sums of a target whose mean is far from zero do not
cancel, and those of a constant target are zero to the bit. Moments of two sets of rows merge by
``+``: shards of a store, training and validation rows, models trained later.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.regression import popcount
from datamodels.regression.blocks import (
    DEFAULT_BLOCK_BYTES,
    WORD_BITS,
    Block,
    Float64s,
    Int64s,
    read_blocks,
)
from datamodels.regression.row_source import RowSource

_MAX_COUNT = np.iinfo(np.int32).max
_GROUP_ROWS = 16_384  # rows packed before they are counted: 256 words a feature


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over ``n`` rows of masks x - shift_x (p,) and outputs y - shift (t,).

    Masks of zeros and ones have shift_x = 0 and exact integers.
    """

    n: int
    sum_x: NDArray[Any]  # (p,) int64 counts, or float64
    xx: NDArray[Any]  # (p, p) symmetric; int32 (int64 from 2^31 rows on), or float64
    xy: Float64s  # (p, t) sum of (x - shift_x) (y - shift)
    sum_y: Float64s  # (t,) sum of y - shift
    sum_yy: Float64s  # (t,) sum of (y - shift)^2
    shift: Float64s  # (t,) in the units of y
    shift_x: Float64s  # (p,) in the units of x; zeros for counts

    @property
    def counted(self) -> bool:
        """Whether the masks were all zeros and ones, so that ``sum_x`` and ``xx`` are exact."""
        return bool(self.xx.dtype.kind == "i")

    def shifted(self, shift: Float64s) -> "Moments":
        """The same rows, outputs measured from another ``shift`` (t,)."""
        d = self.shift - shift  # y - shift = (y - self.shift) + d
        return replace(
            self,
            xy=self.xy + np.outer(self.sum_x, d),
            sum_y=self.sum_y + self.n * d,
            sum_yy=self.sum_yy + 2 * d * self.sum_y + self.n * d**2,
            shift=shift,
        )

    def shifted_x(self, shift_x: Float64s) -> "Moments":
        """The same rows, masks measured from another ``shift_x`` (p,)."""
        d = self.shift_x - shift_x
        if not d.any():
            return self
        cross = np.outer(d, self.sum_x)
        return replace(
            self,
            sum_x=self.sum_x + self.n * d,
            xx=self.xx + cross + cross.T + self.n * np.outer(d, d),
            xy=self.xy + np.outer(d, self.sum_y),
            shift_x=shift_x,
        )

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of both sets of rows together; counts add exactly."""
        if self.xy.shape != other.xy.shape:
            raise InputError(
                f"moments of {self.xy.shape} (features, targets) and of {other.xy.shape} "
                "do not merge; both must come from the same features and targets"
            )
        if np.any(other.shift != self.shift):
            other = other.shifted(self.shift)
        # Zeros and ones may be measured from anywhere; other masks keep what does not cancel.
        shift_x = other.shift_x if self.counted else self.shift_x
        return self.shifted_x(shift_x)._plus(other.shifted_x(shift_x))

    def _plus(self, other: "Moments") -> "Moments":
        return replace(
            self,
            n=self.n + other.n,
            sum_x=self.sum_x + other.sum_x,
            xx=_add_tables(self.xx, other.xx, self.n + other.n),
            xy=self.xy + other.xy,
            sum_y=self.sum_y + other.sum_y,
            sum_yy=self.sum_yy + other.sum_yy,
        )


def _add_tables(a: NDArray[Any], b: NDArray[Any], n: int) -> NDArray[Any]:
    total: NDArray[Any]
    if a.dtype.kind == b.dtype.kind == "i":
        total = np.add(a, b, dtype=np.int32 if n <= _MAX_COUNT else np.int64)
    else:
        total = np.add(a, b, dtype=np.float64)
    return total


def moments_of(
    source: RowSource,
    rows: Int64s,
    *,
    targets: slice = slice(None),
    block_bytes: int = DEFAULT_BLOCK_BYTES,
) -> Moments:
    """Moments of ``rows`` of ``source`` in one pass, at about ``block_bytes`` of memory a block."""
    start, stop, _ = targets.indices(source.n_targets)
    accumulator = MomentAccumulator(source.n_features, stop - start)
    for block in read_blocks(source, rows, targets=targets, block_bytes=block_bytes):
        accumulator.add(block)
    return accumulator.finish()


class MomentAccumulator:
    """Moments of the blocks given to :meth:`add` so far.

    X'X is counted from bits until a block holds a mask value other than 0 and 1; from there on it
    is summed in float64.
    """

    def __init__(self, n_features: int, n_targets: int) -> None:
        self._n = 0
        self._table: _CountTable | _FloatTable = _CountTable(n_features)
        self._xy = np.zeros((n_features, n_targets))
        self._sum_y = np.zeros(n_targets)
        self._sum_yy = np.zeros(n_targets)
        self._shift = np.zeros(n_targets)

    def add(self, block: Block) -> None:
        if self._n == 0:
            self._shift = block.outputs[0].astype(np.float64)
        if isinstance(self._table, _CountTable) and not is_zero_one(block.masks):
            self._table = self._float_table(block.masks)
        x = self._table.add(block.masks)
        y = block.outputs - self._shift  # (b, t) float64
        self._n += len(y)
        self._xy += x.T @ y
        self._sum_y += y.sum(axis=0)
        self._sum_yy += np.einsum("bt,bt->t", y, y)

    def _float_table(self, masks: NDArray[Any]) -> "_FloatTable":
        """A table that goes on from the counts so far, or begins at the first row."""
        table = _FloatTable(*self._table.finish())
        if self._n == 0:
            table.shift = masks[0].astype(np.float64)
        return table

    def finish(self) -> Moments:
        sum_x, xx = self._table.finish()
        return Moments(
            n=self._n,
            sum_x=sum_x,
            xx=xx,
            xy=self._xy,
            sum_y=self._sum_y,
            sum_yy=self._sum_yy,
            shift=self._shift,
            shift_x=self._table.shift,
        )


class _FloatTable:
    """sum of x and X'X in float64, x measured from ``shift``."""

    def __init__(self, sum_x: NDArray[Any], xx: NDArray[Any]) -> None:
        self.sum_x = sum_x.astype(np.float64)
        self.xx = xx.astype(np.float64)
        self.shift = np.zeros(len(sum_x))

    def add(self, masks: NDArray[Any]) -> Float64s:
        """Add these rows; returns them as they are measured, float64."""
        x = masks.astype(np.float64) - self.shift
        self.sum_x += x.sum(axis=0)
        self.xx += x.T @ x
        return x

    def finish(self) -> tuple[NDArray[Any], NDArray[Any]]:
        return self.sum_x, self.xx


class _CountTable:
    """sum x and X'X of 0/1 masks, exact: rows are packed to bits and counted in large groups."""

    def __init__(self, n_features: int) -> None:
        self.xx: NDArray[Any] = np.zeros((n_features, n_features), np.int32)
        self.packed = np.zeros(popcount.packed_shape(0, n_features), np.uint64)
        self.shift = np.zeros(n_features)  # counts are of the masks themselves
        self.n = 0
        self.n_packed = 0

    def add(self, masks: NDArray[Any]) -> Float64s:
        """Add these rows; returns them as float64."""
        if self.n_packed % WORD_BITS or self.n_packed + len(masks) > self._capacity:
            self._count()
            self._reserve(max(len(masks), _GROUP_ROWS))
        popcount.pack_columns(masks, self.packed, self.n_packed)
        self.n_packed += len(masks)
        return masks.astype(np.float64)

    @property
    def _capacity(self) -> int:
        return self.packed.shape[1] * WORD_BITS

    def _reserve(self, n_rows: int) -> None:
        if self._capacity < n_rows:
            shape = popcount.packed_shape(n_rows, len(self.xx))
            self.packed = np.zeros(shape, np.uint64)

    def _count(self) -> None:
        self.n += self.n_packed
        if self.n > _MAX_COUNT:
            self.xx = self.xx.astype(np.int64)
        if self.n_packed:
            popcount.add_counts(self.packed, self.xx, self.n_packed)
            self.packed[:] = 0
        self.n_packed = 0

    def finish(self) -> tuple[NDArray[Any], NDArray[Any]]:
        self._count()
        popcount.mirror(self.xx)
        return self.xx.diagonal().astype(np.int64), self.xx


def is_zero_one(values: NDArray[Any]) -> bool:
    """Whether every value is 0 or 1, whatever the dtype."""
    if values.dtype == np.bool_:
        return True
    return bool(((values == 0) | (values == 1)).all())
