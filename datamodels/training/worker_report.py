"""What became of each row a worker tried, and the lines that say so."""

import contextlib
import os
import shlex
import sys
import traceback
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from tqdm import tqdm

import datamodels
from datamodels.training.layout import StoreLayout

_PACKAGE = Path(datamodels.__file__).parent
_TAIL_BYTES = 4_096  # of an error.txt
_SHOWN = 10  # failed rows named one by one at the end


class Outcome(Enum):
    """How the run of one row ended."""

    WRITTEN = "written"
    SKIPPED = "skipped"  # complete already
    FAILED = "failed"


class WorkerReport:
    """Counts over all rows of one worker, shown as a progress line while it runs."""

    def __init__(self, layout: StoreLayout, total: int | None) -> None:
        self._layout = layout
        self.written = 0
        self.skipped = 0
        self.failed: list[int] = []
        # disable=None: quiet when standard error is not a terminal
        self._bar = tqdm(total=total, unit="row", disable=True if total == 1 else None)

    def start(self, rows: Sequence[int]) -> None:
        """Rows are counted as they end."""

    def done(self, index: int, outcome: Outcome, seconds: float) -> None:  # noqa: ARG002
        """Count one row."""
        self._bar.update()
        match outcome:
            case Outcome.WRITTEN:
                self.written += 1
            case Outcome.SKIPPED:
                self.skipped += 1
            case Outcome.FAILED:
                self.failed.append(index)

    def finish(self) -> int:
        """Print the counts; the worker's exit status."""
        self._bar.close()
        total = self.written + self.skipped + len(self.failed)
        skipped = f", {self.skipped} were complete already" if self.skipped else ""
        print(f"{self.written} of {total} rows written{skipped}", flush=True)
        if not self.failed:
            return 0
        shown = ", ".join(str(index) for index in self.failed[:_SHOWN])
        more = f" and {len(self.failed) - _SHOWN} more" if len(self.failed) > _SHOWN else ""
        print(
            f"{len(self.failed)} of {total} rows failed: {shown}{more}; their tracebacks are in "
            f"{self._layout.error(self.failed[0])}" + (" and so on" if self.failed[1:] else ""),
            file=sys.stderr,
        )
        return 1


def save_failure(layout: StoreLayout, index: int, summary: str, detail: str) -> None:
    """Write the evidence of a failed row to its ``error.txt`` and one line to standard error."""
    path = layout.error(index)
    with contextlib.suppress(OSError):  # a full disk must not hide the failure itself
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(detail, encoding="utf-8", errors="backslashreplace")
    first, *rest = summary.splitlines() or [""]
    more = f" (and {len(rest)} more lines)" if rest else ""
    say(f"row {index} failed: {first}{more}; see {path}")


def last_line(path: Path) -> str:
    """The last line of an ``error.txt``: of a traceback, what was raised."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _TAIL_BYTES, 0))
            text = file.read().decode(errors="backslashreplace")
    except OSError:
        return "it left no traceback"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it left no traceback"


def say(line: str) -> None:
    """One line on standard error, above any progress line."""
    stream = sys.stderr or sys.__stderr__  # a user's module may have replaced it, by anything
    encoding = getattr(stream, "encoding", None) or "utf-8"
    with contextlib.suppress(Exception):
        tqdm.write(line.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def describe(error: BaseException) -> tuple[str, str]:
    """A summary and the traceback, without the frames above the user's own code."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # an exception of the user's that cannot say what it is
        text = "(its message cannot be shown)"
    summary = f"{name}: {text}" if text else name
    if isinstance(error, SystemExit):
        reason = getattr(error, "reason", f"SystemExit, status {error.code}")
        summary = f"main ended the program ({reason}); main must return"
    frames = error.__traceback__
    while frames and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    if frames is None:  # raised by ourselves, or a file that does not even parse
        return summary, "".join(traceback.format_exception_only(error))
    return summary, "".join(traceback.format_exception(error.with_traceback(frames)))


def _is_ours(filename: str) -> bool:
    return "importlib" in filename or Path(filename).is_relative_to(_PACKAGE)


def log_command(layout: StoreLayout, argv: Sequence[str], rows_option: str, index: int) -> None:
    """Append this row's command line to the store's log; best effort.

    ``rows_option`` is that which named the rows, so that the line overrules a file that also does.
    """
    own = ("--worker.index", "--worker.indices")
    words: list[str] = []
    skip = False
    for word in argv:
        if skip:
            skip = False
        elif word in own:
            skip = True
        elif word.partition("=")[0] not in own:
            words.append(word)
    line = shlex.join([*words, f"--worker.{rows_option}={index}"]) + "\n"
    with contextlib.suppress(OSError):
        # Not blocking: nothing that stands in this place may hold up a row.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
        descriptor = os.open(layout.commands, flags, 0o666)
        try:
            os.write(descriptor, line.encode(errors="backslashreplace"))
        finally:
            os.close(descriptor)
