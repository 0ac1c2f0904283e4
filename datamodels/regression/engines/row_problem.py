"""The problem of some targets as their rows have it: residuals, all gradients, duality gaps.

In the notation of ``contract``, with everything that is projected out of the rows at once: their
mean (within groups, where there are any), and the span of the unpenalized columns Z_0. With an
orthonormal basis Q (n, k) of what is left of Z_0 after centring,

    r~ = r - Q Q'r,   z~_j = z_j - Q Q'z_j,   Z~'r~ = Z'r~,   G~_ij = G_ij - (Q'z_i).(Q'z_j) / n

so that the penalized features have a problem of their own, in which g_j = Z'r~ / n is the gradient
and the unpenalized g_j are zero. w_0 follows from the residual at the end.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.design import Design
from datamodels.regression.sparse_rows import SparseRows
from datamodels.regression.standardized import Standardized

# Singular values of Z_0 / sqrt(n) below this share of the largest are those of dependent columns.
_LEAST_SINGULAR = 1e-6


class Centring:
    """Takes the mean from rows, that of each group where there are groups."""

    def __init__(self, groups: Int64s | None, use_bias: bool) -> None:
        self.use_bias = use_bias
        self.by_group = use_bias and groups is not None
        if use_bias and groups is not None:
            _, self.group, count = np.unique(groups, return_inverse=True, return_counts=True)
            self.order = np.argsort(self.group, kind="stable")
            self.count = count
            self.first = np.cumsum(count) - count

    def __call__(self, values: Float64s) -> Float64s:
        """Values (r, n) less their means."""
        if not self.use_bias:
            return values
        if not self.by_group:
            means: Float64s = values.mean(axis=1, keepdims=True)
            return values - means
        sums = np.add.reduceat(values[:, self.order], self.first, axis=1)  # (r, q)
        return values - (sums / self.count)[:, self.group]


class Residuals(NamedTuple):
    """Residuals of r targets, and the weights of the unpenalized features that go with them."""

    values: Float64s  # (r, n) r~, in units of each target's rms(y)
    free_weights: Float64s  # (r, k0) standardized


class RowBlock:
    """Some targets with the same unpenalized features, in units of each target's rms(y).

    design: the rows of ``problem``, less the same shift; without an intercept it has to be zero, as
    nothing is centred then. outputs (n, t_all) raw, groups (n,) labels or None, targets (t,)
    numbers among all, factors (1 or t, p).
    """

    def __init__(
        self,
        design: Design,
        outputs: NDArray[np.floating],
        groups: Int64s | None,
        problem: Standardized,
        targets: Int64s,
        factors: Float64s,
    ) -> None:
        use_bias = problem.basis.shape[1] > 0
        if not use_bias and design.shift.any():
            raise ValueError("without an intercept the design must not be shifted: shift = 0")
        self.design = design
        self.problem = problem
        self.targets = targets
        self.factors = factors
        self.n, self.p = problem.n, problem.n_features
        self.scale = problem.scale_inverse / np.sqrt(self.n)  # (p,) g_j = scale_j x_j.r
        self._centring = Centring(groups, use_bias)
        self._units = problem.units(slice(None))[targets]
        self._y = self._centred_outputs(outputs)  # (t, n)
        self.free = np.flatnonzero((factors[0] == 0) & (self.scale > 0))  # (k0,)
        self._project_free()
        self.y, _ = self._projected(self._y)  # (t, n) y~

    @property
    def n_targets(self) -> int:
        return len(self.targets)

    def columns(self, features: Int64s) -> Float64s:
        """Z~ of some features, one a row: (a, n)."""
        columns, _ = self._projected(self._standardized(features))
        return columns

    def residuals(self, which: Int64s, weights: SparseRows) -> Residuals:
        """Residuals of targets ``which`` (r,) at weights (r rows) of their penalized features."""
        raw = weights.value * (self.scale * self.n)[weights.feature]
        fit = self.design.predictions(weights._replace(value=raw))
        rest = self._y[which] - self._centring(fit)
        values, coordinates = self._projected(rest)
        return Residuals(values, coordinates @ self._free_from_basis)

    def cross(self, residuals: Float64s) -> Float64s:
        """X'r (p, r) of residuals (r, n), so that g_j = scale_j times it."""
        return self.design.cross(np.ascontiguousarray(residuals.T))

    def pair_basis(self, features: Int64s) -> Float64s:
        """U~ (a, q + k) with G~_ij = (X'X_ij - U~_i.U~_j) e_i e_j."""
        inverse = self.problem.scale_inverse[features, None]
        free = self.free_basis[features]
        free = np.divide(free, inverse, out=np.zeros_like(free), where=inverse > 0)
        return np.hstack([self.problem.basis[features], free])

    def _centred_outputs(self, outputs: NDArray[np.floating]) -> Float64s:
        """y (t, n); zeros for a constant target."""
        y = np.ascontiguousarray(outputs[:, self.targets].T, np.float64)
        y = self._centring(self._centring(y))  # again: what rounding left of a mean far from zero
        y /= self._units[:, None]
        y[self.problem.yy[self.targets] == 0] = 0.0
        return y

    def _standardized(self, features: Int64s) -> Float64s:
        """Z of some features, one a row: (a, n)."""
        centred = self._centring(self.design.columns(features))
        columns: Float64s = centred * (self.scale * self.n)[features, None]
        return columns

    def _project_free(self) -> None:
        """Q' (k, n), Q'z_j / sqrt(n) of all features (p, k), and w_0 = coordinates @ (k, k0)."""
        self._basis = np.zeros((0, self.n))
        self._free_from_basis = np.zeros((0, len(self.free)))
        self.free_basis = np.zeros((self.p, 0))
        if not len(self.free):
            return
        left, singular, right = np.linalg.svd(self._standardized(self.free), full_matrices=False)
        held = singular > _LEAST_SINGULAR * singular[0]
        self._basis = np.ascontiguousarray(self._centring(right[held]))
        self._free_from_basis = np.ascontiguousarray((left[:, held] / singular[held]).T)
        self.free_basis = self.cross(self._basis) * (self.scale * np.sqrt(self.n))[:, None]

    def _projected(self, values: Float64s) -> tuple[Float64s, Float64s]:
        """Values (r, n) less their part in the span of Q, and its coordinates (r, k)."""
        coordinates = values @ self._basis.T
        if len(self._basis):
            values = values - coordinates @ self._basis
            values -= (values @ self._basis.T) @ self._basis  # twice is orthogonal to rounding
        return values, coordinates
