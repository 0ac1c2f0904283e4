"""Which complete rows of a store took part in a fit, and which it has not seen."""

import warnings

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.fitted_rows import FittedRows


def rows_of_fit(
    dataset: RegressionDataset, fitted: FittedRows | None, ids: NDArray[np.int64] | None
) -> NDArray[np.int64] | None:
    """Complete rows of the store that took part in the fit, and other trainings of their masks.

    None where that is not known, see :func:`unknown_fit`; empty where the fit was of another store.
    ``ids`` (dataset.n_rows,): rows of one id are trainings of one mask.
    """
    is_of_store = None if fitted is None else fitted.are_rows_of(dataset)
    if fitted is None or is_of_store is None:
        return None
    if not is_of_store:
        return np.array([], np.int64)
    seen = np.isin(dataset.idx, fitted.rows)
    if ids is not None:
        seen = np.isin(ids, ids[seen])
    return dataset.idx[seen]


def unknown_fit(fitted: FittedRows | None) -> str:
    """That :func:`rows_of_fit` does not know them, and why."""
    why = "their folder of results is not around them"
    if fitted is not None:
        first = fitted.rows[: len(fitted.first_masks)]
        why = (
            f"of the first {len(first)} of them, rows {first[0]} to {first[-1]}, none is complete "
            "now, or some hold other masks than then"
        )
    return f"it is not known which rows these datamodels were fitted on ({why})"


def unseen_rows(
    dataset: RegressionDataset,
    fitted: FittedRows | None,
    ids: NDArray[np.int64] | None,
    positions: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Those of ``positions`` among the complete rows whose masks took no part in the fit;
    InputError for none.

    Where it is not known what did, a warning says so, and all are returned.
    """
    seen_rows = rows_of_fit(dataset, fitted, ids)
    if seen_rows is None:
        warnings.warn(
            f"{unknown_fit(fitted)}: what they explain of these rows may be too good",
            stacklevel=2,
        )
        return positions
    seen = np.isin(dataset.idx[positions], seen_rows)
    if seen.all():
        raise InputError(
            f"all {len(positions)} rows took part in the fit; name others, or train more models to "
            "see what the datamodels explain of those"
        )
    return positions[~seen]
