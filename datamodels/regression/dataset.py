"""Two arrays of a store as the rows of a regression: masks, targets, and which row of the store."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, MissingFileError, UsageError
from datamodels.npy_file import open_map, read_growth
from datamodels.regression.row_source import ArraySource, Outputs
from datamodels.training.layout import StoreLayout
from datamodels.training.spec import COMPLETED
from datamodels.training.store import read_flags


class RegressionDataset:
    """The complete rows of a store, in order. Needs just the arrays it names, and no spec.

    Item ``i`` is ``(mask (n_features,), targets (n_targets,) float32, idx)`` for the i-th complete
    row, row ``idx`` of the store: a map-style data set, as ``torch.utils.data`` and ffcv's writer
    take them. :meth:`read` gives many rows at once.

    Args:
        data_dir: the store's folder.
        y_name: array of outputs, (num_models,) or (num_models, n_targets).
        x_name: array of covariates, (num_models, n_features).
        y_slice: only this column of y.
        completed_name: array of flags that mark complete rows.
        ignore_completed: take every row.

    Raises:
        MissingFileError: a file is missing. InputError: an array is truncated, or its shape does
            not fit. UsageError: there is no such column.
    """

    def __init__(
        self,
        data_dir: str | Path,
        y_name: str,
        x_name: str = "masks",
        *,
        y_slice: int | None = None,
        completed_name: str = COMPLETED,
        ignore_completed: bool = False,
    ) -> None:
        layout = StoreLayout(Path(data_dir))
        flags_name = None if ignore_completed else completed_name
        flags, x, y = _arrays_of_one_size(layout, flags_name, x_name, y_name)
        if y.ndim == 1:
            y = y[:, None]
        if y_slice is not None and y.ndim == 2:
            y = y[:, _checked_column(y_slice, y.shape[1], y_name)]
        self._arrays = ArraySource(x, y, names=(x_name, y_name))
        self.idx: NDArray[np.int64] = _complete(flags, len(x), completed_name, Path(data_dir))

    @property
    def n_store_rows(self) -> int:
        """Rows of the store, complete or not."""
        return self._arrays.n_rows

    @property
    def n_rows(self) -> int:
        """Complete rows."""
        return len(self.idx)

    @property
    def n_features(self) -> int:
        """Length of a mask: the number of training examples."""
        return self._arrays.n_features

    @property
    def n_targets(self) -> int:
        """Outputs a row."""
        return self._arrays.n_targets

    @property
    def mask_dtype(self) -> "np.dtype[Any]":
        """dtype of the covariates."""
        return self._arrays.mask_dtype

    def read(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], Outputs]:
        """Masks (b, n_features) and targets (b, n_targets) of these of the complete rows.

        Targets are float64 where float32 would lose digits that the store holds.
        """
        return self._arrays.read(self.idx[rows])

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, i: int) -> tuple[NDArray[Any], NDArray[np.float32], int]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"row {i} of {len(self)} complete rows")
        masks, targets = self.read(np.array([i]))
        return masks[0], targets[0].astype(np.float32), int(self.idx[i])


def _arrays_of_one_size(
    layout: StoreLayout, flags_name: str | None, x_name: str, y_name: str
) -> tuple[NDArray[np.bool_] | None, NDArray[Any], NDArray[Any]]:
    """Flags (None where none are named) and both arrays; of the rows that all of them have, where
    the store is just being made longer."""
    for _ in range(2):  # twice: all may have grown after the first was opened
        flags = None  # read before the maps are opened: see Store
        if flags_name is not None:
            flags = read_flags(_existing(layout, flags_name))
        x, y = open_map(_existing(layout, x_name)), open_map(_existing(layout, y_name))
        arrays = [x, y] if flags is None else [x, y, flags]
        lengths = {array.shape[0] if array.ndim else -1 for array in arrays}
        if len(lengths) == 1:
            break
        growth = read_growth(layout.root)
        if growth is not None and growth.explains(*lengths):
            n = min(lengths)
            return None if flags is None else flags[:n], x[:n], y[:n]
    return flags, x, y


def _existing(layout: StoreLayout, key: str) -> Path:
    path = layout.array(key)
    if not layout.root.is_dir():
        raise MissingFileError(f"there is no folder {layout.root}; name a store's folder")
    if not path.exists():
        raise MissingFileError(layout.why_missing(key))
    return path


def _checked_column(column: int, n_columns: int, name: str) -> int:
    if not 0 <= column < n_columns:
        raise UsageError(
            f"y_slice={column}: {name} has {n_columns} columns, 0 to {n_columns - 1}; leave "
            "y_slice out to take all"
        )
    return column


def _complete(
    flags: NDArray[np.bool_] | None, n_rows: int, name: str, folder: Path
) -> NDArray[np.int64]:
    if flags is None:
        return np.arange(n_rows, dtype=np.int64)
    if len(flags) != n_rows:
        raise InputError(
            f"{name} of {folder} has {len(flags)} flags, and the arrays have {n_rows} rows; "
            "name the flags of these arrays"
        )
    rows = np.flatnonzero(flags)
    if not len(rows):
        raise InputError(
            f"{folder} has no complete row (of {n_rows}): {StoreLayout(folder).how_to_complete()}"
        )
    return rows
