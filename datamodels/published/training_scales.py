"""Means and deviations of the masks that a fit was made on, where not all of these are at hand.

Training subsets are random: over n of them the mean of an example's mask is alpha, give or take
(alpha (1 - alpha) / n)^(1/2). That of the hundreds of thousands of models behind a published fit is
alpha to three digits, which is nearer to it than the mean over a few thousand others. So alpha
stands for them wherever the masks at hand say that examples are drawn alike, and these masks' own
means where they say that they are not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.npy_file import open_map
from datamodels.published.catalogue import find
from datamodels.published.layout import PublishedLayout
from datamodels.published.partial_file import complete_rows, present_file
from datamodels.regression.row_source import clean_masks

_SAMPLE = 20_000  # masks that are read at most
_BLOCK_BYTES = 2**27
# Mean square of the examples' deviations from alpha, in units of what chance makes of them: 1 for
# random subsets, give or take (2 / examples)^(1/2).
_DRAWN_ALIKE = 1.5


@dataclass(frozen=True, eq=False)
class TrainingScales:
    """Mean and deviation of the mask of each training example, over the models of a fit."""

    mean: NDArray[np.float64]  # (n_train,)
    deviation: NDArray[np.float64]  # (n_train,)
    origin: str  # in words

    @property
    def are_uniform(self) -> bool:
        """Whether all examples have the same."""
        return bool((self.deviation == self.deviation[0]).all())


def training_scales(root: Path, dataset: str, alpha: float) -> TrainingScales:
    """Those behind the published datamodels of one setting, from the masks that are below ``root``
    or, without any, from the published alpha."""
    published = find(dataset, alpha, "masks")
    file = present_file(PublishedLayout(root).file(published.key))
    rows = np.zeros(0, np.int64) if file is None else np.flatnonzero(complete_rows(file))
    if file is None or not len(rows):
        n_train = published.shape[1]
        return _uniform(n_train, alpha, alpha * (1 - alpha), f"alpha = {alpha:g}, as published")
    return estimate_scales(open_map(file), rows)


def estimate_scales(masks: NDArray[Any], rows: NDArray[np.int64]) -> TrainingScales:
    """From ``rows`` (n,) of ``masks`` (n_models, n_train), or from a sample spread over them.

    Masks of models outside the fit do as well as any: all are drawn in one way.
    """
    sample = rows
    if len(rows) > _SAMPLE:
        sample = rows[np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64)]
    n_train, n = masks.shape[1], len(sample)
    total, squares = np.zeros(n_train), np.zeros(n_train)
    for block in mask_blocks(masks, sample):
        total += block.sum(axis=0, dtype=np.float64)
        squares += np.einsum("ij,ij->j", block, block)
    mean = total / n
    variance = np.maximum(squares / n - mean**2, 0.0)
    alpha = float(mean.mean())
    overall = float((squares / n).mean()) - alpha**2  # of an entry, whichever
    chance = overall / n
    if chance > 0 and float(((mean - alpha) ** 2).mean()) <= _DRAWN_ALIKE * chance:
        return _uniform(n_train, alpha, overall, f"alpha = {alpha:.4g}, the share in {n:,} masks")
    origin = f"each example's in {n:,} masks, in which examples are not drawn alike"
    return TrainingScales(mean, np.sqrt(variance), origin)


def mask_blocks(masks: NDArray[Any], rows: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """``rows`` (n,) of ``masks`` (n_models, n_train) in blocks (b, n_train)."""
    step = max(1, _BLOCK_BYTES // (4 * max(1, masks.shape[1])))
    for start in range(0, len(rows), step):
        here = rows[start : start + step]
        together = here[-1] - here[0] == len(here) - 1
        block = masks[slice(here[0], here[-1] + 1) if together else here]
        yield clean_masks(block).astype(np.float32)


def _uniform(n_train: int, mean: float, variance: float, origin: str) -> TrainingScales:
    return TrainingScales(np.full(n_train, mean), np.full(n_train, np.sqrt(variance)), origin)
