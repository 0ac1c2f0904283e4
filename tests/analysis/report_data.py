"""Stores and datamodels to report on, made in a moment."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodels.regression.result import Datamodels
from datamodels.training.spec import Spec
from datamodels.training.store import Store

EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">&amp;"\'{{ 7*7 }}'


@dataclass(frozen=True)
class Study:
    """Files that a report is made from."""

    folder: Path

    def options(self, **more):
        named = {
            "datamodels": self.folder / "datamodels.pt",
            "store": self.folder / "store",
            "images": self.folder / "images.npy",
            "test_images": self.folder / "test_images.npy",
            "labels": self.folder / "labels.npy",
            "test_labels": self.folder / "test_labels.npy",
        }
        return {name: str(path) for name, path in named.items()} | more


def make_study(
    folder: Path, *, n_models=60, n_train=48, n_targets=30, nonzero=12, side=8, channels=1
) -> Study:
    """``nonzero`` weights a target, images of some smooth noise, labels "digit 0" to "digit 4"."""
    rng = np.random.default_rng(0)
    weight = np.zeros((n_train, n_targets), np.float32)
    for t in range(n_targets):
        weight[rng.choice(n_train, nonzero, replace=False), t] = rng.normal(0.2, 1, nonzero)
    masks = rng.random((n_models, n_train)) < 0.5
    outputs = (masks @ weight + rng.normal(0, 1, (n_models, n_targets))).astype(np.float32)
    schema = {
        "masks": {"shape": [n_train], "dtype": "bool_"},
        "margins": {"shape": [n_targets], "dtype": "float32"},
    }
    store = Store.create(folder / "store", Spec.parse({"num_models": n_models, "schema": schema}))
    store.write_block(range(n_models), {"masks": masks, "margins": outputs})
    zeros = np.zeros(n_targets, np.float32)
    Datamodels(weight, zeros, zeros + 0.1).save(folder / "datamodels.pt")
    for name, count in (("images", n_train), ("test_images", n_targets)):
        coarse = rng.integers(0, 256, (count, 4, 4, channels))
        fine = np.kron(coarse, np.ones((1, side // 4, side // 4, 1)))
        noisy = np.clip(fine + rng.normal(0, 20, fine.shape), 0, 255).astype(np.uint8)
        np.save(folder / f"{name}.npy", noisy if channels == 3 else noisy[..., 0])
    for name, count in (("labels", n_train), ("test_labels", n_targets)):
        np.save(folder / f"{name}.npy", np.array([f"digit {i % 5}" for i in range(count)]))
    return Study(folder)
