"""Evaluation and analysis at CIFAR-10's size: 50,000 x 10,000 weights, 100 of them a target.

    python -m benchmarks.analysis_scale [FOLDER] [EXAMPLES TARGETS MODELS]

Made-up datamodels in FOLDER (``analysis_scale`` by default, 9 GB): examples and targets are of 100
kinds, and most weights are between examples and targets of one kind. The store holds 2,000 models
for scores; each command runs in a process of its own, from start to end.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from multiprocessing import Process
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels import Datamodels
from datamodels.training import Spec, Store, subset_masks

SIZES = (50_000, 10_000, 2_000)  # training examples, targets, models
KINDS, NONZERO, OWN_KIND = 100, 100, 0.7  # OWN_KIND: share of weights on examples of the same kind
BLOCK = 500
CURVE_TARGETS = 100  # of the learning curve


def main() -> None:
    """Make what is missing, run the commands, print the table."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "analysis_scale")
    n_train, n_targets, n_models = map(int, sys.argv[2:5]) if len(sys.argv) > 4 else SIZES
    folder.mkdir(exist_ok=True)
    if not (folder / "test_images.npy").exists():
        # In a process of its own: the system counts memory of this one as its children's.
        maker = Process(target=make, args=(folder, n_train, n_targets, n_models))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise SystemExit(f"making the data ended with {maker.exitcode}")
    fit, store = folder / "datamodels.pt", folder / "store"
    pictures = [f"--report.{name}={folder / name}.npy" for name in ("images", "test_images")]
    print(f"{n_train:,} x {n_targets:,} weights, {NONZERO} a target; {n_models:,} models")
    measure("evaluation.lds", f"--lds.datamodels={fit}", f"--lds.store={store}")
    measure("analysis.top", f"--top.datamodels={fit}", "--top.targets=0-9")
    measure("analysis.leakage", f"--leakage.datamodels={fit}")
    measure("analysis.mislabelled", f"--mislabelled.test={fit}")
    measure("analysis.compare", f"--compare.a={fit}", f"--compare.b={folder / 'others.pt'}")
    clusters = fresh(folder / "clusters")
    measure("analysis.clusters", f"--clusters.datamodels={fit}", f"--clusters.out={clusters}",
            "--clusters.n_clusters=20")  # fmt: skip
    page = fresh(folder / "report.html")
    measure("analysis.report", f"--report.datamodels={fit}", f"--report.store={store}", *pictures,
            f"--report.clusters={clusters}", f"--report.out={page}")  # fmt: skip
    measure_commands_of_rows(folder, n_targets)
    print(f"the report is of {page.stat().st_size / 2**20:.1f} MiB")


def measure_commands_of_rows(folder: Path, n_targets: int) -> None:
    """Those that read what models were trained on, or prepare retrainings. The learning curve is
    the last, as its two tables of pairs take 20 GB at full size."""
    fit, store = folder / "datamodels.pt", folder / "store"
    measure("evaluation.linear_share", f"--share.store={store}", f"--share.datamodels={fit}")
    measure("evaluation.support", f"--support.datamodels={fit}", f"--support.store={store}",
            f"--support.targets=0-{n_targets - 2}")  # fmt: skip
    removed = folder / "removed"
    shutil.rmtree(removed, ignore_errors=True)
    measure("evaluation.counterfactuals", f"--counterfactuals.datamodels={fit}",
            f"--counterfactuals.store={store}", f"--counterfactuals.out={removed}")  # fmt: skip
    measure("analysis.influence", f"--influence.data_path={store}",
            f"--influence.out={fresh(folder / 'influence.npz')}")  # fmt: skip
    curve = folder / "curve"
    shutil.rmtree(curve, ignore_errors=True)
    measure("evaluation.learning_curve", f"--curve.data_path={store}", f"--curve.out={curve}",
            f"--curve.target_end_ind={min(CURVE_TARGETS, n_targets)}", "--curve.k=20",
            "--curve.eps=0.1")  # fmt: skip


def make(folder: Path, n_train: int, n_targets: int, n_models: int) -> None:
    """Datamodels, a store of models that they predict in part, and images of noise."""
    rng = np.random.default_rng(0)
    weight = np.zeros((n_train, n_targets), np.float32)
    for t in range(n_targets):
        n_own = round(OWN_KIND * NONZERO)
        own = rng.choice(np.arange(t % KINDS, n_train, KINDS), n_own, replace=False)
        others = rng.integers(0, n_train, NONZERO - n_own)
        weight[own, t] = rng.exponential(0.1, n_own)
        weight[others, t] = rng.normal(0, 0.1, NONZERO - n_own)
    bias = np.zeros(n_targets, np.float32)
    Datamodels(weight, bias, bias + 0.01).save(folder / "datamodels.pt")
    weight[::KINDS] *= 0.5  # another algorithm, which makes less of the examples of one kind
    Datamodels(weight, bias, bias + 0.01).save(folder / "others.pt")
    weight[::KINDS] *= 2
    schema = {"masks": {"shape": [n_train], "dtype": "bool_"},
              "margins": {"shape": [n_targets], "dtype": "float16"}}  # fmt: skip
    store = Store.create(folder / "store", Spec.parse({"num_models": n_models, "schema": schema}))
    for first in range(0, n_models, BLOCK):
        rows = range(first, min(first + BLOCK, n_models))
        masks = subset_masks(rows, n_train, alpha=0.5, seed=0)
        noise = rng.standard_normal((len(rows), n_targets), np.float32)
        margins = masks.astype(np.float32) @ weight + noise
        store.write_block(rows, {"masks": masks, "margins": margins})
    for name, count in (("images", n_train), ("test_images", n_targets)):
        np.save(folder / f"{name}.npy", pictures(rng, count))


def pictures(rng: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Smooth colours (count, 32, 32, 3), which compress as photographs do rather than as noise."""
    coarse = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)
    images: NDArray[np.uint8] = coarse.repeat(8, axis=1).repeat(8, axis=2)
    return images


def fresh(path: Path) -> Path:
    """A name of an output of this run: what an earlier run left there is removed."""
    if path.is_dir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    path.unlink(missing_ok=True)
    return path


def measure(command: str, *options: str) -> None:
    """Seconds and peak memory of a command, in a process of its own."""
    words = [sys.executable, "-m", f"datamodels.{command}", *options]
    began = time.monotonic()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}: {json.dumps(words)}")
    print(f"  {command:28}{seconds:8.1f} s  {used.ru_maxrss / 2**20:6.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
