"""The learning curve in a folder, as the report shows it."""

import json
from pathlib import Path
from typing import Any, Final

from datamodels.analysis.reporting.content import ReportCurve
from datamodels.errors import DatamodelsError, InputError, MissingFileError
from datamodels.evaluation.curves import LearningCurve
from datamodels.evaluation.extrapolation import Extrapolation, next_goals

_FORECAST: Final = (1.25, 1.5, 1.75, 2.0)  # times the models that there are


def read_curve(folder: str, y_name: str | None, n_targets: int) -> ReportCurve:
    """What ``python -m datamodels.evaluation.learning_curve`` wrote of the ``n_targets`` outputs
    ``y_name`` (None: it is not known which).

    MissingFileError where there is none; InputError where it is another file, or of other outputs.
    """
    if not (Path(folder) / LearningCurve.FILE_NAME).exists():
        raise MissingFileError(
            f"{Path(folder) / LearningCurve.FILE_NAME} does not exist; --report.curve names a "
            "folder that python -m datamodels.evaluation.learning_curve wrote"
        )
    curve = LearningCurve.load(folder)
    asked = _asked(folder)
    of = asked.get("y_name")
    if curve.lds.shape[1] != n_targets or (of and y_name and of != y_name):
        raise InputError(
            f"{folder} holds a curve of {curve.lds.shape[1]} targets of {of or 'unknown outputs'}, "
            f"and these datamodels have {n_targets} of {y_name or 'unknown outputs'}: make a curve "
            "of the same"
        )
    try:
        found = curve.extrapolate(asked.get("law", "saturating"), seed=asked.get("seed", 0))
    except DatamodelsError:  # too few sizes
        found = None
    intervals = curve.intervals
    return ReportCurve(
        n_models=curve.sizes.tolist(),
        lds=curve.mean_lds.tolist(),
        low=intervals[:, 0].tolist(),
        high=intervals[:, 1].tolist(),
        error=(1 - curve.r2).tolist(),
        forecast=[] if found is None else [_forecast(found, times) for times in _FORECAST],
        sentences=[_how(asked, curve), *([] if found is None else _sentences(curve, found, asked))],
    )


def _asked(folder: str) -> dict[str, Any]:
    """The options of the command (earlier versions left out the law and the goals); none where it
    was made from Python."""
    try:
        asked = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return asked if isinstance(asked, dict) else {}


def _how(asked: dict[str, Any], curve: LearningCurve) -> str:
    """What was fitted, which may be another estimator than that of the report's datamodels."""
    fit = asked.get("fit")
    estimator = fit.get("estimator", "datamodels") if isinstance(fit, dict) else "datamodels"
    return f"Fits of {estimator} to the first models, scored on {curve.n_held_out:,} others."


def _forecast(found: Extrapolation, times: float) -> tuple[int, float, float, float]:
    n = round(times * found.n_last)
    there = found.at(n)
    return n, there.value, there.low, there.high


def _sentences(curve: LearningCurve, found: Extrapolation, asked: dict[str, Any]) -> list[str]:
    wanted = asked.get("goals") or next_goals(float(curve.mean_lds[-1]))
    goals = [found.say_needed(goal) for goal in wanted]
    sentences = [
        f"The dashed line is the {found.fitted.law.name} law, {found.fitted.law.words}, fitted to "
        f"the points; its limit is LDS {found.limit}.",
    ]
    if goals:
        sentences.append("; ".join([goals[0][0].upper() + goals[0][1:], *goals[1:]]) + ".")
    return sentences
