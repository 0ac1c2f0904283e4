"""A worker that somebody watches: a process that takes rows, and says what became of them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from datamodels.training.indices import format_indices, parse_indices
from datamodels.training.worker_events import READY, START, WHY, Begun, Ended
from datamodels.training.worker_report import Outcome

# A line of rows must fit the pipe of a worker that does not read yet.
MOST_ROWS = 4_000
_GRACE = 0.05  # seconds; a worker that closed its pipe is about to end by itself


class WorkerProcess:
    """The worker command in a process group of its own, which ends with this process.

    Attributes:
        rows: those it was given and that have not ended yet, in order.
        current: those it is at.
        since: when it began with them, or was started; ``time.monotonic()``.
        ready: whether it has imported ``main``.
        ended_rows: how many rows ended in it.
        reasons: why rows failed in it, a line each.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str] | None = None,
        stdout: IO[Any] | None = None,
        stderr: IO[Any] | None = None,
    ) -> None:
        self.rows: list[int] = []
        self.current: list[int] = []
        self.since = time.monotonic()
        self.ready = False
        self.ended_rows = 0
        self.reasons: dict[int, str] = {}
        self._pending = b""
        self.events, theirs = os.pipe()
        alive, self._alive = os.pipe()  # closes when this process ends, however it ends
        os.set_blocking(self.events, False)
        told = {
            "worker.indices": "-",  # the environment overrules what else says so
            "worker.events": f"/dev/fd/{theirs}",
            "worker.alive": f"/dev/fd/{alive}",
        }
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "datamodels.training.worker", *arguments],
                env={**(os.environ if env is None else env), **told},
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(theirs, alive),
                start_new_session=True,  # a process group of its own, to be killed as a whole
            )
        except OSError:
            os.close(self.events)
            os.close(self._alive)
            raise
        else:
            self._guard = _guard(self._process.pid, alive)
        finally:
            os.close(theirs)
            os.close(alive)

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def give(self, rows: Sequence[int]) -> None:
        """Rows to run, at most MOST_ROWS."""
        assert self._process.stdin is not None
        self.rows += rows
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its caller will notice
            self._process.stdin.write(f"{format_indices(list(rows))}\n".encode())
            self._process.stdin.flush()

    def read_events(self) -> list[Begun | Ended]:
        """What it has said of its rows since the last call, taken in."""
        while True:
            try:
                chunk = os.read(self.events, 65_536)
            except BlockingIOError:
                break
            if not chunk:
                break
            self._pending += chunk
        *lines, self._pending = self._pending.split(b"\n")
        heard = (self._hear(line.decode()) for line in lines)
        return [event for event in heard if event is not None]

    def _hear(self, line: str) -> Begun | Ended | None:
        word, *arguments = line.split()
        if word == READY:
            self.ready = True
        elif word == START:
            self.current = parse_indices(arguments[0], sys.maxsize, "")
            self.since = time.monotonic()
            return Begun(self.current)
        elif word == WHY:
            self.reasons[int(arguments[0])] = line.split(maxsplit=2)[2] if arguments[1:] else ""
        elif (index := int(arguments[0])) in self.rows:
            # A fork of the worker may have run on, and say things twice.
            self.rows.remove(index)
            self.current = [row for row in self.current if row != index]
            self.ended_rows += 1
            return Ended(index, Outcome(word), float(arguments[1]))
        return None

    def finish(self) -> None:
        """No more rows: it ends by itself after those it has."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def stop(self) -> None:
        """Have it end after the row that it is at."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended by itself within ``seconds``."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=max(seconds, 0))
        return self.has_ended

    def end(self) -> int:
        """Kill what is left of its process group; its exit status (-signal if killed)."""
        self.wait(_GRACE)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        status = self._process.wait()
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
        self.finish()
        return status

    def close(self) -> None:
        """Close the pipes of a worker that has ended, once its events are read."""
        os.close(self.events)
        os.close(self._alive)


def _guard(group: int, alive: int) -> "subprocess.Popen[bytes] | None":
    """Kills a worker's group once the other end of ``alive`` closes, should this process be killed.

    The worker sees to itself, but Linux may kill it before it gets to what ``main`` started. This
    is no child of the worker, whose ``main`` may wait for all of its children.
    """
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", f"read _; kill -9 -{group}"],
            stdin=alive,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:  # no shell here, or no more processes: the worker still sees to itself
        return None


def how_it_ended(status: int) -> str:
    """An exit status of a process in words."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"
