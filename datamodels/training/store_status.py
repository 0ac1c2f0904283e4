"""How far a store is: what its flags, its workers' records and its error files say together."""

import heapq
import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.npy_file import read_growth, read_header
from datamodels.read_only import ReadOnly
from datamodels.training.indices import format_indices
from datamodels.training.layout import StoreLayout
from datamodels.training.records import (
    WorkerRecord,
    last_rows,
    read_rows,
    read_worker,
    record_files,
)
from datamodels.training.store import Store

_WINDOW = 600.0  # seconds that a rate is taken over, where rows take less
_WINDOW_ROWS = 4  # otherwise as long as so many rows take in one worker
_LONGEST_WINDOW = 7 * 24 * 3600.0
_RUNNING = 300.0  # seconds since its last row, after which a worker no longer counts as running
_CLOCK_SLACK = 60.0  # seconds by which clocks of hosts and file servers may differ
_LATEST_FILES = 256  # records looked into for how long a row takes
_SHOWN_ERRORS = 5
_MOST_ERROR_BYTES = 1 << 16
_SAME_ERROR = 2.0  # seconds; a record is written just after the traceback


@dataclass(frozen=True)
class FailedRow:
    """The last error of one row that is not complete."""

    row: int
    error: str  # one line
    path: str  # where the evidence is: an error.txt, or a worker's record
    ended: float  # seconds since 1970


@dataclass(frozen=True)
class StoreStatus:
    """What there is to know about a store's progress; ``--json`` prints these very names."""

    path: str
    num_models: int
    complete: int  # rows
    missing: int  # rows that are not complete, failed ones among them
    failed: int  # rows that are not complete, and whose last run left an error
    missing_rows: str  # as --worker.indices takes them, e.g. "0-99,200"
    failed_rows: str
    growing_to: int | None  # a grow to so many rows has begun and not ended
    disk_bytes_size: int  # what the arrays take once all rows are written
    disk_bytes_reserved: int  # blocks of the disk that they hold by now
    disk_bytes_complete: int  # what complete rows take
    disk_bytes_free: int
    window_seconds: float  # what the rate was taken over
    rows_per_second: float  # rows written in the window; 0 where there was none
    seconds_left: float | None  # until no row is missing; None where there is no rate
    estimated_end: float | None  # seconds since 1970
    workers_running: int  # processes whose last row ended minutes ago at most
    hosts_running: dict[str, int]  # processes by host
    last_errors: list[FailedRow] = field(default_factory=list)  # the latest first
    read_only: ReadOnly | None = None  # why it is only to be read; None: it may be written

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        note = self.read_only
        shown = None if note is None else {"of": note.of, "remedy": note.remedy}
        return asdict(replace(self, read_only=None)) | {"read_only": shown}


def status_of(logdir: str | Path) -> StoreStatus:
    """How far the store in ``logdir`` is; MissingFileError where there is none.

    Reads flags, names and records (whole ones where rows are missing): seconds for a million rows.
    """
    now = time.time()
    store = Store.open(logdir)
    done = store.completed
    missing = np.flatnonzero(~done)
    errors = _errors_of(store.layout, ~done) if missing.size else {}
    activity = _activity(store.layout, now)
    left = None
    if activity.rate > 0 and activity.hosts:  # where nobody works there is no end to come
        left = missing.size / activity.rate
    if not missing.size:
        left = 0.0
    growth = read_growth(store.path)
    headers = [read_header(store.layout.array(key)) for key in store.spec.fields()]
    stats = [store.layout.array(key).stat() for key in store.spec.fields()]
    return StoreStatus(
        path=str(logdir),
        num_models=store.num_models,
        complete=int(done.sum()),
        missing=int(missing.size),
        failed=len(errors),
        missing_rows=_as_indices(missing),
        failed_rows=_as_indices(np.array(sorted(errors), dtype=np.int64)),
        growing_to=None if growth is None else growth.end,
        disk_bytes_size=sum(stat.st_size for stat in stats),
        disk_bytes_reserved=sum(stat.st_blocks * 512 for stat in stats),
        disk_bytes_complete=int(done.sum()) * sum(header.row_bytes for header in headers),
        disk_bytes_free=shutil.disk_usage(store.path).free,
        window_seconds=activity.window,
        rows_per_second=activity.rate,
        seconds_left=left,
        estimated_end=None if left is None else now + left,
        workers_running=sum(activity.hosts.values()),
        hosts_running=dict(sorted(activity.hosts.items())),
        last_errors=_latest(store.layout, errors),
        read_only=store.layout.read_only_reason(),
    )


def _as_indices(rows: NDArray[np.int64]) -> str:
    return format_indices(rows.tolist())


@dataclass(frozen=True)
class _Activity:
    window: float
    rate: float
    hosts: Counter[str]


def _activity(layout: StoreLayout, now: float) -> _Activity:
    """Rates and running workers from the ends of the records that changed lately."""
    window = _window(layout, now)
    begin = now - window
    written, hosts = 0, Counter[str]()
    first, last = now, now
    for path in record_files(layout, changed_since=begin - _CLOCK_SLACK):
        rows = [row for row in last_rows(path, since=begin) if row.ended < now + window]
        if not rows:
            continue
        written += sum(row.outcome == "written" for row in rows)
        worker = read_worker(path)
        started = rows[0].ended - rows[0].seconds if worker is None else worker.started
        first = min(first, started, *(row.ended for row in rows))
        last = max(last, *(row.ended for row in rows))
        recent = now - rows[-1].ended < max(_RUNNING, _WINDOW_ROWS * rows[-1].seconds)
        if recent and not _is_known_dead(worker):
            hosts["?" if worker is None else worker.host] += 1
    # Clocks jump: whatever they say, a rate is over a second at least and the window at most.
    elapsed = min(max(last - first, 1.0), window)
    return _Activity(elapsed, written / elapsed, hosts)


def _is_known_dead(worker: WorkerRecord | None) -> bool:
    """Whether a worker of this very host is gone; of others it is not known."""
    if worker is None or worker.host != socket.gethostname():
        return False
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # somebody else's
        return False
    return False


def _window(layout: StoreLayout, now: float) -> float:
    """Seconds to take the rate over: more than ten minutes only where rows take minutes."""
    paths = record_files(layout, changed_since=now - _LONGEST_WINDOW)
    newest = heapq.nlargest(_LATEST_FILES, paths, key=_changed)
    longest = max((row.seconds for path in newest for row in last_rows(path)[-1:]), default=0.0)
    return min(max(_WINDOW, _WINDOW_ROWS * longest), _LONGEST_WINDOW)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _errors_of(layout: StoreLayout, missing: NDArray[np.bool_]) -> dict[int, FailedRow]:
    """The last error of every row that is not complete and failed."""
    found: dict[int, FailedRow] = {}
    for path in record_files(layout):
        for row in read_rows(path, only_failed=True):
            if 0 <= row.row < missing.size and missing[row.row]:
                before = found.get(row.row)
                if before is None or before.ended <= row.ended:
                    found[row.row] = FailedRow(row.row, row.error, str(path), row.ended)
    for index in tried_rows(layout):
        if index < missing.size and missing[index]:
            path = layout.error(index)
            changed = _changed(path)
            # A row whose process was killed leaves its evidence there, and no record.
            if changed and (index not in found or changed > found[index].ended + _SAME_ERROR):
                found[index] = FailedRow(index, "", str(path), changed)
    return found


def tried_rows(layout: StoreLayout) -> Iterator[int]:
    """The rows that have a folder: names only, as there may be a million."""
    try:
        with os.scandir(layout.workers) as entries:
            for entry in entries:
                if entry.name.isascii() and entry.name.isdigit():
                    yield int(entry.name)
    except OSError:
        return


def _latest(layout: StoreLayout, errors: dict[int, FailedRow]) -> list[FailedRow]:
    latest = heapq.nlargest(_SHOWN_ERRORS, errors.values(), key=lambda error: error.ended)
    return [_with_evidence(layout, error) for error in latest]


def _with_evidence(layout: StoreLayout, error: FailedRow) -> FailedRow:
    """``error`` with the path of its traceback, and the last line of it where no record said it."""
    path = layout.error(error.row)
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_ERROR_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return error
    said = error.error or (lines[-1].strip() if lines else "")
    return FailedRow(error.row, said, str(path), error.ended)
