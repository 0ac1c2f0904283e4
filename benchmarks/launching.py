"""What the launcher adds to the rows themselves, and how long it takes to go on.

    python -m benchmarks.launching [ROWS]

Rows of a ``main`` that costs nothing (64 bytes), by two workers:

- the bare loop: the same two arrays and flag by plain synchronous writes from two processes, which
  is what the disk takes; and the launcher, whose difference is its overhead;
- ROWS rows (100,000) in one launch, the rows a second of each tenth of them;
- the start of a launch on a store of 1,000,000 rows of which 1,000 are missing, and all of it;
- GNU parallel with a process for each row, where it is installed.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from datamodels.training import Spec, Store, fill_store
from datamodels.training.records import read_rows, record_files

FIELDS = {
    "masks": {"shape": [32], "dtype": "bool_"},
    "margins": {"shape": [16], "dtype": "float16"},
}
MODULE = "benchmarks.launching"
N_WORKERS = 2
N_BARE = 4_000
N_PARALLEL = 24


def main(*_: Any, index: int | None = None, logdir: str = "") -> dict[str, Any] | None:  # noqa: ARG001
    """A row for the workers, which call it with an index; else the measurements."""
    if index is not None:
        return {"masks": np.ones(32, bool), "margins": np.full(16, index % 1_000, np.float16)}
    n_rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(dir=".") as folder:
        measure_overhead(Path(folder))
        measure_many(Path(folder), n_rows)
        measure_resumption(Path(folder))
        measure_parallel(Path(folder))
    return None


def made(folder: Path, num_models: int) -> Store:
    return Store.create(folder, Spec.parse({"num_models": num_models, "schema": FIELDS}))


def measure_overhead(folder: Path) -> None:
    """Milliseconds a row and worker, bare and launched."""
    store = made(folder / "bare", N_BARE)
    processes = [
        multiprocessing.Process(target=write_bare, args=(store.path, rows))
        for rows in np.array_split(np.arange(N_BARE), N_WORKERS)
    ]
    bare = seconds_of(lambda: run_all(processes))
    store = made(folder / "launched", N_BARE)
    fill_store(store.path, MODULE, workers=N_WORKERS)
    launched, _ = seconds_of_rows(store)
    scale = N_WORKERS / N_BARE * 1e3
    print(f"  bare synchronous writes            {bare * scale:8.3f} ms a row and worker")
    print(f"  launcher, from first to last row   {launched * scale:8.3f}")
    print(f"  launcher beyond the disk           {(launched - bare) * scale:8.3f}")


def run_all(processes: list[multiprocessing.Process]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def write_bare(folder: Path, rows: "np.ndarray[Any, np.dtype[np.int64]]") -> None:
    """Each row's arrays and flag by one synchronous write each, and nothing else."""
    flags = os.O_WRONLY | getattr(os, "O_DSYNC", os.O_SYNC)
    files = {key: os.open(folder / f"{key}.npy", flags) for key in (*FIELDS, "_completed")}
    for row in rows.tolist():
        values = main(index=row) or {}
        for key, descriptor in files.items():
            data = values[key].tobytes() if key in values else b"\1"
            os.pwrite(descriptor, data, 128 + row * len(data))


def measure_many(folder: Path, n_rows: int) -> None:
    """Rows a second from the first tenth of a long launch to the last."""
    store = made(folder / "many", n_rows)
    total = seconds_of(lambda: fill_store(store.path, MODULE, workers=N_WORKERS))
    _, ended = seconds_of_rows(store)
    tenths = np.array_split(ended, 10)
    rates = [len(part) / (part[-1] - part[0]) for part in tenths]
    print(f"  {n_rows} rows: {total:.1f} s, {n_rows / total:.0f} rows a second in all")
    print("  rows a second, by tenths:", " ".join(f"{rate:.0f}" for rate in rates))


def seconds_of_rows(store: Store) -> tuple[float, "np.ndarray[Any, np.dtype[np.float64]]"]:
    """From the first row's begin to the last row's end, and when each ended, in order."""
    rows = [row for path in record_files(store.layout) for row in read_rows(path)]
    ended = np.sort([row.ended for row in rows])
    began = min(row.ended - row.seconds for row in rows)
    return float(ended[-1] - began), ended


def measure_resumption(folder: Path) -> None:
    """A large store that is nearly complete: how soon the first missing row is at work."""
    store = made(folder / "large", 1_000_000)
    missing = np.sort(np.random.default_rng(0).choice(1_000_000, 1_000, replace=False))
    flags = np.ones(1_000_000, bool)
    flags[missing] = False
    np.lib.format.open_memmap(store.layout.completed, mode="r+")[:] = flags
    began = time.time()
    total = seconds_of(lambda: launch_by_command(store))
    first = min(row.ended for path in record_files(store.layout) for row in read_rows(path))
    print(f"  1,000,000 rows, 1,000 missing: first row after {first - began:.2f} s, all after "
          f"{total:.2f} s")  # fmt: skip
    if not store.completed.all():
        raise SystemExit("rows are missing")


def launch_by_command(store: Store) -> None:
    words = [f"--launch.logdir={store.path}", f"--launch.main_import={MODULE}",
             f"--launch.workers={N_WORKERS}"]  # fmt: skip
    command = [sys.executable, "-m", "datamodels.training.launch", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measure_parallel(folder: Path) -> None:
    """A process for each row."""
    if shutil.which("parallel") is None:
        print("  GNU parallel is not installed")
        return
    for module in (MODULE, "benchmarks.launching_torch"):
        store = made(folder / module, N_PARALLEL)
        words = ["parallel", f"-j{N_WORKERS}", sys.executable, "-m", "datamodels.training.worker",
                 f"--worker.logdir={store.path}", f"--worker.main_import={module}",
                 "--worker.index={}", ":::", *map(str, range(N_PARALLEL))]  # fmt: skip
        before = os.times()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        cpu = sum(after[2:4]) - sum(before[2:4])
        print(f"  GNU parallel, a process a row ({module}): {cpu / N_PARALLEL:.2f} s of CPU a row")


def seconds_of(action: Any) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
