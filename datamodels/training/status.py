"""``python -m datamodels.training.status DIR``: how far a store is.

Ends with status 0 when every row is complete, 1 when not. ``--json`` prints one object with the
names of :class:`datamodels.training.store_status.StoreStatus`.
"""

import json
import time

from datamodels.cli.amounts import bytes_text, span_text
from datamodels.cli.catalogue import STATUS
from datamodels.cli.runner import Values, run
from datamodels.training.store_status import StoreStatus, status_of

_MOST_INDICES = 60  # characters


def main() -> int:
    """The command; returns its exit status."""
    return run(STATUS, _report)


def _report(values: Values) -> int:
    status = status_of(values["status.logdir"])
    if values["status.json"]:
        print(json.dumps(status.to_json()))
    else:
        print("\n".join(_lines(status)))
    return int(status.missing > 0)


def _lines(status: StoreStatus) -> list[str]:
    share = 100 * status.complete / status.num_models
    head = f"{status.path}: {status.complete} of {status.num_models} rows complete ({share:.1f}%)"
    lines = [head]
    if status.missing:
        lines.append(f"  missing      {status.missing} rows: {_short(status.missing_rows)}")
    if status.failed:
        lines.append(f"  failed       {status.failed} of these: {_short(status.failed_rows)}")
    if status.growing_to is not None:
        lines.append(
            f"  growing      to {status.growing_to} rows: under way, or stopped; run "
            f"datamodels.training.grow --grow.num_models={status.growing_to} again to finish it"
        )
    if status.read_only is not None:
        lines.append(f"  read-only    a view of {status.read_only.of}")
        lines += [f"  to complete  {status.read_only.remedy}"] if status.missing else []
    else:
        lines += _pace(status)
    lines.append(
        f"  disk         {bytes_text(status.disk_bytes_size)} of arrays, "
        f"{bytes_text(status.disk_bytes_reserved)} held, {bytes_text(status.disk_bytes_free)} free"
    )
    for error in status.last_errors:
        lines.append(f"  row {error.row} failed at {_clock(error.ended)}: {error.error}")
        lines.append(f"    see {error.path}")
    return lines


def _pace(status: StoreStatus) -> list[str]:
    if not status.missing:
        return []
    if not status.rows_per_second:
        return ["  rate         no row was written lately"]
    hosts = ", ".join(f"{name}: {n}" for name, n in status.hosts_running.items())
    workers = f"{status.workers_running} workers running" + (f" ({hosts})" if hosts else "")
    lines = [
        f"  rate         {_rate(status.rows_per_second)}, over {span_text(status.window_seconds)}; "
        f"{workers}"
    ]
    if status.estimated_end is not None and status.seconds_left is not None:
        lines.append(
            f"  complete in  {span_text(status.seconds_left)}, at {_clock(status.estimated_end)}"
        )
    return lines


def _short(indices: str) -> str:
    if len(indices) <= _MOST_INDICES:
        return indices
    return f"{indices[:_MOST_INDICES].rpartition(',')[0]},..."


def _rate(per_second: float) -> str:
    if per_second >= 1:
        return f"{per_second:.1f} rows a second"
    if per_second >= 1 / 60:
        return f"{per_second * 60:.1f} rows a minute"
    return f"{per_second * 3600:.2g} rows an hour"


def _clock(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
    except (OverflowError, ValueError, OSError):  # in a million years, at this rate
        return "a time beyond the calendar"


if __name__ == "__main__":
    raise SystemExit(main())
