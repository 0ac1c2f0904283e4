"""Measuring and breaking text, before it is drawn."""

from typing import Any

from datamodels.analysis.canvas import DPI


class Ruler:
    """Measures text, so that none is clipped or runs into its neighbour."""

    def __init__(self) -> None:
        from matplotlib.backends import backend_agg

        renderer: Any = backend_agg.RendererAgg
        # At the resolution of the picture: hinting makes the widths depend on it.
        self.renderer = renderer(8, 8, DPI)

    def width(self, text: str, size: float, *, bold: bool = False) -> float:
        """Width in inches of one line in the default font."""
        from matplotlib.font_manager import FontProperties

        font = FontProperties(size=size, weight="bold" if bold else "normal")
        return float(self.renderer.get_text_width_height_descent(text, font, False)[0]) / DPI

    def shorten(self, text: str, width: float, size: float, *, bold: bool = False) -> str:
        """The text, cut short with an ellipsis if it is wider than ``width``."""
        if self.width(text, size, bold=bold) <= width:
            return text
        while text and self.width(text + "…", size, bold=bold) > width:
            text = text[:-1]
        return text.rstrip() + "…"

    def wrap(
        self, text: str, width: float, size: float, *, bold: bool = False, max_lines: int = 1_000
    ) -> list[str]:
        """Lines of at most ``width``; what is too long for one line, or too much, is shortened."""
        lines: list[str] = []
        for word in text.split():
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and (self.width(longer, size, bold=bold) <= width or len(lines) == max_lines):
                lines[-1] = longer
            else:
                lines.append(word)
        return [self.shorten(line, width, size, bold=bold) for line in lines] or [""]
