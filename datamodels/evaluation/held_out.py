"""Reading what is to be scored, and the models it is scored on."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.npy_file import open_map
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.result import Datamodels
from datamodels.regression.row_source import Outputs
from datamodels.regression.run_config import RunConfig, read_fitted_rows
from datamodels.training.indices import format_indices, parse_indices


@dataclass(frozen=True, eq=False)
class Scored:
    """Weights to score, and what is known of the fit they come from."""

    weight: NDArray[Any]  # (n_train, n_targets)
    targets: slice = field(
        default_factory=lambda: slice(None)
    )  # which of the store's targets these are
    fitted_rows: NDArray[np.int64] | None = None  # rows of the store that took part; None: unknown


def read_datamodels(path: str | Path, store: str | Path) -> Scored:
    """``datamodels.pt``; its folder says which targets and rows of ``store`` were fitted."""
    weight = Datamodels.load(path).weight
    folder = Path(path).parent
    if not (folder / RunConfig.FILE_NAME).exists():
        return Scored(weight)
    config = RunConfig.read(folder)
    fitted_on = Path(config.data_path)
    same = not fitted_on.is_dir() or fitted_on.resolve() == Path(store).resolve()
    return Scored(weight, config.targets, read_fitted_rows(folder) if same else None)


def read_scores(path: str | Path) -> Scored:
    """An ``.npy`` array (n_train, n_targets) of any method's attribution scores."""
    array = open_map(Path(path))
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise InputError(
            f"{path} has shape {array.shape} and dtype {array.dtype}; scores are numbers of "
            "shape (n_train, n_targets)"
        )
    return Scored(array)


def read_held_out(
    store: str | Path, scored: Scored, *, x_name: str, y_name: str, rows: str | None
) -> tuple[NDArray[Any], Outputs]:
    """Masks (n_models, n_train) and outputs (n_models, n_targets) to score ``scored`` on.

    ``rows`` such as "1600-1999" must be complete (InputError); a warning says when some of them
    took part in the fit. None takes all complete rows but these.
    """
    dataset = RegressionDataset(store, y_name, x_name)
    fitted = np.array([], np.int64) if scored.fitted_rows is None else scored.fitted_rows
    if rows is None:
        wanted = dataset.idx[~np.isin(dataset.idx, fitted)]
        if not len(wanted):
            raise InputError(
                f"all {dataset.n_rows} complete rows of {store} took part in the fit; train more "
                "models to score it on, or name rows with --lds.rows"
            )
    else:
        wanted = np.array(parse_indices(rows, dataset.n_store_rows, store), np.int64)
        _check_complete(wanted, dataset.idx, store)
        seen = np.isin(wanted, fitted).sum()
        if seen:
            warnings.warn(
                f"{seen} of the {len(wanted)} rows took part in the fit: this is not the score on "
                "models that it has not seen",
                stacklevel=2,
            )
    masks, outputs = dataset.read(np.searchsorted(dataset.idx, wanted))
    return masks, outputs[:, scored.targets]


def _check_complete(wanted: NDArray[np.int64], complete: NDArray[np.int64], store: object) -> None:
    missing = wanted[~np.isin(wanted, complete)]
    if len(missing):
        raise InputError(
            f"{len(missing)} of the {len(wanted)} rows asked for are not complete in {store}: "
            f"{format_indices(missing.tolist())}; train them, or name other rows"
        )
