"""What the worker adds to the user's own ``main``, per row of 50,000 bool + 10,000 float16.

    python -m benchmarks.worker_overhead

Compared in one run: the bare loop over ``main``; the same with each row written by plain ``pwrite``
to O_DSYNC files (what the disk itself takes); the same through shared memory maps with flush (how
rows were written by the public code); and the worker.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from datamodels.training import Spec, Store
from datamodels.training.worker_loop import RowRunner, UserModule

N_ROWS = 300
SPEC = Spec.parse(
    {
        "num_models": N_ROWS,
        "schema": {
            "masks": {"shape": [50_000], "dtype": "bool_"},
            "margins": {"shape": [10_000], "dtype": "float16"},
        },
    }
)
ROW = {
    "masks": np.random.default_rng(0).random(50_000) < 0.5,
    "margins": np.random.default_rng(1).standard_normal(10_000).astype(np.float32),
}


def main() -> None:
    """Print milliseconds a row."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        bare = timed(lambda _: user_main())
        disk = timed(disk_only(Path(folder) / "disk"))
        maps = timed(shared_maps(Path(folder) / "maps"))
        worker = timed(worker_row(Path(folder) / "worker"))
    print(f"rows of {sum(f.row_bytes for f in SPEC.schema.values()):,} bytes, ms a row")
    print(f"  bare loop over main             {bare:6.3f}")
    print(f"  plain pwrite, O_DSYNC           {disk:6.3f}")
    print(f"  shared memory maps and flush    {maps:6.3f}")
    print(f"  worker                          {worker:6.3f}")
    print(f"  worker beyond main and disk     {worker - disk:6.3f}")


def user_main(**_: Any) -> dict[str, Any]:
    """A ``main`` that costs nothing."""
    return ROW


def timed(row: Callable[[int], Any]) -> float:
    """Milliseconds a row, the best of three thirds of the rows (the disk is shared)."""
    third = N_ROWS // 3
    seconds = []
    for start in range(0, N_ROWS, third):
        began = time.perf_counter()
        for index in range(start, start + third):
            row(index)
        seconds.append(time.perf_counter() - began)
    return min(seconds) / third * 1e3


def disk_only(folder: Path) -> Callable[[int], None]:
    """The bytes of a row and its flag, each by one synchronous write, and nothing else."""
    Store.create(folder, SPEC)
    sizes = {key: field.row_bytes for key, field in SPEC.fields().items()}
    files = {
        key: os.open(folder / f"{key}.npy", os.O_WRONLY | getattr(os, "O_DSYNC", os.O_SYNC))
        for key in sizes
    }
    data = {key: bytes(size) for key, size in sizes.items()}

    def row(index: int) -> None:
        user_main()
        for key, descriptor in files.items():
            os.pwrite(descriptor, data[key], 128 + index * sizes[key])

    return row


def shared_maps(folder: Path) -> Callable[[int], None]:
    """Rows assigned to ``np.load(mmap_mode="r+")`` and flushed, then the flag."""
    Store.create(folder, SPEC)

    def row(index: int) -> None:
        values = user_main() | {"_completed": True}
        for key, value in values.items():
            array = np.load(folder / f"{key}.npy", mmap_mode="r+")
            array[index] = value
            array.flush()

    return row


def worker_row(folder: Path) -> Callable[[int], Any]:
    """The worker's own loop body: folder, main, checks, write, flag, log."""
    store = Store.create(folder, SPEC)
    user = UserModule(user_main, None)
    runner = RowRunner(store, user, logdir=str(folder), do_if_complete=False, argv=["benchmark"])
    return lambda index: runner.run([index])


if __name__ == "__main__":
    main()
