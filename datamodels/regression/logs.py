"""The log of a fit: one ``.npy`` file a field, readable with ``np.load`` alone.

``<out_dir>/regularization_path/<field>.npy`` (k, n_targets), one row a lambda:
    lambda       in the units of y
    train_mse    mean squared error on the training rows, in the units of y^2
    val_mse      the same on the validation rows
    weight_nz    non-zero weights
    gap          duality gap / mean of y^2 (y centred)
    iterations   sweeps over the features
    status       see ``Status``; -1 where the target's path had ended before
NaN, and -1 in integer fields, where the target's path had ended before.

``<out_dir>/final_lambda/<field>.npy`` (n_targets,): the same fields but val_mse, of the saved fit
on training and validation rows together, its gap evaluated in float64.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import ExistsError, MissingFileError

PATH_FOLDER = "regularization_path"
FINAL_FOLDER = "final_lambda"

Fields = dict[str, NDArray[Any]]


def write_logs(out_dir: str | os.PathLike[str], path: Fields, final: Fields) -> None:
    """Write both folders into the existing folder ``out_dir``; neither may exist."""
    for name, fields in ((PATH_FOLDER, path), (FINAL_FOLDER, final)):
        folder = Path(out_dir) / name
        try:
            folder.mkdir()
        except FileExistsError:
            raise ExistsError(f"{folder} exists already; write to another folder") from None
        for field, values in fields.items():
            np.save(folder / f"{field}.npy", values)


def read_logs(out_dir: str | os.PathLike[str]) -> dict[str, Fields]:
    """Both folders' fields: ``read_logs(out)["regularization_path"]["val_mse"]`` (k, n_targets)."""
    return {name: _read_folder(Path(out_dir) / name) for name in (PATH_FOLDER, FINAL_FOLDER)}


def _read_folder(folder: Path) -> Fields:
    if not folder.is_dir():
        raise MissingFileError(f"{folder} does not exist; {folder.parent} holds no log of a fit")
    return {file.stem: np.load(file) for file in sorted(folder.glob("*.npy"))}
