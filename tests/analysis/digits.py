"""Small networks on a part of the digits, for the tests that look for planted faults."""

import numpy as np
import torch

from datamodels.training import row_seed, subset_masks, train_copies
from examples.digits.train_digits import margins, network


def train_part(digits, train, test, n_models):
    """Masks (n, len(train)), margins of the test and of the training images of so many networks,
    each on half of the images ``train``."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks of this size gain nothing from more
    try:
        return _train(digits, train, test, n_models)
    finally:
        torch.set_num_threads(threads)


def _train(digits, train, test, n_models):
    masks = subset_masks(range(n_models), len(train), alpha=0.5, seed=0)
    images, tests = (
        torch.from_numpy(part).flatten(1)
        for part in (digits.train_images[train], digits.test_images[test])
    )
    labels, test_labels = (
        torch.from_numpy(part) for part in (digits.train_labels[train], digits.test_labels[test])
    )
    outputs, own = [], []
    for first in range(0, n_models, 32):
        rows = range(first, min(first + 32, n_models))
        copies = train_copies(
            lambda: network(24),
            images,
            labels,
            masks[rows.start : rows.stop],
            [row_seed(i, seed=0) for i in rows],
            optimizer=lambda params: torch.optim.SGD(params, lr=0.5, momentum=0.9),
            steps=100,
            batch_size=128,
            batches="all",
        )
        outputs.append(margins(copies.predict(tests), test_labels))
        own.append(margins(copies.predict(images), labels))
    return masks, torch.cat(outputs).numpy(), torch.cat(own).numpy()


def part_of(total, needed, size):
    """``size`` of ``total`` images (ascending), those ``needed`` among them."""
    rest = np.setdiff1d(np.arange(total), needed)
    return np.sort(np.concatenate([needed, rest[: size - len(needed)]]))
