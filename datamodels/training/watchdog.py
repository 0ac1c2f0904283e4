"""A time limit for each row: a parent that watches the process which runs ``main``.

A stuck native call cannot be ended from within its own process. So the parent, which imports
nothing of the user's, starts a child that runs the rows and says on a pipe which one it is at. When
a row exceeds the limit, or the child dies, the parent kills what is left of the child's process
group, notes the row as failed and starts a new child for the rows after it.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from datamodels.training.indices import format_indices
from datamodels.training.layout import StoreLayout
from datamodels.training.worker_report import Outcome, save_failure

_CHILD = "DATAMODELS_WORKER_CHILD"  # descriptors: "reports,alive,rows"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_READY = "ready"
_START = "start"


class Watchdog:
    """Runs rows in a child process, ``limit`` seconds each."""

    def __init__(
        self, layout: StoreLayout, limit: float, report: Callable[[int, Outcome], None]
    ) -> None:
        self._layout = layout
        self._limit = limit
        self._report = report

    def run(self, indices: Sequence[int]) -> int:
        """Run all rows; the status of a child that failed before its first row, else 0."""
        rest = list(indices)
        while rest:
            with _child(rest) as child:
                status = self._watch(child, rest)
            if status is not None:
                return status
        return 0

    def _watch(self, child: "_Child", rest: list[int]) -> int | None:
        """Follow one child until it ends; ``rest`` loses the rows that are decided.

        Returns a child's exit status when it ended before it was ready for any row.
        """
        ready = False
        current: int | None = None
        deadline: float | None = None
        while (line := child.next_line(deadline)) is not None:
            word, *arguments = line.split()
            if word == _READY:
                ready = True
            elif word == _START:
                current, deadline = int(arguments[0]), time.monotonic() + self._limit
            else:
                self._decide(rest, int(arguments[0]), Outcome(word))
                current = deadline = None
        timed_out = deadline is not None and time.monotonic() >= deadline
        status = child.end()
        if not ready and not timed_out:
            return status or 1
        if current is not None:
            self._give_up(current, status, timed_out)
            self._decide(rest, current, Outcome.FAILED)
        elif rest:  # it died between two rows: the next one carries the evidence
            self._give_up(rest[0], status, timed_out=False)
            self._decide(rest, rest[0], Outcome.FAILED)
        return None

    def _decide(self, rest: list[int], index: int, outcome: Outcome) -> None:
        rest.remove(index)
        self._report(index, outcome)

    def _give_up(self, index: int, status: int, timed_out: bool) -> None:
        if timed_out:
            summary = f"timeout: main ran longer than --worker.job_timeout={self._limit:g} seconds"
        elif status < 0:
            summary = f"the process that ran main was killed by {signal.Signals(-status).name}"
        else:
            summary = f"the process that ran main ended with status {status} before main returned"
        save_failure(self._layout, index, summary, summary + "\n")


class _Child:
    """The process that imports ``main``, and the pipe on which it says where it is."""

    def __init__(self, process: "subprocess.Popen[bytes]", reports: int) -> None:
        self._process = process
        self._reports = reports
        self._pending = b""

    def next_line(self, deadline: float | None) -> str | None:
        """The child's next report; None when it ended or ``deadline`` has passed."""
        while b"\n" not in self._pending:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._reports], [], [], wait)[0]:
                return None
            chunk = os.read(self._reports, 4096)
            if not chunk:
                return None
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def end(self) -> int:
        """Kill what is left of the child's process group; its exit status (-signal if killed)."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.05)  # one that closed its pipe is about to end by itself
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()


@contextlib.contextmanager
def _child(indices: list[int]) -> Iterator[_Child]:
    """Start a child for ``indices``; whatever ends this block ends the child and its children."""
    reports, child_reports = os.pipe()
    child_alive, alive = os.pipe()  # closes when this process ends, however it ends
    with _terminated_as_exit(), tempfile.TemporaryFile() as rows:
        rows.write(format_indices(indices).encode())  # too long for an environment variable
        rows.flush()
        inherited = (child_reports, child_alive, rows.fileno())
        process = subprocess.Popen(
            [sys.executable, "-m", "datamodels.training.worker", *sys.argv[1:]],
            env={**os.environ, _CHILD: ",".join(str(number) for number in inherited)},
            pass_fds=inherited,
            start_new_session=True,  # a process group of its own, to be killed as a whole
        )
        os.close(child_reports)
        os.close(child_alive)
        child = _Child(process, reports)
        try:
            yield child
        finally:
            child.end()
            os.close(reports)
            os.close(alive)


@contextlib.contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that the child is killed on the way out."""

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class ChildReports:
    """The child's side: says which row it is at, and dies with its parent."""

    def __init__(self, descriptor: int, alive: int) -> None:
        self._descriptor = descriptor
        threading.Thread(target=_exit_when_closed, args=(alive,), daemon=True).start()
        _ask_kernel_to_kill_with_parent()

    @classmethod
    def of_this_process(cls) -> tuple["ChildReports", str] | None:
        """Reports and rows of a process that a watchdog started; None in any other."""
        # Removed, so that nothing main starts takes itself for such a child.
        descriptors = os.environ.pop(_CHILD, None)
        if descriptors is None:
            return None
        report, alive, rows = (int(number) for number in descriptors.split(","))
        for descriptor in (report, alive):
            os.set_inheritable(descriptor, False)
        with os.fdopen(rows) as file:
            file.seek(0)
            return cls(report, alive), file.read()

    def ready(self) -> None:
        """``main`` has been imported."""
        self._say(_READY)

    def start(self, index: int) -> None:
        """A row begins: its time is counted from here."""
        self._say(f"{_START} {index}")

    def done(self, index: int, outcome: Outcome) -> None:
        """A row ended."""
        self._say(f"{outcome.value} {index}")

    def _say(self, line: str) -> None:
        os.write(self._descriptor, f"{line}\n".encode())


def _exit_when_closed(alive: int) -> None:
    os.read(alive, 1)  # returns when the parent's end is closed
    os.killpg(0, signal.SIGKILL)  # this process leads its group


def _ask_kernel_to_kill_with_parent() -> None:
    # The thread above cannot run while native code holds the interpreter's lock; Linux itself can.
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
