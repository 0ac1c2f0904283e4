"""A figure on which everything is placed in inches from the top left corner."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI: Final = 160
INK, GREY, RULE = "#1a1a1a", "#5f6368", "#d5d8dc"


class Canvas:
    """A white figure of ``width`` x ``height`` inches."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure: Figure = Figure(figsize=(width, height), facecolor="white")

    def axes(self, x: float, y: float, width: float, height: float) -> "Axes":
        """Axes without ticks; x and y are of their top left corner."""
        axes = self.figure.add_axes(self._box(x, y, width, height))
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    def image(
        self,
        image: NDArray[Any],
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        values: tuple[float, float],
        cmap: str,
    ) -> "Axes":
        """Draw ``image`` (h, w), (h, w, 1) or (h, w, 3), ``values`` being black and white."""
        axes = self.axes(x, y, width, height)
        low, high = values
        scaled = np.clip((image.astype(np.float32) - low) / (high - low), 0.0, 1.0)
        scaled = scaled[..., 0] if scaled.shape[2:] == (1,) else scaled
        axes.imshow(scaled, cmap=cmap, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        return axes

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float,
        color: str = INK,
        bold: bool = False,
        align: str = "left",
    ) -> None:
        """One line of text with its top at y."""
        self.figure.text(
            x / self.width,
            1 - y / self.height,
            words,
            fontsize=size,
            color=color,
            fontweight="bold" if bold else "normal",
            ha=align,
            va="top",
            parse_math=False,  # a label may hold a dollar sign
        )

    def frame(
        self, x: float, y: float, width: float, height: float, style: tuple[str, Any], line: float
    ) -> None:
        """A rectangle; ``style`` is colour and kind of line."""
        from matplotlib.patches import Rectangle

        left, bottom, width, height = self._box(x, y, width, height)
        colour, line_style = style
        self.figure.add_artist(
            Rectangle((left, bottom), width, height, fill=False, edgecolor=colour,
                      linestyle=line_style, linewidth=line)
        )  # fmt: skip

    def rule(self, left: float, right: float, y: float, *, color: str = RULE) -> None:
        """A thin line across."""
        self._line([left, right], y, color=color, linewidth=0.7)

    def dot(self, x: float, y: float, colour: str, shape: str) -> None:
        """A marker with its middle at x and y."""
        self._line([x], y, color=colour, marker=shape, markersize=6, linestyle="none")

    def _line(self, x: Sequence[float], y: float, **style: Any) -> None:
        from matplotlib.lines import Line2D

        heights = [1 - y / self.height] * len(x)
        self.figure.add_artist(Line2D([at / self.width for at in x], heights, **style))

    def _box(
        self, x: float, y: float, width: float, height: float
    ) -> tuple[float, float, float, float]:
        """(left, bottom, width, height) in matplotlib's shares of the figure."""
        bottom = 1 - (y + height) / self.height
        return (x / self.width, bottom, width / self.width, height / self.height)
