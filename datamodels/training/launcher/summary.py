"""What a launch says of rows that failed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from datamodels.training.layout import StoreLayout

_SHOWN = 10  # rows named one by one
_TAIL_BYTES = 4_096


def failures(layout: StoreLayout, rows: Sequence[int], reasons: Mapping[int, str]) -> str:
    """The rows that were set aside, each with its reason, or else the end of its traceback, and
    where that is."""
    lines = [f"{len(rows)} rows failed and are set aside; the same command tries them again:"]
    lines += [
        f"  row {row}: {reasons.get(row) or last_line(layout.error(row))}; see {layout.error(row)}"
        for row in rows[:_SHOWN]
    ]
    if len(rows) > _SHOWN:
        lines.append(f"  and {len(rows) - _SHOWN} more")
    return "\n".join(lines)


def last_line(path: Path) -> str:
    """The last line of a traceback that starts no continuation of it: what was raised."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _TAIL_BYTES, 0))
            text = file.read().decode(errors="backslashreplace")
    except OSError:
        return "it left no traceback"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it left no traceback"
