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
_PLACES, _IMAGES, _LABELS, _TEST_LABELS = range(4)  # rows of the stream


@dataclass(frozen=True, eq=False)
class Planted:
    """The digits as trained and tested on, and what is wrong with them."""

    digits: Digits
    flipped: NDArray[np.int64]  # (f,) ascending: training images of a wrong label
    copies: NDArray[np.int64]  # (c,) training images that are copies of test images, ...
    originals: NDArray[np.int64]  # (c,) ... of these; the canaries are the last


@cache
def plant_faults(flip: float = 0.0, plant: int = 0, canaries: int = 0, seed: int = 0) -> Planted:
    """The digits with known faults; no image has two of them.

    Args:
        flip: share of the training labels replaced by wrong ones, every wrong label as likely.
        plant: training images replaced by copies of test images, with their labels. Most change
            little, as the networks know such digits from others.
        canaries: copies that share a wrong label with the test image they are of, whose label
            changes too: what only a copy explains (Carlini, Liu, Erlingsson, Kos, Song: The
            secret sharer, USENIX Security 2019).
        seed: of all choices.

    Raises:
        UsageError: there are fewer images than that.
    """
    digits = load_digits()
    n_train, n_test = len(digits.train_labels), len(digits.test_labels)
    n_copies = plant + canaries
    if not 0 <= flip <= 1:
        raise UsageError(f"digits.flip={flip} is out of range: a share of the labels, 0 to 1")
    n_flipped = round(flip * n_train)
    if min(plant, canaries) < 0 or n_copies > min(n_test, n_train - n_flipped):
        raise UsageError(
            f"digits.plant={plant}, digits.canaries={canaries} and digits.flip={flip} do not go "
            f"together: there are {n_test} test images, and {n_train} training images of which "
            f"{n_flipped} get a wrong label"
        )
    places = _order(_PLACES, n_train, seed)
    copies, originals = places[:n_copies], _order(_IMAGES, n_test, seed)[:n_copies]
    flipped = np.sort(places[n_copies : n_copies + n_flipped])
    labels, test_labels = digits.train_labels.copy(), digits.test_labels.copy()
    images = digits.train_images.copy()
    _make_wrong(test_labels, originals[plant:], _TEST_LABELS, seed)
    images[copies], labels[copies] = digits.test_images[originals], test_labels[originals]
    _make_wrong(labels, flipped, _LABELS, seed)
    return Planted(
        Digits(images, labels, digits.test_images, test_labels), flipped, copies, originals
    )


def _make_wrong(labels: NDArray[np.int64], which: NDArray[np.int64], row: int, seed: int) -> None:
    words = _words(row, len(labels), seed)[which]
    steps = words % np.uint64(N_CLASSES - 1) + np.uint64(1)  # 1 to 9
    labels[which] = (labels[which] + steps.astype(np.int64)) % N_CLASSES


def _order(row: int, count: int, seed: int) -> NDArray[np.int64]:
    return np.argsort(_words(row, count, seed), kind="stable")


def _words(row: int, count: int, seed: int) -> NDArray[np.uint64]:
    return stream_words("planted", seed=seed, index=row, count=count)
