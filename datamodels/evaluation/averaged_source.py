"""A source whose rows are masks: outputs of a mask's trainings are averaged when they are read."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.evaluation.repeats import Repeats
from datamodels.regression.blocks import Int64s, read_blocks
from datamodels.regression.row_source import Outputs, RowSource, WrappedSource


class AveragedSource(WrappedSource):
    """One row a mask of ``source``: the mask, and the mean outputs (float64) of its trainings.

    ``repeats`` say which of ``positions`` (n,) in ``source`` share a mask. A block of masks takes
    no more memory at a time than as many rows of ``source``.
    """

    def __init__(self, source: RowSource, positions: Int64s, repeats: Repeats) -> None:
        super().__init__(source)
        self._repeats = repeats
        self._by_mask = positions[np.argsort(repeats.which, kind="stable")]
        self._start = np.cumsum(repeats.counts) - repeats.counts  # (n_masks,) in self._by_mask

    @property
    def n_rows(self) -> int:
        return self._repeats.n_masks

    @property
    def idx(self) -> Int64s:
        """The store's row of each mask's first training."""
        rows: Int64s = self._source.idx[self._by_mask[self._start]]
        return rows

    def read(self, rows: Int64s) -> tuple[NDArray[Any], Outputs]:
        """InputError for trainings of one mask whose masks differ, or hold what is not finite."""
        counts = self._repeats.counts[rows]
        masks, outputs = self._source.read(self._by_mask[self._start[rows]])
        sums = outputs.astype(np.float64)
        for k in range(1, int(counts.max(initial=1))):
            which = np.flatnonzero(counts > k)
            first = 0
            for block in read_blocks(self._source, self._by_mask[self._start[rows[which]] + k]):
                part = which[first : first + len(block.rows)]
                self._check_equal(masks[part], block.masks, rows[part], block.rows)
                sums[part] += block.outputs
                first += len(part)
        return masks, sums / counts[:, None]

    def _check_equal(
        self, masks: NDArray[Any], others: NDArray[Any], rows: Int64s, positions: Int64s
    ) -> None:
        differ = np.flatnonzero((masks != others).any(axis=1))
        if len(differ):
            one, other = self.idx[rows[differ[0]]], self._source.idx[positions[differ[0]]]
            raise InputError(
                f"rows {one} and {other} have the same mask_id and other masks: rows of one "
                "mask_id are trainings of one mask; number the masks anew, or name another array "
                "by mask_id"
            )
