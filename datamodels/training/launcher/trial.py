"""How long rows take: a few, run by as many workers at once as there are to be.

Workers that share cores, caches or a GPU slow one another, so none is timed alone: every worker
makes its first call, which may load data and compile, and once all have, they are timed together.
"""

import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from datamodels.errors import DatamodelsError, UsageError
from datamodels.training.launcher.config import LaunchConfig
from datamodels.training.launcher.fill import worker_arguments
from datamodels.training.launcher.local_engine import worker_failed
from datamodels.training.launcher.machine import (
    default_workers,
    environment,
    gpu_memory,
    visible_gpus,
)
from datamodels.training.launcher.worker_logs import WorkerLogs
from datamodels.training.row_queue import RowQueue
from datamodels.training.store import Store
from datamodels.training.supervisor import Supervisor
from datamodels.training.worker_events import Begun, Ended
from datamodels.training.worker_process import WorkerProcess
from datamodels.training.worker_report import Outcome

_LEAST_SECONDS = 1.0  # rows of milliseconds are timed for so long, as far as there are rows
_SAMPLE_SECONDS = 1.0  # between two looks at the memory of the GPUs


class RowFailedError(DatamodelsError):
    """``main`` failed on a row, or a worker could not go on; the message holds the evidence."""


@dataclass
class WorkerTimes:
    """What was seen of one worker, in seconds."""

    imports: float  # from the start of the process until the module was imported
    calls: list[float] = field(default_factory=list)  # a model, of each call; the first one first


@dataclass(frozen=True)
class TrialTimes:
    """How long rows took while all workers ran."""

    workers: list[WorkerTimes]
    batch: int  # models of a call
    gpus: list[str]  # that the workers shared
    gpu_bytes: list[int]  # the most that each GPU held above what it held before; may be empty
    gpu_total_bytes: list[int]
    file_bytes: float  # a model: what main left in its logdir, and what workers note

    @property
    def rows_per_second(self) -> float:
        """Models a second of all workers together."""
        return sum(1 / max(fmean(worker.calls[1:]), 1e-6) for worker in self.workers)

    @property
    def later_calls(self) -> list[float]:
        """Seconds a model of every call that was not its worker's first."""
        return [seconds for worker in self.workers for seconds in worker.calls[1:]]

    @property
    def import_seconds(self) -> float:
        """Until a worker has imported the module, on average."""
        return fmean(worker.imports for worker in self.workers)

    @property
    def first_call_seconds(self) -> float:
        """What a worker's first call takes beyond a later one, on average."""
        beyond = (worker.calls[0] - fmean(worker.calls[1:]) for worker in self.workers)
        return max(0.0, self.batch * fmean(beyond))


def time_rows(
    store: Store, config: LaunchConfig, options: Sequence[str], rows: Sequence[int], trials: int
) -> TrialTimes:
    """Run some of ``rows`` of an empty ``store`` by the workers of ``config``, and time them.

    Args:
        store: a store to be thrown away.
        config: its main_import, batch and workers count.
        options: words of a command line for the user's module.
        rows: those that may be run, in order: two calls of each worker at least.
        trials: calls that each worker is timed on, after its first.

    Raises:
        RowFailedError: ``main`` failed. WorkerFailedError: no worker could begin.
        UsageError: there are too few rows.
    """
    gpus = visible_gpus()
    workers = config.workers or default_workers(gpus, config.workers_per_gpu)
    gpus = gpus[:workers]  # no worker has the others
    batch = config.batch or 1
    if len(rows) < 2 * workers * batch:
        raise UsageError(
            f"{workers} workers, each timed on its second call of {batch} "
            f"{'row' if batch == 1 else 'rows'}, need {2 * workers * batch} rows; there are "
            f"{len(rows)}. Plan more models (estimate.models), or lower estimate.workers or "
            "estimate.batch"
        )
    store.layout.launch.mkdir(exist_ok=True)
    logs = WorkerLogs(store.layout)
    arguments = worker_arguments(config, options)
    places: dict[int, _TimedWorker] = {}

    def start(place: int) -> WorkerProcess:
        out, err = logs.open(place)
        with out, err:
            places[place] = _TimedWorker(arguments, environment(place, workers, gpus), out, err)
        return places[place]

    memory = _GpuMemory(gpus)
    queue = _CallQueue(rows, workers=workers, batch=batch)
    listener = _Listener(store, places, logs, memory, queue, trials)
    try:
        with Supervisor(
            store,
            start,
            workers=workers,
            evidence=lambda place: f"What its worker wrote:\n{logs.said(place)}\n",
        ) as supervisor:
            supervisor.run(queue, listener)
            listener.check_places()
            listener.check_batch()
    except _EnoughError:
        pass
    finally:
        for warning in logs.warnings():
            print(warning, file=sys.stderr)
    if supervisor.status:
        raise worker_failed(supervisor, logs, config.main_import)
    ended = sum(worker.ended_rows for worker in places.values())
    return TrialTimes(
        [worker.times() for _, worker in sorted(places.items())],
        batch,
        gpus,
        memory.most,
        memory.total,
        _bytes_beside_arrays(store) / max(ended, 1),
    )


class _EnoughError(Exception):
    """All has been seen: what the workers are still at is of no use to anybody."""


class _TimedWorker(WorkerProcess):
    """A worker process whose events leave their times."""

    def __init__(self, *args: object) -> None:
        self._started = time.monotonic()
        self._ready: float | None = None
        self._shares: list[float] = []  # seconds of each row of the call that is under way
        self._under_way: set[int] = set()  # its rows that have not ended
        self._failed_together: set[int] = set()  # rows of a call that failed, to be run one by one
        self.is_batch_at_fault = False  # rows that failed together have all been made alone
        self.calls: list[float] = []
        super().__init__(*args)  # type: ignore[arg-type]

    def read_events(self) -> list[Begun | Ended]:
        events = super().read_events()
        if self.ready and self._ready is None:
            self._ready = time.monotonic()
        for event in events:
            if isinstance(event, Begun):
                if len(self._under_way) > 1:
                    self._failed_together |= self._under_way
                self._shares, self._under_way = [], set(event.rows)
                continue
            self._shares.append(event.seconds)
            self._under_way.discard(event.row)
            if event.row in self._failed_together:
                self._failed_together.discard(event.row)
                self.is_batch_at_fault = not self._failed_together
        if self._shares and not self.current:
            self.calls.append(fmean(self._shares))
            self._shares = []
        return events

    def times(self) -> WorkerTimes:
        """What was seen of it."""
        assert self._ready is not None
        return WorkerTimes(self._ready - self._started, list(self.calls))


class _CallQueue(RowQueue):
    """Hands out one call at a time, the second ones once the first of every worker has ended."""

    def __init__(self, rows: Sequence[int], *, workers: int, batch: int) -> None:
        super().__init__(rows, workers=workers, batch=batch)
        self._first_rows = workers * batch  # that are handed out before the barrier
        self._handed_out = self._ended = 0
        self._lost: set[int] = set()  # rows of calls whose worker died
        self.is_batch_at_fault = False  # such rows have all been made alone

    @property
    def is_open(self) -> bool:
        """Whether all first calls have ended."""
        return self._ended >= self._first_rows

    def __len__(self) -> int:
        waits = self._handed_out >= self._first_rows and not self.is_open and not self._alone
        return 0 if waits else super().__len__()

    def take(self) -> list[int]:
        if self._alone:  # of a batch whose worker died: which one is at fault is seen at once
            return [self._alone.popleft()]
        taken = [self._rows.popleft() for _ in range(min(self._batch, len(self._rows)))]
        self._handed_out += len(taken)
        return taken

    def put_back_alone(self, rows: Sequence[int]) -> None:
        if len(rows) > 1:
            self._lost.update(rows)
        super().put_back_alone(rows)

    def ended(self, index: int, outcome: Outcome, seconds: float) -> bool:
        self._ended += 1
        if index in self._lost:
            self._lost.discard(index)
            self.is_batch_at_fault = not self._lost and outcome is Outcome.WRITTEN
        return super().ended(index, outcome, seconds)


class _Listener:
    """Ends the trial: when all has been seen, and when something fails."""

    def __init__(
        self,
        store: Store,
        places: dict[int, _TimedWorker],
        logs: WorkerLogs,
        memory: "_GpuMemory",
        queue: _CallQueue,
        trials: int,
    ) -> None:
        self._store, self._places, self._logs = store, places, logs
        self._memory, self._queue, self._trials = memory, queue, trials
        self._opened: float | None = None  # when all workers were past their first calls
        self._without: int | None = None  # a place where no worker can begin

    def start(self, rows: Sequence[int]) -> None:
        """Rows are timed by their workers."""

    def done(self, index: int, outcome: Outcome, seconds: float) -> None:
        """Rows are timed by their workers."""

    def set_aside(self, index: int, place: int, reason: str | None) -> None:  # noqa: ARG002
        """A row has failed, and so would others."""
        path = self._store.layout.error(index)
        evidence = path.read_text(encoding="utf-8").strip() if path.exists() else reason
        raise RowFailedError(
            f"row {index} failed, as it would in a launch (this store was temporary):\n{evidence}"
        )

    def retired(self, place: int) -> None:
        """A worker cannot begin: maybe none can, which the others will tell."""
        self._without = place

    def check_places(self) -> None:
        """RowFailedError where a worker cannot begin beside others that can."""
        if self._without is not None and any(w.ready for w in self._places.values()):
            raise RowFailedError(
                f"{len(self._places)} workers do not fit on this machine: others run, but none can "
                f"begin in place {self._without}; lower estimate.workers. It wrote:\n"
                f"{self._logs.said(self._without)}"
            )

    def check_batch(self) -> None:
        """RowFailedError where a call of many rows fails, and each of them alone does not."""
        if self._queue.is_batch_at_fault or any(
            worker.is_batch_at_fault for worker in self._places.values()
        ):
            raise RowFailedError(
                "rows that main_batch makes alone fail together, as they would in a launch: lower "
                "estimate.batch, or mend main_batch. What workers wrote:\n"
                + "\n".join(self._logs.said(place) for place in sorted(self._places))
            )

    def tick(self, running: int) -> None:  # noqa: ARG002
        """Look whether that is enough."""
        self._memory.look()
        self.check_places()
        self.check_batch()
        if not self._queue.is_open:
            return
        now = time.monotonic()
        self._opened = self._opened or now
        long_enough = now >= self._opened + _LEAST_SECONDS
        if long_enough and all(len(w.calls) > self._trials for w in self._places.values()):
            raise _EnoughError


class _GpuMemory:
    """The most memory that GPUs hold above what they held at first."""

    def __init__(self, gpus: list[str]) -> None:
        self._gpus = gpus
        found = gpu_memory(gpus) if gpus else []
        self._before = [used for used, _ in found]
        self.total = [total for _, total in found]
        self.most = [0] * len(found)
        self._next = 0.0

    def look(self) -> None:
        """Take a sample, from time to time."""
        if not self.total or time.monotonic() < self._next:
            return
        used = [used for used, _ in gpu_memory(self._gpus)]
        for place, (now, before) in enumerate(zip(used, self._before, strict=False)):
            self.most[place] = max(self.most[place], now - before)
        self._next = time.monotonic() + _SAMPLE_SECONDS


def _bytes_beside_arrays(store: Store) -> int:
    """What the rows' folders, the records and the log of commands take on the disk."""
    layout = store.layout
    todo: deque[Path] = deque([layout.workers, layout.records, layout.commands])
    total = 0
    while todo:
        path = todo.popleft()
        if not path.exists() or path.is_symlink():
            continue
        total += path.stat().st_blocks * 512
        if path.is_dir():
            todo.extend(path.iterdir())
    return total
