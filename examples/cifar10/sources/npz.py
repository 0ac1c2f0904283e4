"""An ``.npz``, or a folder of such, one a split: images as arrays, or as JPEG files end to end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from examples.cifar10.decoding import Progress, decode, stack
from examples.cifar10.images import class_names, npz_arrays, read_npz
from examples.cifar10.sources.source import Kind, Source, parts

SUFFIX = ".npz"
JPEG_KEYS = ("jpeg", "offsets", "labels", "classes")


def splits(path: Path) -> tuple[str, ...] | None:
    """The .npz files of a folder; () for a file."""
    if path.is_dir():
        return parts(path, SUFFIX) or None
    return () if path.suffix == SUFFIX else None


def open_npz(path: Path, split: str | None) -> Source:
    """The images of one file: those of ``prepare_data.py``, or JPEG files.

    Of the latter the arrays are ``jpeg`` (bytes,) uint8, all files end to end, ``offsets``
    (n + 1,), ``labels`` (n,) and ``classes`` (c,); file i is ``jpeg[offsets[i]:offsets[i + 1]]``.
    """
    path = path if split is None else path / f"{split}{SUFFIX}"
    arrays = _jpeg_arrays(path)
    if arrays is None:
        data = read_npz(path)
        return Source(data.labels, data.classes, lambda rows, _: data.images[rows])
    jpeg, offsets, labels, classes = arrays
    _check(jpeg, offsets, labels, path)

    def load(rows: NDArray[np.int64], progress: Progress) -> NDArray[np.uint8]:
        def each() -> Iterator[tuple[str, NDArray[np.uint8]]]:
            for row in rows.tolist():
                where = f"image {row} of {path}"
                yield where, decode(jpeg[offsets[row] : offsets[row + 1]].tobytes(), where)

        return stack(each(), len(rows), progress)

    return Source(labels.astype(np.int64), class_names(classes, path), load)


def _jpeg_arrays(path: Path) -> tuple[NDArray[Any], ...] | None:
    """The arrays of an .npz of JPEG files, None where it has no ``jpeg``."""
    arrays = npz_arrays(path, JPEG_KEYS)
    if "jpeg" not in arrays:
        return None
    missing = [key for key in JPEG_KEYS if key not in arrays]
    if missing:
        raise InputError(f"{path} holds JPEG files but lacks {', '.join(missing)}")
    return tuple(arrays[key] for key in JPEG_KEYS)


def _check(jpeg: NDArray[Any], offsets: NDArray[Any], labels: NDArray[Any], path: Path) -> None:
    if not (
        jpeg.dtype == np.uint8
        and jpeg.ndim == offsets.ndim == labels.ndim == 1
        and offsets.dtype.kind in "iu"
        and labels.dtype.kind in "iu"
        and len(offsets) == len(labels) + 1 > 1
        and offsets[0] == 0
        and offsets[-1] == len(jpeg)
        and (offsets[1:] > offsets[:-1]).all()
    ):
        raise InputError(
            f"{path} is damaged: jpeg {jpeg.dtype}{jpeg.shape}, offsets {offsets.dtype}"
            f"{offsets.shape} and labels {labels.dtype}{labels.shape} must be bytes, their n + 1 "
            "ascending bounds from 0 to the last byte, and n integers"
        )


NPZ = Kind(
    "npz", "FILE.npz of prepare_data or with jpeg, offsets, labels, classes, or such in a folder",
    splits, open_npz,
)  # fmt: skip
