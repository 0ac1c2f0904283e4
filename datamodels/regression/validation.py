"""Held-out rows, kept in memory to score the solutions of a path in the outputs' own units."""

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from datamodels.regression.blocks import Block, Float64s, Int64s
from datamodels.regression.row_source import Outputs
from datamodels.regression.standardized import Standardized


class ValidationRows:
    """Masks (p, n) and outputs (n, t) of the rows that choose lambda.

    Masks are stored a feature a line: a sparse solution reads only the lines of its features.
    """

    def __init__(self, n_rows: int, n_features: int, mask_dtype: "np.dtype[Any]") -> None:
        bytewise = mask_dtype in (np.dtype(np.bool_), np.dtype(np.uint8))
        self.masks: NDArray[Any] = np.empty(
            (n_features, n_rows), np.uint8 if bytewise else np.float32
        )
        # Other masks are held less their first row: float32 then keeps the digits that matter.
        self._shift: Float64s | None = np.zeros(n_features) if bytewise else None
        self._outputs: list[Outputs] = []
        self._filled = 0

    def add(self, block: Block) -> None:
        """Append the rows of a block."""
        stop = self._filled + len(block.masks)
        if self._shift is None:
            self._shift = block.masks[0].astype(np.float64)
        shifted = block.masks - self._shift if self._shift.any() else block.masks
        self.masks[:, self._filled : stop] = shifted.T
        self._outputs.append(block.outputs)
        self._filled = stop

    def outputs(self, targets: slice, center: Float64s) -> Float64s:
        """Outputs minus ``center`` (t,) for some targets, one target a row: (t, n)."""
        y = np.concatenate([part[:, targets] for part in self._outputs])
        return np.ascontiguousarray((y - center).T)

    def mean_square_errors(
        self,
        outputs: Float64s,
        weights: Float64s,
        units: Float64s,
        problem: Standardized,
        which: Int64s,
        errors: Float64s,
    ) -> None:
        """Write errors (t,) for targets ``which`` of a block: the mean over rows of
        (outputs - (x - mean_x) . weight)^2, raw weight_j = weights_j / s_j times the target's unit.

        outputs (t, n), centred; standardized weights (t, p); units (t,) in those of y.
        """
        assert self._shift is not None
        mean_x = problem.mean_x - self._shift  # zeros - shift without an intercept
        _mean_square_errors(
            self.masks, outputs, weights, units, problem.inv_scale, mean_x, which, errors
        )


@njit(parallel=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _mean_square_errors(masks, outputs, weights, units, inv_scale, mean_x, which, errors):  # type: ignore[no-untyped-def]
    n = masks.shape[1]
    for a in prange(len(which)):
        t = which[a]
        sums = np.zeros(n, np.float32)  # x . weight
        offset = 0.0  # mean_x . weight
        for j in range(masks.shape[0]):
            if weights[t, j] != 0:
                raw = weights[t, j] * inv_scale[j]
                offset += mean_x[j] * raw
                _add_line(sums, np.float32(raw), masks[j])
        total = 0.0
        for i in range(n):
            total += (outputs[t, i] - units[t] * (sums[i] - offset)) ** 2
        errors[t] = total / n


@njit(cache=True, fastmath={"contract"})
def _add_line(sums, raw, line):  # type: ignore[no-untyped-def]
    for i in range(len(sums)):
        sums[i] += raw * np.float32(line[i])
