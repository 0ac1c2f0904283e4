"""Sizes, money and tables as people read them."""

from collections.abc import Sequence

from datamodels.published.byte_ranges import Range
from datamodels.published.catalogue import cost_of


def cost_text(size: int) -> str:
    """What the transfer of ``size`` bytes costs, never less than it does."""
    cents = -(-cost_of(size) * 100 // 1)
    return f"{cents / 100:.2f} USD" if cents != 1 else "< 0.01 USD"


def rows_text(rows: Sequence[Range]) -> str:
    """Ranges ``(first, stop)`` as ``first-last``."""
    return ",".join(f"{a}-{b - 1}" if b - a > 1 else str(a) for a, b in rows)


def columns(rows: Sequence[Sequence[str]], right: str = "") -> list[str]:
    """Lines in which cells stand below one another; ``right`` has an "r" for each column that is
    aligned to the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    sides = right.ljust(len(widths))
    return [
        "  ".join(
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, sides, strict=True)
        ).rstrip()
        for row in rows
    ]
