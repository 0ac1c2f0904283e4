"""Published files on the disk, made small, whole or in part, without a bucket."""

from pathlib import Path

import numpy as np
import torch

from datamodels.npy_file import header_bytes
from datamodels.published.catalogue import find
from datamodels.published.layout import PublishedLayout
from datamodels.published.partial_file import PartialFile, Source

N_FIT, N_EVALUATION, N_TRAIN, N_TEST = 300, 60, 40, 6
N = N_FIT + N_EVALUATION
LAST = slice(N_FIT, N)


def linear_outputs(seed: int = 0, n: int = N):
    """(masks, margins, weight, bias): margins are linear in the masks but for noise, as float16."""
    rng = np.random.default_rng(seed)
    masks = rng.random((n, N_TRAIN)) < 0.5
    weight = rng.standard_normal((N_TRAIN, N_TEST)) * (rng.random((N_TRAIN, N_TEST)) < 0.3) + 0.02
    bias = 1 + rng.random(N_TEST)
    margins = masks @ weight + bias + 0.5 * rng.standard_normal((n, N_TEST))
    return masks, margins.astype(np.float16), weight.astype(np.float32), bias.astype(np.float32)


def path_of(root: Path, kind: str, split: str | None = None, alpha: float = 0.5) -> Path:
    path = PublishedLayout(root).file(find("cifar", alpha, kind, split).key)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def put(root: Path, array, kind: str, split: str | None = None, alpha: float = 0.5) -> Path:
    """A whole ``.npy`` file."""
    path = path_of(root, kind, split, alpha)
    np.save(path, array)
    return path


def put_rows(root: Path, array, kind: str, *ranges: tuple[int, int], split=None) -> Path:
    """What a download of some rows leaves: a ``.partial`` file, or the whole one."""
    path = path_of(root, kind, split)
    header = header_bytes(array.shape, array.dtype)
    source = Source("bucket", path.name, "tag", len(header) + array.nbytes)
    row_bytes = array.nbytes // len(array)
    journal = path.with_name(path.name + ".partial.jsonl")
    with (
        PartialFile(path) if journal.exists() else PartialFile.create(path, source, header) as file
    ):
        for start, stop in ranges:
            file.write(len(header) + start * row_bytes, array[start:stop].tobytes())
        if not file.missing():
            file.finish()
    return path


def put_datamodels(root: Path, weight, bias, split: str | None = None) -> Path:
    path = path_of(root, "datamodels", split)
    tensors = {"weight": weight, "bias": bias, "lam": np.zeros_like(bias)}
    torch.save({key: torch.tensor(np.asarray(v, np.float32)) for key, v in tensors.items()}, path)
    return path
