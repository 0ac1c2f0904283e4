"""The columns of a mask table, feature by feature: what solvers work on that form no Gram matrix.

Values enter as x - shift (p,): zero for masks of zeros and ones, which are kept as bits.
"""

from typing import Any, Protocol

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from datamodels.regression import bit_products, popcount
from datamodels.regression.blocks import Float64s, Int64s, is_zero_one
from datamodels.regression.popcount import Words
from datamodels.regression.sparse_rows import SparseRows


class Design(Protocol):
    """Rows of masks held in memory, X (n, p), less ``shift``."""

    shift: Float64s  # (p,) in the units of x

    @property
    def n_rows(self) -> int:
        """n."""

    @property
    def n_features(self) -> int:
        """p."""

    def cross(self, columns: Float64s) -> Float64s:
        """X'R (p, t) of R = ``columns`` (n, t), summed in float64."""

    def predictions(self, weights: SparseRows) -> Float64s:
        """X w, one target a row: (r, n)."""

    def pair_products(self, features: Int64s) -> Float64s:
        """X_A'X_A (a, a) of some features, exact for zeros and ones."""

    def columns(self, features: Int64s) -> Float64s:
        """Columns of some features, one a row: (a, n)."""


class BitDesign:
    """Masks of zeros and ones, one bit each; bits behind row ``n_rows`` are zero."""

    def __init__(self, packed: Words, n_rows: int, n_features: int) -> None:
        """``packed`` (lines, words): see ``popcount``."""
        lines, words = popcount.packed_shape(n_rows, n_features)
        if packed.shape[0] != lines or packed.shape[1] < words:
            raise ValueError(
                f"packed is {packed.shape}; {n_rows} rows of {n_features} features are "
                f"{(lines, words)}"
            )
        self.packed = packed
        self.shift = np.zeros(n_features)
        self._n_rows = n_rows

    @property
    def n_rows(self) -> int:
        return self._n_rows

    @property
    def n_features(self) -> int:
        return len(self.shift)

    def cross(self, columns: Float64s, dtype: Any = np.float64) -> Float64s:
        """X'R (p, t) of R (n, t); ``dtype`` float32 is twice as fast (``bit_products.cross``)."""
        return bit_products.cross(self.packed, self.n_rows, columns, self.n_features, dtype)

    def predictions(self, weights: SparseRows, dtype: Any = np.float64) -> NDArray[Any]:
        """X w (r, n), summed in ``dtype``."""
        return bit_products.predictions(self.packed, self.n_rows, weights, dtype)

    def pair_products(self, features: Int64s) -> Float64s:
        """X_A'X_A (a, a), exact."""
        return popcount.pair_products(self.packed, features).astype(np.float64)

    def columns(self, features: Int64s) -> Float64s:
        """Zeros and ones of some features (a, n)."""
        return popcount.unpack_columns(self.packed, features, self.n_rows).astype(np.float64)


class FloatDesign:
    """Masks of any values, in float64 less ``shift``: sums keep the digits that matter."""

    def __init__(self, lines: Float64s, shift: Float64s) -> None:
        """``lines`` (p, n): x - shift, one feature a row."""
        self.lines = lines
        self.shift = shift

    @property
    def n_rows(self) -> int:
        return int(self.lines.shape[1])

    @property
    def n_features(self) -> int:
        return len(self.lines)

    def cross(self, columns: Float64s) -> Float64s:
        """X'R (p, t) of R (n, t)."""
        return self.lines @ columns

    def predictions(self, weights: SparseRows, dtype: Any = np.float64) -> NDArray[Any]:
        """X w (r, n), summed in float64 and given as ``dtype``."""
        out = np.zeros((weights.n_rows, self.n_rows))
        _add_lines(self.lines, weights.start, weights.feature, weights.value, out)
        return out.astype(dtype, copy=False)

    def pair_products(self, features: Int64s) -> Float64s:
        """X_A'X_A (a, a)."""
        lines = self.lines[features]
        return lines @ lines.T

    def columns(self, features: Int64s) -> Float64s:
        """Columns of some features (a, n)."""
        return self.lines[features]


class DesignBuilder:
    """A design from blocks of rows: bits until a value other than 0 and 1 comes, floats from there.

    Blocks are multiples of 64 rows, but for the last.
    """

    def __init__(self, n_rows: int, n_features: int, *, shifted: bool = True) -> None:
        """``shifted``: whether floats are measured from the first row rather than from zero."""
        self._capacity = n_rows
        self._n_features = n_features
        self._shifted = shifted
        self._n = 0
        self._packed: Words | None = popcount.packed_zeros(n_rows, n_features)
        self._lines = np.empty((0, 0))
        self._shift = np.zeros(n_features)

    def add(self, masks: NDArray[Any]) -> None:
        """Append ``masks`` (b, p)."""
        stop = self._n + len(masks)
        if stop > self._capacity:
            raise ValueError(f"{stop} rows were added; there is room for {self._capacity}")
        if self._packed is not None and not is_zero_one(masks):
            self._turn_to_floats(self._packed, masks)
            self._packed = None
        if self._packed is not None:
            popcount.pack_columns(masks, self._packed, self._n)
        else:
            np.subtract(masks.T, self._shift[:, None], out=self._lines[:, self._n : stop])
        self._n = stop

    def _turn_to_floats(self, packed: Words, masks: NDArray[Any]) -> None:
        every = np.arange(self._n_features)
        first_row = popcount.unpack_columns(packed, every, 1)[:, 0] if self._n else masks[0]
        if self._shifted:
            self._shift = first_row.astype(np.float64)
        self._lines = np.empty((self._n_features, self._capacity))
        for j, line in enumerate(self._lines):
            line[: self._n] = popcount.unpack_columns(packed, every[j : j + 1], self._n)[0]
        self._lines[:, : self._n] -= self._shift[:, None]

    def finish(self) -> BitDesign | FloatDesign:
        """The design of all rows added."""
        if self._packed is not None:
            return BitDesign(self._packed, self._n, self._n_features)
        return FloatDesign(np.ascontiguousarray(self._lines[:, : self._n]), self._shift)


@njit(parallel=True, cache=True)
def _add_lines(lines, start, feature, value, out):  # type: ignore[no-untyped-def]
    for r in prange(len(start) - 1):
        sums = out[r]
        for k in range(start[r], start[r + 1]):
            line, weight = lines[feature[k]], value[k]
            for i in range(len(sums)):
                sums[i] += weight * line[i]
