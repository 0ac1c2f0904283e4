"""How well datamodels predict models they have not seen: scores, and points to draw."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from datamodels.analysis.reporting.content import Floats, Int32s, ReportScatter, ReportScore
from datamodels.analysis.reporting.packing import to_levels
from datamodels.errors import InputError, MissingFileError
from datamodels.evaluation.held_out import HeldOut, Scored, describe_fit
from datamodels.evaluation.scoring import check_shapes, linear_datamodeling_score, predict
from datamodels.regression.result import Datamodels

_MOST_POINTS: Final = 200  # a target
_RESAMPLES: Final = 1000
_BOOTSTRAP_CELLS: Final = 4_000_000  # of predictions: beyond, only some targets are resampled
_LEAST_MODELS: Final = 3  # that can be ranked


class TooFewModelsError(InputError):
    """There are fewer models to score on than can be ranked."""


class UnrankableOutputsError(InputError):
    """The outputs of the models to score on never change."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What held-out models say; arrays over all targets of the datamodels."""

    score: ReportScore
    lds: Floats
    r2: Floats
    spread: Floats  # standard deviation of the outputs
    mean: Floats  # of the outputs
    predictions: NDArray[np.float64]  # (n_models, n_targets)
    outputs: NDArray[np.float64]  # (n_models, n_targets)


def describe_weights(datamodels: Datamodels, folder: Path) -> Scored:
    """What is known of the fit behind ``datamodels`` of that folder."""
    try:
        return describe_fit(datamodels, folder)
    except MissingFileError:
        return Scored(datamodels.weight)


def judge(
    datamodels: Datamodels, held_out: HeldOut, own: NDArray[np.int64] | None = None
) -> Judged:
    """Scores of every target on ``held_out`` models; the LDS is without the weight of the target's
    ``own`` training example (n_targets,), if that is given.

    Raises:
        TooFewModelsError, UnrankableOutputsError: these models give no score.
        InputError: the datamodels are of other arrays.
    """
    check_shapes(datamodels.weight, held_out.masks, held_out.outputs)
    outputs = held_out.outputs.astype(np.float64)
    _refuse_unrankable(outputs)
    predictions = predict(datamodels.weight, held_out.masks, own=None) + datamodels.bias
    ranked = predictions
    if own is not None:
        ranked = predict(datamodels.weight, held_out.masks, own=own)
    scored = linear_datamodeling_score(ranked, outputs, n_resamples=0)
    with np.errstate(invalid="ignore"):  # infinite outputs have ranks, but no variance
        variance = outputs.var(axis=0)
    left = ((outputs - predictions) ** 2).mean(axis=0)
    r2 = np.full(len(left), np.nan)
    np.divide(variance - left, variance, out=r2, where=variance > 0)
    return Judged(
        score=ReportScore(
            lds=scored.mean,
            interval=_interval(ranked, outputs),
            level=scored.level,
            r2=float(np.nanmedian(r2)) if np.isfinite(r2).any() else float("nan"),
            n_models=len(outputs),
            n_fitted=held_out.n_fitted,
            n_targets=datamodels.n_targets,
            n_undefined=scored.n_undefined,
            n_trainings=held_out.n_trainings if held_out.n_trainings > len(outputs) else None,
        ),
        lds=scored.per_target.astype(np.float32),
        r2=r2.astype(np.float32),
        spread=np.sqrt(variance).astype(np.float32),
        mean=outputs.mean(axis=0).astype(np.float32),
        predictions=predictions,
        outputs=outputs,
    )


def _refuse_unrankable(outputs: NDArray[np.float64]) -> None:
    n_models = len(outputs)
    if n_models < _LEAST_MODELS:
        raise TooFewModelsError(
            f"{n_models} model{'' if n_models == 1 else 's'} to score on, and a rank correlation "
            f"needs {_LEAST_MODELS} or more: train more models, or name others with --report.rows"
        )
    if not (outputs != outputs[0]).any():
        raise UnrankableOutputsError(
            f"no output varies over the {n_models} models: name others with --report.rows"
        )


def scatter_points(judged: Judged, targets: Int32s) -> ReportScatter:
    """Predicted and actual outputs of ``targets`` for evenly chosen models; infinite ones at the
    edge."""
    n_models = len(judged.outputs)
    some = np.linspace(0, n_models - 1, min(n_models, _MOST_POINTS)).astype(int)
    predicted, actual = (
        values[np.ix_(some, targets)].T for values in (judged.predictions, judged.outputs)
    )  # (n, m)
    finite = np.where(np.isfinite(actual), actual, predicted)
    low = np.minimum(predicted.min(axis=1), finite.min(axis=1))
    high = np.maximum(predicted.max(axis=1), finite.max(axis=1))
    return ReportScatter(
        low.astype(np.float32),
        high.astype(np.float32),
        to_levels(predicted, low, high),
        to_levels(actual, low, high),
        n_models,
    )


def _interval(
    predictions: NDArray[np.float64], outputs: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Of the mean LDS; None where it would take minutes (the command evaluation.lds takes them)."""
    if predictions.size > _BOOTSTRAP_CELLS:
        return None
    return linear_datamodeling_score(predictions, outputs, n_resamples=_RESAMPLES).interval
