"""A learning curve drawn: what was measured, the law through it, and where it leads."""

from pathlib import Path

import numpy as np

from datamodels.evaluation.curves import LearningCurve
from datamodels.evaluation.extrapolation import Extrapolation
from datamodels.optional import require_matplotlib

# As in analysis.pictures: Okabe and Ito's palette, markers and line styles that say the same.
_BLUE, _ORANGE = "#0072B2", "#D55E00"
_INK, _GREY, _RULE = "#1a1a1a", "#5f6368", "#d5d8dc"
_DPI = 160
_AHEAD = 8  # how far beyond the last size the law is drawn, in times of it


def draw_curve(curve: LearningCurve, found: Extrapolation | None, path: str | Path) -> None:
    """Mean LDS (left) and R2 on held-out models (right) against the number of models, as PNG."""
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.7), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
    ends = curve.intervals
    errors = np.abs(ends.T - curve.mean_lds)
    if found is not None:
        _draw_law(left, curve, found)
    left.errorbar(
        curve.sizes, curve.mean_lds, yerr=errors, fmt="o", color=_BLUE, markersize=4.5,
        capsize=2.5, linewidth=1.2, label=f"measured, {curve.level * 100:g}% interval",
        zorder=3,
    )  # fmt: skip
    left.set_ylabel("mean LDS")
    left.set_ylim(bottom=min(0.0, float(ends.min())))
    left.legend(frameon=False, fontsize=8, loc="lower right", labelcolor=_INK)
    right.plot(curve.sizes, curve.r2, "s-", color=_BLUE, markersize=4, linewidth=1.2)
    right.set_ylabel("R² on held-out models")
    for axes in (left, right):
        _plain(axes)
    figure.suptitle(
        f"{curve.lds.shape[1]:,} targets, scored on the same {curve.n_held_out:,} held-out models",
        fontsize=10, color=_INK, x=0.01, ha="left",
    )  # fmt: skip
    figure.savefig(path, format="png", dpi=_DPI)


def _draw_law(axes, curve: LearningCurve, found: Extrapolation) -> None:  # type: ignore[no-untyped-def]
    n = np.geomspace(curve.sizes[0], curve.sizes[-1] * _AHEAD, 200)
    tails = [(1 - found.level) / 2, (1 + found.level) / 2]
    low, high = np.quantile(found.resampled.at(n), tails, axis=0)
    axes.fill_between(n, low, high, color=_ORANGE, alpha=0.15, linewidth=0)
    axes.plot(
        n, found.fitted.at(n)[0], color=_ORANGE, linestyle=(0, (4, 2)), linewidth=1.4,
        label=f"{found.fitted.law.name} law, limit {found.limit.value:.2f}",
    )  # fmt: skip
    axes.axhline(found.limit.value, color=_GREY, linewidth=0.7, linestyle="dotted")


def _plain(axes) -> None:  # type: ignore[no-untyped-def]
    axes.set_xscale("log")
    axes.set_xlabel("models fitted")
    axes.xaxis.set_major_formatter(lambda n, _: f"{n:,.0f}")
    axes.grid(color=_RULE, linewidth=0.5)
    axes.tick_params(labelsize=8, colors=_INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_GREY)
