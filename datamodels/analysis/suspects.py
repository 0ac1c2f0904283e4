"""Training examples that may be mislabelled, by what their weights say.

Two signs, each an own ranking:

- Self-influence, ``weight[j, j]`` of datamodels of the training examples' own outputs: how much
  of its own margin an example owes to being trained on. A wrong label is not learned from others,
  only memorized (Feldman, Zhang: What neural networks memorize and why, NeurIPS 2020; Pruthi,
  Liu, Kale, Sundararajan: TracIn, NeurIPS 2020, who rank mislabelled examples in this way).
- Harm, the sum of its negative weights over outputs of other examples: a wrong label pulls the
  images around it away from theirs. The negative weights alone rank better than all of them
  together, the usual worth of an example (as of Ghorbani, Zou: Data Shapley, ICML 2019), as every
  label, wrong ones too, helps somewhere by chance; and weights of LASSO rank better than those of
  unbiased estimators, as the chance influences are left out.

Together they are better than either: each is measured from its median in units of its spread, and
both are added up.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, UsageError
from datamodels.regression.result import Datamodels

Float64s = NDArray[np.float64]

_BLOCK_BYTES = 2**26  # of the weights, looked at together
_NORMAL_MAD = 0.6745  # median absolute deviation of a normal law of standard deviation 1


@dataclass(frozen=True, eq=False)
class Suspects:
    """Scores of all training examples; the larger, the likelier is a wrong label.

    Attributes:
        order: (n_train,) the examples, the likeliest first; ties by index.
        score: (n_train,) self-influence and harm together, without a unit.
        self_influence: (n_train,) in units of the output; None without ``own``.
        harm: (n_train,) sum of the sizes of negative weights, in units of the output.
    """

    order: NDArray[np.int64]
    score: Float64s
    self_influence: Float64s | None
    harm: Float64s


def rank_mislabelled(own: Datamodels | None = None, test: Datamodels | None = None) -> Suspects:
    """Rank the training examples from datamodels of margins.

    Args:
        own: target t is the margin of training example t, for the label it has. Gives
            self-influence, and harm among the training examples, which ranks better than harm to
            fewer test examples.
        test: targets are the margins of other examples: the only source of harm without ``own``,
            and another one beside it.

    Raises:
        UsageError: neither is given. InputError: they are not of the same training examples, or
            the targets of ``own`` are not just these.
    """
    if own is None and test is None:
        raise UsageError(
            "give datamodels of the training examples' own outputs, of others, or both"
        )
    n_train = _checked_size(own, test)
    harm = np.zeros(n_train)
    for datamodels in (own, test):
        if datamodels is not None:
            harm += _harm(datamodels.weight, own=datamodels is own)
    score, self_influence = _standardized(harm), None
    if own is not None:
        self_influence = own.weight.diagonal().astype(np.float64)
        score = score + _standardized(self_influence)
    return Suspects(np.argsort(-score, kind="stable"), score, self_influence, harm)


def _checked_size(own: Datamodels | None, test: Datamodels | None) -> int:
    sizes = {d.n_train_examples for d in (own, test) if d is not None}
    if len(sizes) > 1:
        raise InputError(
            f"the two datamodels have {' and '.join(map(str, sorted(sizes)))} training examples: "
            "both must be of the same"
        )
    (n_train,) = sizes
    if own is not None and own.n_targets != n_train:
        raise InputError(
            f"these datamodels have {own.n_targets} targets and {n_train} training examples: for "
            "self-influence target t must be training example t (as in train_margins)"
        )
    return n_train


def _harm(weight: NDArray[np.float32], *, own: bool) -> Float64s:
    """Sum of the sizes of negative weights of each example (n_train,), block by block; ``own``:
    those on the diagonal do not count."""
    harm = np.empty(len(weight))
    step = max(1, _BLOCK_BYTES // max(1, weight.shape[1] * weight.itemsize))
    for first in range(0, len(weight), step):
        rows = slice(first, first + step)
        harm[rows] = -np.minimum(weight[rows], 0).sum(axis=1, dtype=np.float64)
    if own:
        harm += np.minimum(weight.diagonal(), 0)
    return harm


def _standardized(values: Float64s) -> Float64s:
    """``values`` from their median, in units of a spread that the suspects do not move."""
    centred = values - np.median(values)
    spread = float(np.median(np.abs(centred))) / _NORMAL_MAD
    if spread == 0:  # most are equal, as harm is where most examples have no negative weight
        spread = float(np.abs(centred).mean())
    return centred / spread if spread > 0 else centred
