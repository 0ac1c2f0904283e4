"""Datamodels with what is known of their fit: the store, its arrays, the size of its subsets."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, UsageError
from datamodels.evaluation.repeats import read_mask_id
from datamodels.evaluation.seen_rows import rows_of_fit, unknown_fit
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.fitted_rows import FittedRows
from datamodels.regression.named_rows import evaluation_rows, warn_if_assumed
from datamodels.regression.result import Datamodels
from datamodels.regression.run_config import RunConfig
from datamodels.training.store import Store

_N_MASKS = 64  # masks read to learn which share of the training set a subset holds
_ENOUGH_ROWS = 10  # unseen models that a residual is taken over, at least
_VALUES_PER_BLOCK = 2**24  # of weights that are copied at a time


@dataclass(frozen=True, eq=False)
class FittedSource:
    """Datamodels and the store they were fitted on.

    ``columns`` (n_targets,) are their targets' places among the store's outputs, which are
    ``n_outputs``.
    """

    datamodels: Datamodels
    store: Store
    x_name: str
    y_name: str
    columns: NDArray[np.int64]
    n_outputs: int
    fitted: FittedRows | None  # which rows took part; None: unknown
    mask_id: str | None = None  # array that tells masks; None: mask_id, if the store has one

    @property
    def n_train(self) -> int:
        return self.datamodels.n_train_examples

    def alpha(self) -> float:
        """Share of the training examples in the subsets that the datamodels were fitted on."""
        dataset = self._dataset()
        masks = dataset.read(np.arange(min(_N_MASKS, dataset.n_rows)))[0]
        return float(np.count_nonzero(masks) / masks.size)

    def residual_deviation(self, targets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Root mean squared residual of each of ``targets`` (b,): how far one model's output lies
        from its prediction. Over models whose masks took no part in the fit, of published
        datamodels those that a view holds out; a warning says where these are unknown, or so few
        that all models are taken."""
        dataset = self._dataset()
        rows = self._residual_rows(dataset)
        total = np.zeros(len(targets))
        step = max(1, _VALUES_PER_BLOCK // self.n_train)
        for start in range(0, len(targets), step):
            some = targets[start : start + step]
            whole, columns = self.datamodels, self.columns[some]
            these = Datamodels(whole.weight[:, some], whole.bias[some], whole.lam[some])
            for block in np.array_split(rows, max(1, len(rows) // 256)):
                masks, outputs = dataset.read(block)
                squares = these.residuals(masks, outputs[:, columns]) ** 2
                total[start : start + step] += squares.sum(axis=0)
        deviation: NDArray[np.float64] = np.sqrt(total / len(rows))
        return deviation

    def _residual_rows(self, dataset: RegressionDataset) -> NDArray[np.int64]:
        rows = np.arange(dataset.n_rows)
        ids = read_mask_id(self.store.path, dataset, self.mask_id)
        seen = rows_of_fit(dataset, self.fitted, ids)
        if self.fitted is None:
            held_out = rows[np.isin(dataset.idx, evaluation_rows(self.store.path))]
            if len(held_out) >= _ENOUGH_ROWS:  # published, and so is the store
                warn_if_assumed(self.store.path)
                return held_out
        if seen is None:
            warnings.warn(
                f"{unknown_fit(self.fitted)}: residuals are taken over all {len(rows)} complete "
                f"rows of {self.store.path}, and are too small if these were fitted; name a "
                "store of other models, or keep datamodels.pt in its folder of results",
                stacklevel=4,
            )
            return rows
        unseen = rows[~np.isin(dataset.idx, seen)]
        if len(unseen) >= _ENOUGH_ROWS:
            return unseen
        warnings.warn(
            f"{len(unseen)} of the {len(rows)} complete rows of {self.store.path} took no part in "
            f"the fit, nor their masks, and residuals need {_ENOUGH_ROWS} or more: they are taken "
            "over all rows, and are too small; train more models, or ask for a larger margin of "
            "safety",
            stacklevel=4,
        )
        return rows

    def _dataset(self) -> RegressionDataset:
        dataset = RegressionDataset(self.store.path, self.y_name, self.x_name)
        if not dataset.n_rows:
            raise InputError(f"{self.store.path} has no complete row")
        return dataset


def read_fitted(
    path: str | Path,
    store: str | Path | None = None,
    *,
    x_name: str | None = None,
    y_name: str | None = None,
    mask_id: str | None = None,
) -> FittedSource:
    """``datamodels.pt`` at ``path``; the store and its arrays are those of the fit unless named.

    ``mask_id`` names an integer array of the store (by default ``mask_id``, where there is one):
    rows of one id are trainings of one mask.

    Raises UsageError where it is not known which store that is, MissingFileError and InputError
    where something is not there or does not fit.
    """
    datamodels = Datamodels.load(path)
    folder = Path(path).parent
    targets, fitted = slice(None), None
    if (folder / RunConfig.FILE_NAME).exists():
        config, fitted = RunConfig.read(folder), FittedRows.read(folder)
        targets = config.targets
        if not config.is_of_beton:  # which holds arrays without names
            store = store or config.data_path
            x_name, y_name = x_name or config.x_name, y_name or config.y_name
    if store is None:
        raise UsageError(
            f"it is not known which store {path} was fitted on; name it by the option store"
        )
    x_name, y_name = x_name or "masks", y_name or "margins"
    opened = Store.open(store)
    _check_arrays(opened, x_name, y_name, datamodels.n_train_examples)
    n_outputs = int(np.prod(opened.spec.schema[y_name].shape, dtype=np.int64))
    columns = np.arange(n_outputs)[targets]
    if len(columns) != datamodels.n_targets:
        raise InputError(
            f"{path} has {datamodels.n_targets} targets, and {y_name} of {store} has {n_outputs} "
            "outputs: they do not belong together"
        )
    return FittedSource(datamodels, opened, x_name, y_name, columns, n_outputs, fitted, mask_id)


def _check_arrays(store: Store, x_name: str, y_name: str, n_train: int) -> None:
    for name in (x_name, y_name):
        if name not in store.spec.schema:
            raise InputError(
                f"{store.path} has no array {name}: {store.layout.arrays_like(name)}; "
                "name it by x_name and y_name"
            )
    shape = store.spec.schema[x_name].shape
    if shape != (n_train,):
        raise InputError(
            f"{x_name} of {store.path} holds rows of shape {shape}; these datamodels are of "
            f"{n_train} training examples"
        )
