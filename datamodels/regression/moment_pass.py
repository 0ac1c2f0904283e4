"""Moments of rows, read once, block by block."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from datamodels.regression import bit_products, popcount
from datamodels.regression.blocks import (
    DEFAULT_BLOCK_BYTES,
    WORD_BITS,
    Block,
    Float64s,
    Int64s,
    is_zero_one,
    read_blocks,
)
from datamodels.regression.moment_sums import Groups, Moments
from datamodels.regression.row_source import RowSource

_MAX_COUNT = np.iinfo(np.int32).max
_GROUP_ROWS = 65_536  # rows packed before they are counted: 1,024 words a feature


def moments_of(
    source: RowSource,
    rows: Int64s,
    *,
    targets: slice = slice(None),
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    groups: Int64s | None = None,
) -> Moments:
    """Moments of ``rows`` of ``source`` in one pass, at about ``block_bytes`` of memory a block.

    ``groups`` (source.n_rows,): which group each row of the source belongs to.
    """
    start, stop, _ = targets.indices(source.n_targets)
    accumulator = MomentAccumulator(source.n_features, stop - start)
    for block in read_blocks(source, rows, targets=targets, block_bytes=block_bytes, groups=groups):
        accumulator.add(block)
    return accumulator.finish()


class MomentAccumulator:
    """Moments of the blocks given to :meth:`add` so far.

    X'X is counted from bits until a block holds a mask value other than 0 and 1; from there on it
    is summed in float64.
    """

    def __init__(
        self,
        n_features: int,
        n_targets: int,
        *,
        table: bool = True,
        products: bool = True,
        device: str | None = None,
    ) -> None:
        """``table``, ``products``: whether to form X'X and X'Y. ``device``: where to count by
        matrix products, rather than from bits on the CPU."""
        self._n = 0
        self._x: _Masks = _counted_masks(n_features, table, device)
        self._xy = np.zeros((n_features, n_targets)) if products else None
        self._sum_y = np.zeros(n_targets)
        self._sum_yy = np.zeros(n_targets)
        self._shift = np.zeros(n_targets)
        self._groups = _GroupSums()

    @classmethod
    def of(cls, moments: Moments) -> "MomentAccumulator":
        """One that goes on from ``moments`` of rows without groups, whose table and products it
        takes over: they are added to where they stand."""
        started = cls(moments.n_features, moments.n_targets, table=False, products=False)
        started._n, started._xy = moments.n, moments.xy
        started._sum_y, started._sum_yy = moments.sum_y.copy(), moments.sum_yy.copy()
        started._shift = moments.shift
        started._x = (
            _CountedMasks.of(moments)
            if moments.counted
            else _FloatMasks(moments.xx, moments.sum_x, moments.squares_x, moments.shift_x)
        )
        return started

    def add(self, block: Block) -> None:
        if self._n == 0:
            self._shift = block.outputs[0].astype(np.float64)
        if not isinstance(self._x, _FloatMasks) and not is_zero_one(block.masks):
            self._x = _as_floats(self._x, None if self._n else block.masks[0])
        y = block.outputs - self._shift  # (b, t) float64
        self._n += len(y)
        self._x.add(block.masks, y, self._xy)
        sum_y, sum_yy = _sums(y)
        self._sum_y += sum_y
        self._sum_yy += sum_yy
        if block.groups is not None:
            self._groups.add(block.groups, block.masks, y)

    def finish(self) -> Moments:
        return Moments(
            n=self._n,
            sum_x=self._x.sum_x,
            squares_x=self._x.squares_x,
            xx=self._x.table(),
            xy=self._xy,
            sum_y=self._sum_y,
            sum_yy=self._sum_yy,
            shift=self._shift,
            shift_x=self._x.shift,
            groups=self._groups.finish(self._x.shift, self._x.sum_x.dtype),
        )


class _Masks(Protocol):
    """Sums of masks, measured from ``shift`` (p,)."""

    shift: Float64s

    @property
    def sum_x(self) -> NDArray[Any]:
        """(p,), as in ``Moments``."""

    @property
    def squares_x(self) -> NDArray[Any]:
        """(p,), as in ``Moments``."""

    def add(self, masks: NDArray[Any], y: Float64s, xy: Float64s | None) -> None:
        """Add these rows, and X'Y of them and of ``y`` into ``xy``."""

    def table(self) -> NDArray[Any] | None:
        """X'X (p, p) of all rows so far."""


def _counted_masks(n_features: int, table: bool, device: str | None) -> _Masks:
    if device is None:
        return _CountedMasks(n_features, table)
    from datamodels.regression.device_masks import DeviceMasks  # torch is slow to import

    return DeviceMasks(n_features, table, device)


def _as_floats(masks: _Masks, first: NDArray[Any] | None) -> "_FloatMasks":
    """Sums that go on from counts, or begin at the ``first`` row."""
    shift = masks.shift if first is None else first.astype(np.float64)
    return _FloatMasks(masks.table(), masks.sum_x, masks.squares_x, shift)


def _sums(y: Float64s) -> tuple[Float64s, Float64s]:
    """Sums (t,) of y and of y^2, of each target to the bit what they are among others."""
    if y.shape[1] > 1:
        return y.sum(axis=0), np.einsum("bt,bt->t", y, y)
    return np.cumsum(y, axis=0)[-1], np.cumsum(y * y, axis=0)[-1]  # sum adds a lone one pairwise


class _FloatMasks:
    """Sums of masks in float64, measured from ``shift``."""

    def __init__(
        self, xx: NDArray[Any] | None, sum_x: NDArray[Any], squares_x: NDArray[Any], shift: Float64s
    ) -> None:
        self.sum_x: NDArray[Any] = sum_x.astype(np.float64)
        self.squares_x: NDArray[Any] = squares_x.astype(np.float64)
        self._xx = None if xx is None else xx.astype(np.float64, copy=False)
        self.shift = shift

    def add(self, masks: NDArray[Any], y: Float64s, xy: Float64s | None) -> None:
        x = masks.astype(np.float64) - self.shift
        self.sum_x += x.sum(axis=0)
        self.squares_x += np.einsum("bp,bp->p", x, x)
        if self._xx is not None:
            self._xx += x.T @ x
        if xy is not None:
            xy += x.T @ y

    def table(self) -> NDArray[Any] | None:
        return self._xx


class _CountedMasks:
    """Sums of 0/1 masks, exact: rows are packed to bits and pairs counted in large groups."""

    def __init__(self, n_features: int, table: bool) -> None:
        self._xx: NDArray[Any] | None = None
        if table:
            self._xx = np.zeros((n_features, n_features), np.int32)
        self._sum_x = np.zeros((n_features, 1))  # where no table has it on its diagonal
        self.shift = np.zeros(n_features)  # counts are of the masks themselves
        self._packed = popcount.packed_zeros(0, n_features)
        self._n = 0
        self._n_packed = 0

    @classmethod
    def of(cls, moments: Moments) -> "_CountedMasks":
        started = cls(moments.n_features, table=False)
        started._xx, started._n = moments.xx, moments.n
        started._sum_x[:, 0] = moments.sum_x
        return started

    @property
    def sum_x(self) -> NDArray[Any]:
        if self._xx is None:
            return self._sum_x[:, 0].astype(np.int64)
        self._count()
        return self._xx.diagonal().astype(np.int64)

    @property
    def squares_x(self) -> NDArray[Any]:
        return self.sum_x

    def add(self, masks: NDArray[Any], y: Float64s, xy: Float64s | None) -> None:
        self._n += len(masks)
        if self._n_packed % WORD_BITS or self._n_packed + len(masks) > self._capacity:
            self._count()
            self._reserve(max(len(masks), _GROUP_ROWS))
        popcount.pack_columns(masks, self._packed, self._n_packed)
        if xy is not None:
            self._add_cross(y, xy)
        if self._xx is None:
            self._add_cross(np.ones((len(masks), 1)), self._sum_x)
        self._n_packed += len(masks)

    def _add_cross(self, columns: Float64s, out: Float64s) -> None:
        bit_products.add_cross(self._packed, len(columns), columns, out, first_row=self._n_packed)

    @property
    def _capacity(self) -> int:
        return int(self._packed.shape[1]) * WORD_BITS

    def _reserve(self, n_rows: int) -> None:
        if self._capacity < n_rows:
            self._packed = popcount.packed_zeros(n_rows, len(self.shift))

    def _count(self) -> None:
        if self._xx is not None and self._n_packed:
            if self._n > _MAX_COUNT:
                self._xx = self._xx.astype(np.int64)
            popcount.add_counts(self._packed, self._xx, self._n_packed)
        self._packed[:] = 0
        self._n_packed = 0

    def table(self) -> NDArray[Any] | None:
        self._count()
        if self._xx is not None:
            popcount.mirror(self._xx)
        return self._xx


class _GroupSums:
    """Sums of masks and outputs of each group of rows."""

    def __init__(self) -> None:
        self._sums: dict[int, tuple[int, Float64s, Float64s]] = {}  # n, x, y

    def add(self, labels: Int64s, masks: NDArray[Any], y: Float64s) -> None:
        for label in np.unique(labels):
            rows = labels == label
            n, x = int(rows.sum()), masks[rows].sum(axis=0, dtype=np.float64)
            before = self._sums.get(int(label), (0, np.zeros_like(x), np.zeros(y.shape[1])))
            self._sums[int(label)] = (
                before[0] + n,
                before[1] + x,
                before[2] + _sums(y[rows])[0],
            )

    def finish(self, shift_x: Float64s, dtype: "np.dtype[Any]") -> Groups | None:
        """All groups, masks measured from ``shift_x``; None where rows had no groups."""
        if not self._sums:
            return None
        labels = np.array(sorted(self._sums))
        n = np.array([self._sums[label][0] for label in labels])
        sum_x = np.stack([self._sums[label][1] for label in labels]) - np.outer(n, shift_x)
        return Groups(
            labels, n, sum_x.astype(dtype), np.stack([self._sums[label][2] for label in labels])
        )
