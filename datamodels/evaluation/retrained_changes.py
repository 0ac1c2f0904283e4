"""What retraining did to the outputs, beside what datamodels predicted."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import DatamodelsError, InputError
from datamodels.evaluation.retraining_plan import RetrainingPlan
from datamodels.training.indices import format_indices
from datamodels.training.planned_masks import PlannedMasks
from datamodels.training.store import Store

_ROWS_PER_BLOCK = 512


class IncompleteError(DatamodelsError):
    """Some of the planned models are not trained yet."""


@dataclass(frozen=True, eq=False)
class RetrainedChanges:
    """One value for each of m removals, (m,), of the output of the removal's own target."""

    predicted: NDArray[np.float64]  # change, mean over the repeats
    actual: NDArray[np.float64]  # change, mean over the repeats
    error: NDArray[np.float64]  # standard error of ``actual``; NaN of a single repeat
    before: NDArray[np.float64]  # mean output with nothing removed
    after: NDArray[np.float64]  # mean output with the removal
    below: NDArray[np.float64]  # share of the repeats whose output is below 0

    @property
    def flipped(self) -> NDArray[np.bool_]:
        """Above 0 with nothing removed, below 0 without the removal, by the means."""
        flipped: NDArray[np.bool_] = (self.before > 0) & (self.after < 0)
        return flipped


def measure_changes(store: Store, plan: RetrainingPlan) -> RetrainedChanges:
    """Compare the models with a removal to those with nothing removed, repeat by repeat.

    Raises:
        InputError: a row's mask is not the planned one. IncompleteError: a row is missing.
    """
    done = store.completed
    _check_masks(store, plan.x_name, done)
    missing = np.flatnonzero(~done)
    if len(missing):
        raise IncompleteError(
            f"{len(missing)} of the {plan.n_rows} planned models are not trained yet (rows "
            f"{_shortened(format_indices(missing.tolist()))}). Go on with\n"
            f"python -m datamodels.training.launch --launch.logdir={store.path} "
            "--launch.main_import=YOUR_MODULE"
        )
    columns = np.array([removal.column for removal in plan.removals])
    before, after = _outputs(store, plan, columns)
    change = after - before  # (repeats, m)
    spread = change.std(axis=0, ddof=1) if plan.repeats > 1 else np.full(len(columns), np.nan)
    return RetrainedChanges(
        predicted=plan.predicted.mean(axis=0),
        actual=change.mean(axis=0),
        error=spread / np.sqrt(plan.repeats),
        before=before.mean(axis=0),
        after=after.mean(axis=0),
        below=(after < 0).mean(axis=0),
    )


def _outputs(
    store: Store, plan: RetrainingPlan, columns: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Outputs of each removal's target, (repeats, m): mean of the controls, and without R."""
    outputs = store[plan.y_name].reshape(plan.n_rows, -1)
    per_repeat = plan.controls + len(columns)
    before, after = np.empty((2, plan.repeats, len(columns)))
    for j in range(plan.repeats):
        first = j * per_repeat + plan.controls
        before[j] = outputs[j * per_repeat : first][:, columns].mean(axis=0, dtype=np.float64)
        after[j] = outputs[np.arange(first, first + len(columns)), columns]
    return before, after


def _check_masks(store: Store, x_name: str, done: NDArray[np.bool_]) -> None:
    plan, given = PlannedMasks.read(store.layout), store[x_name]
    assert plan is not None
    for first in range(0, len(done), _ROWS_PER_BLOCK):
        block = slice(first, first + _ROWS_PER_BLOCK)
        wrong = (given[block] != plan.masks[block]).any(axis=1) & done[block]
        if wrong.any():
            raise InputError(
                f"row {first + int(np.argmax(wrong))} of {store.path} was not trained on its "
                "planned mask; let main take its mask from datamodels.training.subset_for, and "
                "prepare the retrainings anew"
            )


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60].rpartition(',')[0]}, ..."
