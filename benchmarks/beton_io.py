"""Reading and writing regression data sets: ours and FFCV's, the same data on the same machine.

    python -m benchmarks.beton_io

4,000 rows of 50,000 bool masks and 1,000 float32 targets, 216 MB, with the files in the page cache.
Each line is a process of its own and the best of several repetitions, after one that compiles.

Write: from a store's ``.npy`` files to a ``.beton``, to the last byte on the disk (``fsync``;
FFCV's writer leaves that to the system: its file is synced after it, and its time without that
is shown too). Read: every row once, masks and targets, 500 at a time, in order and shuffled; FFCV's
``Loader`` prepares batches in a thread of its own, with as many numba threads as it has workers.
Without ffcv its lines are left out.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

N, P, T = 4_000, 50_000, 1_000
BATCH, REPETITIONS = 500, 7

Action = Callable[[], object]


class Line(NamedTuple):
    """A line of the table: what is done, by whom, and its name in :data:`ACTIONS`."""

    what: str
    who: str
    action: str
    workers: int = 1
    needs_ffcv: bool = False


LINES = (
    Line("write .npy, on the disk", "numpy.save, fsync", "write_npy"),
    Line("store to .beton, on the disk", "write_dataset", "write_ours"),
    Line("store to .beton, on the disk", "FFCV, 1 worker, fsync", "write_ffcv_sync", 1, True),
    Line("store to .beton, on the disk", "FFCV, 2 workers, fsync", "write_ffcv_sync", 2, True),
    Line("store to .beton, not synced", "FFCV, 1 worker", "write_ffcv", 1, True),
    Line("store to .beton, not synced", "FFCV, 2 workers", "write_ffcv", 2, True),
    Line("open", "BetonFile", "open_ours"),
    Line("open", "FFCV Reader", "open_ffcv", 1, True),
    Line("read .beton in order", "BetonFile", "read_ours"),
    Line("read .beton in order", "FFCV Loader, 1 worker", "read_ffcv", 1, True),
    Line("read .beton in order", "FFCV Loader, 2 workers", "read_ffcv", 2, True),
    Line("read .beton shuffled", "BetonFile", "shuffled_ours"),
    Line("read .beton shuffled", "FFCV Loader, 1 worker", "shuffled_ffcv", 1, True),
    Line("read .beton shuffled", "FFCV Loader, 2 workers", "shuffled_ffcv", 2, True),
    Line("read .npy in order", "RegressionDataset", "read_store"),
    Line("read .npy shuffled", "RegressionDataset", "shuffled_store"),
)


def main() -> None:
    """Print a table of seconds."""
    with_ffcv = importlib.util.find_spec("ffcv") is not None
    if not with_ffcv:
        print("  ffcv is not installed, its lines are left out: pip install ffcv==1.0.2, with")
        print("  what tests/regression/test_beton_ffcv.py names")
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        make_store(folder)
        run_apart("write_ours", 1, folder, 1)  # the file that all read
        print(f"  {'':30} {'':24} {'s':>7} {'MB/s':>7}")
        for line in LINES:
            if with_ffcv or not line.needs_ffcv:
                seconds = run_apart(line.action, line.workers, folder, REPETITIONS)
                rate = N * (P + 4 * T) / 1e6 / seconds
                print(f"  {line.what:30} {line.who:24} {seconds:7.4f} {rate:7.0f}", flush=True)


def make_store(folder: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(folder / "masks.npy", rng.random((N, P), np.float32) < 0.5)
    np.save(folder / "margins.npy", rng.standard_normal((N, T), np.float32))
    np.save(folder / "_completed.npy", np.ones(N, bool))


def run_apart(action: str, workers: int, folder: Path, repetitions: int) -> float:
    """The least seconds of an action, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.beton_io"]
    given = [action, str(workers), str(folder), str(repetitions)]
    threads = {"NUMBA_NUM_THREADS": str(workers), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *given], env={**os.environ, **threads}, check=True, stdout=subprocess.PIPE
    )
    seconds: list[float] = json.loads(done.stdout)
    return min(seconds)


def measure(name: str, workers: int, folder: Path, repetitions: int) -> list[float]:
    """Seconds of each repetition, after one that is not counted."""
    action, cleanup = ACTIONS[name](folder, workers)
    seconds = []
    for _ in range(repetitions + 1):
        cleanup()
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


# ---- ours ----


def write_npy(folder: Path, _: int) -> tuple[Action, Action]:
    arrays = {key: np.load(folder / f"{key}.npy") for key in ("masks", "margins")}

    def write() -> None:
        for key, array in arrays.items():
            with open(folder / f"{key}.copy.npy", "xb") as file:
                np.save(file, array)
                os.fsync(file.fileno())

    return write, lambda: remove(*(folder / f"{key}.copy.npy" for key in arrays))


def write_ours(folder: Path, _: int) -> tuple[Action, Action]:
    from datamodels.regression.write_dataset import write_dataset

    path = folder / "ours.beton"
    return lambda: write_dataset(folder, path, "margins"), lambda: remove(path)


def open_ours(folder: Path, _: int) -> tuple[Action, Action]:
    from datamodels.regression.beton_reader import BetonFile

    return lambda: BetonFile.open(folder / "ours.beton"), nothing


def read_ours(folder: Path, _: int, shuffled: bool = False) -> tuple[Action, Action]:
    from datamodels.regression.beton_reader import BetonFile

    source = BetonFile.open(folder / "ours.beton")
    return lambda: take_all(source.read, shuffled), nothing


def read_store(folder: Path, _: int, shuffled: bool = False) -> tuple[Action, Action]:
    from datamodels.regression.dataset import RegressionDataset

    source = RegressionDataset(folder, "margins")
    return lambda: take_all(source.read, shuffled), nothing


def take_all(read: Callable[[NDArray[np.int64]], Any], shuffled: bool) -> None:
    rows = np.random.default_rng(1).permutation(N) if shuffled else np.arange(N)
    for start in range(0, N, BATCH):
        read(rows[start : start + BATCH])


# ---- FFCV's ----


class Rows:
    """The rows of a store as FFCV's writer takes them: what is fastest, and nothing checked."""

    def __init__(self, folder: Path) -> None:
        self.masks = np.load(folder / "masks.npy", mmap_mode="r").view(np.ndarray)
        self.targets = np.load(folder / "margins.npy", mmap_mode="r").view(np.ndarray)

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> tuple[NDArray[np.bool_], NDArray[np.float32], int]:
        return self.masks[i], self.targets[i], i


def write_ffcv(folder: Path, workers: int, sync: bool = False) -> tuple[Action, Action]:
    ffcv = import_module("ffcv.fields")
    writer = import_module("ffcv.writer").DatasetWriter
    path = folder / "ffcv.beton"
    rows = Rows(folder)
    fields = {
        "mask": ffcv.NDArrayField(dtype=np.dtype(bool), shape=(P,)),
        "targets": ffcv.NDArrayField(dtype=np.dtype("float32"), shape=(T,)),
        "idx": ffcv.IntField(),
    }

    def write() -> None:
        with open(os.devnull, "w") as quiet, redirect_stderr(quiet):  # its progress bar
            writer(str(path), fields, num_workers=workers).from_indexed_dataset(rows)
        if sync:
            with open(path, "rb") as file:
                os.fsync(file.fileno())

    return write, lambda: remove(path)


def open_ffcv(folder: Path, _: int) -> tuple[Action, Action]:
    reader = import_module("ffcv.reader").Reader
    return lambda: reader(str(folder / "ours.beton")), nothing


def read_ffcv(folder: Path, workers: int, shuffled: bool = False) -> tuple[Action, Action]:
    ffcv = import_module("ffcv.loader")
    loader = ffcv.Loader(
        str(folder / "ours.beton"),
        batch_size=BATCH,
        num_workers=workers,
        order=ffcv.OrderOption.RANDOM if shuffled else ffcv.OrderOption.SEQUENTIAL,
        os_cache=True,
    )

    def read() -> None:
        for _batch in loader:
            pass

    return read, nothing


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def nothing() -> None:
    """Nothing to clean up."""


ACTIONS: dict[str, Callable[[Path, int], tuple[Action, Action]]] = {
    "write_npy": write_npy,
    "write_ours": write_ours,
    "write_ffcv": write_ffcv,
    "write_ffcv_sync": lambda folder, workers: write_ffcv(folder, workers, sync=True),
    "open_ours": open_ours,
    "open_ffcv": open_ffcv,
    "read_ours": read_ours,
    "read_ffcv": read_ffcv,
    "read_store": read_store,
    "shuffled_ours": lambda folder, workers: read_ours(folder, workers, shuffled=True),
    "shuffled_ffcv": lambda folder, workers: read_ffcv(folder, workers, shuffled=True),
    "shuffled_store": lambda folder, workers: read_store(folder, workers, shuffled=True),
}


if __name__ == "__main__":
    if sys.argv[1:]:
        action, workers, folder, repetitions = sys.argv[1:]
        print(json.dumps(measure(action, int(workers), Path(folder), int(repetitions))))
    else:
        main()
