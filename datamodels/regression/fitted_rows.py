"""Which models took part in a fit: kept with its results, so that a score can leave them out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.npy_file import open_map
from datamodels.regression.row_source import RowSource

_ROWS = "rows.npy"
_FIRST_MASKS = "first_masks.npy"
_N_FIRST = 16  # masks that tell one store from another


@dataclass(frozen=True, eq=False)
class FittedRows:
    """Rows of a store that were used, for training or for choosing lambda."""

    rows: NDArray[np.int64]  # (n,) ascending
    first_masks: NDArray[np.uint8]  # the masks of the first of them, a bit a training example

    @classmethod
    def of(cls, source: RowSource, used: NDArray[np.int64]) -> "FittedRows":
        """Those rows ``used`` (n,) of a source."""
        used = used[np.argsort(source.idx[used])]
        return cls(source.idx[used], _bits(source.read(used[:_N_FIRST])[0]))

    def save(self, folder: Path) -> None:
        """Write them into a folder of results."""
        np.save(folder / _ROWS, self.rows)
        np.save(folder / _FIRST_MASKS, self.first_masks)

    @classmethod
    def read(cls, folder: str | Path) -> "FittedRows":
        """Those behind a folder of results."""
        rows, masks = (np.array(open_map(Path(folder) / name)) for name in (_ROWS, _FIRST_MASKS))
        return cls(rows, masks)

    def are_rows_of(self, source: RowSource) -> bool | None:
        """Whether ``source`` is where they come from, wherever it lies now: whether it holds the
        same masks in the same rows.

        Rows that ``source`` lacks, which are incomplete for now, say nothing. None: it cannot be
        told, as all of the rows whose masks are kept are lacking, or only some masks are the same.
        """
        kept = self.rows[: len(self.first_masks)]
        there = np.isin(kept, source.idx)
        if not there.any():
            return None
        masks = _bits(source.read(np.searchsorted(source.idx, kept[there]))[0])
        known = self.first_masks[there]
        if masks.shape != known.shape:
            return False
        same = (masks == known).all(axis=1)
        return None if same.any() and not same.all() else bool(same.all())


def _bits(masks: NDArray[Any]) -> NDArray[np.uint8]:
    return np.packbits(masks != 0, axis=1)
