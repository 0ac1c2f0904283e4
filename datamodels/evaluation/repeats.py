"""Repeated trainings of one mask: which rows share a mask, and the mean of their outputs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.errors import InputError
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.groups import read_row_integers
from datamodels.regression.shared_masks import MASK_ID
from datamodels.training.layout import StoreLayout

_VALUES_PER_BLOCK = 2**24


@dataclass(frozen=True, eq=False)
class Repeats:
    """Rows by their mask, masks in the order in which they first appear."""

    first: NDArray[np.int64]  # (n_masks,) the first row of each mask
    which: NDArray[np.int64]  # (n_rows,) which mask each row has
    counts: NDArray[np.int64]  # (n_masks,) rows of each mask

    @property
    def n_masks(self) -> int:
        return len(self.first)

    @property
    def are_all_alone(self) -> bool:
        """Whether no mask was trained twice."""
        return len(self.first) == len(self.which)

    def mean(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Means (n_masks, t) of the rows of ``values`` (n_rows, t) that share a mask."""
        order = np.argsort(self.which, kind="stable")
        starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        means = np.empty((self.n_masks, values.shape[1]))
        step = max(1, _VALUES_PER_BLOCK // max(1, len(values)))
        for start in range(0, values.shape[1], step):
            part = slice(start, start + step)
            ordered = values[:, part].astype(np.float64)[order]
            means[:, part] = np.add.reduceat(ordered, starts, axis=0) / self.counts[:, None]
        return means


def find_repeats(mask_id: ArrayLike, n_rows: int) -> Repeats:
    """Rows of equal ``mask_id`` (n_rows,), integers; InputError for anything else."""
    ids = np.asarray(mask_id)
    if ids.shape != (n_rows,) or ids.dtype.kind not in "iu":
        raise InputError(
            f"mask_id has shape {ids.shape} and dtype {ids.dtype}; give one integer for each of "
            f"the {n_rows} models"
        )
    _, first, which, counts = np.unique(
        ids, return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    place = np.empty(len(first), np.int64)
    place[order] = np.arange(len(first))
    return Repeats(first[order], place[which.reshape(-1)], counts[order])


def check_equal_masks(
    masks: NDArray[Any], repeats: Repeats, names: NDArray[np.int64] | None = None
) -> None:
    """InputError unless rows of one mask have equal ``masks`` (n_rows, n_train).

    ``names`` (n_rows,) are what errors call the rows.
    """
    step = max(1, _VALUES_PER_BLOCK // masks.shape[1])
    for start in range(0, len(masks), step):
        rows = slice(start, start + step)
        of_first = masks[repeats.first[repeats.which[rows]]]
        differ = np.flatnonzero((masks[rows] != of_first).any(axis=1))
        if len(differ):
            row = start + differ[0]
            one = repeats.first[repeats.which[row]]
            a, b = (int(i if names is None else names[i]) for i in (one, row))
            raise InputError(
                f"rows {a} and {b} have the same mask_id and other masks: rows of one mask_id are "
                "trainings of one mask; number the masks anew, or leave mask_id out"
            )


def average_repeats(
    masks: NDArray[Any],
    outputs: NDArray[Any],
    mask_id: ArrayLike,
    names: NDArray[np.int64] | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """One row a mask: the masks (n_masks, n_train), and their mean outputs (n_masks, n_targets).

    Masks come in the order in which they first appear. Where no mask appears twice, both arrays are
    returned as they are.

    Args:
        masks: (n_models, n_train).
        outputs: (n_models, n_targets).
        mask_id: (n_models,) integers; models with the same one were trained on the same mask.
        names: (n_models,) what errors call the models.

    Raises:
        InputError: ``mask_id`` is not one integer a model, or models of one have other masks.
    """
    repeats = find_repeats(mask_id, len(outputs))
    check_equal_masks(masks, repeats, names)
    if repeats.are_all_alone:
        return masks, outputs
    return masks[repeats.first], repeats.mean(outputs)


def read_mask_id(
    store: str | Path, dataset: RegressionDataset, name: str | None = None
) -> NDArray[np.int64] | None:
    """The ``mask_id`` (n_rows,) of the complete rows of a store.

    ``name`` is the array to read; None: ``mask_id`` where the store has such an array, else None is
    returned.
    """
    if name is None:
        if not StoreLayout(Path(store)).array(MASK_ID).exists():
            return None
        name = MASK_ID
    return read_row_integers(dataset, store, name, option="mask_id", noun="mask ids")
