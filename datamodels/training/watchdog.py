"""A time limit for each row of the worker: a parent watches the process that runs ``main``."""

import contextlib
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence

from datamodels.training.row_queue import RowQueue
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

    def tick(self, running: int) -> None:
        """Nothing is shown between two rows."""


def run_watched(
    store: Store,
    chunks: Iterable[Sequence[int]],
    reports: Sequence[Reports],
    *,
    limit: float,
    batch: int,
    rewrite: bool,
) -> tuple[int, bool]:
    """Run rows in a process of this very command, ``limit`` seconds each.

    Returns the exit status of a process that ended by itself before its first row, else 0; and
    whether all rows were tried. ImportEndedError when the import exceeds its limit.
    """
    everything = True
    with (
        terminated_as_exit(),
        Supervisor(
            store, lambda _: WorkerProcess(sys.argv[1:]), limit=limit, rewrite=rewrite
        ) as supervisor,
        _stopped_by_signal(supervisor),
    ):
        for chunk in chunks:
            everything = supervisor.run(RowQueue(chunk, batch=batch), Watched(reports))
            if not everything:
                break
        return supervisor.status, everything


@contextlib.contextmanager
def _stopped_by_signal(supervisor: Supervisor) -> Iterator[None]:
    """End after the row that is under way when SIGUSR1 comes."""
    previous = signal.signal(signal.SIGUSR1, lambda *_: supervisor.stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, previous)
