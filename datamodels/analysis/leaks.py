"""Leaks: targets that have a copy in the training set.

A copy of a target raises its output far more than any other example does. How far is measured in
two steps, both robust to the leaks themselves:

1.  Of one target, non-zero weights of no great importance have sizes |w| that fall off about
    exponentially: what LASSO leaves of Gaussian noise beyond its threshold does, and Gaussian
    noise itself falls faster. Their scale s is taken from the median, s = median(|w|) / log 2, of
    the *other* non-zero weights. The largest of m such weights is near s log m, and
    g = w / s - log m follows the Gumbel law, P(g > x) = 1 - exp(-exp(-x)) (the law of extremes of
    exponential variables). Targets of few non-zeros borrow scale from the others.
2.  Some examples matter honestly, so that tails are heavier than that. The largest g of each
    target are therefore compared with one another: location and scale of their Gumbel law come
    from their middle quantiles, which a few leaks do not move.

The score of a pair is how many pairs as large one would expect among all targets, were nothing
leaked: below 0.05, say, chance is no explanation, though a near-duplicate is.

How far the example raises other targets is told beside it, and does not enter the score: a copy
raises its own target most, but copies of test images often come in several.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datamodels.analysis.sparsity import sparse_weights, without_own
from datamodels.errors import InputError
from datamodels.regression.result import Datamodels

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Float64s = NDArray[np.float64]
Int64s = NDArray[np.int64]

_PRIOR_WEIGHTS = 5  # a target's own scale counts as its other weights, the common one as so many
_MIN_TARGETS = 20  # for a law of largest weights of their own; fewer are held to the pure Gumbel
_SURELY = -10.0  # the probability of a larger standard Gumbel variable is 1 to the last digit
_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, eq=False)
class Leaks:
    """Pairs of a training example and a target, the likeliest leak first. All of shape (n_pairs,).

    Attributes:
        examples, targets: the pairs.
        weights: in units of the output, all positive.
        excess: the weight in units of the scale s of the target's other weights.
        expected: pairs as large that one would expect among all targets if nothing was leaked.
        elsewhere: the largest weight of the example on any other target; 0 where none is positive.
    """

    examples: Int64s
    targets: Int64s
    weights: NDArray[np.float32]
    excess: Float64s
    expected: Float64s
    elsewhere: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.examples)

    def first(self, n: int) -> "Leaks":
        """The n likeliest."""
        return self._at(slice(n))

    def up_to(self, expected: float) -> "Leaks":
        """Pairs so large that fewer than ``expected`` such would be among all by chance."""
        return self._at(self.expected < expected)

    def _at(self, where: Any) -> "Leaks":
        return Leaks(
            self.examples[where],
            self.targets[where],
            self.weights[where],
            self.excess[where],
            self.expected[where],
            self.elsewhere[where],
        )


def rank_leaks(datamodels: Datamodels, *, own: bool = True) -> Leaks:
    """All pairs of positive weight, ranked by how far the weight is beyond the target's others.

    Args:
        datamodels: of outputs that a copy in the training set raises, such as margins.
        own: False where targets are the training examples themselves (target t is example t): the
            pairs of an example with itself are left out, and what remains are duplicates.

    Raises:
        UsageError: ``own=False`` and there are not as many targets as training examples.
        InputError: no target has a weight. MissingPackageError: scipy is not installed.
    """
    weights = sparse_weights(datamodels)
    if not own:
        weights = without_own(weights)
    counts = np.diff(weights.indptr)
    if not counts.any():
        raise InputError("all weights are zero: there is nothing to rank")
    targets = np.repeat(np.arange(len(counts)), counts)
    scales = _scales(weights)
    excess = weights.data / scales
    gumbel = excess - np.log(counts[targets])
    location, scale = _gumbel_law(_largest(gumbel, weights.indptr))
    standard = np.maximum((gumbel - location) / scale, _SURELY)
    expected = len(counts) * -np.expm1(-np.exp(-standard))
    positive = np.flatnonzero(weights.data > 0)
    order = positive[np.lexsort((targets[positive], -gumbel[positive]))]
    return Leaks(
        weights.indices[order].astype(np.int64),
        targets[order],
        weights.data[order],
        excess[order],
        expected[order],
        _elsewhere(weights)[order],
    )


def _scales(weights: "csr_array") -> Float64s:
    """Of each non-zero weight (nnz,): the scale of the other weights of its target."""
    counts, start = np.diff(weights.indptr), weights.indptr
    medians = np.zeros(weights.nnz)
    for t in np.flatnonzero(counts):
        part = slice(start[t], start[t + 1])
        medians[part] = _medians_of_others(np.abs(weights.data[part]).astype(np.float64))
    own = medians / np.log(2)
    first = start[:-1][counts > 1]
    common = float(np.median(own[first])) if len(first) else float(np.abs(weights.data).max())
    others = np.repeat(counts - 1, counts)
    scales: Float64s = (others * own + _PRIOR_WEIGHTS * common) / (others + _PRIOR_WEIGHTS)
    return scales


def _medians_of_others(sizes: Float64s) -> Float64s:
    """Of each of m values (m,): the median of the m - 1 others; 0 for a lone one."""
    m = len(sizes)
    if m == 1:
        return np.zeros(1)
    order = np.argsort(sizes, kind="stable")
    ordered, rank = sizes[order], np.empty(m, np.int64)
    rank[order] = np.arange(m)
    low, high = (m - 2) // 2, (m - 1) // 2  # places of the median among the others
    without: Float64s = (ordered[low + (rank <= low)] + ordered[high + (rank <= high)]) / 2
    return without


def _elsewhere(weights: "csr_array") -> NDArray[np.float32]:
    """Of each non-zero weight (nnz,): the largest of its example's weights on other targets."""
    examples, values = weights.indices, weights.data
    order = np.lexsort((-values, examples))
    first = np.flatnonzero(np.diff(examples[order], prepend=-1))  # the largest of each example
    n_train = weights.shape[1]
    best, second = np.zeros((2, n_train), np.float32)
    best[examples[order[first]]] = values[order[first]]
    follows = np.append(examples[order][1:] == examples[order][:-1], False)[first]
    second[examples[order[first[follows]]]] = values[order[first[follows] + 1]]
    is_best = np.zeros(len(values), bool)
    is_best[order[first]] = True
    others: NDArray[np.float32] = np.where(is_best, second[examples], best[examples])
    return np.maximum(others, 0)


def _largest(values: Float64s, start: Int64s) -> Float64s:
    """The largest value of each target that has any."""
    largest: Float64s = np.maximum.reduceat(values, start[:-1][np.diff(start) > 0])
    return largest


def _gumbel_law(largest: Float64s) -> tuple[float, float]:
    """Location and scale whose Gumbel quantiles are, by least squares, those of ``largest``."""
    if len(largest) < _MIN_TARGETS:
        return 0.0, 1.0
    found = np.quantile(largest, _QUANTILES)
    standard = -np.log(-np.log(_QUANTILES))
    scale, location = np.polyfit(standard, found, 1)
    return float(location), float(max(scale, np.finfo(np.float64).tiny))
