"""The learning curve in a folder, as the report shows it."""

import json
import math
from pathlib import Path
from typing import Final

from datamodels.analysis.reporting.content import ReportCurve
from datamodels.errors import DatamodelsError
from datamodels.evaluation.curves import LearningCurve
from datamodels.evaluation.extrapolation import Extrapolation

_FORECAST: Final = (1.25, 1.5, 1.75, 2.0)  # times the models that there are


def read_curve(folder: str) -> ReportCurve:
    """What ``python -m datamodels.evaluation.learning_curve`` wrote; InputError where it is not."""
    curve = LearningCurve.load(folder)
    try:
        found = curve.extrapolate()
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
        sentences=[_how(folder, curve), *([] if found is None else _sentences(curve, found))],
    )


def _how(folder: str, curve: LearningCurve) -> str:
    """What was fitted, which may be something else than the datamodels of the report."""
    try:
        asked = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        estimator = str(asked["fit"]["estimator"])
    except (OSError, ValueError, KeyError, TypeError):
        estimator = "datamodels"
    return f"Fits of {estimator} to the first models, scored on {curve.n_held_out:,} others."


def _forecast(found: Extrapolation, times: float) -> tuple[int, float, float, float]:
    n = round(times * found.n_last)
    there = found.at(n)
    return n, there.value, there.low, there.high


def _sentences(curve: LearningCurve, found: Extrapolation) -> list[str]:
    best = math.floor(curve.mean_lds[-1] * 20) / 20
    goals = [found.say_needed(round(best + more, 2)) for more in (0.05, 0.1)]
    return [
        f"The dashed line is the {found.fitted.law.name} law, {found.fitted.law.words}, fitted to "
        f"the points; its limit is LDS {found.limit}.",
        "; ".join([goals[0][0].upper() + goals[0][1:], *goals[1:]]) + ".",
    ]
