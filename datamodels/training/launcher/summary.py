"""What a launch says of rows that failed."""

from collections.abc import Mapping, Sequence

from datamodels.training.layout import StoreLayout
from datamodels.training.worker_report import last_line

_SHOWN = 10  # rows named one by one


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
