"""A time limit for each row of the worker: a parent watches the process that runs ``main``."""

import sys
from collections.abc import Iterable, Sequence

from datamodels.training.row_queue import RowQueue
from datamodels.training.stop_signal import StopSignal
from datamodels.training.store import Store
from datamodels.training.supervisor import Supervisor, terminated_as_exit
from datamodels.training.worker_events import Reports
from datamodels.training.worker_process import WorkerProcess
from datamodels.training.worker_report import Outcome


class Watched(Reports):
    """What a supervisor tells, passed on to some reports."""

    def __init__(self, reports: Sequence[Reports]) -> None:
        self._reports = reports

    def start(self, rows: Sequence[int]) -> None:
        """These rows begin together."""
        for report in self._reports:
            report.start(rows)

    def done(self, index: int, outcome: Outcome, seconds: float) -> None:
        """A row ended."""
        for report in self._reports:
            report.done(index, outcome, seconds)

    def set_aside(self, index: int, place: int, reason: str | None) -> None:
        """Every failure is a row's last here."""

    def retired(self, place: int) -> None:
        """The one place that there is: the supervisor ends with it."""

    def tick(self, running: int) -> None:
        """Nothing is shown between two rows."""


def run_watched(
    store: Store,
    chunks: Iterable[Sequence[int]],
    reports: Sequence[Reports],
    *,
    limit: float | None,
    batch: int,
    rewrite: bool,
) -> tuple[int, bool]:
    """Run rows in a process of this very command, at most ``limit`` seconds each.

    Returns the exit status of a process that ended by itself before its first row, else 0; and
    whether all rows were tried. ImportEndedError when the import exceeds its limit.
    """
    everything = True
    with (
        terminated_as_exit(),
        Supervisor(
            store, lambda _: WorkerProcess(sys.argv[1:]), limit=limit, rewrite=rewrite
        ) as supervisor,
        StopSignal(supervisor.stop) as stop,
    ):
        for chunk in stop.until_asked(chunks):
            everything = supervisor.run(RowQueue(chunk, batch=batch), Watched(reports))
            if not everything:
                break
        return supervisor.status, everything and not stop.asked
