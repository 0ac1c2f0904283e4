"""Filling a store with rows on a SLURM cluster.

What is missing is submitted as one array job and followed by its flags and the queue; when no task
holds a missing row any more, what is left is submitted again. Nothing here needs to stay alive: the
jobs are in ``slurm.json``, the rows in the store, and a later call goes on from both.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from datamodels.training.launcher.slurm_cluster import SlurmError
from datamodels.training.launcher.slurm_failures import RowFailures
from datamodels.training.launcher.slurm_jobs import SlurmJobs
from datamodels.training.launcher.slurm_options import SlurmOptions
from datamodels.training.store import Store

_PATIENCE = 600.0  # seconds; a slurmctld that restarts or fails over is back within minutes
_SETTLING = 2.0  # seconds until a queue without our tasks is believed
_FRUITLESS = 2  # arrays in a row that neither complete a row nor fail one: the workers cannot start
_RELEASES = 3  # of a task that could not be started, each on another node
_CANNOT_START = "launch failed requeued held"  # squeue may write it with underscores
_NORMAL = ("None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Cleaning")
_Answer = TypeVar("_Answer")


class Progress(Protocol):
    """Where a launch shows how it goes."""

    def update(self, done: int, failed: int, running: int) -> None:
        """Rows complete, rows failed and not yet complete, tasks running."""

    def say(self, line: str) -> None:
        """One line (or a few) above the progress line."""


@dataclass(frozen=True)
class SlurmOutcome:
    """What became of a launch."""

    complete: int  # of the rows asked for
    missing: tuple[int, ...]  # set aside or not
    set_aside: tuple[int, ...]  # failed as often as they may
    running: tuple[str, ...]  # jobs that are still in the queue
    cancelled: tuple[str, ...]  # jobs that Ctrl-C ended
    interrupted: bool = False


def run_on_slurm(
    store: Store,
    rows: Sequence[int],
    argv: Sequence[str],
    options: SlurmOptions,
    progress: Progress,
    *,
    wait: bool = True,
) -> SlurmOutcome:
    """Fill ``rows`` of ``store`` on the cluster by ``argv``, a worker's command without its rows.

    Jobs that an earlier call submitted are followed, and their rows not submitted again. Returns
    when no row is missing but those set aside, or nothing more is to be tried (``progress`` is told
    why); with ``wait=False`` once all are submitted. Ctrl-C cancels the jobs and returns.

    Raises SlurmError where there is no cluster, it refuses the job (nothing is left behind) or
    stays out of reach for ten minutes (the jobs go on).
    """
    launch = _Launch(store, rows, argv, options, progress)
    try:
        launch.begin()
        if wait:
            launch.follow()
    except KeyboardInterrupt:
        return launch.interrupt()
    return launch.outcome()


class _Launch:
    """The state of one call: what is missing, and what was tried."""

    def __init__(
        self,
        store: Store,
        rows: Sequence[int],
        argv: Sequence[str],
        options: SlurmOptions,
        progress: Progress,
    ) -> None:
        self._jobs = SlurmJobs(store, argv, options)
        self._store = store
        self._options = options
        self._progress = progress
        self._rows = np.unique(np.asarray(rows, np.int64))
        self._missing = self._missing_now()
        self._failures = RowFailures(store.layout, self._missing)
        self._submitted = 0  # arrays
        self._fruitless = 0  # of them, in a row
        self._at_submission = (0, 0)  # the score when the last array began
        self._releases: Counter[tuple[str, int]] = Counter()
        self._reasons: set[str] = set()

    def begin(self) -> None:
        """Find the jobs of earlier calls and submit what they do not hold."""
        for entry in self._jobs.find():
            self._progress.say(f"following job {entry.job}, submitted at {entry.submitted}")
        self._look_at_rows()
        held = self._jobs.held()
        free = [row for row in self._missing if row not in held]
        if free:
            self._submit(free)

    def follow(self) -> None:
        """Until nothing is missing or to be tried."""
        settling = False
        while True:
            self._patiently(self._jobs.look)
            self._look_at_rows(now=settling)
            self._show()
            wanted = self._wanted()
            if not wanted:
                return
            if not self._jobs.held().isdisjoint(wanted):
                settling = False
                self._mind_waiting_tasks()
            elif not settling:  # a look between two states of a task is no end yet
                settling = True
            elif (why_not := self._why_not_again()) is None:
                settling = False
                self._progress.say(f"{len(wanted)} rows are missing: submitting them again")
                self._patiently(partial(self._submit, wanted))
            else:
                self._progress.say(f"{len(wanted)} rows are missing: {why_not}")
                return
            pause = self._options.poll_seconds
            time.sleep(min(pause, _SETTLING) if settling else pause)

    def interrupt(self) -> SlurmOutcome:
        """End the jobs of this store."""
        cancelled: list[str] = []
        what = ""
        try:
            self._jobs.find()  # the one being submitted just now, too
            cancelled = self._jobs.cancel()
        except SlurmError as error:
            what = f"the jobs could not be cancelled, and go on ({error}); "
        if cancelled:
            what = f"cancelled {_named(cancelled)}; "
        self._look_at_rows(now=True)
        self._progress.say(
            f"interrupted: {what}complete rows stay, and the same command goes on from them"
        )
        return self.outcome(cancelled, interrupted=True)

    def outcome(self, cancelled: Sequence[str] = (), *, interrupted: bool = False) -> SlurmOutcome:
        """What became of the launch so far."""
        return SlurmOutcome(
            complete=int(self._rows.size) - len(self._missing),
            missing=tuple(self._missing),
            set_aside=tuple(row for row in self._missing if self._is_set_aside(row)),
            running=tuple(dict.fromkeys(task.job for task in self._jobs.live)),
            cancelled=tuple(cancelled),
            interrupted=interrupted,
        )

    def _missing_now(self) -> list[int]:
        missing: list[int] = self._rows[~self._store.completed[self._rows]].tolist()
        return missing

    def _look_at_rows(self, *, now: bool = False) -> None:
        self._missing = self._missing_now()
        self._failures.look(self._missing, now=now)

    def _is_set_aside(self, row: int) -> bool:
        return self._failures.of(row) >= self._options.retries

    def _wanted(self) -> list[int]:
        """Missing rows that are worth another try."""
        return [row for row in self._missing if not self._is_set_aside(row)]

    def _score(self) -> tuple[int, int]:
        """Changes with every row that completes or fails."""
        return len(self._missing), self._failures.total

    def _show(self) -> None:
        self._progress.update(
            int(self._rows.size) - len(self._missing),
            sum(1 for row in self._missing if self._failures.of(row)),
            sum(1 for task in self._jobs.live if task.state == "RUNNING"),
        )

    def _submit(self, rows: list[int]) -> None:
        # What a chunk's worker died of must not keep the rows after it from being run: the second
        # time they are spread over as many tasks as make sense.
        chunk_rows = self._options.chunk_rows if self._submitted == 0 else None
        line = self._jobs.submit(rows, chunk_rows=chunk_rows)
        self._submitted += 1
        self._at_submission = self._score()
        self._progress.say(line)

    def _why_not_again(self) -> str | None:
        """Why it makes no sense to submit what is missing once more; None where it does."""
        self._fruitless = self._fruitless + 1 if self._score() == self._at_submission else 0
        again = "run the same command to go on"
        if cancelled := self._jobs.cancelled:
            return f"{_named(cancelled)} was cancelled; {again}"
        if self._fruitless >= _FRUITLESS:
            words = self._jobs.last_words()
            return f"the workers of {_FRUITLESS} arrays ended before any row did{words}"
        if self._submitted > self._options.resubmissions:
            limit = f"{self._options.resubmissions} resubmissions are the limit"
            return f"{limit}; {again}{self._jobs.last_words()}"
        return None

    def _mind_waiting_tasks(self) -> None:
        """Let tasks go on that could not be started; say why others wait, each reason once."""
        waiting = [task for task in self._jobs.live if task.state == "PENDING"]
        for task in waiting:
            key = (task.job, task.index)
            if task.reason.replace("_", " ") == _CANNOT_START and self._releases[key] < _RELEASES:
                self._releases[key] += 1
                self._patiently(partial(self._jobs.release, task))
        if len(waiting) < len(self._jobs.live):
            return
        for reason in sorted({task.reason for task in waiting} - self._reasons - {*_NORMAL}):
            self._reasons.add(reason)
            self._progress.say(f"waiting: {reason}")

    def _patiently(self, ask: Callable[[], _Answer]) -> _Answer:
        """``ask()``, again and again while the cluster is out of reach."""
        deadline = time.monotonic() + _PATIENCE
        said = False
        while True:
            try:
                return ask()
            except SlurmError as error:
                if time.monotonic() > deadline:
                    raise SlurmError(
                        f"the cluster has not answered for {_PATIENCE / 60:.0f} minutes: {error}\n"
                        "jobs that were submitted go on; the same command follows them"
                    ) from None
                if not said:
                    self._progress.say(f"trying again: {error}")
                    said = True
            time.sleep(min(self._options.poll_seconds, 10.0))


def _named(numbers: Sequence[str]) -> str:
    return ("job " if len(numbers) == 1 else "jobs ") + ", ".join(numbers)
