"""Stores with a plan: which training examples each row is to be trained on, decided beforehand.

A plan lies in the store itself, so that no option has to name it and none can be forgotten. One
line makes a user's ``main`` able to retrain any plan; in a store without one it draws as ever::

    mask = subset_for(index, n_train, logdir=logdir, alpha=0.5, seed=0)
"""

import filecmp
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, UsageError
from datamodels.files import new_folder
from datamodels.npy_file import open_map
from datamodels.training.layout import StoreLayout
from datamodels.training.masks import Kind, subset_masks
from datamodels.training.row_values import RowError
from datamodels.training.spec import Field, Spec
from datamodels.training.store import Store


@dataclass(frozen=True, eq=False)
class PlannedMasks:
    """The planned mask of every row of a store."""

    masks: NDArray[np.bool_]  # (num_models, n_train), a map of the file
    x_name: str  # array of the store that the masks are written to

    @classmethod
    def read(cls, layout: StoreLayout) -> "PlannedMasks | None":
        """The plan of a store; None where it has none."""
        if not layout.plan.is_dir():
            return None
        masks = open_map(layout.planned_masks)
        if masks.ndim != 2 or masks.dtype != bool:
            raise InputError(
                f"{layout.planned_masks} has shape {masks.shape} and dtype {masks.dtype}; planned "
                "masks are bool of shape (rows, n_train)"
            )
        return cls(masks, str(read_description(layout)["x_name"]))

    def rows(self, indices: Sequence[int], n_train: int) -> NDArray[np.bool_]:
        """The masks of these rows, (b, n_train); UsageError where the plan has no such row."""
        n_rows, planned = self.masks.shape
        if planned != n_train:
            raise UsageError(f"this plan is of {planned} training examples, not of {n_train}")
        outside = [index for index in indices if not 0 <= index < n_rows]
        if outside:
            raise UsageError(
                f"row {outside[0]} is not planned: the plan has rows 0 to {n_rows - 1}"
            )
        return np.array(self.masks[list(indices)])

    def check(self, rows: Sequence[int], values: Any) -> None:
        """RowError unless what a ``main`` returned of ``rows`` holds their planned masks."""
        if not isinstance(values, Mapping):
            return  # refused for that when it is written
        value: Any = values.get(self.x_name)
        given = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        planned = self.masks[list(rows)]
        if given.size != planned.size or not np.array_equal(given.reshape(planned.shape), planned):
            raise RowError(
                f"{self.x_name}: not the planned mask. This store has a plan: let main take its "
                "mask from datamodels.training.subset_for(index, n_train, logdir=logdir, ...)"
            )


def subset_for(
    index: int,
    n_train: int,
    *,
    logdir: str | Path,
    alpha: float,
    seed: int,
    kind: Kind = "fixed",
    repeats: int = 1,
) -> NDArray[np.bool_]:
    """The mask that row ``index`` is to be trained on: the planned one, or else one drawn.

    Args:
        logdir: what ``main`` was given.
        index, n_train, alpha, seed, kind: as in ``subset_mask``, which draws the mask where the
            store has no plan.
        repeats: rows of the same ``index // repeats`` draw the same mask.

    Returns:
        bool (n_train,), True where the example is trained on.

    Raises:
        UsageError: the plan has no such row, or is of another number of training examples; others
            as in ``subset_mask``.
    """
    masks = subsets_for(
        [index], n_train, logdir=logdir, alpha=alpha, seed=seed, kind=kind, repeats=repeats
    )
    mask: NDArray[np.bool_] = masks[0]
    return mask


def subsets_for(
    indices: Sequence[int],
    n_train: int,
    *,
    logdir: str | Path,
    alpha: float,
    seed: int,
    kind: Kind = "fixed",
    repeats: int = 1,
) -> NDArray[np.bool_]:
    """As :func:`subset_for` for many rows, (b, n_train), with the ``logdir`` of ``main_batch``."""
    plan = PlannedMasks.read(StoreLayout(Path(logdir).parent.parent))  # <store>/workers/<index>
    if repeats < 1:
        raise UsageError(f"repeats={repeats} must be at least 1")
    if plan is None:
        drawn = [index // repeats for index in indices]
        return subset_masks(drawn, n_train, alpha=alpha, seed=seed, kind=kind)
    return plan.rows(indices, n_train)


def create_planned_store(
    folder: str | Path,
    schema: Mapping[str, Field],
    masks: NDArray[np.bool_],
    *,
    x_name: str,
    description: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
) -> Store:
    """Make an empty store with a plan, whole or not at all.

    Args:
        schema: the arrays of a row.
        masks: (rows, n_train), the planned ones.
        x_name: the array of ``schema`` that masks are written to.
        description: kept as JSON with the plan, and ``arrays`` as ``rows.npz``.

    Raises:
        ExistsError: ``folder`` exists. CreateError: the disk is full.
    """
    with new_folder(folder) as temporary:
        layout = Store.create(temporary, Spec(len(masks), dict(schema))).layout
        layout.plan.mkdir()
        np.save(layout.planned_masks, masks)
        text = json.dumps({"x_name": x_name, **description}, indent=2)
        layout.plan_description.write_text(text + "\n", encoding="utf-8")
        np.savez(layout.plan / "rows.npz", **arrays)  # type: ignore[arg-type]
    return Store.open(folder)


def common_plan(layouts: Sequence[StoreLayout]) -> Path | None:
    """The folder of the plan that all these stores have; None where none has any.

    InputError where their plans differ, or only some have one.
    """
    first, *others = (layout.plan for layout in layouts)
    names = sorted(path.name for path in first.glob("*"))
    for other in others:
        same = names == sorted(path.name for path in other.glob("*")) and all(
            filecmp.cmp(first / name, other / name, shallow=False) for name in names
        )
        if not same:
            raise InputError(
                f"{first.parent} and {other.parent} are not stores of one plan (see {first.name} "
                "in each): their rows are other models"
            )
    return first if names else None


def read_description(layout: StoreLayout) -> dict[str, Any]:
    """What the JSON of a plan says; InputError where it is damaged."""
    try:
        content = json.loads(layout.plan_description.read_text(encoding="utf-8"))
        content["x_name"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{layout.plan_description} is damaged: {error}") from None
    return dict(content)
