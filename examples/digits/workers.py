"""Filling a store with a few worker processes on this machine."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from datamodels.errors import DatamodelsError
from datamodels.training import Store
from datamodels.training.indices import format_indices

_POLL_SECONDS = 0.5


def train_missing(store: Store, main_import: str, n_workers: int) -> None:
    """Run the worker on the rows that are missing, ``n_workers`` processes of one thread each.

    Shows one progress line. DatamodelsError when a worker fails; Ctrl-C ends them all, and a later
    call goes on with the rows still missing.
    """
    missing = store.missing().tolist()
    shares = [missing[i::n_workers] for i in range(n_workers)]
    started = [
        _start(store.path, main_import, share, number)
        for number, share in enumerate(shares)
        if share
    ]
    processes = [process for process, _ in started]
    try:
        _follow(store, processes)
    finally:
        for process in processes:
            process.terminate()
    failed = [log for process, log in started if process.wait()]
    if failed:
        raise DatamodelsError(f"a worker failed; what it said is in {failed[0]}")


def _start(
    store: Path, main_import: str, share: list[int], number: int
) -> tuple["subprocess.Popen[bytes]", Path]:
    log = store / f"worker_{number}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "datamodels.training.worker",
                f"--worker.logdir={store}",
                f"--worker.main_import={main_import}",
                f"--worker.indices={format_indices(share)}",
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1"},  # small networks gain nothing from more
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return process, log


def _follow(store: Store, processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Show how many rows are complete until the workers have ended."""
    done = int(store.completed.sum())
    # disable=None: quiet when standard error is not a terminal
    with tqdm(total=store.num_models, initial=done, unit="model", disable=None) as line:
        while any(process.poll() is None for process in processes):
            time.sleep(_POLL_SECONDS)
            line.update(int(store.completed.sum()) - line.n)
        line.update(int(store.completed.sum()) - line.n)
