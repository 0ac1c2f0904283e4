"""Data support: the fewest training examples without which a prediction is expected to flip.

Ilyas, Park, Engstrom, Leclerc, Madry: Datamodels: Predicting Predictions from Training Data, ICML
2022, section on data support, who take the set from the datamodel, and then retrain without it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.errors import InputError, UsageError

_TARGETS_PER_BLOCK = 64


@dataclass(frozen=True, eq=False)
class DataSupport:
    """For every target, (n_targets,) each.

    Where ``found`` is False, removing all ``size`` examples of positive weight would not do.
    ``size`` is 0 where the prediction is flipped with nothing removed.
    """

    size: NDArray[np.int64]
    found: NDArray[np.bool_]
    before: NDArray[np.float64]  # expected output with nothing removed
    after: NDArray[np.float64]  # expected output without the ``size`` examples
    margin: NDArray[np.float64]  # how far below 0 ``after`` was to be

    @property
    def flippable(self) -> NDArray[np.bool_]:
        """Targets above 0 with nothing removed, which a removal is expected to flip."""
        flippable: NDArray[np.bool_] = self.found & (self.size > 0) & (self.before > 0)
        return flippable


def smallest_supports(
    weight: NDArray[np.floating],
    before: ArrayLike,
    *,
    share: float = 1.0,
    margin: ArrayLike = 0.0,
    candidates: NDArray[np.bool_] | None = None,
    targets: NDArray[np.int64] | None = None,
) -> DataSupport:
    """The fewest examples whose removal brings the expected output to ``-margin`` or below.

        minimize |R|  subject to  before - share * sum_{j in R} w_j <= -margin

    Greedy is exact: among all R of m examples, the sum is largest for the m largest weights
    (exchanging one of them for another example cannot raise it), so some R of size m will do if
    and only if these do. Their sum grows with m as long as weights are positive and falls after, so
    the first m that will do is the smallest, and if all positive weights together will not do,
    nothing will.

    ``share`` is the part of the subsets that hold an example. Removing R from the full training
    set, or from a given subset (all of it, share 1), lowers the output by sum_R w. Where models are
    trained on random subsets of a share alpha, taking R out of the pool lowers the expected output
    by alpha sum_R w: a model would have held only that part of R.

    Args:
        weight: (n_train, n_targets), or more columns than these.
        before: (n_targets,) expected output with nothing removed.
        share: above 0, at most 1.
        margin: (n_targets,) or a number, at least 0: a margin of safety, in units of the output.
        candidates: (n_train,), examples that may be removed; all of them by default.
        targets: (n_targets,) columns of ``weight``; all of them by default.

    Raises:
        InputError: shapes that do not fit, or a number that is not finite. UsageError: ``share``
            or ``margin`` out of range.
    """
    columns = np.arange(weight.shape[1]) if targets is None else targets
    n_train, n_targets = len(weight), len(columns)
    start = np.asarray(before, np.float64)
    margins = np.broadcast_to(np.asarray(margin, np.float64), (n_targets,))
    usable = np.ones(n_train, bool) if candidates is None else candidates
    if start.shape != (n_targets,) or usable.shape != (n_train,) or not np.isfinite(start).all():
        raise InputError(
            f"outputs {start.shape} and candidates {usable.shape} do not fit the weights "
            f"{(n_train, n_targets)}, or are not finite"
        )
    if not 0 < share <= 1 or not (margins >= 0).all() or not np.isfinite(margins).all():
        raise UsageError(f"share={share} must be in (0, 1], and margins 0 or more")
    size, after = np.zeros(n_targets, np.int64), np.empty(n_targets)
    found = np.zeros(n_targets, bool)
    for first in range(0, n_targets, _TARGETS_PER_BLOCK):
        block = np.ascontiguousarray(weight[:, columns[first : first + _TARGETS_PER_BLOCK]].T)
        for t, weights in enumerate(block, first):
            positive = np.sort(weights[usable & (weights > 0)].astype(np.float64))[::-1]
            outputs = start[t] - share * np.concatenate([[0.0], np.cumsum(positive)])
            enough = np.flatnonzero(outputs <= -margins[t])
            found[t] = len(enough) > 0
            size[t] = enough[0] if found[t] else len(positive)
            after[t] = outputs[size[t]]
    return DataSupport(size, found, start, after, margins)


def support_examples(
    weights: NDArray[np.floating], size: int, candidates: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The ``size`` examples of largest positive weight (n_train,) among ``candidates``; ties by
    index."""
    positive = np.flatnonzero(candidates & (weights > 0))  # few: weights are sparse
    order = np.argsort(-weights[positive], kind="stable")[:size]
    examples: NDArray[np.int64] = positive[order]
    return examples
