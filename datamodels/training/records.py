"""What every worker did, row by row: a file for each process, in the store.

A file is lines of JSON. The first says which worker it was::

    {"kind": "worker", "started": 1700000000.0, "host": "n7", "pid": 4711,
     "command": ["python", "-m", ...], "folder": "/home/me", "main": "train",
     "options": {"trainer.seed": 3, ...}, "versions": {"python": "3.12.1", "numpy": ...}}

and each further line how one row ended::

    {"kind": "row", "row": 17, "outcome": "written", "ended": 1700000009.5, "seconds": 0.53}
    {"kind": "row", "row": 18, "outcome": "failed", ..., "error": "ValueError: diverged"}

``started`` and ``ended`` are seconds since 1970 on that host's clock, ``seconds`` is measured by
a clock that never jumps, and ``batch`` says how many rows were made together, where more than one.
Records are best effort: rows are complete by their flags, whatever stands here.
"""

import contextlib
import json
import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datamodels
from datamodels.training.layout import StoreLayout

_WORKER, _ROW = "worker", "row"
_APPEND_NEW = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
_MOST_ERROR = 500  # characters of an error's first line
_BLOCK = 1 << 16  # bytes read at a time from the end of a file
_MOST_HEADER = 1 << 20  # bytes; a first line beyond is not ours


class RecordWriter:
    """Writes this process's record. Best effort: no method ever raises, whatever the disk does.

    The file is made at the first row, so that its first line knows what the user's module imported
    and which options it declared. A forked child writes a file of its own.

    Args:
        layout: the store.
        command: the command line (default: this process's).
        main: name of the module whose ``main`` makes the rows.
        options: gives the options by full name, asked at the first row (default: all that are
            declared in the process's configuration).
    """

    def __init__(
        self,
        layout: StoreLayout,
        *,
        command: Sequence[str] | None = None,
        main: str | None = None,
        options: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self._layout = layout
        self._command = list(sys.orig_argv if command is None else command)
        self._main = main
        self._options = resolved_options if options is None else options
        self._started = time.time_ns()
        self._folder = os.getcwd() if _folder_exists() else ""  # noqa: PTH109
        self._descriptor: int | None = None
        self._owner = 0  # process that opened the descriptor
        self._header_is_due = True
        self._line_is_open = False  # a line was cut short, as on a full disk

    def row(
        self, index: int, outcome: str, seconds: float, *, batch: int = 1, error: str = ""
    ) -> None:
        """Note how row ``index`` ended: ``outcome`` is "written" or "failed", ``seconds`` how long
        it took; of ``error`` the first line is kept."""
        line = {
            "kind": _ROW,
            "row": int(index),
            "outcome": outcome,
            "ended": round(time.time(), 3),
            "seconds": round(seconds, 6),
        }
        if batch > 1:
            line["batch"] = batch
        if error:
            line["error"] = error.strip().partition("\n")[0][:_MOST_ERROR]
        try:
            if self._descriptor is None or self._owner != os.getpid():
                self._open()
            if self._header_is_due:
                self._write_header()
            self._append(line)
        except Exception:  # also of a user's option that cannot be shown: the row is what counts
            return

    def close(self) -> None:
        """Close the file; another row would open a new one."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        pid = os.getpid()
        if self._descriptor is not None:  # inherited: the parent's file, and not to be written
            self.close()
            self._started = time.time_ns()
        self._layout.records.mkdir(exist_ok=True)
        path = self._layout.record(socket.gethostname(), pid, self._started)
        self._descriptor = os.open(path, _APPEND_NEW, 0o666)
        self._owner = pid
        self._header_is_due = True

    def _write_header(self) -> None:
        assert self._descriptor is not None
        os.ftruncate(self._descriptor, 0)  # an earlier try may have been cut short
        self._line_is_open = False
        self._append(
            {
                "kind": _WORKER,
                "started": self._started / 1e9,
                "host": socket.gethostname(),
                "pid": self._owner,
                "command": self._command,
                "folder": self._folder,
                "main": self._main,
                "options": _shown(self._options),
                "versions": loaded_versions(),
            }
        )
        self._header_is_due = False

    def _append(self, line: Mapping[str, Any]) -> None:
        assert self._descriptor is not None
        text = json.dumps(line, default=str) + "\n"
        data = (b"\n" if self._line_is_open else b"") + text.encode("ascii")
        written = os.write(self._descriptor, data)
        self._line_is_open = written < len(data)
        if self._line_is_open:
            raise OSError(f"{written} of {len(data)} bytes written")


def resolved_options() -> dict[str, Any]:
    """Every declared option that has a value, by full name, but for the row this process is at."""
    from datamodels.cli.shared_config import current_config

    config = current_config()
    values = {}
    for path in list(config.entries):
        try:
            value = config[path]
        except Exception:  # missing, or refused by the user's own check
            continue
        if value is not None and path != ("worker", "index"):
            values[".".join(path)] = value
    return values


def loaded_versions() -> dict[str, str]:
    """Versions of Python, of this package and of every loaded package that says its own."""
    versions = {"python": platform.python_version(), "datamodels": datamodels.__version__}
    for name, module in list(sys.modules.items()):
        if "." in name or name.startswith("_") or name in sys.stdlib_module_names:
            continue
        version = getattr(module, "__dict__", {}).get("__version__")  # getattr might import it
        if isinstance(version, str):
            versions.setdefault(name, version)
    return versions


def _shown(options: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """The options as JSON can hold them; empty where they cannot be had."""
    try:
        content: dict[str, Any] = json.loads(json.dumps(dict(options()), default=str))
    except Exception:
        return {}
    return content


def _folder_exists() -> bool:
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class WorkerRecord:
    """The first line of a record: see the head of this module."""

    started: float
    host: str
    pid: int
    command: list[str]
    folder: str
    main: str | None
    options: dict[str, Any]
    versions: dict[str, str]


@dataclass(frozen=True)
class RowRecord:
    """How one row ended."""

    row: int
    outcome: str  # "written" or "failed"
    ended: float  # seconds since 1970, on the worker's clock
    seconds: float
    batch: int = 1
    error: str = ""


def record_files(layout: StoreLayout, *, changed_since: float | None = None) -> list[Path]:
    """The store's records, sorted by name; only those changed after that time (in seconds since
    1970, on the file system's clock), if given."""
    found = []
    try:
        with os.scandir(layout.records) as entries:
            for entry in entries:
                if not entry.name.endswith(".jsonl") or not entry.is_file():
                    continue
                if changed_since is None or entry.stat().st_mtime >= changed_since:
                    found.append(entry.path)
    except OSError:  # none yet, or it may not be read
        return []
    return [Path(path) for path in sorted(found)]


def read_worker(path: Path) -> WorkerRecord | None:
    """Which worker a record is of; None for a foreign file, or a line cut short."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.readline(_MOST_HEADER))
        if content["kind"] != _WORKER:
            return None
        return WorkerRecord(
            started=float(content["started"]),
            host=str(content["host"]),
            pid=int(content["pid"]),
            command=list(content["command"]),
            folder=str(content["folder"]),
            main=content["main"],
            options=dict(content["options"]),
            versions=dict(content["versions"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_rows(path: Path, *, only_failed: bool = False) -> Iterator[RowRecord]:
    """The rows of a record, oldest first; lines that are none of ours are passed over.

    ``only_failed`` gives the failed ones, and is several times faster.
    """
    try:
        with path.open("rb") as file:
            for line in iter(lambda: file.readline(_MOST_HEADER), b""):
                if only_failed and b'"failed"' not in line:
                    continue
                row = _parse_row(line) if line.endswith(b"\n") else None
                if row is not None and not (only_failed and row.outcome != "failed"):
                    yield row
    except OSError:
        return


def last_rows(path: Path, *, since: float | None = None) -> list[RowRecord]:
    """The rows that ended after ``since`` (seconds since 1970), or the last few, oldest first.

    Reads the file from its end, as far as rows are that young. Clocks may jump back, so the order
    of times is not relied on: reading ends at a block that holds no young row at all.
    """
    found: list[RowRecord] = []
    for lines in _blocks_from_end(path):
        rows = [row for row in map(_parse_row, lines) if row is not None]
        young = rows if since is None else [row for row in rows if row.ended > since]
        found[:0] = young
        if since is None or (rows and not young):
            break
    return found


def _blocks_from_end(path: Path) -> Iterator[list[bytes]]:
    """Whole lines of a file, a block at a time, the last block first; an open last line is left
    out."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            rest = b""  # the begin of the block after, whose line begins in the one before
            while end > 0:
                begin = max(0, end - _BLOCK)
                file.seek(begin)
                block = file.read(end - begin) + rest
                end = begin
                if begin > 0:
                    rest, newline, block = block.partition(b"\n")
                    rest += newline
                    if len(rest) > _MOST_HEADER:
                        return  # no file of ours
                yield block.split(b"\n")[:-1]
    except OSError:
        return


def _parse_row(line: bytes) -> RowRecord | None:
    if not line.startswith(b"{"):
        return None
    try:
        content = json.loads(line)
        if content.get("kind") != _ROW:
            return None
        return RowRecord(
            row=int(content["row"]),
            outcome=str(content["outcome"]),
            ended=float(content["ended"]),
            seconds=float(content["seconds"]),
            batch=int(content.get("batch", 1)),
            error=str(content.get("error", "")),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
