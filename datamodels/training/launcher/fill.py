"""``fill_store``: bring a store's missing rows about, by whichever engine."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datamodels.training.indices import parse_indices
from datamodels.training.launcher.config import LaunchConfig, LaunchResult, launch_config
from datamodels.training.launcher.earlier_options import what_differs
from datamodels.training.launcher.gnu_parallel import parallel_line
from datamodels.training.launcher.local_engine import run_locally
from datamodels.training.launcher.lock import launch_lock
from datamodels.training.launcher.progress import LaunchLine
from datamodels.training.launcher.slurm_engine import run_on_slurm
from datamodels.training.store import Store


def fill_store(
    logdir: str | Path,
    main_import: str,
    *,
    options: Mapping[str, Any] | None = None,
    **config: Any,
) -> LaunchResult:
    """Run ``main`` of a module for every row of a store that is missing.

    Args:
        logdir: the store's folder.
        main_import: the module, as in an import statement, from the current folder.
        options: of the module, by full name, such as ``{"training.lr": 0.1}``.
        **config: those of :class:`LaunchConfig`, such as ``engine``, ``workers``, ``retries``,
            ``batch``, ``indices`` (text as ``"0-99,200"``, or row numbers).

    Returns:
        What it left: look at ``is_complete``. Rows that failed ``retries`` times are in
        ``set_aside``, why in ``reasons``.

    Raises:
        UsageError: an option is wrong. MissingFileError: there is no such store.
        ReadOnlyError: it is only to be read.
        AlreadyLaunchedError: another launcher is at work on the store.
        WorkerFailedError: no worker could begin; the message is what it said.
    """
    given = [f"--{name}={value}" for name, value in (options or {}).items()]
    return run_launch(launch_config(logdir, main_import, config), given)


def run_launch(config: LaunchConfig, options: Sequence[str]) -> LaunchResult:
    """As :func:`fill_store`; ``options`` are words of a command line for the user's module."""
    store = Store.open(config.logdir)
    store.layout.refuse_writing()
    asked = rows_asked_for(store, config.indices)
    if store.completed[asked].all():
        return LaunchResult(len(asked), len(asked))
    with launch_lock(store.layout):
        complete = store.completed[asked]
        rows = asked[~complete].tolist()  # once more: the launcher before may just have ended
        result = LaunchResult(len(asked), len(asked))
        arguments = worker_arguments(config, options)
        if store.completed.any():
            _warn_of_other_options(store, config, options)
        while rows:
            result = _together(result, _run(store, rows, config, arguments))
            longer = Store.open(config.logdir)
            # The store may have grown meanwhile; jobs of other engines are not ours to add to.
            grown = longer.num_models > store.num_models and config.engine == "local"
            rows = []
            if grown and config.indices is None:
                rows = [int(row) for row in longer.missing() if row >= store.num_models]
            store = longer
    asked = rows_asked_for(store, config.indices)
    done = int(store.completed[asked].sum())
    return replace(result, asked=len(asked), complete=done)


def _warn_of_other_options(store: Store, config: LaunchConfig, options: Sequence[str]) -> None:
    different = what_differs(store.layout, config.main_import, options)
    if different:
        warnings.warn(
            f"rows of {store.path} were made with {', '.join(different)}: models of both kinds "
            "will stand side by side in it. If that is not meant, stop, and fill another store",
            stacklevel=3,
        )


def _together(before: LaunchResult, after: LaunchResult) -> LaunchResult:
    return replace(
        after,
        set_aside=before.set_aside + after.set_aside,
        reasons={**before.reasons, **after.reasons},
    )


def _run(store: Store, rows: list[int], config: LaunchConfig, arguments: list[str]) -> LaunchResult:
    if config.engine == "local":
        return run_locally(store, rows, config, arguments)
    if config.engine == "parallel":
        return LaunchResult(len(rows), 0, command=parallel_line(store, rows, config, arguments))
    return _run_on_slurm(store, rows, config, arguments)


def _run_on_slurm(
    store: Store, rows: list[int], config: LaunchConfig, arguments: list[str]
) -> LaunchResult:
    command = [sys.executable, "-m", "datamodels.training.worker", *arguments]
    with LaunchLine(len(rows), 0) as line:
        options = config.slurm_options()
        outcome = run_on_slurm(store, rows, command, options, line, wait=config.wait)
    return LaunchResult(
        len(rows),
        outcome.complete,
        outcome.set_aside,
        jobs=outcome.running,
        interrupted=outcome.interrupted,
    )


def rows_asked_for(store: Store, indices: str | None) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Numbers of the rows that are to be complete."""
    if indices is None:
        return np.arange(store.num_models)
    return np.array(parse_indices(indices, store.num_models, store.path), np.int64)


def worker_arguments(config: LaunchConfig, options: Sequence[str]) -> list[str]:
    """The words behind the worker command, but for the rows."""
    words = [f"--worker.logdir={config.logdir}", f"--worker.main_import={config.main_import}"]
    if config.batch is not None:
        words.append(f"--worker.batch={config.batch}")
    if config.job_timeout is not None and config.engine != "local":  # where the launcher sees to it
        words.append(f"--worker.job_timeout={config.job_timeout}")
    if config.engine != "local":  # nobody else sees a main that ends its process with status 0
        words.append("--worker.watch")
    words.append("--worker.do_if_complete=false")  # whatever a configuration file says
    return [*options, *words]  # the last of equals wins
