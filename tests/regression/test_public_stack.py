"""The code blocks of docs/public_stack.md, run as they stand on a file of ``write_dataset``.

FFCV's side runs in a process of its own, this file run as a script (``python test_public_stack.py
npz``): importing it takes seconds, and its loader starts numba's threads.
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodels import Datamodels

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "public_stack.md").read_text()
P, T = 37, 5
NUM_TRAIN, NUM_VAL, BATCH = 48, 16, 8
MISSING = [3, 40]  # rows of the store that are not complete
N = NUM_TRAIN + NUM_VAL + len(MISSING) + 4  # the last four are used by nobody

needs_ffcv = pytest.mark.skipif(
    importlib.util.find_spec("ffcv") is None,  # found, not imported: that takes 5 s
    reason="ffcv is not installed: see tests/regression/test_beton_ffcv.py for how",
)


def block(language, needle):
    """The code block of ``language`` that holds ``needle``."""
    blocks = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    (found,) = [block for block in blocks if needle in block]
    return found


def store():
    """Arrays of a store: masks, outputs with an offset, and two rows missing."""
    rng = np.random.default_rng(0)
    masks = rng.random((N, P)) < 0.3
    masks[:, 7] = True  # a column that never changes
    margins = masks @ rng.standard_normal((P, T)) + rng.standard_normal((N, T)) + 3
    completed = np.ones(N, bool)
    completed[MISSING] = False
    return {"masks": masks, "margins": margins.astype(np.float16), "_completed": completed}


def used_rows():
    """Rows of the store for fitting (num_train,) and for choosing lambda (num_val,)."""
    rows = np.delete(np.arange(N), MISSING)
    return rows[:NUM_TRAIN], rows[NUM_TRAIN : NUM_TRAIN + NUM_VAL]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with ``runs/mine``, the store of the document's commands."""
    path = tmp_path_factory.mktemp("public_stack")
    (path / "runs" / "mine").mkdir(parents=True)
    for key, array in store().items():
        np.save(path / "runs" / "mine" / f"{key}.npy", array)
    return path


def run(folder, *words):
    """A command, by this Python, in ``folder``."""
    result = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert result.returncode == 0, result.stdout + result.stderr


# ---- FFCV's side ----


def save_what_ffcv_gives(path):
    """What the document's loaders give in two epochs each, and refuse, and a fit on them."""
    names = {"num_train": NUM_TRAIN, "num_val": NUM_VAL, "batch_size": BATCH, "device": "cpu",
             "k": 12, "eps": 0.05}  # fmt: skip
    exec(block("python", "def loaders"), names)
    loaders = names["loaders"]
    saved = {}
    pair = loaders("runs/mine.beton", NUM_TRAIN, NUM_VAL, BATCH, "cpu")
    for name, loader in zip(("train", "validation"), pair, strict=True):
        for epoch in range(2):
            batches = [[part.clone() for part in batch] for batch in loader]
            assert all(len(part) == BATCH for batch in batches for part in batch)
            columns = zip(*batches, strict=True)
            for field, parts in zip(("mask", "targets", "idx"), columns, strict=True):
                saved[f"{name} {epoch} {field}"] = torch.cat(parts).numpy()
    with pytest.raises(ValueError, match=r"batch_size=7 must divide 48 and 16"):
        loaders("runs/mine.beton", NUM_TRAIN, NUM_VAL, 7, "cpu")
    exec(block("python", "train_saga("), names)
    saved["max_lambda"] = names["calc_max_lambda"](names["train"]).numpy()
    saved["val_mse"] = names["result"].log["val_mse"]
    np.savez(path, **saved)


@pytest.fixture(scope="module")
def from_ffcv(folder):
    """What came of ``runs/mine.beton``, written by the document's command."""
    python, *words = shlex.split(block("bash", "write_dataset").replace("\\\n", " "))
    assert python == "python"
    run(folder, *words)
    run(folder, __file__, "from_ffcv.npz")
    return np.load(folder / "from_ffcv.npz")


# ---- the tests ----


@needs_ffcv
def test_ffcv_loaders_give_every_row_of_the_store_once_an_epoch(from_ffcv):
    arrays = store()
    for name, rows in zip(("train", "validation"), used_rows(), strict=True):
        for epoch in range(2):
            masks, targets, idx = (
                from_ffcv[f"{name} {epoch} {field}"] for field in ("mask", "targets", "idx")
            )
            np.testing.assert_array_equal(np.sort(idx), rows)
            assert masks.dtype == targets.dtype == np.float32
            np.testing.assert_array_equal(masks, arrays["masks"][idx])
            np.testing.assert_array_equal(targets, arrays["margins"][idx])
    first, second = from_ffcv["train 0 idx"], from_ffcv["train 1 idx"]
    assert (first != second).any()  # a new order each epoch
    np.testing.assert_array_equal(from_ffcv["validation 0 idx"], used_rows()[1])


def test_standardized_weights_predict_raw_masks_after_loading(folder, monkeypatch):
    """A least-squares fit in standardized units stands for the public solver's."""
    monkeypatch.chdir(folder)
    arrays = store()
    rows, _ = used_rows()
    masks, outputs = arrays["masks"][rows].astype(float), arrays["margins"][rows].astype(float)
    mean, scale = masks.mean(axis=0), masks.std(axis=0)
    z = (masks - mean) / np.where(scale > 0, scale, 1)
    bias = outputs.mean(axis=0)
    weight = np.linalg.lstsq(z, outputs - bias, rcond=None)[0]
    fitted = {"weight": weight, "bias": bias, "lam": np.full(T, 0.1)}
    torch.save(
        {key: torch.from_numpy(value).float() for key, value in fitted.items()}, "runs/public.pt"
    )
    names = {"num_train": NUM_TRAIN}
    exec(block("python", 'units="standardized"'), names)
    predicted = names["models"].predict(arrays["masks"][rows])
    np.testing.assert_allclose(predicted, z @ weight + bias, atol=1e-4)
    reloaded = Datamodels.load("runs/raw.pt")
    np.testing.assert_array_equal(reloaded.weight, names["models"].weight)
    assert not reloaded.weight[7].any()


@needs_ffcv
def test_the_fit_on_ffcv_loaders_is_one_of_the_rows_of_the_store(from_ffcv, folder):
    arrays = store()
    train, validation = (
        (arrays["masks"][rows].astype(float), arrays["margins"][rows].astype(float))
        for rows in used_rows()
    )
    masks, outputs = train
    scale = masks.std(axis=0)
    z = (masks - masks.mean(axis=0)) / np.where(scale > 0, scale, 1)
    largest = np.abs(z.T @ (outputs - outputs.mean(axis=0))).max(axis=0) / NUM_TRAIN
    np.testing.assert_allclose(from_ffcv["max_lambda"], largest, rtol=1e-5)
    models = Datamodels.load(folder / "runs" / "saga.pt")
    masks, outputs = validation
    errors = ((models.predict(masks) - outputs) ** 2).mean(axis=0)
    np.testing.assert_allclose(errors, np.nanmin(from_ffcv["val_mse"], axis=0), rtol=1e-3)
    assert (errors < outputs.var(axis=0)).all()


if __name__ == "__main__":
    save_what_ffcv_gives(sys.argv[1])
