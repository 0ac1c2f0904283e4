"""Reading what is to be scored, and the models it is scored on."""

import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, MissingFileError, UsageError
from datamodels.evaluation.repeats import average_repeats, read_mask_id
from datamodels.evaluation.seen_rows import rows_of_fit, unknown_fit
from datamodels.npy_file import open_map
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.fitted_rows import FittedRows
from datamodels.regression.named_rows import (
    EVALUATION,
    evaluation_rows,
    names_evaluation,
    none_complete,
    parse_rows,
    warn_if_assumed,
)
from datamodels.regression.result import Datamodels
from datamodels.regression.row_source import Outputs
from datamodels.regression.run_config import RunConfig
from datamodels.training.indices import format_indices
from datamodels.training.layout import StoreLayout

_VALUES_PER_BLOCK = 2**24


class NothingHeldOutError(InputError):
    """All models took part in the fit: there is none to score it on."""


class NotANumberError(InputError):
    """A model to score on holds NaN, which has no rank."""


@dataclass(frozen=True, eq=False)
class Scored:
    """Weights to score, and what is known of the fit they come from."""

    weight: NDArray[Any]  # (n_train, n_targets)
    # which of the store's targets these are
    targets: slice = field(default_factory=lambda: slice(None))
    fitted: FittedRows | None = None  # which models took part; None: unknown
    x_name: str | None = None  # arrays that were fitted; None: unknown
    y_name: str | None = None
    bias: NDArray[Any] | None = None  # (n_targets,); None: scores have none

    def own_index(self, n_store_targets: int) -> NDArray[np.int64]:
        """Which training example each target is, where the store's targets are just these."""
        n_train = len(self.weight)
        if n_store_targets != n_train:
            raise UsageError(
                f"exclude_own: the store's {n_store_targets} targets are not the {n_train} "
                "training examples; leave it out"
            )
        return np.arange(n_train)[self.targets]


def read_datamodels(path: str | Path) -> Scored:
    """``datamodels.pt``; its folder says which targets and rows were fitted."""
    return describe_fit(Datamodels.load(path), Path(path).parent)


def describe_fit(datamodels: Datamodels, folder: Path) -> Scored:
    """``datamodels`` with what ``folder`` tells of their fit, if it is one of results."""
    weight, bias = datamodels.weight, datamodels.bias
    if not (folder / RunConfig.FILE_NAME).exists():
        return Scored(weight, bias=bias)
    config, fitted = RunConfig.read(folder), FittedRows.read(folder)
    if config.is_of_beton:  # which holds arrays without names
        return Scored(weight, config.targets, fitted, bias=bias)
    return Scored(weight, config.targets, fitted, config.x_name, config.y_name, bias)


def read_scores(path: str | Path) -> Scored:
    """An array (n_train, n_targets) of any method's attribution scores: an ``.npy`` file, or the
    ``weight`` of an ``.npz`` file such as ``analysis.influence`` writes."""
    array = _weight_of(Path(path)) if Path(path).suffix == ".npz" else open_map(Path(path))
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise InputError(
            f"{path} has shape {array.shape} and dtype {array.dtype}; scores are numbers of "
            "shape (n_train, n_targets)"
        )
    return Scored(array)


def _weight_of(path: Path) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            weight: NDArray[Any] = arrays["weight"]
    except FileNotFoundError:
        raise MissingFileError(f"{path} does not exist") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no .npz file with an array weight: {error}") from None
    return weight


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Models to score on; repeated trainings of a mask are averaged, and count as one."""

    masks: NDArray[Any]  # (n_models, n_train)
    outputs: Outputs  # (n_models, n_targets)
    n_store_targets: int  # targets of the store, of which these may be some
    n_trainings: int  # rows behind the models
    n_fitted: int | None  # models that took part in the fit after all; None: it is not known


def read_held_out(
    store: str | Path,
    scored: Scored,
    *,
    x_name: str | None = None,
    y_name: str | None = None,
    rows: str | None = None,
    mask_id: str | None = None,
    option: str = "--lds.rows",
) -> HeldOut:
    """Rows of a store to score ``scored`` on.

    Arrays are those of the fit unless named. ``rows`` such as "1600-1999" must be complete
    (InputError), and hold no NaN (NotANumberError); a warning says when some of them, or of their
    masks, took part in the fit. None takes all complete rows but these. Of a view of published
    files "evaluation" are the rows held out there, and None takes them where it is not known what
    datamodels or scores were fitted to; a warning says where it is but assumed that datamodels were
    not fitted to them.

    ``mask_id`` names an integer array of the store (by default ``mask_id``, where there is one):
    rows of one id are trainings of one mask, and their outputs are averaged. ``option`` is what
    messages call ``rows``.
    """
    if y_name is not None and scored.y_name is not None and y_name != scored.y_name:
        warnings.warn(
            f"these weights were fitted to {scored.y_name}, and are scored on {y_name}",
            stacklevel=2,
        )
    dataset = RegressionDataset(
        store, y_name or scored.y_name or "margins", x_name or scored.x_name or "masks"
    )
    ids = read_mask_id(store, dataset, mask_id)
    fitted = rows_of_fit(dataset, scored.fitted, ids)
    if rows is None and fitted is None:
        rows = _rows_of_unknown_fit(dataset, scored, store, option)
    if rows is None:
        wanted = _rows_beside(dataset, fitted, store, option)
    else:
        wanted = parse_rows(rows, dataset.idx, dataset.n_store_rows, store, option)
        _check_complete(wanted, dataset.idx, store)
        if names_evaluation(rows) and fitted is None and scored.bias is not None:
            warn_if_assumed(store)
    _warn_of_fitted(wanted, fitted)
    positions = np.searchsorted(dataset.idx, wanted)
    masks, outputs = dataset.read(positions)
    outputs = outputs[:, scored.targets]
    first, _, _ = scored.targets.indices(dataset.n_targets)
    _refuse_nan("outputs", "target", outputs, wanted, first)
    _refuse_nan("masks", "training example", masks, wanted)
    names = wanted if ids is None else ids[positions]
    n_fitted = None if fitted is None else len(np.unique(names[np.isin(wanted, fitted)]))
    if ids is not None:
        masks, outputs = average_repeats(masks, outputs, names, wanted)
    return HeldOut(masks, outputs, dataset.n_targets, len(wanted), n_fitted)


def _refuse_nan(
    name: str, axis: str, values: NDArray[Any], rows: NDArray[np.int64], first_column: int = 0
) -> None:
    """NotANumberError, which names the row of the store, where ``values`` (n, c) hold NaN."""
    if values.dtype.kind != "f":
        return
    step = max(1, _VALUES_PER_BLOCK // max(1, values.shape[1]))
    for start in range(0, len(values), step):
        bad = np.argwhere(np.isnan(values[start : start + step]))
        if len(bad):
            raise NotANumberError(
                f"{name} of row {rows[start + bad[0, 0]]} are NaN at {axis} "
                f"{first_column + bad[0, 1]}: name other rows, or train that model again"
            )


def _rows_of_unknown_fit(
    dataset: RegressionDataset, scored: Scored, store: str | Path, option: str
) -> str | None:
    """Which rows to take where nothing says what datamodels or scores were fitted to."""
    published = evaluation_rows(store)
    if published and not np.isin(dataset.idx, published).any():
        raise NothingHeldOutError(none_complete(store, option))
    if published:
        return EVALUATION
    if scored.bias is not None:  # not any scores
        warnings.warn(
            f"{unknown_fit(scored.fitted)}: if they are among those of {store}, the score is too "
            f"good; name others with {option}",
            stacklevel=3,
        )
    return None


def _rows_beside(
    dataset: RegressionDataset, fitted: NDArray[np.int64] | None, store: str | Path, option: str
) -> NDArray[np.int64]:
    """Complete rows but those ``fitted``, all where these are unknown; NothingHeldOutError for
    none."""
    wanted = dataset.idx if fitted is None else dataset.idx[~np.isin(dataset.idx, fitted)]
    if not len(wanted):
        raise NothingHeldOutError(
            f"all {dataset.n_rows} complete rows of {store} took part in the fit; train more "
            f"models to score it on, or name rows with {option}"
        )
    return wanted


def _warn_of_fitted(wanted: NDArray[np.int64], fitted: NDArray[np.int64] | None) -> None:
    seen = 0 if fitted is None else np.isin(wanted, fitted).sum()
    if seen:
        warnings.warn(
            f"{seen} of the {len(wanted)} rows took part in the fit: this is not the score on "
            "models that it has not seen",
            stacklevel=3,
        )


def _check_complete(
    wanted: NDArray[np.int64], complete: NDArray[np.int64], store: str | Path
) -> None:
    missing = wanted[~np.isin(wanted, complete)]
    layout = StoreLayout(Path(store))
    if len(missing):
        raise InputError(
            f"{len(missing)} of the {len(wanted)} rows asked for are not complete in {store}: "
            f"{format_indices(missing.tolist())}; {layout.how_to_complete()}, or name other rows"
        )
