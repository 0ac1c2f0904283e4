"""How many planted faults are found: wrong labels, and copies of test images, in the digits.

    python -m benchmarks.planted_faults [FOLDER] [MODELS]

Trains 10,000 (MODELS) networks of the digits example for each kind of fault
(``examples.digits.planted``), fits datamodels to all of them, of which a fifth chooses lambda, and
compares rankings of the training images, or of pairs, with what was planted. Stores and fits stay
in FOLDER (``planted_faults`` by default) and are used again; fits are of MODELS networks each.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels import Datamodels
from datamodels.analysis.leaks import rank_leaks
from datamodels.analysis.suspects import rank_mislabelled
from datamodels.training import Store
from examples.digits.demo import SPEC
from examples.digits.planted import Planted, plant_faults

MODELS = 10_000
FLIP, COPIES = 0.1, 20
NEIGHBOURS = 10


def main() -> None:
    """Print the tables."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "planted_faults")
    models = int(sys.argv[2]) if len(sys.argv) > 2 else MODELS
    folder.mkdir(exist_ok=True)
    wrong_labels(folder, models)
    for kind in ("canaries", "plant"):
        leaks(folder, kind, models)


def wrong_labels(folder: Path, models: int) -> None:
    """A tenth of the labels is wrong: rankings by weights, and two baselines."""
    store = trained(folder, "flip", FLIP, models)
    own, test = (fitted(folder, "flip", y, models) for y in ("train_margins", "margins"))
    planted = plant_faults(flip=FLIP)
    wrong = np.isin(np.arange(own.n_train_examples), planted.flipped)
    both = rank_mislabelled(own, test)
    rankings = {
        "self-influence and harm": both.score,
        "self-influence": both.self_influence,
        "harm, test images": rank_mislabelled(test=test).score,
        "harm, all images": both.harm,
        "baseline: loss on networks trained without it": -margin_without(store),
        f"baseline: {NEIGHBOURS} nearest neighbours": disagreement(planted),
    }
    print(f"{wrong.sum()} of {len(wrong)} labels are wrong: area under the ROC curve, average "
          f"precision, precision (= recall) among the first {wrong.sum()}")  # fmt: skip
    from sklearn.metrics import average_precision_score, roc_auc_score

    for name, score in rankings.items():
        if score is None:
            continue
        first = np.argsort(-score, kind="stable")[: wrong.sum()]
        area, average = roc_auc_score(wrong, score), average_precision_score(wrong, score)
        print(f"  {name:48}{area:.4f}  {average:.3f}  {wrong[first].mean():.3f}")


def margin_without(store: Store) -> NDArray[np.float64]:
    """Mean margin of each training image over the networks that were not trained on it."""
    left_out = ~store["masks"][:]
    total = (left_out * store["train_margins"][:].astype(np.float64)).sum(axis=0)
    means: NDArray[np.float64] = total / left_out.sum(axis=0)
    return means


def disagreement(planted: Planted) -> NDArray[np.float64]:
    """Share of the nearest neighbours, by pixels, that have another label."""
    from sklearn.neighbors import NearestNeighbors

    images, labels = planted.digits.train_images.reshape(-1, 64), planted.digits.train_labels
    search = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(images)
    near = search.kneighbors(return_distance=False)
    share: NDArray[np.float64] = (labels[near] != labels[:, None]).mean(axis=1)
    return share


def leaks(folder: Path, kind: str, models: int) -> None:
    """Copies of test images among the training images: how many are among the first pairs."""
    trained(folder, kind, COPIES, models)
    datamodels = fitted(folder, kind, "margins", models)
    found = rank_leaks(datamodels)
    planted = plant_faults(canaries=COPIES) if kind == "canaries" else plant_faults(plant=COPIES)
    true = set(zip(planted.copies.tolist(), planted.originals.tolist(), strict=True))
    pairs = list(zip(found.examples.tolist(), found.targets.tolist(), strict=True))
    words = "with a wrong label in common" if kind == "canaries" else "with their right labels"
    print(f"{COPIES} copies of test images {words}: found among as many pairs as that "
          f"{len(true & set(pairs[:COPIES]))}")  # fmt: skip
    most = datamodels.weight[planted.copies].argmax(axis=1) == planted.originals
    print(f"  {most.sum()} of the copies raise their own test image most of all")
    for limit in (0.05, 1.0):
        listed = pairs[: len(found.up_to(limit))]
        hits = len(true & set(listed))
        print(f"  fewer than {limit:g} expected by chance: {len(listed)} pairs, {hits} of them so")


def trained(folder: Path, kind: str, value: float, models: int) -> Store:
    """The store of networks trained on digits with that fault, made or finished if need be."""
    store, spec = folder / kind, folder / "spec.json"
    spec.write_text(json.dumps(json.loads(SPEC.read_text()) | {"num_models": models}))
    if not store.exists():
        run("training.initialize_store", f"--logging.logdir={store}", f"--logging.spec={spec}")
    if len(Store.open(store).missing()):
        run("training.launch", f"--launch.logdir={store}", f"--digits.{kind}={value}",
            "--launch.main_import=examples.digits.train_digits", "--worker.batch=32")  # fmt: skip
    return Store.open(store)


def fitted(folder: Path, kind: str, y_name: str, models: int) -> Datamodels:
    """Datamodels of the store's array ``y_name``, fitted if need be."""
    out, num_val = folder / f"{kind}_{y_name}", models // 5
    if not out.exists():
        run("regression.compute_datamodels", f"--data.data_path={folder / kind}",
            f"--data.y_name={y_name}", f"--data.num_train={models - num_val}",
            f"--data.num_val={num_val}", "--cfg.k=50", "--cfg.eps=1e-2",
            f"--cfg.out_dir={out}")  # fmt: skip
    return Datamodels.load(out / "datamodels.pt")


def run(command: str, *options: str) -> None:
    """Run a command of the package."""
    words = [sys.executable, "-m", f"datamodels.{command}", *options]
    began = time.monotonic()
    subprocess.run(words, check=True, stdout=sys.stderr)
    print(f"{command}: {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
