"""The bootstrap distribution of a mean correlation, over resampled models.

A resample draws n models with replacement, the same for all targets (what is random is which
models were held out, and one model's outputs hang together). It is described by how often each
model was drawn, its multiplicity, and the ranks of a resample follow from the multiplicities and
the order of the full sample without sorting again.
"""

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from datamodels.evaluation.measures import Resample
from datamodels.evaluation.rank_correlation import correlation, doubled_ranks, target_blocks
from datamodels.streams import stream_words

# Resamples that the kernel carries side by side. Measured at 2,000 models on two cores: 64
# lanes take 1 to 1.5 ns a model, target and resample, 8 lanes twice that; 128 gain nothing more.
_LANES = 64


def bootstrap_means(
    predictions: NDArray[np.generic],
    outputs: NDArray[np.generic],
    keep: NDArray[np.bool_],
    *,
    n_resamples: int,
    seed: int,
    resampled: Resample | None = None,
) -> NDArray[np.float64]:
    """Mean over targets of the correlation, in each of ``n_resamples`` resamples.

    Ranks are exact, with average ranks for the ties that resampling makes. Within a resample,
    targets whose outputs became constant are left out of its mean.

    Args:
        predictions, outputs: shape (n_models, n_targets), without NaN.
        keep: shape (n_targets,), the targets that enter the mean.
        n_resamples: number of resamples.
        seed: resample r is a function of (seed, r) and n_models alone.
        resampled: the correlations of resamples, from ``measures.resample_by``; None: Spearman's.

    Returns:
        float64 of shape (n_resamples,); NaN where every target was left out.
    """
    n_models, n_targets = outputs.shape
    counts = multiplicities(n_models, n_resamples, seed=seed)
    resampled = resampled or resampled_spearman
    total = np.zeros(n_resamples)
    n_defined = np.zeros(n_resamples)
    for block in target_blocks(n_models, n_targets):
        columns = np.arange(block.start, block.stop)[keep[block]]
        scores = resampled(predictions[:, columns], outputs[:, columns], counts)
        total += np.nansum(scores, axis=0)
        n_defined += np.count_nonzero(~np.isnan(scores), axis=0)
    means = np.full(n_resamples, np.nan)
    np.divide(total, n_defined, out=means, where=n_defined > 0)
    return means


def multiplicities(n_models: int, n_resamples: int, *, seed: int) -> NDArray[np.int64]:
    """How often each model is drawn in each resample; shape (n_resamples, n_models).

    A draw is floor(u n_models / 2^32) for 32 random bits u, off from uniform by n_models / 2^32.
    """
    counts = np.empty((n_resamples, n_models), dtype=np.int64)
    for r in range(n_resamples):
        words = stream_words("resample", seed=seed, index=r, count=n_models)
        draws = ((words >> np.uint64(32)) * np.uint64(n_models)) >> np.uint64(32)
        counts[r] = np.bincount(draws.astype(np.int64), minlength=n_models)
    return counts


def resampled_spearman(
    predictions: NDArray[np.generic],
    outputs: NDArray[np.generic],
    counts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Spearman correlation of each target in each resample.

    Args:
        predictions, outputs: shape (n_models, b), without NaN.
        counts: multiplicities, shape (n_resamples, n_models); each row sums to n_models.

    Returns:
        float64 of shape (b, n_resamples), with the conventions of ``spearman``.
    """
    n_resamples, n_models = counts.shape
    n_blocks = -(-n_resamples // _LANES)
    lanes = np.zeros((n_blocks, n_models, _LANES))
    for r in range(n_resamples):
        lanes[r // _LANES, :, r % _LANES] = counts[r]
    a, b = doubled_ranks(predictions), doubled_ranks(outputs)  # (b, n_models)
    sums = _weighted_sums(lanes, *_grouped(a), *_grouped(b))  # (b, blocks, 3, lanes)
    ab, aa, bb = (
        sums[:, :, which].reshape(len(a), n_blocks * _LANES)[:, :n_resamples] for which in range(3)
    )
    return correlation(ab, aa, bb)


def _grouped(ranks: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Each row's sorting order, and where in that order a group of equal values ends."""
    order = np.argsort(ranks, axis=1)
    ordered = np.take_along_axis(ranks, order, axis=1)
    ends = np.ones(ranks.shape, dtype=np.bool_)
    ends[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
    return order.astype(np.int32), ends


@njit(parallel=True, cache=True)
def _weighted_sums(lanes, order_a, ends_a, order_b, ends_b):  # type: ignore[no-untyped-def]
    """Sums over models of c a b, c a a and c b b for the doubled centred ranks a, b of resamples.

    In a resample with multiplicities c (sum n), a group of tied values with total multiplicity W
    after B smaller draws has 2 rank - (n + 1) = 2 B + W - n. Everything is a whole number, so the
    sums are exact (n up to 200,000) and cannot depend on the thread count. One target per
    iteration; the innermost loops run over the lanes and become vector instructions.

    Args:
        lanes: multiplicities c, float64 of shape (n_blocks, n, _LANES).
        order_a, ends_a, order_b, ends_b: from ``_grouped``, shape (n_targets, n) each.

    Returns:
        float64 of shape (n_targets, n_blocks, 3, _LANES): ab, aa, bb.
    """
    n_blocks, n, _ = lanes.shape
    n_targets = order_a.shape[0]
    sums = np.zeros((n_targets, n_blocks, 3, _LANES))
    for t in prange(n_targets):
        weighted = np.empty((n, _LANES))  # c a of every model
        for block in range(n_blocks):
            ab = sums[t, block, 0]
            aa = sums[t, block, 1]
            bb = sums[t, block, 2]
            _weigh_ranks(lanes[block], order_a[t], ends_a[t], weighted, aa)
            _add_products(lanes[block], order_b[t], ends_b[t], weighted, ab, bb)
    return sums


@njit(cache=True)
def _weigh_ranks(c, order, ends, weighted, aa):  # type: ignore[no-untyped-def]
    """Fill ``weighted`` with c a of every model, and add c a a to ``aa``."""
    n = len(order)
    before = np.zeros(_LANES)
    within = np.empty(_LANES)
    rank = np.empty(_LANES)
    stop = 0
    while stop < n:
        start = stop
        within[:] = 0.0
        stop = _group_stop(ends, start)
        for i in range(start, stop):
            c_m = c[np.uint64(order[i])]  # unsigned: no check for a negative index
            for k in range(_LANES):
                within[k] += c_m[k]
        for k in range(_LANES):
            rank[k] = 2.0 * before[k] + within[k] - n
            aa[k] += within[k] * rank[k] * rank[k]
            before[k] += within[k]
        for i in range(start, stop):
            c_m = c[np.uint64(order[i])]
            weighted_m = weighted[np.uint64(order[i])]
            for k in range(_LANES):
                weighted_m[k] = c_m[k] * rank[k]


@njit(cache=True)
def _add_products(c, order, ends, weighted, ab, bb):  # type: ignore[no-untyped-def]
    """Add (c a) b to ``ab`` and c b b to ``bb``."""
    n = len(order)
    before = np.zeros(_LANES)
    within = np.empty(_LANES)
    products = np.empty(_LANES)
    stop = 0
    while stop < n:
        start = stop
        within[:] = 0.0
        products[:] = 0.0
        stop = _group_stop(ends, start)
        for i in range(start, stop):
            c_m = c[np.uint64(order[i])]
            weighted_m = weighted[np.uint64(order[i])]
            for k in range(_LANES):
                within[k] += c_m[k]
                products[k] += weighted_m[k]
        for k in range(_LANES):
            rank = 2.0 * before[k] + within[k] - n
            bb[k] += within[k] * rank * rank
            ab[k] += products[k] * rank
            before[k] += within[k]


@njit(cache=True)
def _group_stop(ends, start):  # type: ignore[no-untyped-def]
    """The place after the group of equal values that begins at ``start``."""
    stop = start + 1
    while not ends[stop - 1]:
        stop += 1
    return stop
