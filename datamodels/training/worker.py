"""``python -m datamodels.training.worker``: run the user's ``main`` and write its rows."""

import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from datamodels.cli.catalogue import WORKER
from datamodels.cli.runner import (
    Values,
    check_undeclared_options,
    refuse_wrong_user_options,
    run,
)
from datamodels.cli.shared_config import SharedConfig, current_config
from datamodels.errors import UsageError
from datamodels.training.indices import check_range, parse_indices
from datamodels.training.lenient_streams import be_lenient
from datamodels.training.store import Store
from datamodels.training.watchdog import run_watched
from datamodels.training.worker_events import EventLines, Reports, end_with
from datamodels.training.worker_loop import CURRENT_ROW, RowRunner, import_main, run_rows
from datamodels.training.worker_report import WorkerReport

FROM_INPUT = "-"  # as indices: chunks of rows, a line each, on standard input

_LAUNCHERS = ("indices", "events", "alive")  # options that a launcher sets by the environment
_STOPPED = 128 + signal.SIGUSR1  # exit status where rows were left


def main() -> int:
    """The command; returns its exit status."""
    return run(WORKER, _work, before_help=_declare_options_of_module)


def _declare_options_of_module(config: SharedConfig) -> None:
    """Import the user's module where it is named, so that ``--help`` shows its options too."""
    name = config.collect_argv().content.get(("worker", "main_import"))
    if name:
        import_main(name)


def _work(values: Values) -> int:
    for name in _LAUNCHERS:  # nothing that main starts is to take them for its own
        os.environ.pop(f"worker.{name}", None)
    store = Store.open(values["worker.logdir"])
    store.layout.refuse_writing()  # not only at the first row: rows of a view may all be complete
    batch, limit = values["worker.batch"], values["worker.job_timeout"]
    if batch is not None and batch < 1:
        raise UsageError(f"--worker.batch={batch} must be at least 1; leave it out to call main")
    chunks, total = _chunks(values, store)
    events = values["worker.events"] and EventLines(values["worker.events"])
    report: WorkerReport | None = WorkerReport(store.layout, total)
    if values["worker.alive"] is not None:
        end_with(values["worker.alive"])
        be_lenient()
        report = limit = None  # whoever watches this process counts the rows and keeps the time
    reports: list[Reports] = [each for each in (report, events) if each]
    watched = values["worker.watch"] and values["worker.alive"] is None
    if limit is None and not watched:
        everything = _run_here(store, chunks, values, reports, events)
    else:
        if limit is not None and limit < 1:
            raise UsageError(
                f"--worker.job_timeout={limit} must be at least 1 second; leave it out for no limit"
            )
        rewrite = values["worker.do_if_complete"]
        status, everything = run_watched(
            store, chunks, reports, limit=limit, batch=batch or 1, rewrite=rewrite
        )
        if status:
            return status
    status = report.finish() if report else 0
    return status if everything else _STOPPED


def _run_here(
    store: Store,
    chunks: Iterable[Sequence[int]],
    values: Values,
    reports: Sequence[Reports],
    events: EventLines | None,
) -> bool:
    """Import ``main`` and run the rows in this process; whether all were tried."""
    user = import_main(values["worker.main_import"], values["worker.batch"])
    refuse_wrong_user_options(current_config())
    check_undeclared_options(WORKER, current_config())
    runner = RowRunner(
        store,
        user,
        logdir=values["worker.logdir"],
        do_if_complete=values["worker.do_if_complete"],
        argv=["python", "-m", WORKER.module, *sys.argv[1:]],
        rows_option="index" if values["worker.indices"] is None else "indices",
        batch=values["worker.batch"],
        main_import=values["worker.main_import"],
        on_failure=events.why if events and values["worker.alive"] is not None else None,
        is_replaced=values["worker.alive"] is not None,
    )
    if events:
        events.ready()
    return run_rows(runner, chunks, reports)


def _chunks(values: Values, store: Store) -> tuple[Iterable[Sequence[int]], int | None]:
    """The rows to run, and how many they are, if that is known."""
    index, indices = values["worker.index"], values["worker.indices"]
    if indices == FROM_INPUT and (index is None or values["worker.events"] is not None):
        return _chunks_of_input(store), None
    if (index is None) == (indices is None):
        raise UsageError(
            "which rows? Give --worker.index=NUMBER or --worker.indices=FIRST-LAST,..."
            + (", not both" if index is not None else "")
        )
    if index is None:
        rows = parse_indices(indices, store.num_models, store.path)
        return [rows], len(rows)
    check_range([index], store.num_models, store.path)
    return [[index]], 1


def _chunks_of_input(store: Store) -> Iterator[Sequence[int]]:
    """A chunk a line, as they come."""
    if sys.stdin is None:
        raise UsageError(
            f"--worker.indices={FROM_INPUT} reads rows from standard input: it is closed"
        )
    own = os.dup(sys.stdin.fileno())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())  # main may read its input, but not our rows
    os.close(nothing)
    return _lines_of(own, store)


def _lines_of(descriptor: int, store: Store) -> Iterator[Sequence[int]]:
    with os.fdopen(descriptor, errors="backslashreplace") as lines:
        for line in lines:
            if line.strip():
                yield parse_indices(line, store.num_models, store.path)


def kv_log(key: str, value: Any, *, logdir: str | None = None, index: int | None = None) -> None:
    """Write one key of one row, leaving its flag alone; by default the row of this worker.

    ``value`` is checked as what ``main`` returns is.
    """
    folder, row = _row_of_this_worker(logdir, index)
    with Store.open(folder) as store:
        store.write_value(row, key, value)


def kv_read(
    key: str, *, logdir: str | None = None, index: int | None = None
) -> np.ndarray[Any, Any]:
    """A copy of one key of one row; by default the row of this worker."""
    folder, row = _row_of_this_worker(logdir, index)
    return np.array(Store.open(folder)[key][row])


def _row_of_this_worker(logdir: str | None, index: int | None) -> tuple[str, int]:
    here, row = CURRENT_ROW[0] if CURRENT_ROW else (None, None)
    here, row = here if logdir is None else logdir, row if index is None else index
    if here is None or row is None:
        raise UsageError("no row is being run here; name it: logdir=..., index=...")
    return here, row


if __name__ == "__main__":
    raise SystemExit(main())
