"""Pearson's correlation of many columns at once, and of resamples of their models."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.errors import InputError
from datamodels.evaluation.rank_correlation import checked_pair, correlation, target_blocks

# Of a resample's sum of squares: a centred sum below this share of it is rounding.
_NO_VARIANCE = 1e-12


def pearson_correlation(predictions: ArrayLike, outputs: ArrayLike) -> NDArray[np.float64]:
    """Pearson correlation of each column of ``predictions`` with that of ``outputs``.

    Arguments, result, conventions and errors are those of
    :func:`~datamodels.evaluation.rank_correlation.spearman`; infinities are an InputError.
    """
    predictions, outputs = checked_pair(predictions, outputs)
    n_models, n_targets = outputs.shape
    scores = np.empty(n_targets)
    for block in target_blocks(n_models, n_targets):
        a = _centred("predictions", predictions[:, block], block.start)
        b = _centred("outputs", outputs[:, block], block.start)
        scores[block] = correlation(
            np.einsum("it,it->t", a, b), np.einsum("it,it->t", a, a), np.einsum("it,it->t", b, b)
        )
    return scores


def resampled_pearson(
    predictions: NDArray[np.generic],
    outputs: NDArray[np.generic],
    counts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Pearson correlation of each target in each resample; see ``bootstrap.resampled_spearman``."""
    a, b = _centred("predictions", predictions, 0), _centred("outputs", outputs, 0)
    c = counts.astype(np.float64)  # (n_resamples, n_models)
    n = c.sum(axis=1)[:, None]
    sum_a, sum_b = c @ a, c @ b  # (n_resamples, b)
    ab = c @ (a * b) - sum_a * sum_b / n
    aa, bb = (_spread(c @ (x * x), s * s / n) for x, s in ((a, sum_a), (b, sum_b)))
    return correlation(ab.T, aa.T, bb.T)


def _spread(squares: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """``squares - mean``, and 0 where that is nothing but rounding."""
    spread = squares - mean
    return np.where(spread > _NO_VARIANCE * squares, spread, 0.0)


def _centred(name: str, values: NDArray[np.generic], first: int) -> NDArray[np.float64]:
    """Columns less their means, in units of their largest value; exactly 0 for a constant one."""
    columns = values.astype(np.float64)
    infinite = np.argwhere(np.isinf(columns))
    if len(infinite):
        model, target = infinite[0]
        raise InputError(
            f"{name} are infinite at model {model}, target {first + target} (row, column of the "
            "array given): leave such models or targets out, or correlate ranks (spearman)"
        )
    columns -= columns[0].copy()  # so that the mean of a constant column is exact
    largest = np.abs(columns).max(axis=0, initial=0.0)
    columns /= np.where(largest > 0, largest, 1.0)
    columns -= columns.mean(axis=0)
    return columns
