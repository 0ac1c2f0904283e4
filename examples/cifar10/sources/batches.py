"""The public files of CIFAR-10: five batches for training and one for testing.

An image is 3,072 bytes: 32 rows of 32 red values, then the greens, then the blues. In the python
version a batch is a pickled dict with ``data`` (n, 3072) and ``labels`` (n,); in the binary one it
is n records of a label's byte and an image.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import DatamodelsError, InputError, MissingPackageError
from examples.cifar10.sources.pickled import integers, read_pickle, texts
from examples.cifar10.sources.source import Kind, Source

SIDE = 32
IMAGE_BYTES = 3 * SIDE * SIDE
TORCHVISION_FOLDER = "cifar-10-batches-py"
BATCHES = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]  # (n, 3072) and (n,)


def download(folder: Path) -> None:
    """Let torchvision fetch and check CIFAR-10, unless it is there: 170 MB."""
    try:
        datasets = import_module("torchvision.datasets")
    except ImportError:
        raise MissingPackageError(
            "--prepare.download needs torchvision: pip install torchvision. Or fetch and unpack "
            "the public cifar-10-python.tar.gz yourself, and name the folder that has "
            f"{TORCHVISION_FOLDER} in it"
        ) from None
    try:
        datasets.CIFAR10(str(folder), train=True, download=True)
    except (OSError, RuntimeError) as error:  # no network; a file that is not what it must be
        raise DatamodelsError(
            f"torchvision could not download CIFAR-10 to {folder}: {error}"
        ) from error


def _python_splits(path: Path) -> tuple[str, ...] | None:
    return _there(path, "")


def _binary_splits(path: Path) -> tuple[str, ...] | None:
    return _there(path, ".bin")


def _torchvision_splits(path: Path) -> tuple[str, ...] | None:
    return _there(path / TORCHVISION_FOLDER, "")


def _there(path: Path, suffix: str) -> tuple[str, ...] | None:
    """The splits of which a folder has any file."""
    found = [
        split
        for split, names in BATCHES.items()
        if any((path / f"{name}{suffix}").is_file() for name in names)
    ]
    return tuple(found) or None


def _open_python(path: Path, split: str | None) -> Source:
    classes: tuple[str, ...] = ()
    meta = path / "batches.meta"
    if meta.is_file():
        classes = texts(read_pickle(meta).get("label_names"))
    return _joined(_files(path, split, ""), _python_batch, classes)


def _open_binary(path: Path, split: str | None) -> Source:
    meta = path / "batches.meta.txt"
    lines = meta.read_text(encoding="utf-8", errors="replace").split("\n") if meta.is_file() else []
    classes = tuple(line.strip() for line in lines if line.strip())
    return _joined(_files(path, split, ".bin"), _binary_batch, classes)


def _open_torchvision(path: Path, split: str | None) -> Source:
    return _open_python(path / TORCHVISION_FOLDER, split)


def _files(path: Path, split: str | None, suffix: str) -> list[Path]:
    """The files of a split; InputError unless all are there: some were lost, or not copied yet."""
    files = [path / f"{name}{suffix}" for name in BATCHES[split or "train"]]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; unpack or copy it again")
    return files


def _joined(files: list[Path], read: Callable[[Path], Batch], classes: tuple[str, ...]) -> Source:
    """Batches one after another."""
    batches = [read(file) for file in files]
    data = np.concatenate([images for images, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    return Source(labels, classes, lambda rows, _: _as_images(data[rows]))


def _as_images(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 3072) as they are stored to (n, 32, 32, 3)."""
    planes = data.reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _python_batch(path: Path) -> Batch:
    batch = read_pickle(path)
    data, labels = integers(batch.get("data")), integers(batch.get("labels"))
    if (
        data is None
        or labels is None
        or labels.ndim != 1
        or data.dtype != np.uint8
        or data.shape != (len(labels), IMAGE_BYTES)
    ):
        raise InputError(
            f"{path} is no batch of CIFAR-10: a dict is needed with data, uint8 of shape (n, "
            f"{IMAGE_BYTES}), and n labels; this one has {', '.join(batch) or 'nothing'}"
        )
    return data, labels.astype(np.int64)


def _binary_batch(path: Path) -> Batch:
    raw = np.fromfile(path, np.uint8)
    if raw.size == 0 or raw.size % (IMAGE_BYTES + 1):
        raise InputError(
            f"{path} is no binary batch of CIFAR-10, or was cut short: it has {raw.size} bytes, no "
            f"multiple of {IMAGE_BYTES + 1}"
        )
    records = raw.reshape(-1, IMAGE_BYTES + 1)
    return records[:, 1:], records[:, 0].astype(np.int64)


TORCHVISION = Kind(
    "torchvision", f"{TORCHVISION_FOLDER}/data_batch_1 and so on, as torchvision leaves them",
    _torchvision_splits, _open_torchvision,
)  # fmt: skip
PYTHON = Kind(
    "python", "data_batch_1 to data_batch_5 and test_batch: the public python version",
    _python_splits, _open_python,
)  # fmt: skip
BINARY = Kind(
    "binary", "data_batch_1.bin to data_batch_5.bin and test_batch.bin: the public binary version",
    _binary_splits, _open_binary,
)  # fmt: skip
