"""``python -m datamodels.training.worker``: run the user's ``main`` and write its rows."""

import sys
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
from datamodels.training.store import Store
from datamodels.training.watchdog import ChildReports, Watchdog
from datamodels.training.worker_loop import CURRENT_ROW, RowRunner, import_main, run_rows
from datamodels.training.worker_report import WorkerReport


def main() -> int:
    """The command; returns its exit status."""
    return run(WORKER, _work, before_help=_declare_options_of_module)


def _declare_options_of_module(config: SharedConfig) -> None:
    """Import the user's module where it is named, so that ``--help`` shows its options too."""
    name = config.collect_argv().content.get(("worker", "main_import"))
    if name:
        import_main(name)


def _work(values: Values) -> int:
    child = ChildReports.of_this_process()
    store = Store.open(values["worker.logdir"])
    if child is not None:
        reports, rows = child
        return _run_here(store, parse_indices(rows, store.num_models, store.path), values, reports)
    indices = _indices(values, store)
    limit = values["worker.job_timeout"]
    if limit is None:
        return _run_here(store, indices, values, None)
    if limit < 1:
        raise UsageError(
            f"--worker.job_timeout={limit} must be at least 1 second; leave it out for no limit"
        )
    report = WorkerReport(store.layout, len(indices))
    watchdog = Watchdog(store, limit, report.add, rewrite=values["worker.do_if_complete"])
    return watchdog.run(indices) or report.finish()


def _run_here(
    store: Store, indices: list[int], values: Values, reports: ChildReports | None
) -> int:
    """Import ``main`` and run the rows in this process."""
    # The report first: the module may replace the streams that it writes to.
    report = WorkerReport(store.layout, len(indices)) if reports is None else None
    user_main = import_main(values["worker.main_import"])
    refuse_wrong_user_options(current_config())
    check_undeclared_options(WORKER, current_config())
    runner = RowRunner(
        store,
        user_main,
        logdir=values["worker.logdir"],
        do_if_complete=values["worker.do_if_complete"],
        argv=["python", "-m", WORKER.module, *sys.argv[1:]],
        rows_option="index" if values["worker.indices"] is None else "indices",
    )
    if reports is not None:
        return _run_watched(runner, indices, reports)
    assert report is not None
    run_rows(runner, indices, report.add)
    return report.finish()


def _run_watched(runner: RowRunner, indices: list[int], reports: ChildReports) -> int:
    reports.ready()
    for index in indices:
        reports.start(index)
        reports.done(index, runner.run(index))
    return 0


def _indices(values: Values, store: Store) -> list[int]:
    index, indices = values["worker.index"], values["worker.indices"]
    if (index is None) == (indices is None):
        raise UsageError(
            "which rows? Give --worker.index=NUMBER or --worker.indices=FIRST-LAST,..."
            + (", not both" if index is not None else "")
        )
    if index is None:
        return parse_indices(indices, store.num_models, store.path)
    check_range([index], store.num_models, store.path)
    return [index]


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
