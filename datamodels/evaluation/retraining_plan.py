"""Plans of retrainings: models with some training examples removed, and models with none.

A plan is r repeats. Repeat j begins from a base subset B_j of the training set (the same in all
repeats, or drawn anew in each) and has a row for each of:

- ``controls`` models trained on B_j, with nothing removed, which serve all removals;
- each removal R: a model trained on B_j without R.

Rows are numbered repeat by repeat, controls first. Every row is to be trained with a seed of its
own, so that repeats average the randomness of training away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import DatamodelsError, InputError, MissingFileError, UsageError
from datamodels.evaluation.fitted_source import FittedSource
from datamodels.evaluation.removals import Removal
from datamodels.training.masks import subset_masks
from datamodels.training.planned_masks import create_planned_store, read_description
from datamodels.training.store import Store

_MAX_MASK_BYTES = 16 * 2**30  # of the masks, which are made in memory
# Base subsets are rows that no store has, so that under one seed they are not those of the fit.
_FIRST_BASE = 2**63


@dataclass(frozen=True, eq=False)
class RetrainingPlan:
    """What the rows of a store of retrainings mean."""

    kind: str  # the command that made it
    x_name: str
    y_name: str
    repeats: int
    controls: int  # models with nothing removed, a repeat
    removals: Sequence[Removal]
    predicted: NDArray[np.float64]  # (repeats, removals): change of the removal's own target
    description: Mapping[str, Any]  # options and sources, for the record

    @property
    def n_rows(self) -> int:
        return self.repeats * (self.controls + len(self.removals))


def base_subsets(
    n_train: int, repeats: int, *, alpha: float = 1.0, base: NDArray[np.generic] | None = None,
    seed: int = 0,
) -> NDArray[np.bool_]:  # fmt: skip
    """The subset each repeat begins from, (repeats, n_train).

    ``base`` (n_train,) itself where given; else drawn with ``alpha``, which at 1 is everything.
    UsageError where a number is out of range, InputError where ``base`` is no mask.
    """
    if repeats < 1:
        raise UsageError(f"repeats={repeats} must be at least 1")
    if base is None:
        rows = range(_FIRST_BASE, _FIRST_BASE + repeats)
        return subset_masks(rows, n_train, alpha=alpha, seed=seed)
    values = np.asarray(base)
    if values.shape != (n_train,) or values.dtype.kind not in "biuf" or not np.any(values):
        raise InputError(
            f"a base of shape {values.shape} and dtype {values.dtype}: expected a mask "
            f"({n_train},), 1 for each training example to begin with"
        )
    if not np.isin(values, (0, 1)).all():
        raise InputError("a base holds values other than 0 and 1")
    return np.tile(values.astype(bool), (repeats, 1))


def prepare_retrainings(
    folder: str | Path,
    source: FittedSource,
    removals: Sequence[Removal],
    bases: NDArray[np.bool_],
    *,
    kind: str,
    controls: int,
    description: Mapping[str, Any],
) -> RetrainingPlan:
    """Make a store for the retrainings, with their plan, at ``folder``.

    Its arrays are those of the store that the datamodels were fitted on. Raises DatamodelsError
    where there is nothing to remove, UsageError where ``controls`` is below 1, ExistsError where
    ``folder`` exists.
    """
    if controls < 1:
        raise UsageError(f"controls={controls} must be at least 1")
    if not removals:
        raise DatamodelsError(
            "there is nothing to remove: none of these targets has such training examples; name "
            "other targets, or other methods"
        )
    plan = RetrainingPlan(
        kind,
        source.x_name,
        source.y_name,
        len(bases),
        controls,
        removals,
        _predicted_changes(source.datamodels.weight, removals, bases),
        description,
    )
    create_planned_store(
        folder,
        source.store.spec.schema,
        _masks(bases, removals, controls),
        x_name=source.x_name,
        description={
            "kind": kind,
            "y_name": source.y_name,
            "repeats": len(bases),
            "controls": controls,
            **description,
        },
        arrays=_as_arrays(plan),
    )
    return plan


def read_plan(store: Store) -> RetrainingPlan:
    """The plan of a store of retrainings; MissingFileError where it has none."""
    layout = store.layout
    if not layout.plan.is_dir():
        raise MissingFileError(
            f"{store.path} has no plan of retrainings; prepare one with python -m "
            "datamodels.evaluation.counterfactuals or datamodels.evaluation.support"
        )
    described = read_description(layout)
    try:
        with np.load(layout.plan / "rows.npz", allow_pickle=False) as arrays:
            removals = _from_arrays(arrays)
            predicted = arrays["predicted"]
        own = {name: described.pop(name) for name in ("kind", "y_name", "repeats", "controls")}
        plan = RetrainingPlan(
            x_name=described["x_name"], removals=removals, predicted=predicted,
            description=described, **own,
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the plan in {layout.plan} is damaged: {error}") from None
    if plan.n_rows != store.num_models:
        raise InputError(
            f"the plan in {layout.plan} has {plan.n_rows} rows and the store {store.num_models}: "
            "they do not belong together"
        )
    return plan


def _predicted_changes(
    weight: NDArray[np.floating], removals: Sequence[Removal], bases: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Minus the sum of the weights of what is removed and was there, (repeats, removals)."""
    changes = np.empty((len(bases), len(removals)))
    for place, removal in enumerate(removals):
        weights = weight[removal.examples, removal.target].astype(np.float64)
        changes[:, place] = -(bases[:, removal.examples] @ weights)
    return changes


def _masks(
    bases: NDArray[np.bool_], removals: Sequence[Removal], controls: int
) -> NDArray[np.bool_]:
    (repeats, n_train), per_repeat = bases.shape, controls + len(removals)
    if repeats * per_repeat * n_train > _MAX_MASK_BYTES:
        raise UsageError(
            f"{repeats * per_repeat} retrainings with masks of {n_train} training examples are "
            f"more than {_MAX_MASK_BYTES >> 30} GiB; ask for fewer targets, sizes or repeats"
        )
    masks = np.repeat(bases[:, None], per_repeat, axis=1)  # (repeats, per_repeat, n_train)
    for place, removal in enumerate(removals):
        masks[:, controls + place, removal.examples] = False
    empty = ~masks.any(axis=2)
    if empty.any():
        raise UsageError("a removal leaves no training example at all; remove fewer")
    return masks.reshape(-1, n_train)


def _as_arrays(plan: RetrainingPlan) -> dict[str, NDArray[Any]]:
    removals = plan.removals
    return {
        "target": np.array([r.target for r in removals], np.int64),
        "column": np.array([r.column for r in removals], np.int64),
        "method": np.array([r.method for r in removals]),
        "k": np.array([r.k for r in removals], np.int64),
        "examples": np.concatenate([r.examples for r in removals]),
        "ends": np.cumsum([len(r.examples) for r in removals]),
        "predicted": plan.predicted,
    }


def _from_arrays(arrays: Mapping[str, NDArray[Any]]) -> list[Removal]:
    parts = np.split(arrays["examples"], arrays["ends"][:-1])
    columns = (arrays[name].tolist() for name in ("target", "column", "method", "k"))
    return [
        Removal(target, column, method, k, examples)
        for target, column, method, k, examples in zip(*columns, parts, strict=True)
    ]
