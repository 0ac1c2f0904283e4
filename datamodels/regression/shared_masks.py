"""Repeated trainings of a mask, on which lambda would be chosen by a mask that was fitted."""

import warnings
from pathlib import Path

import numpy as np

from datamodels.errors import InputError
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.groups import read_row_integers
from datamodels.regression.row_source import RowSource
from datamodels.regression.row_split import RowSplit
from datamodels.training.layout import StoreLayout

MASK_ID = "mask_id"  # the array that tells the masks of rows, where a store has it


def warn_of_shared_masks(source: RowSource, data_path: str | Path, split: RowSplit) -> None:
    """Warn where rows that choose lambda share their masks with rows that are fitted meanwhile.

    Rows of one ``mask_id``, if the store has such an array, are trainings of one mask.
    """
    is_store = isinstance(source, RegressionDataset)
    if not (is_store and split.n_trials and StoreLayout(Path(data_path)).array(MASK_ID).exists()):
        return
    assert isinstance(source, RegressionDataset)
    try:
        ids = read_row_integers(source, data_path, MASK_ID, option=MASK_ID, noun="mask ids")
    except InputError:  # an array of the user's that means something else
        return
    n_held_out = sum(map(len, split.held_out))
    n_shared = sum(
        int(np.isin(ids[rows], ids[split.training(k)]).sum())
        for k, rows in enumerate(split.held_out)
    )
    if n_shared:
        remedy = (
            "a store of mean outputs, a row a mask, can be fitted in folds"
            if split.is_folds
            else "where the trainings of a mask stand together, data.seed=-1 and a data.num_val of "
            "whole masks hold the last ones out"
        )
        warnings.warn(
            f"{n_shared} of the {n_held_out} rows that choose lambda share their masks (mask_id) "
            f"with rows that are fitted: the lambda chosen is too small, and validation errors too "
            f"good; {remedy}",
            stacklevel=2,
        )
