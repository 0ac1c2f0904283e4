"""Image files in a folder for each class, ``CLASS/*.png``, or ``SPLIT/CLASS/*.png``."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from examples.cifar10.decoding import Progress, decode, stack
from examples.cifar10.sources.source import Kind, Source

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp")


def splits(path: Path) -> tuple[str, ...] | None:
    """() for a folder of classes, the names of its folders for a folder of those."""
    if not path.is_dir():
        return None
    if _class_folders(path):
        return ()
    return tuple(folder.name for folder in _folders(path) if _class_folders(folder)) or None


def open_folders(path: Path, split: str | None) -> Source:
    """The images of all classes: classes by name, and the files of each by name.

    Folders without an image are no classes. Names are compared as text: 10.png is before 2.png.
    """
    root = path if split is None else path / split
    classes = _class_folders(root)
    files = [(label, file) for label, folder in enumerate(classes) for file in _files(folder)]

    def load(rows: NDArray[np.int64], progress: Progress) -> NDArray[np.uint8]:
        def each() -> Iterator[tuple[str, NDArray[np.uint8]]]:
            for row in rows.tolist():
                file = files[row][1]
                try:
                    encoded = file.read_bytes()
                except OSError as error:
                    raise InputError(f"{file} cannot be read: {error.strerror}") from error
                yield str(file), decode(encoded, str(file))

        return stack(each(), len(rows), progress)

    labels = np.array([label for label, _ in files], np.int64)
    return Source(labels, tuple(folder.name for folder in classes), load)


def _folders(path: Path) -> list[Path]:
    """The folders in a folder but hidden ones, by name."""
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _class_folders(path: Path) -> list[Path]:
    return [folder for folder in _folders(path) if next(_images(folder), None)]


def _files(folder: Path) -> list[Path]:
    return sorted(_images(folder))


def _images(folder: Path) -> Iterator[Path]:
    return (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()
            and not p.name.startswith("."))  # fmt: skip


FOLDERS = Kind(
    "folders", "CLASS/*.png (or jpg and others) in a folder for each class, or SPLIT/CLASS/*.png",
    splits, open_folders,
)  # fmt: skip
