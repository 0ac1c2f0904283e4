"""Labelled images in one file: an ``.npz`` of ``prepare_data.py``, or a ``.beton`` of FFCV's.

Whoever trains reads them here, and need not know what the images once came from.
"""

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, MissingFileError
from datamodels.files import disk_errors, new_file
from examples.cifar10.beton_images import BetonImages

CHANNELS = 3
KEYS = ("images", "labels", "classes")  # of the .npz


class LabelledImages(NamedTuple):
    """Row i of images and labels belong together; a label is a place in ``classes``."""

    images: NDArray[np.uint8]  # (n, h, w, 3): RGB
    labels: NDArray[np.int64]  # (n,): from 0
    classes: tuple[str, ...]  # names; empty where nobody named them

    @property
    def num_classes(self) -> int:
        """As many as have names, or as the labels need."""
        return len(self.classes) or int(self.labels.max()) + 1


def read_images(path: str | Path) -> LabelledImages:
    """The images of an ``.npz`` that ``prepare_data.py`` made, or of a ``.beton``.

    Raises :class:`MissingFileError`, or :class:`InputError` for anything else than such a file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} is no file; examples.cifar10.prepare_data makes one")
    if path.suffix != ".npz":
        beton = BetonImages.open(path)
        images = beton.read(np.arange(len(beton.labels)))
        return checked(LabelledImages(images, beton.labels, ()), path)
    return read_npz(path)


def save_images(path: str | Path, data: LabelledImages) -> None:
    """Write the ``.npz``, whole or not at all; not compressed, so that it opens quickly.

    Raises :class:`InputError` for arrays that do not go together, :class:`ExistsError` when the
    name is taken, :class:`DatamodelsError` when the disk refuses.
    """
    path = Path(path)
    data = checked(data, path)
    arrays: dict[str, Any] = {
        "images": data.images,
        "labels": data.labels,
        "classes": np.array(data.classes, dtype=np.str_),
    }
    size = data.images.nbytes + data.labels.nbytes
    with (
        new_file(path, size=size) as temporary,
        disk_errors(path, size),
        temporary.open("wb") as file,  # given a name, savez may add a suffix to it
    ):
        np.savez(file, **arrays)


def checked(data: LabelledImages, where: str | Path) -> LabelledImages:
    """The same with labels as int64; :class:`InputError` unless the three go together.

    ``where`` they are from, or for, is for the message.
    """
    images, labels, classes = data
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != CHANNELS:
        raise InputError(
            f"{where}: images are {images.dtype} of shape {images.shape}; uint8 of shape "
            f"(n, height, width, {CHANNELS}) is needed"
        )
    if 0 in images.shape:
        raise InputError(f"{where}: there are no images (shape {images.shape})")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise InputError(
            f"{where}: labels are {labels.dtype} of shape {labels.shape}; {len(images)} images "
            "need as many integers"
        )
    end = len(classes) or np.iinfo(np.int64).max
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= end:
        named = f"{len(classes)} classes are named" if classes else "labels are numbered from 0"
        raise InputError(f"{where}: labels are {lowest} to {highest}, but {named}")
    return LabelledImages(images, labels.astype(np.int64, copy=False), tuple(classes))


def read_npz(path: Path) -> LabelledImages:
    """The images of an ``.npz`` that :func:`save_images` made."""
    arrays = npz_arrays(path, (*KEYS, "offsets"))
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        remedy = ""
        if "offsets" in arrays:
            remedy = ". It seems to hold JPEG files, which examples.cifar10.prepare_data decodes"
        raise InputError(f"{path} lacks {', '.join(missing)}{remedy}")
    images, labels, classes = (arrays[key] for key in KEYS)
    return checked(LabelledImages(images, labels, class_names(classes, path)), path)


def npz_arrays(path: Path, keys: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Those of the arrays ``keys`` that an ``.npz`` has; InputError where it cannot be read."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no .npz file, or was cut short")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in keys if key in arrays.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read, get it anew: {error}") from error


def class_names(classes: NDArray[Any], path: Path) -> tuple[str, ...]:
    """The array ``classes`` of an ``.npz``: (c,) of text."""
    if classes.ndim != 1 or (classes.size and classes.dtype.kind != "U"):
        raise InputError(
            f"{path}: classes are {classes.dtype} of shape {classes.shape}, not a list of names"
        )
    return tuple(str(name) for name in classes.tolist())
