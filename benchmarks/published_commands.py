"""``units`` and ``lds`` on files of the published layout, made up.

    python -m benchmarks.published_commands [TRAIN TEST MODELS]

Datamodels of TRAIN x TEST weights (50,000 x 10,000 by default: 2 GB) and masks and margins of
MODELS (10,000: 0.7 GB) held-out models, as ``download --download.rows=evaluation`` leaves them:
30 times as many rows before them are holes. Margins are linear in the first 2,000 examples, each
target in 30 of them, and half of their variance is noise. Prints seconds and the peak memory of
each command.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels import Datamodels
from datamodels.npy_file import header_bytes
from datamodels.published import find, refresh_views
from datamodels.published.layout import PublishedLayout
from datamodels.published.partial_file import PartialFile, Source

SIZES = (50_000, 10_000, 10_000)
POOL, TRUE = 2_000, 30
HOLES = 30  # rows that are not there, for each that is
BLOCK = 1_000  # models at a time


def main() -> None:
    """Make the files, run the commands."""
    n_train, n_test, n_models = map(int, sys.argv[1:4]) if sys.argv[1:] else SIZES
    with tempfile.TemporaryDirectory(dir=".") as folder:
        root = Path(folder)
        began = time.perf_counter()
        make(root, n_train, n_test, n_models)
        refresh_views(root, n_evaluation=n_models)
        print(f"  files of {n_models} models made in {time.perf_counter() - began:.0f} s")
        weights, view = root / find("cifar", 0.5, "datamodels").key, root / "cifar/50pct"
        units = ["published", "units", f"--units.datamodels={weights}", f"--units.store={view}"]
        lds = ["evaluation.lds", f"--lds.datamodels={weights}", f"--lds.store={view}"]
        timed("units", units)
        for resamples in (0, 100):
            timed(f"lds, {resamples} resamples", [*lds, f"--lds.resamples={resamples}"])


def make(root: Path, n_train: int, n_test: int, n_models: int) -> None:
    """The three files of CIFAR-10 at 50% below ``root``."""
    rng = np.random.default_rng(0)
    pool = min(POOL, n_train)
    weight = np.zeros((n_train, n_test), np.float32)
    for column in weight[:pool].T:
        column[rng.choice(pool, min(TRUE, pool), replace=False)] = rng.standard_normal(
            min(TRUE, pool)
        )
    deviation = weight[:pool].std(axis=0) * np.sqrt(pool) / 2  # of masks @ weight
    masks = new_rows(root, "masks", (n_models, n_train), np.dtype(bool))
    margins = new_rows(root, "margins", (n_models, n_test), np.dtype(np.float16))
    with masks as mask_file, margins as margin_file:
        for first in range(0, n_models, BLOCK):
            n = min(BLOCK, n_models - first)
            subsets = rng.random((n, n_train), np.float32) < 0.5
            signal = subsets[:, :pool].astype(np.float32) @ weight[:pool]
            outputs = signal + deviation * rng.standard_normal(signal.shape, np.float32)
            put_rows(mask_file, first, n_models, subsets)
            put_rows(margin_file, first, n_models, outputs.astype(np.float16))
    path = PublishedLayout(root).file(find("cifar", 0.5, "datamodels").key)
    path.parent.mkdir(parents=True)
    zeros = np.zeros(n_test, np.float32)
    Datamodels(weight, zeros, zeros).save(path)


def new_rows(root: Path, kind: Any, shape: tuple[int, int], dtype: "np.dtype[Any]") -> PartialFile:
    """A file of which only the last ``shape[0]`` rows are going to be there."""
    whole = ((1 + HOLES) * shape[0], shape[1])
    header = header_bytes(whole, dtype)
    size = len(header) + whole[0] * whole[1] * dtype.itemsize
    key = find("cifar", 0.5, kind).key
    return PartialFile.create(root / key, Source("made up", key, "none", size), header)


def put_rows(file: PartialFile, first: int, n_models: int, rows: NDArray[Any]) -> None:
    """``rows`` (b, n) as those from ``first`` on of the ``n_models`` that are there."""
    row_bytes = rows[0].nbytes
    file.write(file.source.size - (n_models - first) * row_bytes, rows.tobytes())


def timed(name: str, words: list[str]) -> None:
    """Run a command, and print what it took."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", f"datamodels.{words[0]}", *words[1:]], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    said = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(f"{name} failed: {said}")
    memory = used.ru_maxrss / 2**20
    last_line = said.strip().rpartition("\n")[2]
    print(f"  {name:22} {seconds:7.1f} s {memory:6.1f} GiB  {last_line[:70]}")


if __name__ == "__main__":
    main()
