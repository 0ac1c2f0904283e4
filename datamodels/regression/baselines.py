"""Two baselines from the same moments: ridge regression, and the difference of means.

Ridge, in the units of ``engines.contract`` (y by its root mean square, features standardized):

    minimize over w:  1/(2n) |y - Z w|^2 + lambda/2 sum_j v_j w_j^2,   (G + lambda V) w = c

by conjugate gradients on all targets of a block at once. lambda has no unit here. At a residual
q = c - (G + lambda V) w the objective is at most q' (lambda V)^-1 q / 2 above its minimum, which is
what ``gap`` says.

The difference of means is E[y | x_j = 1] - E[y | x_j = 0] = cov(x_j, y) / var(x_j): in standardized
units the correlations c themselves. Other features play no part, so predictions are on no scale
that means anything; ranks are what this baseline is judged by.
"""

import numpy as np
from numpy.typing import NDArray

from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.engines.contract import BlockPath, Limits, Solved
from datamodels.regression.sparse_rows import to_sparse
from datamodels.regression.standardized import Standardized
from datamodels.regression.status import status_of_gap

# The path of ridge: from where weights are all but zero to where only noise is left out. With n
# below p the features that noise can use grow with p / n, and so does the penalty that helps.
_LARGEST_LAMBDA = 100.0
RIDGE_EPS = 1e-4
_BLOCK_VALUES = 2**24  # of G, in float64 at a time


class RidgeEngine:
    """Ridge paths on a Gram matrix."""

    def __init__(self, gram: NDArray[np.float32]) -> None:
        self.gram = gram

    def block(
        self, problem: Standardized, targets: slice, factors: Float64s, limits: Limits
    ) -> BlockPath:
        """See ``contract.Engine``."""
        return _RidgePath(self.gram, problem, targets, factors, limits)


class _RidgePath:
    """The ridge paths of a block's targets, one row a target."""

    def __init__(
        self,
        gram: NDArray[np.float32],
        problem: Standardized,
        targets: slice,
        factors: Float64s,
        limits: Limits,
    ) -> None:
        self.gram, self.limits = gram, limits
        self.c = problem.unit_correlations(targets)  # (t, p)
        used = np.isfinite(factors) & (problem.scale_inverse > 0)
        self.used = np.broadcast_to(used, self.c.shape)
        self.factors = np.broadcast_to(np.where(used, factors, 1.0), self.c.shape)
        self.c = np.where(self.used, self.c, 0.0)
        self.w = np.zeros_like(self.c)
        self.largest = _LARGEST_LAMBDA * max(1.0, problem.n_features / problem.n)

    def lambda_max(self) -> Float64s:
        """Where the path begins (t,)."""
        return np.where(self.c.any(axis=1), self.largest, 0.0)

    def solve(self, lam: Float64s, which: Int64s) -> Solved:
        """See ``contract.BlockPath``."""
        penalty = lam[:, None] * self.factors[which]
        w, gap, steps = self._conjugate_gradients(which, penalty)
        self.w[which] = w
        product = self._times_gram(w, which)
        residual = 1 - 2 * np.einsum("rp,rp->r", self.c[which], w)
        residual += np.einsum("rp,rp->r", w, product)
        status = status_of_gap(gap, self.limits.tol)
        iterations = np.full(len(which), steps)
        return Solved(to_sparse(w), gap, iterations, status, residual)

    def _conjugate_gradients(
        self, which: Int64s, penalty: Float64s
    ) -> tuple[Float64s, Float64s, int]:
        """w (r, p), its gap (r,), and the steps made, from the last solutions."""
        w = self.w[which].copy()
        q = self.c[which] - self._times_gram(w, which) - penalty * w
        direction, size = q.copy(), np.einsum("rp,rp->r", q, q)
        for step in range(self.limits.max_sweeps):
            gap = np.einsum("rp,rp->r", q / penalty, q) / 2
            if not (gap > self.limits.tol).any():
                return w, gap, step
            product = self._times_gram(direction, which) + penalty * direction
            curvature = np.einsum("rp,rp->r", direction, product)
            length = np.divide(size, curvature, out=np.zeros_like(size), where=curvature > 0)
            w += length[:, None] * direction
            q -= length[:, None] * product
            before, size = size, np.einsum("rp,rp->r", q, q)
            turn = np.divide(size, before, out=np.zeros_like(size), where=before > 0)
            direction = q + turn[:, None] * direction
        return w, np.einsum("rp,rp->r", q / penalty, q) / 2, self.limits.max_sweeps

    def _times_gram(self, w: Float64s, which: Int64s) -> Float64s:
        product = (w.astype(np.float32) @ self.gram).astype(np.float64)
        return np.where(self.used[which], product, 0.0)


class DifferenceEngine:
    """Differences of means; the path is one lambda, which means nothing."""

    def __init__(self, gram: NDArray[np.float32]) -> None:
        self.gram = gram

    def block(
        self,
        problem: Standardized,
        targets: slice,
        factors: Float64s,
        limits: Limits,  # noqa: ARG002
    ) -> BlockPath:
        """See ``contract.Engine``; factors other than infinity play no part."""
        c = problem.unit_correlations(targets)
        return _DifferencePath(self.gram, np.where(np.isfinite(factors), c, 0.0))


class _DifferencePath:
    def __init__(self, gram: NDArray[np.float32], c: Float64s) -> None:
        self.gram, self.c = gram, c

    def lambda_max(self) -> Float64s:
        """One (t,): only that it is not zero matters."""
        return np.where(self.c.any(axis=1), 1.0, 0.0)

    def solve(self, lam: Float64s, which: Int64s) -> Solved:  # noqa: ARG002
        """See ``contract.BlockPath``."""
        w = self.c[which]
        residual = 1 - 2 * np.einsum("rp,rp->r", w, w)
        # How a product rounds depends on how many targets it is of. So it is taken in float64, by
        # blocks, and rounded to float32: digits that other targets touch are not kept.
        step = max(1, _BLOCK_VALUES // len(self.gram))
        for start in range(0, len(self.gram), step):
            part = slice(start, start + step)
            product = w @ self.gram[:, part].astype(np.float64)
            residual += np.einsum("rp,rp->r", w[:, part], product)
        residual = residual.astype(np.float32).astype(np.float64)
        none = np.zeros(len(which))
        return Solved(to_sparse(w), none, none.astype(np.int64), none.astype(np.int64), residual)
