"""A picture of predicted against actual changes, a panel a method of removal."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from datamodels.evaluation.agreement import Agreement
from datamodels.evaluation.removals import Removal
from datamodels.evaluation.retrained_changes import RetrainedChanges
from datamodels.optional import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which colour-blind readers can tell apart; the marker says it once more.
_STYLES: Final = (
    ("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"),
    ("#56B4E9", "P"),
)  # fmt: skip
_INK, _GREY = "#1a1a1a", "#8a8f94"
OTHERWISE: Final = ", or leave the picture out"  # where matplotlib is missing
_PANEL: Final = 3.3  # inches
_DPI: Final = 160


def draw_changes(
    path: Path,
    changes: RetrainedChanges,
    removals: Sequence[Removal],
    agreements: Sequence[Agreement],
    *,
    output: str,
) -> None:
    """Write a .png to ``path``: a dot for each removal, with one standard error of its change.

    ``agreements`` are those of the methods, a panel each; ``output`` names what changed.
    """
    require_matplotlib(OTHERWISE)
    from matplotlib.figure import Figure

    width = max(_PANEL * len(agreements) + 0.7, 4.6)
    figure = Figure(figsize=(width, _PANEL + 1.0), layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(agreements), sharex=True, sharey=True, squeeze=False)[0]
    methods = np.array([removal.method for removal in removals])
    limits = _limits(changes)
    for axes, agreement, style in zip(panels, agreements, _STYLES, strict=False):
        _draw_panel(axes, changes, methods == agreement.name, agreement, style, limits)
    figure.supxlabel(f"predicted change of the {output}", fontsize=10, color=_INK)
    panels[0].set_ylabel(f"actual change of the {output}", fontsize=10, color=_INK)
    with path.open("wb") as file:
        figure.savefig(file, format="png", dpi=_DPI)


def _draw_panel(
    axes: "Axes",
    changes: RetrainedChanges,
    rows: NDArray[np.bool_],
    agreement: Agreement,
    style: tuple[str, str],
    limits: tuple[float, float],
) -> None:
    colour, marker = style
    axes.plot(limits, limits, color=_GREY, linewidth=0.9, zorder=1)
    axes.annotate(
        "as predicted", (limits[0], limits[0]), (3, 12), textcoords="offset points", fontsize=7.5,
        color=_GREY, rotation=45, rotation_mode="anchor",
    )  # fmt: skip
    axes.axhline(0, color=_GREY, linewidth=0.5, linestyle=":", zorder=1)
    axes.axvline(0, color=_GREY, linewidth=0.5, linestyle=":", zorder=1)
    axes.errorbar(
        changes.predicted[rows], changes.actual[rows], yerr=np.nan_to_num(changes.error[rows]),
        fmt=marker, color=colour, ecolor=colour, elinewidth=0.6, markersize=3.6, alpha=0.65,
        markeredgewidth=0, zorder=2,
    )  # fmt: skip
    axes.set_title(
        f"{agreement.name}: r = {agreement.pearson}\nslope {agreement.slope}, "
        f"{agreement.n} removals of {agreement.n_targets} targets",
        fontsize=8.5,
        color=_INK,
    )
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _limits(changes: RetrainedChanges) -> tuple[float, float]:
    """Of both axes alike, zero within."""
    error = np.nan_to_num(changes.error)
    values = np.concatenate([changes.predicted, changes.actual - error, changes.actual + error])
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room
