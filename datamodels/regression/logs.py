"""The log of a fit: one ``.npy`` file a field, readable with ``np.load`` alone.

``<out_dir>/regularization_path/<field>.npy`` (k, n_targets), one row a lambda:
    lambda       in the units of y
    train_mse    mean squared error on the rows that are fitted, in the units of y^2
    val_mse      the same on those held out; NaN where lambda was given
    weight_nz    non-zero weights
    gap          duality gap / mean of y^2 (y centred)
    iterations   sweeps over the features; of saga: passes over the rows
    status       see ``Status``
    val_se       standard error of val_mse over the folds; with folds only
NaN, and -1 in integer fields, where the target's path had ended before. With folds: the mean over
them of errors and weight_nz, the largest gap and status, the sum of iterations.

``<out_dir>/final_lambda/<field>.npy`` (n_targets,): the same fields but val_se, of the saved fit
on training and validation rows together, its gap evaluated in float64. Its val_mse is that of the
path at the chosen lambda; it is missing where lambda was given.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import ExistsError, InputError, MissingFileError

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
    return {file.stem: _read_field(file) for file in sorted(folder.glob("*.npy"))}


def _read_field(file: Path) -> NDArray[Any]:
    try:
        values: NDArray[Any] = np.load(file)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise InputError(
            f"{file} is damaged: {error}. Copy the folder again from where it is whole, or fit anew"
        ) from None
    return values
