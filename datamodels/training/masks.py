"""Random subsets of the training set, each a function of (seed, index) alone.

A mask is a row of bool over the training examples: True = train on it. Two kinds are offered:

- ``"fixed"``: exactly ``round(alpha * n_train)`` examples (half rounds to even), every subset of
  that size equally likely. To have a given size, pass ``alpha=size / n_train``.
- ``"bernoulli"``: each example on its own with probability ``alpha`` (in steps of 2^-32).

Row ``index`` can be recomputed at any time without the others, and is the same on every machine
and numpy version. The two kinds, and distinct seeds, use unrelated random words. Under one seed
and kind, though, the words do not depend on ``alpha``: the subset of a smaller alpha lies inside
the subset of a larger one. Take another seed where runs at two alphas must be independent.

Datamodels are fitted on fixed-size subsets in Ilyas, Park, Engstrom, Leclerc, Madry:
Datamodels: Predicting Predictions from Training Data, ICML 2022.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import UsageError
from datamodels.streams import WORD_LIMIT, checked_word, stream_words

Kind = Literal["fixed", "bernoulli"]


def subset_mask(
    index: int, n_train: int, *, alpha: float, seed: int, kind: Kind = "fixed"
) -> NDArray[np.bool_]:
    """The mask of one row.

    Args:
        index: which row of the store; 0 to 2^64 - 1.
        n_train: number of training examples.
        alpha: share of the training examples to choose, 0 < alpha <= 1.
        seed: 0 to 2^64 - 1.
        kind: ``"fixed"`` or ``"bernoulli"``, see above.

    Returns:
        bool of shape (n_train,), True where the example is trained on.

    Raises:
        UsageError: an argument is out of its range, or ``kind="fixed"`` would choose no example.
    """
    mask: NDArray[np.bool_] = subset_masks([index], n_train, alpha=alpha, seed=seed, kind=kind)[0]
    return mask


def row_seed(index: int, *, seed: int) -> int:
    """A seed for everything else that is random in row ``index``: initial weights, batches.

    An integer from 0 to 2^63 - 1, as ``torch.manual_seed`` and others take it: a function of
    (seed, index) alone, unrelated to the row's mask. UsageError where an argument is out of range.
    """
    return int(stream_words("row", seed=seed, index=index, count=1)[0] >> np.uint64(1))


def subset_masks(
    indices: Sequence[int] | range | NDArray[np.integer],
    n_train: int,
    *,
    alpha: float,
    seed: int,
    kind: Kind = "fixed",
) -> NDArray[np.bool_]:
    """The masks of any rows at once: row j is ``subset_mask(indices[j], ...)``.

    Args:
        indices: b rows of the store, in any order.
        n_train, alpha, seed, kind: as in :func:`subset_mask`.

    Returns:
        bool of shape (b, n_train).

    Raises:
        UsageError: as :func:`subset_mask`.
    """
    choose = _chooser(kind)
    n_train = _checked_n_train(n_train)
    alpha = _checked_alpha(alpha, n_train, kind)
    checked_word("seed", seed)
    masks = np.empty((len(indices), n_train), dtype=np.bool_)  # (b, n_train)
    for row, index in zip(masks, indices, strict=True):
        row[:] = choose(n_train, alpha, seed, index)
    return masks


def _fixed(n_train: int, alpha: float, seed: int, index: int) -> NDArray[np.bool_]:
    """Give every example a random word and choose the ``size`` smallest words."""
    size = round(alpha * n_train)
    words = stream_words("fixed", seed=seed, index=index, count=n_train)
    largest_chosen = _kth_smallest(words, size)
    mask: NDArray[np.bool_] = words < largest_chosen
    # More than one word equals the bound about once in 2^64 / n_train rows; the first ones win.
    ties = np.flatnonzero(words == largest_chosen)
    mask[ties[: size - np.count_nonzero(mask)]] = True
    return mask


def _bernoulli(n_train: int, alpha: float, seed: int, index: int) -> NDArray[np.bool_]:
    """Choose an example where its 32 random bits fall among the first ``alpha * 2^32`` values."""
    words = stream_words("bernoull", seed=seed, index=index, count=(n_train + 1) // 2)
    # Little-endian halves, so that the order of the examples is the same on every machine.
    halves = words.astype("<u8", copy=False).view("<u4")[:n_train]
    # "<= count - 1" and not "< count": at alpha = 1 the count 2^32 itself does not fit 32 bits.
    mask: NDArray[np.bool_] = halves <= np.uint32(max(round(alpha * 2**32), 1) - 1)
    return mask


_CHOOSERS: Final[dict[str, Callable[[int, float, int, int], NDArray[np.bool_]]]] = {
    "fixed": _fixed,
    "bernoulli": _bernoulli,
}


def _kth_smallest(words: NDArray[np.uint64], k: int) -> np.uint64:
    """The k-th smallest (k from 1) of uniform words, as ``np.partition`` finds it but faster.

    It lies near k/n of the range, so only the words in a window of 5 standard deviations around
    that are partitioned, or all of them in the rare case that it lies outside the window.
    """
    n = len(words)
    centre = k / n
    spread = 5 * math.sqrt(centre * (1 - centre) / n)
    low, high = (
        np.uint64(min(max(int(share * WORD_LIMIT), 0), WORD_LIMIT - 1))
        for share in (centre - spread, centre + spread)
    )
    window = words[(words >= low) & (words <= high)]
    rank = k - 1 - int(np.count_nonzero(words < low))  # within the window
    if not 0 <= rank < len(window):
        window, rank = words, k - 1
    return np.uint64(np.partition(window, rank)[rank])


def _chooser(kind: str) -> Callable[[int, float, int, int], NDArray[np.bool_]]:
    try:
        return _CHOOSERS[kind]
    except KeyError:
        known = " or ".join(repr(name) for name in _CHOOSERS)
        raise UsageError(f"kind={kind!r} is unknown: it must be {known}") from None


def _checked_n_train(n_train: int) -> int:
    try:
        number = operator.index(n_train)
    except TypeError:
        raise UsageError(f"n_train={n_train!r} is not an integer") from None
    if number < 1:
        raise UsageError(f"n_train={number} is out of range: it must be at least 1")
    return number


def _checked_alpha(alpha: float, n_train: int, kind: str) -> float:
    alpha = float(alpha)  # a float16 times n_train could overflow
    if not 0 < alpha <= 1:  # also refuses NaN
        raise UsageError(
            f"alpha={alpha} is out of range: the share of training examples in a subset "
            "must be above 0 and at most 1"
        )
    if kind == "fixed" and round(alpha * n_train) == 0:
        raise UsageError(
            f"alpha={alpha} of n_train={n_train} examples is an empty subset: "
            f"raise alpha to {1 / n_train:.3g} or more"
        )
    return alpha
