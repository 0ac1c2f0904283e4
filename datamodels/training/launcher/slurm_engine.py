"""Filling a store with rows on a SLURM cluster.

What is missing is submitted as one array job and followed by its flags and the queue; when no task
holds a missing row any more, what is left is submitted again. Nothing here needs to stay alive: the
jobs are in ``slurm.json``, the rows in the store, and a later call goes on from both.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from datamodels.training.launcher.slurm_cluster import Cluster, Job, SlurmError, Task
from datamodels.training.launcher.slurm_failures import RowFailures
from datamodels.training.launcher.slurm_journal import SlurmJournal, Submission
from datamodels.training.launcher.slurm_options import SlurmOptions
from datamodels.training.launcher.slurm_script import (
    log_file,
    remove_files,
    sbatch_options,
    split_rows,
    write_files,
)
from datamodels.training.store import Store

_PATIENCE = 600.0  # seconds; a slurmctld that restarts or fails over is back within minutes
_FRUITLESS = 2  # arrays in a row that neither complete a row nor fail one: the workers cannot start
_RELEASES = 3  # of a task that could not be started, each on another node
_CANNOT_START = ("launch failed requeued held", "launch_failed_requeued_held")
_NORMAL = ("None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Cleaning")
_LOG_LINES = 5
_Answer = TypeVar("_Answer")


class Progress(Protocol):
    """Where a launch shows how it goes."""

    def update(self, done: int, failed: int, running: int) -> None:
        """Rows complete, rows failed, tasks running."""

    def say(self, line: str) -> None:
        """One line above the progress line."""


@dataclass(frozen=True)
class SlurmOutcome:
    """What became of a launch."""

    complete: int  # of the rows asked for
    missing: tuple[int, ...]  # set aside or not
    set_aside: tuple[int, ...]  # failed as often as they may
    running: tuple[str, ...]  # jobs that are still in the queue
    cancelled: tuple[str, ...]  # jobs that Ctrl-C ended


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
        return launch.cancel()
    return launch.outcome()


class _Launch:
    """The state of one call: the submissions followed, their live tasks, what is missing."""

    def __init__(
        self,
        store: Store,
        rows: Sequence[int],
        argv: Sequence[str],
        options: SlurmOptions,
        progress: Progress,
    ) -> None:
        self._cluster = Cluster()
        self._store = store
        self._rows = np.unique(np.asarray(rows, np.int64))
        self._argv = list(argv)
        self._options = options
        self._progress = progress
        self._folder = store.layout.launch
        self._journal = SlurmJournal(self._folder)
        self._failures = RowFailures(store.layout, self._rows.tolist())
        self._chunks: dict[str, list[list[int]]] = {}  # rows of each task, by job number
        self._tasks: dict[tuple[str, int], Task] = {}  # as last seen, of the jobs followed
        self._followed: dict[str, Submission] = {}  # by job number
        self._missing: list[int] = []
        self._cancelled: list[str] = []
        self._submitted = 0
        self._fruitless = 0
        self._at_submission = (0, 0)  # rows complete and failures seen when the last array began
        self._releases: dict[tuple[str, int], int] = {}
        self._reasons: set[str] = set()

    # The course of a launch

    def begin(self) -> None:
        """Find the jobs of earlier calls and submit what they do not hold."""
        self._find_earlier()
        self._look_at_rows()
        held = self._held()
        free = [row for row in self._missing if row not in held]
        if free:
            self._submit(free)

    def follow(self) -> None:
        """Until nothing is missing or to be tried."""
        quiet = 0  # looks in a row that found no task with a missing row
        while True:
            self._look_at_queue()
            self._look_at_rows(now=quiet > 0)
            self._show()
            if not self._wanted():
                return
            if self._held() & set(self._wanted()):
                quiet = 0
                self._mind_waiting_tasks()
            elif quiet == 0:  # a look between two states of a task is no end yet
                quiet = 1
            elif self._try_again():
                quiet = 0
            else:
                return
            time.sleep(min(self._options.poll_seconds, 2.0 if quiet else np.inf))

    def cancel(self) -> SlurmOutcome:
        """End the jobs of this launch."""
        self._resolve_unanswered()
        jobs = [self._job(number) for number in dict.fromkeys(task.job for task in self._live())]
        if jobs:
            self._cluster.cancel(jobs)
        self._cancelled = [job.number for job in jobs]
        self._look_at_rows(now=True)
        what = f"cancelled {_named(self._cancelled)}; " if jobs else ""
        self._progress.say(
            f"interrupted: {what}complete rows stay, and the same command goes on from them"
        )
        return self.outcome()

    def outcome(self) -> SlurmOutcome:
        """What became of the launch so far."""
        live = dict.fromkeys(task.job for task in self._live() if task.job not in self._cancelled)
        return SlurmOutcome(
            complete=int(self._rows.size - len(self._missing)),
            missing=tuple(self._missing),
            set_aside=tuple(row for row in self._missing if self._is_set_aside(row)),
            running=tuple(live),
            cancelled=tuple(self._cancelled),
        )

    # What is known

    def _find_earlier(self) -> None:
        """Jobs of earlier calls that are still in the queue."""
        self._resolve_unanswered()
        known = {entry.job: entry for entry in self._journal.submissions if entry.job is not None}
        jobs = [job for entry in known.values() if (job := entry.as_job()) is not None]
        live = [task for task in (self._cluster.tasks(jobs) if jobs else []) if task.is_live]
        for number in dict.fromkeys(task.job for task in live):
            entry = known[number]
            self._follow(entry, self._journal.chunks(entry, self._store.num_models))
            self._progress.say(f"following job {number}, submitted at {entry.submitted}")
        self._tasks = {(task.job, task.index): task for task in live}

    def _resolve_unanswered(self) -> None:
        """Find the jobs of submissions that were cut short before sbatch answered."""
        for entry in [entry for entry in self._journal.submissions if entry.job is None]:
            job = self._cluster.find(entry.name)
            if job is None:
                self._forget(entry)
                continue
            known = self._journal.became(entry, job)
            self._follow(known, self._journal.chunks(known, self._store.num_models))
            self._tasks.update(
                {(task.job, task.index): task for task in self._cluster.tasks([job])}
            )

    def _follow(self, submission: Submission, chunks: list[list[int]]) -> None:
        assert submission.job is not None
        self._followed[submission.job] = submission
        self._chunks[submission.job] = chunks

    def _job(self, number: str) -> Job:
        job = self._followed[number].as_job()
        assert job is not None  # only those with a number are followed
        return job

    def _look_at_queue(self) -> None:
        jobs = [self._job(number) for number in self._followed]
        found = self._patiently(partial(self._cluster.tasks, jobs))
        known = {(task.job, task.index): task for task in found}
        # Tasks that the queue has forgotten have ended: what they were last seen to be is over.
        self._tasks = {
            **{key: task for key, task in self._tasks.items() if not task.is_live},
            **known,
        }

    def _look_at_rows(self, *, now: bool = False) -> None:
        self._missing = self._rows[~self._store.completed[self._rows]].tolist()
        self._failures.look(self._missing, now=now)

    def _live(self) -> list[Task]:
        return [task for task in self._tasks.values() if task.is_live]

    def _held(self) -> set[int]:
        """Rows that live tasks have in hand."""
        held: set[int] = set()
        for task in self._live():
            chunks = self._chunks[task.job]
            held.update(chunks[task.index] if task.index < len(chunks) else ())
        return held

    def _is_set_aside(self, row: int) -> bool:
        return self._failures.of(row) >= self._options.retries

    def _wanted(self) -> list[int]:
        """Missing rows that are worth another try."""
        return [row for row in self._missing if not self._is_set_aside(row)]

    def _show(self) -> None:
        self._progress.update(
            self._rows.size - len(self._missing),
            sum(1 for row in self._missing if self._failures.of(row)),
            sum(1 for task in self._live() if task.state == "RUNNING"),
        )

    # What is done about it

    def _submit(self, rows: list[int]) -> None:
        """Submit ``rows`` as one array; on an error nothing is left of it."""
        # What one chunk's worker died of must not keep the rows after it from being run: the
        # second time they are spread over as many tasks as make sense.
        chunk_rows = self._options.chunk_rows if self._submitted == 0 else None
        chunks = split_rows(
            rows,
            self._cluster.most_tasks(),
            chunk_rows=chunk_rows,
            max_tasks=self._options.max_tasks,
        )
        words = sbatch_options(self._folder, len(chunks), self._options)
        self._folder.mkdir(exist_ok=True)
        files = self._journal.next_files()
        seconds = self._options.signal_seconds
        write_files(files, self._store.path, chunks, self._argv, words, seconds)
        entry = self._journal.add(files, chunks)
        try:
            job = self._cluster.submit(files.script, entry.name, words)
        except SlurmError:
            self._forget(entry)
            raise
        entry = self._journal.became(entry, job)
        self._follow(entry, chunks)
        # In the queue, whatever it says yet.
        self._tasks.update(
            {
                (job.number, index): Task(job.number, index, "PENDING", "None")
                for index in range(len(chunks))
            }
        )
        self._submitted += 1
        self._at_submission = self._score()
        self._progress.say(
            f"submitted job {job.number}: {sum(map(len, chunks))} rows in {len(chunks)} tasks, "
            f"logs in {log_file(self._folder, job.number, '*', 'err')}"
        )

    def _forget(self, entry: Submission) -> None:
        """Take back a submission that the cluster knows nothing of."""
        self._journal.remove(entry)
        remove_files(self._journal.files(entry))
        if not any(self._folder.iterdir()):
            self._folder.rmdir()

    def _try_again(self) -> bool:
        """Submit what is wanted once more; False, having said why, where that makes no sense."""
        self._fruitless = self._fruitless + 1 if self._score() == self._at_submission else 0
        wanted = self._wanted()
        ended = [task for task in self._tasks.values() if task.state == "CANCELLED"]
        left = f"{len(wanted)} rows are missing"
        if ended:
            jobs = _named(dict.fromkeys(task.job for task in ended))
            self._progress.say(f"{left}: {jobs} was cancelled; run the same command to go on")
        elif self._fruitless >= _FRUITLESS:
            self._progress.say(
                f"{left}: the workers of {_FRUITLESS} arrays ended before any row did"
                + self._last_words()
            )
        elif self._submitted > self._options.resubmissions:
            self._progress.say(
                f"{left} after {self._submitted} submissions (resubmissions="
                f"{self._options.resubmissions}); run the same command to go on"
                + self._last_words()
            )
        else:
            self._progress.say(f"{left}, and no task has them in hand: submitting them again")
            self._patiently(partial(self._submit, wanted))
            return True
        return False

    def _score(self) -> tuple[int, int]:
        """Changes with every row that completes or fails."""
        return len(self._missing), self._failures.total

    def _mind_waiting_tasks(self) -> None:
        """Let tasks go on that could not be started; say why others wait, once for each reason."""
        live = self._live()
        for task in live:
            key = (task.job, task.index)
            if task.state != "PENDING" or task.reason not in _CANNOT_START:
                continue
            if self._releases.get(key, 0) < _RELEASES:
                self._releases[key] = self._releases.get(key, 0) + 1
                self._patiently(partial(self._cluster.release, self._job(task.job), task.index))
        if any(task.state == "RUNNING" for task in live):
            return
        for reason in sorted({task.reason for task in live if task.state == "PENDING"}):
            if reason not in _NORMAL and reason not in self._reasons:
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

    def _last_words(self) -> str:
        """The end of the newest log that says anything, to be shown."""
        if not self._followed:
            return ""
        logs = self._folder.glob(log_file(self._folder, list(self._followed)[-1], "*", "err").name)
        written = [path for path in logs if path.stat().st_size]
        if not written:
            return ""
        newest = max(written, key=lambda path: path.stat().st_mtime)
        lines = newest.read_text(errors="backslashreplace").splitlines()[-_LOG_LINES:]
        return "\n".join([f"; the end of {newest}:", *(f"  {line}" for line in lines)])


def _named(numbers: Sequence[str] | dict[str, None]) -> str:
    return ("job " if len(numbers) == 1 else "jobs ") + ", ".join(numbers)
