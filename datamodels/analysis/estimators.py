"""Other estimators of weights from the same rows, with standard errors, to compare with LASSO.

Both need only moments, so that one pass over the rows serves all targets. ``regression.baselines``
has the same estimators behind ``datamodels.fit``, without standard errors.

Difference of means, or empirical influence (Feldman, Zhang: What neural networks memorize and why,
NeurIPS 2020):

    d_jt = mean(y_t | x_j = 1) - mean(y_t | x_j = 0),   se^2 = s_jt^2 (1/n_1 + 1/n_0),

s_jt^2 = (1/(n - 2)) sum of squares within both, their variances being pooled: moments do not tell
them apart. Where every example is in each subset independently with probability 1/2 this estimates
the Banzhaf value of example j for the utility y_t, each row serving all j (maximum sample reuse:
Wang, Jia: Data Banzhaf, AISTATS 2023); with subsets of a fixed half it does up to terms of 1/p.

Ridge, in the units of ``regression.baselines`` (z standardized, y centred, lambda without a unit):

    w = (G + lambda I)^-1 c,   cov(w) = sigma^2 / n  (G + lambda I)^-1 G (G + lambda I)^-1,

sigma^2 = |y - Z w|^2 / (n - 1 - df), df = tr G (G + lambda I)^-1. The standard errors are about the
mean of w over outputs with other noise on the same masks, which lambda draws towards 0: they do
not hold that bias. lambda is given, or picked for each target by generalized cross-validation,

    GCV(lambda) = |y - Z w|^2 / n / (1 - (1 + df) / n)^2      (Golub, Heath, Wahba 1979).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, UsageError
from datamodels.regression.moment_sums import Moments

Float64s = NDArray[np.float64]

# Lambdas that generalized cross-validation looks at, in units of max(1, p / n).
_LAMBDAS = 100.0 * 10.0 ** -np.linspace(0, 6, 61)
_MIN_SHARE_LEFT = 1e-3  # of the n rows that GCV's denominator must leave: beyond, it is 0 / 0
_MATRICES = 5  # (p, p) of float64 that ridge holds at a time, the table of pairs included
_BLOCK_BYTES = 2**27  # of a matrix (p, targets), of which a few are held at a time


@dataclass(frozen=True, eq=False)
class Estimates:
    """Weights and their standard errors, in the units of outputs and masks.

    Attributes:
        weight: (n_train, n_targets) change of output t when example j joins; 0 for an example
            that is in all subsets, or in none.
        standard_error: likewise; NaN for such an example, and where rows do not suffice.
        bias: (n_targets,) such that ``mask @ weight + bias`` averages to the mean output.
        lam: (n_targets,) of ridge; zeros for the difference of means.
        n_models: rows that were used, which are to be independent: one a mask, with the mean
            outputs of its trainings.
    """

    weight: NDArray[np.float32]
    standard_error: NDArray[np.float32]
    bias: NDArray[np.float32]
    lam: NDArray[np.float32]
    n_models: int

    @property
    def z(self) -> NDArray[np.float32]:
        """Weights in units of their standard errors (n_train, n_targets)."""
        scores: NDArray[np.float32] = self.weight / self.standard_error
        return scores


def difference_of_means(moments: Moments) -> Estimates:
    """Differences of means of ``moments``, which need no table of pairs.

    Raises:
        InputError: masks are not all zeros and ones, rows are in groups, there are fewer than 3,
            or the moments have no products with the outputs.
    """
    products = _checked(moments)
    n, ones = moments.n, moments.sum_x.astype(np.float64)[:, None]  # (p, 1) rows with x_j = 1
    zeros = n - ones
    known = (ones > 0) & (zeros > 0)
    variation = np.divide(ones * zeros, n, out=np.ones_like(ones), where=known)  # n var(x_j)
    mean_y = moments.sum_y / n
    total = np.maximum(moments.sum_yy - moments.sum_y * mean_y, 0.0)  # (t,) sum of squares
    estimates = _empty(moments, np.zeros(moments.n_targets))
    for block in _blocks(moments):
        weight = np.where(known, (products[:, block] - ones * mean_y[block]) / variation, 0.0)
        within = np.maximum(total[block] - weight**2 * variation, 0.0)
        error = np.where(known, np.sqrt(within / (n - 2) / variation), np.nan)
        _fill(estimates, block, moments, weight, error)
    return estimates


def ridge(moments: Moments, lam: float | None = None) -> Estimates:
    """Ridge regression on ``moments`` with a table of pairs, at ``lam`` or each target's best.

    One eigendecomposition of G serves all targets and lambdas: some p^3 operations and
    :func:`ridge_bytes` of memory, so p up to about 10,000 on one machine.

    Raises:
        UsageError: ``lam`` is not above 0 and finite.
        InputError: as :func:`difference_of_means`, or the moments have no table of pairs.
    """
    if lam is not None and not 0 < lam < np.inf:
        raise UsageError(f"lam={lam} is out of range: it must be above 0, and finite")
    products = _checked(moments)
    if moments.xx is None:
        raise InputError("these moments have no table of pairs: make them with one, for ridge")
    spectrum = _Spectrum.of(moments)
    estimates = _empty(moments, np.zeros(moments.n_targets))
    for block in _blocks(moments):
        problem = spectrum.problem(moments, products, block)
        lams = np.full(len(problem.yy), lam) if lam is not None else spectrum.pick(problem)
        estimates.lam[block] = lams
        _fill(estimates, block, moments, *spectrum.solve(problem, lams))
    return estimates


def ridge_bytes(n_features: int) -> int:
    """Memory that :func:`ridge` takes for matrices (p, p)."""
    return _MATRICES * 8 * n_features**2


class _Problem(NamedTuple):
    """Some targets, in the eigenvectors of G."""

    u: Float64s  # (k, t) V'c, c in the units of y
    yy: Float64s  # (t,) mean square of y, centred


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """G = V diag(e) V' of n rows."""

    n: int
    inv_scale: Float64s  # (p,) 1 / s_j; 0 for a constant column
    values: Float64s  # (k,) e
    vectors: Float64s  # (p, k) V

    @classmethod
    def of(cls, moments: Moments) -> "_Spectrum":
        from datamodels.regression.standardized import standardize  # numba is slow to import

        problem = standardize(moments)
        values, vectors = np.linalg.eigh(problem.gram(np.float64))
        return cls(moments.n, problem.inv_scale, np.maximum(values, 0.0), vectors)

    def problem(self, moments: Moments, products: Float64s, block: slice) -> _Problem:
        n, mean_y = self.n, moments.sum_y[block] / self.n
        centred = products[:, block] - np.outer(moments.sum_x, mean_y)  # (p, t)
        c = centred * (self.inv_scale / n)[:, None]
        yy = np.maximum(moments.sum_yy[block] / n - mean_y**2, 0.0)
        return _Problem(self.vectors.T @ c, yy)

    def pick(self, problem: _Problem) -> Float64s:
        """The lambda of the least GCV (t,)."""
        lams = _LAMBDAS * max(1.0, len(self.inv_scale) / self.n)
        scores = np.full((len(lams), len(problem.yy)), np.inf)
        for i, lam in enumerate(lams):
            each = np.full(len(problem.yy), lam)
            left = 1 - (1 + self._freedom(each[:1])) / self.n
            if left[0] > _MIN_SHARE_LEFT:
                scores[i] = self._residual(problem, each) / left**2
        best: Float64s = lams[scores.argmin(axis=0)]
        return best

    def solve(self, problem: _Problem, lams: Float64s) -> tuple[Float64s, Float64s]:
        """Weights and standard errors (p, t) in the units of y and x."""
        shrunk = 1 / (self.values[:, None] + lams)  # (k, t)
        weight = self.vectors @ (shrunk * problem.u)
        spread = self.vectors**2 @ (self.values[:, None] * shrunk**2)  # diagonal of cov, but sigma
        freedom = self.n - 1 - self._freedom(lams)
        residual = self._residual(problem, lams) * self.n
        sigma2 = np.divide(residual, freedom, out=np.full_like(freedom, np.nan), where=freedom > 0)
        error = np.sqrt(spread * sigma2 / self.n) * self.inv_scale[:, None]
        error[self.inv_scale == 0] = np.nan
        return weight * self.inv_scale[:, None], error

    def _freedom(self, lams: Float64s) -> Float64s:
        """Degrees of freedom of the weights (t,)."""
        shares: Float64s = self.values[:, None] / (self.values[:, None] + lams)
        freedom: Float64s = shares.sum(axis=0)
        return freedom

    def _residual(self, problem: _Problem, lams: Float64s) -> Float64s:
        """Mean squared residual (t,): yy - 2 w'c + w'G w."""
        shrunk = 1 / (self.values[:, None] + lams)
        explained = problem.u**2 * shrunk * (2 - self.values[:, None] * shrunk)
        residual: Float64s = np.maximum(problem.yy - explained.sum(axis=0), 0.0)
        return residual


def _checked(moments: Moments) -> Float64s:
    """X'Y; InputError for moments that these estimators do not take."""
    if moments.xy is None:
        raise InputError("these moments have no products of masks and outputs: make them anew")
    if moments.groups is not None:
        raise InputError("these moments are of rows in groups: make them without groups")
    if not moments.counted:
        raise InputError("masks other than zeros and ones have no difference of means: give masks")
    if moments.n < 3:
        raise InputError(f"standard errors need 3 or more rows; there are {moments.n}")
    return moments.xy


def _empty(moments: Moments, lam: Float64s) -> Estimates:
    shape = (moments.n_features, moments.n_targets)
    weight, error = np.empty(shape, np.float32), np.empty(shape, np.float32)
    bias = np.empty(shape[1], np.float32)
    return Estimates(weight, error, bias, lam.astype(np.float32), moments.n)


def _fill(
    estimates: Estimates, block: slice, moments: Moments, weight: Float64s, error: Float64s
) -> None:
    estimates.weight[:, block] = weight
    estimates.standard_error[:, block] = error
    mean_y = moments.shift[block] + moments.sum_y[block] / moments.n
    estimates.bias[block] = mean_y - (moments.sum_x / moments.n) @ weight


def _blocks(moments: Moments) -> list[slice]:
    """Consecutive targets, so many that a matrix of theirs is of ``_BLOCK_BYTES``."""
    size = max(1, _BLOCK_BYTES // (8 * max(1, moments.n_features)))
    return [slice(i, i + size) for i in range(0, moments.n_targets, size)]
