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

from datamodels.errors import DatamodelsError
from datamodels.training.indices import format_indices
from datamodels.training.store import Store
from datamodels.training.worker_report import Outcome, save_failure

_CHILD = "DATAMODELS_WORKER_CHILD"  # descriptors: "reports,alive,rows"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_READY = "ready"
_START = "start"
_LEAST_IMPORT_SECONDS = 30.0  # importing may take longer than a row of a toy example
_POLL_SECONDS = 0.5  # a process that the child left behind may hold its end of the pipe open


class ImportEndedError(DatamodelsError):
    """The user's module could not be imported; nothing was run."""


class Watchdog:
    """Runs rows of ``store`` in a child process, ``limit`` seconds each.

    The import of the user's module has the same limit, but 30 seconds at least.
    """

    def __init__(
        self,
        store: Store,
        limit: float,
        report: Callable[[int, Outcome], None],
        *,
        rewrite: bool = False,
    ) -> None:
        self._store = store
        self._rewrite = rewrite  # complete rows are run again, so a flag may be an earlier run's
        self._limit = limit
        self._report = report

    def run(self, indices: Sequence[int]) -> int:
        """Run all rows; the status of a child that ended by itself before its first row, else 0.

        Raises ImportEndedError when the import exceeds its limit or kills the child.
        """
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
        import_limit = max(self._limit, _LEAST_IMPORT_SECONDS)
        deadline: float | None = time.monotonic() + import_limit
        while (line := child.next_line(deadline)) is not None:
            word, *arguments = line.split()
            if word == _READY:
                ready, deadline = True, None
            elif word == _START:
                current, deadline = int(arguments[0]), time.monotonic() + self._limit
            else:
                self._decide(rest, int(arguments[0]), Outcome(word))
                current = deadline = None
        timed_out = deadline is not None and time.monotonic() >= deadline
        status = child.end()
        if not ready:
            return _failed_import(status, import_limit if timed_out else None)
        if rest:  # where it died between two rows, the next one carries the evidence
            index = rest[0] if current is None else current
            self._decide(rest, index, self._give_up(index, status, timed_out))
        return None

    def _decide(self, rest: list[int], index: int, outcome: Outcome) -> None:
        if index in rest:  # a fork of the child may have run on, and say things twice
            rest.remove(index)
            self._report(index, outcome)

    def _give_up(self, index: int, status: int, timed_out: bool) -> Outcome:
        # It may have been written, and the child have ended before it said so.
        if not self._rewrite and self._store.is_complete(index):
            return Outcome.WRITTEN
        if timed_out:
            summary = f"timeout: main ran longer than --worker.job_timeout={self._limit:g} seconds"
        else:
            summary = f"the process that ran main {_how_it_ended(status)} before main returned"
        save_failure(self._store.layout, index, summary, summary + "\n")
        return Outcome.FAILED


def _failed_import(status: int, exceeded: float | None) -> int:
    """The status of a child that has said itself why it ended; otherwise ImportEndedError."""
    if exceeded is not None:
        raise ImportEndedError(
            f"importing worker.main_import took longer than {exceeded:g} seconds; give more with "
            "--worker.job_timeout, or import less at the top of the module"
        )
    if status < 0:
        raise ImportEndedError(
            f"the process that imports worker.main_import {_how_it_ended(status)}"
        )
    return status or 1


def _how_it_ended(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


class _Child:
    """The process that imports ``main``, and the pipe on which it says where it is."""

    def __init__(self, process: "subprocess.Popen[bytes]", reports: int) -> None:
        self._process = process
        self._reports = reports
        self._pending = b""

    def next_line(self, deadline: float | None) -> str | None:
        """The child's next report; None when it ended or ``deadline`` has passed."""
        while b"\n" not in self._pending:
            ended = self._process.poll() is not None
            if not select.select([self._reports], [], [], 0 if ended else self._wait(deadline))[0]:
                if ended or (deadline is not None and time.monotonic() >= deadline):
                    return None
                continue
            chunk = os.read(self._reports, 4096)
            if not chunk:
                return None
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def _wait(self, deadline: float | None) -> float:
        left = _POLL_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())
        return min(left, _POLL_SECONDS)

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
