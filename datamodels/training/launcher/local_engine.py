"""Workers on this machine, as many as it has GPUs or cores, until every row is complete."""

from collections.abc import Sequence

from datamodels.errors import DatamodelsError
from datamodels.training.launcher.config import LaunchConfig, LaunchResult
from datamodels.training.launcher.machine import default_workers, environment, visible_gpus
from datamodels.training.launcher.progress import LaunchLine
from datamodels.training.launcher.worker_logs import WorkerLogs
from datamodels.training.row_queue import RowQueue
from datamodels.training.store import Store
from datamodels.training.supervisor import Supervisor
from datamodels.training.worker_process import MOST_ROWS, WorkerProcess
from datamodels.training.worker_report import Outcome, last_line

_MOST_FAILURES = 10  # rows set aside that are named one by one
_MOST_WARNINGS = 20  # of workers, that are shown
_IMPORTS = 5  # workers in a row that may die before they have imported the module


class WorkerFailedError(DatamodelsError):
    """No worker could begin: its own words, and its own exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.exit_status = status


def run_locally(
    store: Store, rows: Sequence[int], config: LaunchConfig, arguments: Sequence[str]
) -> LaunchResult:
    """Fill ``rows`` of ``store`` by worker processes with ``arguments``.

    Raises:
        WorkerFailedError: no worker could begin, as the user's module or an option is wrong.
        ImportEndedError: workers die, or exceed the limit, while they import the module.
    """
    gpus = visible_gpus()
    workers = min(config.workers or default_workers(gpus, config.workers_per_gpu), len(rows))
    logs = WorkerLogs(store.layout)
    queue = RowQueue(
        rows, workers=workers, retries=config.retries, batch=config.batch or 1, most=MOST_ROWS
    )

    def start(place: int) -> WorkerProcess:
        out, err = logs.open(place)
        with out, err:
            return WorkerProcess(arguments, environment(place, workers, gpus), out, err)

    with LaunchLine(len(rows), 0) as line:
        listener = _Listener(store, line, logs)
        with Supervisor(
            store,
            start,
            workers=workers,
            limit=config.job_timeout,
            imports=_IMPORTS,
            evidence=lambda place: f"What its worker printed:\n{_evidence(logs, place)}\n",
        ) as supervisor:
            supervisor.run(queue, listener)
        listener.relay_warnings()
        line.update(listener.complete, len(queue.set_aside), 0)
    logs.trim(at_once=True)
    if supervisor.status:
        raise worker_failed(supervisor, logs, config.main_import)
    reasons = {row: supervisor.reasons[row] for row in queue.set_aside if row in supervisor.reasons}
    return LaunchResult(len(rows), listener.complete, tuple(queue.set_aside), reasons=reasons)


def worker_failed(supervisor: Supervisor, logs: WorkerLogs, main_import: str) -> WorkerFailedError:
    """Why no worker could begin, in the words of the last one."""
    place = supervisor.failed_place
    silent = (
        f"the worker ended with status {supervisor.status} while it imported {main_import}, and "
        f"said nothing; see {logs.paths(place)[0]}"
    )
    return WorkerFailedError(logs.said(place) or silent, supervisor.status)


class _Listener:
    """Keeps the progress line up to date."""

    def __init__(self, store: Store, line: LaunchLine, logs: WorkerLogs) -> None:
        self._store, self._line, self._logs = store, line, logs
        self.complete = 0
        self._failed = 0
        self._relayed: set[str] = set()
        self._has_begun = False

    def start(self, rows: Sequence[int]) -> None:  # noqa: ARG002
        """Rows are counted as they end."""
        if not self._has_begun:  # the module is imported: what it was told wrongly is known
            self._has_begun = True
            self.relay_warnings()

    def relay_warnings(self) -> None:
        """Show what workers warned of, each line once."""
        for warning in self._logs.warnings():
            if warning not in self._relayed and len(self._relayed) < _MOST_WARNINGS:
                self._relayed.add(warning)
                self._line.say(warning)

    def done(self, index: int, outcome: Outcome, seconds: float) -> None:  # noqa: ARG002
        """A row ended: well, or to be tried again."""
        if outcome is not Outcome.FAILED:
            self.complete += 1

    def set_aside(self, index: int, place: int, reason: str | None) -> None:
        """A row failed for the last time."""
        self._failed += 1
        if self._failed > _MOST_FAILURES:
            if self._failed == _MOST_FAILURES + 1:
                self._line.say("more rows are set aside; they are counted, and named no more")
            return
        error = self._store.layout.error(index)
        self._line.say(
            f"row {index} is set aside: {reason or last_line(error)}; see {error}, and what its "
            f"worker wrote:\n{_evidence(self._logs, place)}"
        )

    def retired(self, place: int) -> None:
        """A place is left empty: its GPU may be full, say."""
        self._line.say(
            f"no worker can begin in place {place}; the others go on. It wrote:\n"
            f"{self._logs.said(place)}"
        )

    def tick(self, running: int) -> None:
        """Show where things are."""
        self._line.update(self.complete, self._failed, running)
        self._logs.trim()


def _evidence(logs: WorkerLogs, place: int) -> str:
    return "\n".join(f"  {path}" for path in logs.paths(place))
