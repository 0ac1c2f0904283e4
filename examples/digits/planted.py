"""Digits with known faults in the training set: wrong labels, and copies of test images.

What is planted where is a function of the seed alone, so that whoever looks for it can be told how
much was found.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import UsageError
from datamodels.streams import stream_words
from examples.digits.data import Digits, load_digits

N_CLASSES = 10
_PLACES, _IMAGES, _LABELS = range(3)  # rows of the stream


@dataclass(frozen=True, eq=False)
class Planted:
    """The digits as trained on, and what is wrong with them. The test images stay as they are."""

    digits: Digits
    flipped: NDArray[np.int64]  # (f,) ascending: training images of a wrong label
    copies: NDArray[np.int64]  # (c,) ascending: training images that are copies of test images
    originals: NDArray[np.int64]  # (c,) the test image that each of them is a copy of


@cache
def plant_faults(flip: float = 0.0, plant: int = 0, seed: int = 0) -> Planted:
    """The digits with a share ``flip`` of the training labels replaced by wrong ones, every wrong
    label as likely, and ``plant`` training images replaced by copies of different test images,
    with their labels. No image is both. UsageError where there are fewer images than that."""
    digits = load_digits()
    n_train, n_test = len(digits.train_labels), len(digits.test_labels)
    if not 0 <= flip <= 1:
        raise UsageError(f"digits.flip={flip} is out of range: a share of the labels, 0 to 1")
    n_flipped = round(flip * n_train)
    if not 0 <= plant <= min(n_test, n_train - n_flipped):
        raise UsageError(
            f"digits.plant={plant} and digits.flip={flip} do not go together: at most {n_test} "
            f"copies, and with the {n_flipped} wrong labels at most {n_train} training images"
        )
    places = _order(_PLACES, n_train, seed)
    copies = np.sort(places[:plant])
    flipped = np.sort(places[plant : plant + n_flipped])
    originals = _order(_IMAGES, n_test, seed)[:plant]
    images, labels = digits.train_images.copy(), digits.train_labels.copy()
    images[copies], labels[copies] = digits.test_images[originals], digits.test_labels[originals]
    steps = _words(_LABELS, n_train, seed) % np.uint64(N_CLASSES - 1) + np.uint64(1)  # 1 to 9
    labels[flipped] = (labels[flipped] + steps[flipped].astype(np.int64)) % N_CLASSES
    return Planted(
        digits._replace(train_images=images, train_labels=labels), flipped, copies, originals
    )


def _order(row: int, count: int, seed: int) -> NDArray[np.int64]:
    return np.argsort(_words(row, count, seed), kind="stable")


def _words(row: int, count: int, seed: int) -> NDArray[np.uint64]:
    return stream_words("planted", seed=seed, index=row, count=count)
