"""Reading what is to be scored, and the models it is scored on."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.npy_file import open_map
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.result import Datamodels
from datamodels.regression.row_source import Outputs
from datamodels.training.indices import format_indices, parse_indices


def read_held_out(
    store: str | Path, *, x_name: str, y_name: str, rows: str | None
) -> tuple[NDArray[Any], Outputs]:
    """Masks (n_models, n_train) and outputs (n_models, n_targets) of rows of a store.

    ``rows`` such as "1600-1999" must be complete (InputError); None takes all complete rows.
    """
    dataset = RegressionDataset(store, y_name, x_name)
    if rows is None:
        return dataset.read(np.arange(dataset.n_rows))
    wanted = np.array(parse_indices(rows, dataset.n_store_rows, store), np.int64)
    missing = wanted[~np.isin(wanted, dataset.idx)]
    if len(missing):
        raise InputError(
            f"{len(missing)} of the {len(wanted)} rows asked for are not complete in {store}: "
            f"{format_indices(missing.tolist())}; train them, or name other rows"
        )
    return dataset.read(np.searchsorted(dataset.idx, wanted))


def read_weights(*, datamodels: str | None, scores: str | None) -> NDArray[Any]:
    """The weights (n_train, n_targets) of ``datamodels.pt``, or scores of any other method."""
    if datamodels is not None:
        return Datamodels.load(datamodels).weight
    assert scores is not None
    array = open_map(Path(scores))
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise InputError(
            f"{scores} has shape {array.shape} and dtype {array.dtype}; scores are numbers of "
            "shape (n_train, n_targets)"
        )
    return array
