"""The GNU parallel line that fills a store, for its user to run."""

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from datamodels.errors import ExistsError
from datamodels.files import new_file
from datamodels.training.indices import format_indices
from datamodels.training.launcher.chunks import even_chunks, without_variables
from datamodels.training.launcher.config import LaunchConfig
from datamodels.training.launcher.machine import default_workers, threads_each, visible_gpus
from datamodels.training.store import Store

_CHUNKS_A_WORKER = 8  # so that the last ones end at about the same time


def parallel_line(
    store: Store, rows: Sequence[int], config: LaunchConfig, arguments: Sequence[str]
) -> str:
    """A line for the shell that runs ``rows`` in chunks; the chunks go into a file of the store.

    Run again, the line runs the chunks that did not end well (``--resume-failed``).
    """
    gpus = visible_gpus()
    workers = min(config.workers or default_workers(gpus, config.workers_per_gpu), len(rows))
    if config.chunk is None:
        n_chunks = workers * _CHUNKS_A_WORKER
    else:
        n_chunks = math.ceil(len(rows) / config.chunk)
    todo, joblog = _new_files(store, rows, n_chunks, config.batch or 1)
    worker = [sys.executable, "-m", "datamodels.training.worker", *arguments]
    environment = [f"{name}={value}" for name, value in threads_each(workers).items()]
    words = [
        "parallel", f"-j{workers}", "--joblog", shlex.quote(str(joblog)), "--resume-failed",
        f"--retries {config.retries}", "--line-buffer", "env", *without_variables(),
        *environment, *_gpu_of_slot(gpus),
        *(shlex.quote(shlex.quote(word)) for word in worker),  # parallel's shell takes one level
        "--worker.indices={}", "::::", shlex.quote(str(todo)),
    ]  # fmt: skip
    return " ".join(words)


def _gpu_of_slot(gpus: list[str]) -> list[str]:
    """parallel's own arithmetic: the GPU of the place that a job runs in."""
    if not gpus:
        return []
    names = " ".join(gpus)
    return [f"CUDA_VISIBLE_DEVICES='{{= $_=(qw({names}))[(slot()-1) % {len(gpus)}] =}}'"]


def _new_files(store: Store, rows: Sequence[int], n_chunks: int, batch: int) -> tuple[Path, Path]:
    """A file of chunks that no earlier line uses, and where parallel keeps what it has run."""
    text = "".join(
        f"{format_indices(list(chunk))}\n" for chunk in even_chunks(rows, n_chunks, batch)
    )
    number = 1
    while True:
        todo = store.layout.launch / f"parallel-{number}.todo"
        try:
            with new_file(todo) as file:
                file.write_text(text)
        except ExistsError:
            number += 1
        else:
            return todo, todo.with_suffix(".joblog")
