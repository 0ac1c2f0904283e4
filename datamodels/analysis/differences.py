"""What one of two learning algorithms relies on and the other does not.

Shah, Park, Ilyas, Madry: ModelDiff: A framework for comparing learning algorithms, ICML 2023,
arXiv 2211.12491. With the datamodels a_t, b_t (n_train,) of target t brought to length 1, the
residual of a_t after projection on b_t,

    r_t = a_t - (a_t . b_t) b_t,

holds what moves the output under algorithm A in a way that it does not under B. The principal
components of all residuals are subpopulations of training examples that A relies on for many
targets, and B does not; and the other way round. The mean is not taken away: it is as much of a
difference as the rest.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datamodels.analysis.components import (
    Components,
    normalized_rows,
    principal_components,
    row_lengths,
    to_rows,
)
from datamodels.analysis.sparsity import sparse_weights
from datamodels.errors import InputError, UsageError
from datamodels.evaluation.rank_correlation import spearman
from datamodels.optional import import_scipy_sparse
from datamodels.regression.result import Datamodels

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Float64s = NDArray[np.float64]

_VALUES_PER_BLOCK = 2**25  # weights ranked together, 256 MB of ranks
_SAME = 1e-6  # unit vectors nearer than this differ by rounding
_DIRECTIONS = 5  # each way, unless asked for


@dataclass(frozen=True, eq=False)
class Residual:
    """What one of two datamodels has and the other lacks.

    Attributes:
        components: of the residuals: scores (n_targets, k) and directions (n_train, k).
        share_own: (k,) mean over targets of the share of the datamodel's squared length along
            each direction, in the algorithm that has it.
        share_other: (k,) likewise in the other: far smaller where the direction tells them apart.
        why_none: in words, where there are no directions (k = 0).
    """

    components: Components
    share_own: Float64s
    share_other: Float64s
    why_none: str | None = None


@dataclass(frozen=True, eq=False)
class Differences:
    """Two datamodels of the same data.

    Attributes:
        cosine: (n_targets,) of the angle between the weights of each target, -1 to 1; NaN where
            all weights of one are zero.
        rank_correlation: (n_targets,) Spearman's, of the weights of each target over all training
            examples, zeros tied; NaN as above.
        a_without_b, b_without_a: the residuals each way.
    """

    cosine: Float64s
    rank_correlation: Float64s
    a_without_b: Residual
    b_without_a: Residual


def compare_datamodels(
    a: Datamodels, b: Datamodels, *, n_components: int | None = None, seed: int = 0
) -> Differences:
    """Compare two datamodels of the same training examples and targets, fitted alike: by two
    algorithms, at two alphas, or with other seeds, which says how large differences come by chance.

    Args:
        n_components: directions of difference, each way, below the number of targets and that of
            training examples; None for 5, or as many as there are.
        seed: of the iteration's start, see :func:`~datamodels.analysis.components.
            principal_components`.

    Raises:
        InputError: they are of other numbers of examples or targets.
        UsageError: ``n_components`` is out of range. MissingPackageError: scipy is not installed.
    """
    if a.weight.shape != b.weight.shape:
        raise InputError(
            f"datamodels of (training examples, targets) {a.weight.shape} and {b.weight.shape}: "
            "both must be of the same"
        )
    n_components = _checked_components(n_components, a)
    one, other = (to_rows(sparse_weights(d)) for d in (a, b))
    zero = (row_lengths(one) == 0) | (row_lengths(other) == 0)
    one, other = normalized_rows(one), normalized_rows(other)
    cosine = np.asarray(one.multiply(other).sum(axis=1)).ravel()
    return Differences(
        cosine=np.where(zero, np.nan, cosine),
        rank_correlation=np.where(zero, np.nan, _rank_correlations(a, b)),
        a_without_b=_residual(one, other, cosine, n_components, seed),
        b_without_a=_residual(other, one, cosine, n_components, seed),
    )


def _checked_components(asked: int | None, datamodels: Datamodels) -> int:
    most = min(datamodels.n_targets, datamodels.n_train_examples) - 1
    if asked is None:
        return min(_DIRECTIONS, most)
    if not 1 <= asked <= most:
        there = f"1 to {most}" if most else "none"
        raise UsageError(
            f"n_components={asked} is out of range: {datamodels.n_targets} targets by "
            f"{datamodels.n_train_examples} training examples have {there}; leave it out for as "
            "many as there are"
        )
    return asked


def _residual(
    own: "csr_array", other: "csr_array", cosine: Float64s, n_components: int, seed: int
) -> Residual:
    """Of unit rows ``own`` after projection on unit rows ``other``."""
    projection = import_scipy_sparse().diags_array(cosine) @ other
    residuals = own - projection
    if not row_lengths(own).any():
        return _nothing(residuals, "all of its weights are zero")
    if row_lengths(residuals).max(initial=0) < _SAME:
        return _nothing(residuals, "for every target it points the same way as the other")
    if not n_components:
        few = "targets" if own.shape[0] == 1 else "training examples"
        return _nothing(residuals, f"directions take 2 {few} or more")
    found = principal_components(residuals, n_components, centre=False, seed=seed)
    return Residual(found, _shares(own, found.directions), _shares(other, found.directions))


def _nothing(residuals: "csr_array", why: str) -> Residual:
    """No directions of ``residuals`` (n, m)."""
    n, m = residuals.shape
    total = float((row_lengths(residuals) ** 2).mean())
    none = np.empty(0)
    components = Components(np.empty((n, 0)), np.empty((m, 0)), np.zeros(m), none, total)
    return Residual(components, none, none, why)


def _shares(rows: "csr_array", directions: Float64s) -> Float64s:
    shares: Float64s = ((rows @ directions) ** 2).mean(axis=0)
    return shares


def _rank_correlations(a: Datamodels, b: Datamodels) -> Float64s:
    """Spearman's of each target (n_targets,), the dense weights of some targets at a time."""
    scores = np.empty(a.n_targets)
    step = max(1, _VALUES_PER_BLOCK // a.n_train_examples)
    for first in range(0, a.n_targets, step):
        block = slice(first, first + step)
        scores[block] = spearman(a.weight[:, block], b.weight[:, block])
    return scores
