"""Groups of rows that differ by an effect: one integer a row of the store, in an array of it."""

from pathlib import Path

import numpy as np

from datamodels.errors import InputError, MissingFileError, UsageError
from datamodels.npy_file import open_map
from datamodels.regression.blocks import Int64s
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.row_source import RowSource
from datamodels.training.layout import StoreLayout


def read_groups(source: RowSource, data_path: str | Path, key: str) -> Int64s:
    """The label (source.n_rows,) of each row of ``source``, which was opened from ``data_path``.

    ``key`` names an array of the store, of one integer for each of its rows, complete or not.

    Raises:
        UsageError: the source is a ``.beton``, which holds no groups. MissingFileError: there is no
            such array. InputError: it is not one integer a row.
    """
    if not isinstance(source, RegressionDataset):
        raise UsageError(
            f"groups={key}: {data_path} is a .beton file, which holds no groups; give the store's "
            "folder as data_path"
        )
    return read_row_integers(source, data_path, key, option="groups", noun="groups")


def read_row_integers(
    dataset: RegressionDataset, store: str | Path, key: str, *, option: str, noun: str
) -> Int64s:
    """Array ``key`` (n_rows,) of one integer for each row of ``store``, of the rows of ``dataset``.

    Raises:
        MissingFileError: there is no such array. InputError: it is not one integer a row.
    """
    layout = StoreLayout(Path(store))
    path = layout.array(key)
    if not path.exists():
        raise MissingFileError(
            f"{store} holds no array {key!r} of {noun}: {layout.arrays_like(key)}"
        )
    n = dataset.n_store_rows
    values = open_map(path, rows=n)
    if values.dtype.kind not in "iu" or values.shape not in ((n,), (n, 1)):
        raise InputError(
            f"{option}={key}: the array has dtype {values.dtype} and shape {values.shape}; {noun} "
            f"are one integer for each of the {n} rows of {store}"
        )
    return np.asarray(values).reshape(n)[dataset.idx].astype(np.int64)
