"""``python -m datamodels.training.verify DIR``: read a whole store, report damaged rows.

Ends with status 0 where nothing was found, 1 where something was.
"""

import shlex
import time

import numpy as np

from datamodels.cli.catalogue import VERIFY, WORKER
from datamodels.cli.progress import ProgressLine
from datamodels.cli.runner import Values, run
from datamodels.training.indices import format_indices
from datamodels.training.records import WorkerRecord, read_worker, record_files
from datamodels.training.store import Store
from datamodels.training.store_checks import Finding, verify_store

_SHOWN = 8  # row numbers a line


def main() -> int:
    """The command; returns its exit status."""
    return run(VERIFY, _verify)


def _verify(values: Values) -> int:
    logdir = values["verify.logdir"]
    began = time.monotonic()
    with ProgressLine() as progress:
        findings = verify_store(logdir, progress)
    store = Store.open(logdir)
    read = (
        f"{logdir}: {int(store.completed.sum())} complete rows of {store.num_models} read in "
        f"{time.monotonic() - began:.1f} s"
    )
    if not findings:
        print(f"{read}; nothing wrong was found")
        return 0
    rows = np.unique(np.concatenate([finding.rows for finding in findings]))
    print(f"{read}; {rows.size} of them look damaged\n")
    print("\n".join(_table(findings)))
    reason = store.layout.read_only_reason()
    if reason is None:
        print(f"\nTo make these rows anew:\n  {_remedy(store, rows.tolist())}")
    else:
        print(f"\nThis is a view of {reason.of}, which is where the damage is.")
    return 1


def _table(findings: list[Finding]) -> list[str]:
    lines = [("key", "fault", "rows", "which")]
    for finding in findings:
        first = ", ".join(str(row) for row in finding.rows[:_SHOWN])
        more = ", ..." if finding.rows.size > _SHOWN else ""
        lines.append((finding.key, finding.fault, str(finding.rows.size), first + more))
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    return [
        f"  {key:<{widths[0]}}  {fault:<{widths[1]}}  {count:>{widths[2]}}  {which}"
        for key, fault, count, which in lines
    ]


def _remedy(store: Store, rows: list[int]) -> str:
    worker = _last_worker(store)
    options = {} if worker is None else worker.options
    own = [f"--{name}={value}" for name, value in options.items() if not name.startswith("worker.")]
    return shlex.join(
        [
            "python",
            "-m",
            WORKER.module,
            f"--worker.logdir={store.path}",
            f"--worker.main_import={(worker and worker.main) or 'MODULE'}",
            "--worker.do_if_complete",
            f"--worker.indices={format_indices(rows)}",
            *own,  # the same networks once more, not those of other options
        ]
    )


def _last_worker(store: Store) -> WorkerRecord | None:
    """The worker that made rows last, as the records say."""
    read = map(read_worker, record_files(store.layout))
    workers = [worker for worker in read if worker is not None]
    return max(workers, key=lambda worker: worker.started, default=None)


if __name__ == "__main__":
    raise SystemExit(main())
