"""Kendall's tau-b of many columns at once, and of resamples of their models.

Tau-b counts pairs of models that both arrays order alike less those that they order otherwise, over
the geometric mean of the numbers of pairs that either array orders at all (Kendall, The treatment
of ties in ranking problems, Biometrika 1945). Models are passed in the order of the predictions and
put into a tree of the ranks of their outputs (Fenwick, 1994): n log n steps rather than n^2. In a
resample a model weighs as often as it was drawn, and its copies tie.
"""

import numpy as np
from numba import njit, prange
from numpy.typing import ArrayLike, NDArray

from datamodels.evaluation.rank_correlation import (
    checked_pair,
    correlation,
    sortable,
    target_blocks,
)

# Resamples that the kernel carries side by side: at 2,000 models their trees take 256 KB.
_LANES = 16


def kendall_tau(predictions: ArrayLike, outputs: ArrayLike) -> NDArray[np.float64]:
    """Kendall's tau-b of each column of ``predictions`` with that of ``outputs``.

    Arguments, result, conventions and errors are those of
    :func:`~datamodels.evaluation.rank_correlation.spearman`.
    """
    predictions, outputs = checked_pair(predictions, outputs)
    n_models, n_targets = outputs.shape
    once = np.ones((1, n_models, 1), np.int32)
    scores = np.empty(n_targets)
    for block in target_blocks(n_models, n_targets):
        sums = _all_sums(predictions[:, block], outputs[:, block], once)
        scores[block] = correlation(*(sums[:, 0, which, 0] for which in range(3)))
    return scores


def resampled_kendall(
    predictions: NDArray[np.generic],
    outputs: NDArray[np.generic],
    counts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Tau-b of each target in each resample; see ``bootstrap.resampled_spearman``."""
    n_resamples, n_models = counts.shape
    n_blocks = -(-n_resamples // _LANES)
    lanes = np.zeros((n_blocks, n_models, _LANES), np.int32)
    for r in range(n_resamples):
        lanes[r // _LANES, :, r % _LANES] = counts[r]
    sums = _all_sums(predictions, outputs, lanes)  # (b, blocks, 3, lanes)
    ab, aa, bb = (
        sums[:, :, which].reshape(outputs.shape[1], n_blocks * _LANES)[:, :n_resamples]
        for which in range(3)
    )
    return correlation(ab, aa, bb)


def _all_sums(
    predictions: NDArray[np.generic], outputs: NDArray[np.generic], lanes: NDArray[np.int32]
) -> NDArray[np.float64]:
    order_a, starts_a = _in_order(predictions)
    order_b, starts_b = _in_order(outputs)
    ends_a = np.ones_like(starts_a)
    ends_a[:, :-1] = starts_a[:, 1:]
    rank_b = np.empty(order_b.shape, np.int32)
    np.put_along_axis(rank_b, order_b, np.cumsum(starts_b, axis=1, dtype=np.int32), axis=1)
    sums: NDArray[np.float64] = _pair_sums(lanes, order_a.astype(np.int32), ends_a, rank_b)
    return sums


def _in_order(values: NDArray[np.generic]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Each column's sorting order (b, n), and where in it a group of equal values begins."""
    columns = sortable(values)  # (b, n)
    order = np.argsort(columns, axis=1)
    ordered = np.take_along_axis(columns, order, axis=1)
    starts = np.ones(columns.shape, np.bool_)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return order, starts


@njit(parallel=True, cache=True)
def _pair_sums(lanes, order_a, ends_a, rank_b):  # type: ignore[no-untyped-def]
    """Twice: pairs ordered alike less those ordered otherwise, pairs ordered by a, and by b.

    Whole numbers, exact for resamples of up to 9e7 draws, whatever the thread count.

    Args:
        lanes: multiplicities, int32 of shape (n_blocks, n, n_lanes).
        order_a, ends_a: models by prediction, and where groups of equal ones end, (n_targets, n).
        rank_b: dense rank of each model's output, from 1, (n_targets, n).

    Returns:
        float64 of shape (n_targets, n_blocks, 3, n_lanes).
    """
    n_blocks, n, n_lanes = lanes.shape
    n_targets = order_a.shape[0]
    sums = np.zeros((n_targets, n_blocks, 3, n_lanes))
    for t in prange(n_targets):
        tree = np.empty((n + 1, n_lanes), np.int32)
        tied = np.empty((n + 1, n_lanes), np.int32)
        for block in range(n_blocks):
            tree[:] = 0
            tied[:] = 0
            _count_pairs(lanes[block], order_a[t], ends_a[t], rank_b[t], tree, tied, sums[t, block])
    return sums


@njit(cache=True)
def _count_pairs(c, order, ends, rank, tree, tied, sums):  # type: ignore[no-untyped-def]
    """One target and one block of resamples; ``tree`` and ``tied`` (n + 1, n_lanes) are zero."""
    n, n_lanes = c.shape
    below = np.empty(n_lanes, np.int64)
    inserted = np.zeros(n_lanes, np.int64)
    within = np.empty(n_lanes, np.int64)
    ab, aa, bb = sums[0], sums[1], sums[2]
    stop = 0
    while stop < n:
        start = stop
        stop = start + 1
        while not ends[stop - 1]:
            stop += 1
        within[:] = 0
        for i in range(start, stop):  # all of a group look before any of it is put in
            m = np.uint64(order[i])
            r = rank[m]
            _sum_below(tree, r - 1, below)
            for k in range(n_lanes):
                ab[k] += 2.0 * c[m, k] * (2 * below[k] + tied[r, k] - inserted[k])
                within[k] += c[m, k]
        for i in range(start, stop):
            m = np.uint64(order[i])
            _put_in(tree, tied, rank[m], c[m])
        for k in range(n_lanes):
            inserted[k] += within[k]
            aa[k] -= np.float64(within[k]) * within[k]
    for r in range(1, n + 1):
        for k in range(n_lanes):
            bb[k] -= np.float64(tied[r, k]) * tied[r, k]
    for k in range(n_lanes):
        aa[k] += np.float64(inserted[k]) * inserted[k]
        bb[k] += np.float64(inserted[k]) * inserted[k]


@njit(cache=True)
def _sum_below(tree, r, total):  # type: ignore[no-untyped-def]
    """Into ``total`` (n_lanes,) the weight of ranks 1 to r."""
    total[:] = 0
    while r > 0:
        row = tree[np.uint64(r)]
        for k in range(len(total)):
            total[k] += row[k]
        r &= r - 1


@njit(cache=True)
def _put_in(tree, tied, r, weight):  # type: ignore[no-untyped-def]
    """Add ``weight`` (n_lanes,) at rank r."""
    same = tied[np.uint64(r)]
    for k in range(len(weight)):
        same[k] += weight[k]
    while r < len(tree):
        row = tree[np.uint64(r)]
        for k in range(len(weight)):
            row[k] += weight[k]
        r += r & -r
