"""What was trained and fitted, in words: from the store, its records and the folder of results."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from datamodels.analysis.reporting.content import Facts
from datamodels.errors import DatamodelsError
from datamodels.npy_file import open_map
from datamodels.regression.fitted_rows import FittedRows
from datamodels.regression.logs import FINAL_FOLDER, Fields, read_logs
from datamodels.regression.run_config import RunConfig
from datamodels.regression.status import Status
from datamodels.training.layout import StoreLayout
from datamodels.training.records import WorkerRecord, read_rows, read_worker, record_files
from datamodels.training.store import Store

_MASKS_READ: Final = 512  # rows of masks that alpha is estimated from
_SHOWN: Final = 6  # hosts, versions and options by name
_VERSIONS_FIRST: Final = ("python", "datamodels", "torch", "numpy")


def describe_store(path: str | Path, x_name: str) -> list[Facts]:
    """The store, how its rows were made, and by whom."""
    store = Store.open(path)
    complete = np.flatnonzero(store.completed)
    rows = [
        ("Store", str(path)),
        ("Models", f"{len(complete):,} complete of {store.num_models:,}"),
        ("Arrays", ", ".join(_array_shapes(store))),
        *_mask_facts(store, complete, x_name),
    ]
    return [Facts("Trained", rows), *_describe_records(store.layout)]


def describe_fit(folder: Path) -> list[Facts]:
    """The fit that left ``folder``; nothing where it is no folder of results."""
    try:
        config = RunConfig.read(folder)
        final = read_logs(folder)[FINAL_FOLDER]
        fitted = FittedRows.read(folder)
    except DatamodelsError:
        return []
    fit = config.fit
    rows = [
        ("Outputs fitted", f"{config.y_name} on {config.x_name}"),
        ("Models used", f"{len(fitted.rows):,}, of them {_chosen_by(config)}"),
        ("Estimator", str(fit.estimator)),
        ("Solver", f"{fit.engine}{f' ({config.engine_reason})' if config.engine_reason else ''}"),
        ("Lambdas", f"{fit.k}, down to {fit.eps:g} of the largest"),
    ]
    return [Facts("Fitted", rows + _certificate(final, fit.final_tol))]


def _array_shapes(store: Store) -> list[str]:
    return [
        f"{key} {'×'.join(map(str, entry.shape)) or 'scalar'} {entry.dtype}"
        for key, entry in store.spec.fields().items()
        if not key.startswith("_")
    ]


def _mask_facts(store: Store, complete: NDArray[np.int64], x_name: str) -> list[tuple[str, str]]:
    if not len(complete) or x_name not in store.spec.fields():
        return []
    some = complete[np.linspace(0, len(complete) - 1, min(len(complete), _MASKS_READ)).astype(int)]
    masks = open_map(store.layout.array(x_name))
    sizes = np.array([np.count_nonzero(masks[row]) for row in some])
    n_train = masks.shape[1]
    return [
        ("Training examples", f"{n_train:,}"),
        (
            "Subsets",
            f"{sizes.mean() / n_train:.3f} of them on average (alpha, as the masks show), "
            f"{_range(sizes)} examples",
        ),
    ]


@dataclass
class _Work:
    """What the records of a store add up to."""

    workers: list[WorkerRecord] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of each row written
    ended: list[float] = field(default_factory=list)
    failed: int = 0


def _describe_records(layout: StoreLayout) -> list[Facts]:
    work = _Work()
    for path in record_files(layout):
        worker = read_worker(path)
        if worker is None:
            continue
        work.workers.append(worker)
        for row in read_rows(path):
            if row.outcome == "written":
                work.seconds.append(row.seconds)
                work.ended.append(row.ended)
            else:
                work.failed += 1
    if not work.workers or not work.seconds:
        return []
    return [Facts("How it was trained", _work_rows(work))]


def _work_rows(work: _Work) -> list[tuple[str, str]]:
    first = min(worker.started for worker in work.workers)
    hosts = Counter(worker.host for worker in work.workers)
    rows = [
        ("Trained by", ", ".join(sorted({worker.main or "?" for worker in work.workers}))),
        ("From", f"{_moment(first)} to {_moment(max(work.ended))}"),
        ("Workers", f"{len(work.workers):,} processes on {_some(hosts)}"),
        ("A model took", f"{_duration(float(np.median(work.seconds)))} (median)"),
    ]
    if work.failed:
        rows.append(("Failed attempts", f"{work.failed:,}"))
    last = max(work.workers, key=lambda worker: worker.started)
    options = {
        name: value
        for name, value in last.options.items()
        if not name.startswith(("worker.", "launch."))
    }
    if options:
        rows.append(("Options", _pairs(options, options)))
    names = [name for name in _VERSIONS_FIRST if name in last.versions]
    rows.append(("Versions", _pairs(last.versions, names)))
    return rows


def _certificate(final: Fields, tol: float) -> list[tuple[str, str]]:
    rows = []
    if "status" in final:
        counts = Counter(final["status"].tolist())
        rows.append(("Targets by outcome", ", ".join(_outcome(s, n) for s, n in counts.items())))
    if "gap" in final and np.isfinite(final["gap"]).any():
        gap = final["gap"][np.isfinite(final["gap"])]
        rows.append(
            ("Certificate", f"largest relative duality gap {gap.max():.1e} (asked for: {tol:.0e})")
        )
    if "weight_nz" in final:
        nonzero = final["weight_nz"]
        rows.append(("Non-zero weights", f"{np.median(nonzero):,.0f} a target (median), "
                     f"{nonzero.min():,} to {nonzero.max():,}"))  # fmt: skip
    return rows


def _outcome(status: int, count: int) -> str:
    try:
        word = Status(status).name.lower().replace("_", " ")
    except ValueError:
        word = f"status {status}"
    return f"{count:,} {word}"


def _chosen_by(config: RunConfig) -> str:
    if config.chooses_by_held_out_rows:
        return f"{config.num_val:,} held out to choose lambda"
    if config.fit.folds is not None:
        return f"all in {config.fit.folds} folds that choose lambda"
    return "all fitted, lambda given"


def _range(sizes: NDArray[Any]) -> str:
    low, high = sizes.min(), sizes.max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _some(counts: Mapping[str, int]) -> str:
    names = sorted(counts)
    more = f" and {len(names) - _SHOWN:,} more hosts" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _pairs(values: Mapping[str, Any], names: Iterable[str]) -> str:
    return ", ".join(f"{name} {values[name]}" for name in names)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
