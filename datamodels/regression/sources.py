"""Where the rows of a regression come from: a store's folder, or a ``.beton`` file."""

from pathlib import Path

from datamodels.errors import MissingFileError, UsageError
from datamodels.regression.beton_reader import BetonFile
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.row_source import RowSource


def open_source(path: str | Path, x_name: str, y_name: str) -> RowSource:
    """The rows of a store (its arrays ``x_name`` and ``y_name``) or of a ``.beton`` file.

    Raises:
        MissingFileError: there is no such path, or no such array in the store.
        InputError: a file is damaged.
    """
    path = Path(path)
    if path.is_dir():
        return RegressionDataset(path, y_name, x_name)
    if not path.exists():
        raise MissingFileError(
            f"there is no {path}: name a store's folder, or a .beton file made by "
            "python -m datamodels.regression.write_dataset"
        )
    return BetonFile.open(path)


def target_range(start: int, end: int, source: RowSource, path: str | Path) -> slice:
    """Targets ``start`` to ``end`` (-1: to the last) of a source; UsageError unless it has them."""
    stop = source.n_targets if end == -1 else end
    if not 0 <= start < stop <= source.n_targets:
        raise UsageError(
            f"target_start_ind={start} and target_end_ind={end}: {path} has {source.n_targets} "
            f"targets, 0 to {source.n_targets - 1}; give 0 <= start < end, or end=-1 for all from "
            "the start on"
        )
    return slice(start, stop)
