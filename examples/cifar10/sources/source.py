"""What a kind of source is: how it is told from others, and what it gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.cifar10.decoding import Progress

# Pixels (len(rows), h, w, 3) of these rows; only they are decoded.
Load = Callable[[NDArray[np.int64], Progress], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Source:
    """An open source: all labels at hand, the images when they are asked for."""

    labels: NDArray[np.int64]  # (n,): places in classes, from 0
    classes: tuple[str, ...]  # empty where the source names none
    load: Load


@dataclass(frozen=True)
class Kind:
    """One kind of source. Another is another file beside this one, and a line in ``KINDS``.

    ``splits(path)`` is None where the path is not of this kind, else the names of the parts that
    it has, none where it is one set of images. ``open(path, split)`` opens one of these parts,
    None where there are none. ``looked_for`` says in a few words what ``splits`` looks for.
    """

    name: str
    looked_for: str
    splits: Callable[[Path], tuple[str, ...] | None]
    open: Callable[[Path, str | None], Source]


def parts(folder: Path, suffix: str) -> tuple[str, ...]:
    """The files ``NAME.suffix`` of a folder, by their names without it."""
    return tuple(sorted(path.stem for path in folder.glob(f"*{suffix}") if path.is_file()))
