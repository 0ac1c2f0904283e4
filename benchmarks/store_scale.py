"""A store at the published scale: 300,000 x 50,000 bool and 300,000 x 10,000 float16 (21 GB).

    python -m benchmarks.store_scale

Prints the seconds to make it (its space reserved where the disk has room for it, and sparse), to
open it, and to list its missing rows.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from datamodels.training import Spec, Store

SPEC = Spec.parse(
    {
        "num_models": 300_000,
        "schema": {
            "masks": {"shape": [50_000], "dtype": "bool_"},
            "margins": {"shape": [10_000], "dtype": "float16"},
        },
    }
)
BYTES = SPEC.num_models * sum(field.row_bytes for field in SPEC.schema.values())


def main() -> None:
    """Print seconds."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        if shutil.disk_usage(folder).free > 1.2 * BYTES:
            timed("make, space reserved", lambda: Store.create(Path(folder) / "a", SPEC))
            shutil.rmtree(Path(folder) / "a")
        timed("make, sparse", lambda: Store.create(Path(folder) / "b", SPEC, reserve=False))
        timed("open", lambda: Store.open(Path(folder) / "b"))
        store = Store.open(Path(folder) / "b")
        timed("missing rows", store.missing)


def timed(name: str, action: Callable[[], object]) -> None:
    began = time.perf_counter()
    action()
    print(f"  {name:24} {time.perf_counter() - began:8.4f} s")


if __name__ == "__main__":
    main()
