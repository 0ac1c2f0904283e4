"""scikit-learn's handwritten digits: 1,437 training and 360 test images of 8 x 8 pixels."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import MissingPackageError

N_TEST = 360
SPLIT_SEED = 0


class Digits(NamedTuple):
    """Images are float32 in 0..1; row i of images and labels belong together."""

    train_images: NDArray[np.float32]  # (1437, 8, 8)
    train_labels: NDArray[np.int64]  # (1437,)
    test_images: NDArray[np.float32]  # (360, 8, 8)
    test_labels: NDArray[np.int64]  # (360,)


@cache
def load_digits() -> Digits:
    """The images, always split in the same way; read once a process."""
    try:
        from sklearn import datasets
    except ImportError:
        raise MissingPackageError(
            "the digits come with scikit-learn: pip install 'datamodels[digits]'"
        ) from None
    bunch = datasets.load_digits()
    images = (bunch.images / 16).astype(np.float32)
    # Philox words rather than Generator methods: the same split in every version of numpy.
    order = np.argsort(np.random.Philox(key=SPLIT_SEED).random_raw(len(images)), kind="stable")
    test, train = np.sort(order[:N_TEST]), np.sort(order[N_TEST:])
    return Digits(images[train], bunch.target[train], images[test], bunch.target[test])
