"""Worker processes that are watched: given rows, replaced when they die or exceed the time limit.

A stuck native call cannot be ended from within its own process. So this process, which imports
nothing of the user's, starts workers that say on a pipe which rows they are at. When a row exceeds
its limit, or its worker dies, what is left of the worker's process group is killed, the row is
noted as failed, and a new worker takes the rows after it.
"""

import contextlib
import selectors
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from datamodels.errors import DatamodelsError
from datamodels.training.row_queue import RowQueue
from datamodels.training.store import Store
from datamodels.training.worker_events import Begun, Ended, Reports
from datamodels.training.worker_process import WorkerProcess, how_it_ended
from datamodels.training.worker_report import Outcome, save_failure

_LEAST_IMPORT_SECONDS = 30.0  # importing may take longer than a row of a toy example
_POLL_SECONDS = 0.5  # a process that a worker left behind may hold its end of the pipe open
_END_SECONDS = 10.0  # that a worker without rows may take to end by itself


class ImportEndedError(DatamodelsError):
    """The user's module could not be imported; nothing was run."""


class Listener(Reports, Protocol):
    """Whoever is told what happens; beside rows, what the supervisor decides about them."""

    def set_aside(self, index: int, place: int, reason: str | None) -> None:
        """A row has failed for the last time, in this place, for this reason if it is known."""

    def retired(self, place: int) -> None:
        """No worker of this place can begin; the others go on."""

    def tick(self, running: int) -> None:
        """Some time has passed; so many workers are at a row."""


class Supervisor:
    """Runs rows of ``store`` in some worker processes at a time.

    Args:
        store: where rows are complete or not.
        start: starts the worker of a place (0 to workers - 1).
        workers: processes at a time.
        limit: seconds that a row may take, of a batch each of its rows; None: as long as it takes.
            The import of the user's module has the same limit, but 30 seconds at least.
        imports: how often in a row a worker may end before it has imported the module.
        rewrite: complete rows are run again, so a flag may be an earlier run's.
        evidence: where the output of a worker of this place is kept, for the messages.
    """

    def __init__(
        self,
        store: Store,
        start: Callable[[int], WorkerProcess],
        *,
        workers: int = 1,
        limit: float | None = None,
        imports: int = 1,
        rewrite: bool = False,
        evidence: Callable[[int], str] = lambda _: "",
    ) -> None:
        self._store, self._start, self._limit = store, start, limit
        self._imports, self._rewrite, self._evidence = imports, rewrite, evidence
        self._places: list[WorkerProcess | None] = [None] * workers
        self._selector = selectors.DefaultSelector()
        self._failed_imports = [0] * workers  # in a row, of each place
        self._was_ready = [False] * workers
        self._retired: set[int] = set()  # places whose workers cannot begin
        self.stopping = False
        self.status = 0  # of a worker that ended by itself before it took a row
        self.failed_place = 0  # where it was
        self.reasons: dict[int, str] = {}  # why rows failed the last time, a line each

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End all workers; those that are done may end by themselves."""
        living = [worker for worker in self._places if worker is not None]
        deadline = time.monotonic() + _END_SECONDS
        for worker in living if kind is None else ():
            worker.finish()
        for worker in living:
            if kind is None:
                worker.wait(deadline - time.monotonic())
            worker.end()  # at once: the number of a process that is gone may be given anew
            worker.close()
        self._places = [None] * len(self._places)
        self._selector.close()

    def stop(self) -> None:
        """Have every worker end after the row that it is at, and begin no other."""
        self.stopping = True

    def run(self, queue: RowQueue, listener: Listener) -> bool:
        """Run all rows of ``queue``; False where a worker ended by itself before it took a row,
        whose exit status ``status`` is then, or where it was stopped.

        Raises ImportEndedError when the import exceeds its limit or kills the workers.
        """
        while self.status == 0:
            if self.stopping:
                queue = RowQueue([])
            self._hand_out(queue)
            busy = [worker for worker in self._places if worker is not None and worker.rows]
            if not busy:
                break
            if self.stopping:
                for worker in busy:
                    worker.stop()
            listener.tick(sum(bool(worker.current) for worker in busy))
            self._wait()
            for place in range(len(self._places)):
                self._look_at(place, queue, listener)
        return self.status == 0 and not self.stopping

    def _hand_out(self, queue: RowQueue) -> None:
        """Give rows to every worker that has none, starting workers where there are none."""
        for place, worker in enumerate(self._places):
            if (worker is not None and worker.rows) or not len(queue) or place in self._retired:
                continue
            if worker is None:
                worker = self._start(place)  # noqa: PLW2901
                self._places[place] = worker
                self._selector.register(worker.events, selectors.EVENT_READ)
            rows = queue.take()
            worker.give(rows)
            if worker.ready:
                worker.since = time.monotonic()

    def _wait(self) -> None:
        deadlines = [self._deadline(worker) for worker in self._places if worker is not None]
        left = min(deadlines, default=0.0) - time.monotonic()
        self._selector.select(min(max(left, 0.0), _POLL_SECONDS))

    def _deadline(self, worker: WorkerProcess) -> float:
        """When it is to be killed."""
        if self._limit is None or (worker.ready and not worker.current):
            return float("inf")
        if not worker.ready:
            return worker.since + max(self._limit, _LEAST_IMPORT_SECONDS)
        return worker.since + self._limit * len(worker.current)

    def _look_at(self, place: int, queue: RowQueue, listener: Listener) -> None:
        worker = self._places[place]
        if worker is None:
            return
        has_ended = worker.has_ended  # before its last words are read
        self._take_in(self._heard(worker), place, queue, listener)
        if worker.ready:
            self._failed_imports[place], self._was_ready[place] = 0, True
        timed_out = not has_ended and time.monotonic() >= self._deadline(worker)
        if not has_ended and not timed_out:
            return
        self._selector.unregister(worker.events)
        status = worker.end()
        self._take_in(self._heard(worker), place, queue, listener)
        worker.close()
        self._places[place] = None
        if not worker.ready:
            queue.put_back(worker.rows)
            if not self.stopping:
                self._failed_import(worker, place, status, timed_out, listener)
        elif worker.rows:
            self._lost(worker, self._cause(status, timed_out), place, queue, listener)

    def _heard(self, worker: WorkerProcess) -> list[Begun | Ended]:
        events = worker.read_events()
        self.reasons |= worker.reasons
        worker.reasons.clear()
        return events

    def _failed_import(
        self, worker: WorkerProcess, place: int, status: int, timed_out: bool, listener: Listener
    ) -> None:
        """Retire a place whose workers do not begin, and end where it was the last one."""
        self._failed_imports[place] += 1
        by_itself = status >= 0 and not timed_out  # it would do so again, unless it never did
        again = self._was_ready[place] or not by_itself
        if again and self._failed_imports[place] < self._imports:
            return
        self._retired.add(place)
        if len(self._retired) < len(self._places):
            listener.retired(place)
            return
        self.failed_place = place
        if timed_out:
            seconds = time.monotonic() - worker.since
            raise ImportEndedError(
                f"importing worker.main_import took longer than {seconds:.0f} seconds; give more "
                "with --worker.job_timeout, or import less at the top of the module"
            )
        if status < 0:
            raise ImportEndedError(
                f"the process that imports worker.main_import {how_it_ended(status)}"
            )
        self.status = status or 1

    def _cause(self, status: int, timed_out: bool) -> str:
        if timed_out:
            assert self._limit is not None
            return f"timeout: main ran longer than --worker.job_timeout={self._limit:g} seconds"
        return f"the process that ran main {how_it_ended(status)} before main returned"

    def _lost(
        self, worker: WorkerProcess, cause: str, place: int, queue: RowQueue, listener: Listener
    ) -> None:
        """Decide what becomes of the rows of a worker that died."""
        at = worker.current
        if not at and not worker.ended_rows and not self.stopping:
            at = worker.rows[:1]  # or workers that die between rows would be replaced for ever
        begun = set(at)
        queue.put_back([row for row in worker.rows if row not in begun])
        # It may have been written, and the worker have ended before it said so.
        written = [row for row in at if not self._rewrite and self._store.is_complete(row)]
        seconds = time.monotonic() - worker.since
        for row in written:
            self._take_in([Ended(row, Outcome.WRITTEN, seconds / len(at))], place, queue, listener)
        lost = [row for row in at if row not in written]
        if len(lost) > 1:
            queue.put_back_alone(lost)
            return
        for row in lost:
            self.reasons[row] = cause
            save_failure(self._store.layout, row, cause, f"{self._evidence(place)}{cause}\n")
            self._take_in([Ended(row, Outcome.FAILED, seconds)], place, queue, listener)

    def _take_in(
        self, events: Iterable[Begun | Ended], place: int, queue: RowQueue, listener: Listener
    ) -> None:
        for event in events:
            if isinstance(event, Begun):
                listener.start(event.rows)
                continue
            is_last = queue.ended(*event)
            listener.done(*event)
            if is_last:
                listener.set_aside(event.row, place, self.reasons.get(event.row))


@contextlib.contextmanager
def terminated_as_exit() -> Iterator[None]:
    """Turn SIGTERM into SystemExit, so that workers are killed on the way out."""

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
