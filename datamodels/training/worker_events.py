"""What a worker says to whoever started it, a line for each step, and how it ends with them.

    ready                   main has been imported
    start 17-48             these rows begin: one, or all of one call of main_batch
    written 17 0.532        a row ended; seconds, of a batch its share
    skipped 18 0.000
    why 19 ValueError: ...  why it is about to fail, said to launchers only
    failed 19 1.207

``--worker.events=PATH`` writes the lines, and ``--worker.alive=PATH`` names a pipe: once its other
end closes, however that comes about, the worker and its children end.
"""

import contextlib
import ctypes
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from datamodels.training.indices import format_indices
from datamodels.training.worker_report import Outcome

READY = "ready"
START = "start"
WHY = "why"
_MOST_WHY = 500  # characters: a line must reach a pipe whole

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Reports(Protocol):
    """Whoever is told how rows begin and end."""

    def start(self, rows: Sequence[int]) -> None:
        """These rows begin together."""

    def done(self, index: int, outcome: Outcome, seconds: float) -> None:
        """A row ended."""


class Begun(NamedTuple):
    """Rows that began together."""

    rows: list[int]


class Ended(NamedTuple):
    """A row that ended."""

    row: int
    outcome: Outcome
    seconds: float


class EventLines:
    """Writes the lines: to a file, or to an inherited descriptor (``/dev/fd/5``)."""

    def __init__(self, path: str) -> None:
        self._descriptor = open_inherited(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def ready(self) -> None:
        """``main`` has been imported."""
        self._say(READY)

    def start(self, rows: Sequence[int]) -> None:
        """These rows begin: their time is counted from here."""
        self._say(f"{START} {format_indices(list(rows))}")

    def done(self, index: int, outcome: Outcome, seconds: float) -> None:
        """A row ended."""
        self._say(f"{outcome.value} {index} {seconds:.6f}")

    def why(self, index: int, summary: str) -> None:
        """A row is about to end as failed, for this reason: its first line is said. The disk that
        keeps the traceback may be full."""
        first = summary.strip().partition("\n")[0][:_MOST_WHY]
        self._say(f"{WHY} {index} {first.encode('ascii', 'backslashreplace').decode()}")

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more: the row counts all the same
            os.write(self._descriptor, f"{line}\n".encode())


def open_inherited(path: str, flags: int) -> int:
    """A descriptor for ``path`` that children do not inherit; ``/dev/fd/N`` is taken over."""
    number = re.fullmatch(r"/dev/fd/(\d+)", path)
    if number is None:
        return os.open(path, flags, 0o666)
    os.set_inheritable(int(number[1]), False)
    return int(number[1])


def end_with(path: str) -> None:
    """End this process and its group, which it leads, once the other end of a pipe closes."""
    alive = open_inherited(path, os.O_RDONLY)
    threading.Thread(target=_exit_when_closed, args=(alive,), daemon=True).start()
    _ask_kernel_to_kill_with_parent()


def _exit_when_closed(alive: int) -> None:
    os.read(alive, 1)  # returns when the other end is closed
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _ask_kernel_to_kill_with_parent() -> None:
    # The thread above cannot run while native code holds the interpreter's lock; Linux itself can.
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
