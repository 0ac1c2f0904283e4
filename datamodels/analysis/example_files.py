"""Files that say what examples are: labels and images, one row an example."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.npy_file import open_map

_LABEL_KINDS = "biuUS"


def read_labels(path: str | None, count: int, option: str) -> NDArray[Any] | None:
    """Labels (count,), integers or strings, of an ``.npy`` file; None without a path.

    InputError where the file holds anything else; it names the ``option`` that the path came by.
    """
    if path is None:
        return None
    labels = open_map(Path(path))
    if labels.shape != (count,) or labels.dtype.kind not in _LABEL_KINDS:
        raise InputError(
            f"{option}={path} has shape {labels.shape} and dtype {labels.dtype}; labels are "
            f"integers or strings of shape ({count},), one an example"
        )
    return np.asarray(labels.astype(str) if labels.dtype.kind == "S" else labels)


def read_images(path: str | None, count: int, option: str) -> NDArray[Any] | None:
    """Images (count, h, w), (count, h, w, 1) or (count, h, w, 3) of an ``.npy`` file, as a memory
    map; None without a path. InputError as in :func:`read_labels`."""
    if path is None:
        return None
    images = open_map(Path(path))
    in_colour = images.ndim == 4 and images.shape[3] in (1, 3)
    if (
        images.shape[:1] != (count,)
        or not (images.ndim == 3 or in_colour)
        or images.dtype.kind not in "biuf"
    ):
        raise InputError(
            f"{option}={path} has shape {images.shape} and dtype {images.dtype}; images are "
            f"numbers of shape ({count}, h, w) in grey or ({count}, h, w, 3) in colour"
        )
    return images


def plain(label: Any) -> int | str:
    """A label as Python's own, for JSON."""
    return str(label) if isinstance(label, str) else int(label)
