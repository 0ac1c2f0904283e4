"""The standardized problem that a solver sees, from moments.

With mean mu_j and population standard deviation s_j of feature j over the n rows,

    z_ij = (x_ij - mu_j) / s_j,   G = Z'Z / n (p, p),   c = Z'y / n (p, t),   yy = y'y / n (t,)

y centred (in its own units). Without an intercept nothing is centred, neither x nor y, but s_j
stays the centred deviation: glmnet's ``intercept=FALSE, standardize=TRUE``. Entries of G are

    G_ij = (n n_ij - n_i n_j) / (d_i d_j),   d_i = n s_i = sqrt(n n_ii - n_i^2),

with the numerator an exact integer for 0/1 masks, and rounding only after the division: counts / n
are near 0.25 and covariances near 0.25 / sqrt(n), so a float32 difference would lose digits.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from datamodels.regression.blocks import Float64s
from datamodels.regression.moments import Moments

# A float64 sum of squares holds about 16 digits: below this share of it, a variance is rounding.
_NO_VARIANCE = 1e-12


@dataclass(frozen=True, eq=False)
class Standardized:
    """Scales and table of the standardized problem of some moments.

    G_ij = (n xx_ij - m_i m_j) / (d_i d_j): ``m`` is sum x with an intercept and zero without.
    """

    n: int
    xx: NDArray[Any]  # (p, p)
    m: NDArray[Any]  # (p,) same kind as xx
    inv_d: Float64s  # (p,) 1 / (n s_j); 0 for a constant column, which so gets weight 0
    xy: Float64s  # (p, t) n sum of xy - m_j sum of y
    mean_x: Float64s  # (p,) mu_j, zeros without an intercept
    mean_y: Float64s  # (t,) zeros without an intercept
    yy: Float64s  # (t,) y'y / n; exactly 0 for a constant target

    @property
    def inv_scale(self) -> Float64s:
        """1 / s_j (p,); 0 for a constant column. Raw weight = standardized weight x this."""
        return self.inv_d * self.n

    def correlations(self, targets: slice) -> Float64s:
        """c = Z'y / n for some targets, one target a row: (t, p) in the units of y."""
        return np.ascontiguousarray((self.xy[:, targets] * (self.inv_d / self.n)[:, None]).T)

    def gram(self) -> NDArray[np.float32]:
        """G (p, p), formed in float64 and rounded once; diagonal 0 for a constant column."""
        gram = np.empty(self.xx.shape, np.float32)
        _fill_gram(self.xx, self.m, self.table_n, self.inv_d, gram)
        return gram

    @property
    def table_n(self) -> int | float:
        """n in the arithmetic of the table: integers stay exact, floats do not mix with them."""
        return self.n if self.xx.dtype.kind == "i" else float(self.n)


def standardize(moments: Moments, use_bias: bool) -> Standardized:
    """The problem of ``moments``, with an intercept or without."""
    inv_d = _inverse_deviations(moments)  # before masks are measured from zero again
    if not use_bias:
        moments = moments.shifted(np.zeros_like(moments.shift))
        moments = moments.shifted_x(np.zeros_like(moments.shift_x))
    n, sum_x, sum_y = moments.n, moments.sum_x, moments.sum_y
    if not use_bias:
        sum_x, sum_y = np.zeros_like(sum_x), np.zeros_like(sum_y)
    return Standardized(
        n=n,
        xx=moments.xx,
        m=sum_x,
        inv_d=inv_d,
        xy=n * moments.xy - np.outer(sum_x, sum_y),
        mean_x=moments.shift_x + sum_x / n,
        mean_y=moments.shift + sum_y / n if use_bias else np.zeros_like(sum_y),
        yy=_mean_square(n, moments.sum_yy, sum_y),
    )


def _inverse_deviations(moments: Moments) -> Float64s:
    """1 / d_j, 0 where column j is constant."""
    squares = moments.n * moments.xx.diagonal().astype(moments.sum_x.dtype)
    d2 = (squares - moments.sum_x**2).astype(np.float64)
    floor = 0.0 if moments.counted else _NO_VARIANCE * squares.astype(np.float64)
    varies = d2 > floor
    return np.where(varies, 1 / np.sqrt(np.where(varies, d2, 1.0)), 0.0)


def _mean_square(n: int, sum_yy: Float64s, sum_y: Float64s) -> Float64s:
    yy = sum_yy / n - (sum_y / n) ** 2
    return np.where(yy > _NO_VARIANCE * sum_yy / n, yy, 0.0)


@njit(parallel=True, cache=True)
def _fill_gram(xx, m, n, inv_d, gram):  # type: ignore[no-untyped-def]
    p = len(m)
    for i in prange(p):
        for j in range(p):
            gram[i, j] = np.float32((n * xx[i, j] - m[i] * m[j]) * (inv_d[i] * inv_d[j]))
