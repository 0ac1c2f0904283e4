"""The standardized problem that a solver sees, from moments.

With mean mu_j and population standard deviation s_j of feature j over the n rows,

    z_ij = (x_ij - mu_j) / s_j,   G = Z'Z / n (p, p),   c = Z'y / n (p, t),   yy = y'y / n (t,)

y centred (in its own units). With groups of rows, mu_j, s_j and the mean of y are those of the
row's group (s_j: the deviation within groups). Without an intercept nothing is centred, neither x
nor y, but s_j stays the centred deviation: glmnet's ``intercept=FALSE, standardize=TRUE``.

What is centred away is a product of few columns: with U = sum_x / sqrt(n), a column for all rows or
one for each group (none without an intercept), and likewise V for y,

    G_ij = (xx_ij - U_i . U_j) e_i e_j,   e_j = 1 / (sqrt(n) s_j),
    Z'y  = (xy - U V') e sqrt(n)

In float64 that difference is good to 1e-16 of n; counts / n are near 0.25 and covariances near
0.25 / sqrt(n), so float32 would lose digits there. Only G itself is rounded to float32.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from datamodels.regression.blocks import Float64s
from datamodels.regression.moment_sums import Groups, Moments

# A float64 sum of squares holds about 16 digits: below this share of it, a variance is rounding.
_NO_VARIANCE = 1e-12


class Products(Protocol):
    """X'Y (p, t), formed when asked for: an array, or a :class:`~.rows_in_memory.RowProducts`."""

    def __getitem__(self, key: tuple[slice, slice], /) -> Float64s:
        """Some of its columns: ``products[:, targets]``."""


@dataclass(frozen=True, eq=False)
class Standardized:
    """The standardized problem of some moments."""

    n: int
    xx: NDArray[Any] | None  # (p, p) int32, int64 or float64; None where no table was formed
    basis: Float64s  # (p, q) U
    scale_inverse: Float64s  # (p,) e_j; 0 for a constant column, which so gets weight 0
    xy: Products  # (p, t) sum of x (y - shift), centred if there is no basis_y
    mean_x: Float64s  # (p,) mu_j over all rows; zeros without an intercept
    mean_y: Float64s  # (t,) likewise
    yy: Float64s  # (t,) y'y / n, y centred; exactly 0 for a constant target
    groups: "Groups | None"  # sums of each group, where rows are centred within groups
    basis_y: Float64s | None = None  # (t, q) V, by which xy is still to be centred

    @property
    def n_features(self) -> int:
        return len(self.scale_inverse)

    @property
    def n_targets(self) -> int:
        return len(self.yy)

    @property
    def inv_scale(self) -> Float64s:
        """1 / s_j (p,); 0 for a constant column. Raw weight = standardized weight x this."""
        return self.scale_inverse * float(np.sqrt(self.n))

    def correlations(self, targets: slice) -> Float64s:
        """c = Z'y / n for some targets, one target a row: (t, p) in the units of y."""
        products: Float64s = self.xy[:, targets].T
        if self.basis_y is not None:
            products = products - _products_of_means(self.basis_y[targets], self.basis)
        scale = self.scale_inverse / float(np.sqrt(self.n))
        correlations: Float64s = np.ascontiguousarray(products) * scale
        return correlations

    def units(self, targets: slice) -> Float64s:
        """Root mean square of y of some targets (t,), 1 for a constant one."""
        rms = np.sqrt(self.yy[targets])
        return np.where(rms > 0, rms, 1.0)

    def unit_correlations(self, targets: slice) -> Float64s:
        """c (t, p) in units of each target's rms(y)."""
        return self.correlations(targets) / self.units(targets)[:, None]

    def gram(self, dtype: Any = np.float32) -> NDArray[Any]:
        """G (p, p), formed in float64 and rounded once; 0 for a constant column."""
        if self.xx is None:
            raise ValueError("these moments have no table of pairs (xx), so there is no G to form")
        gram = np.empty(self.xx.shape, dtype)
        fill_gram(self.xx, self.basis, self.scale_inverse, gram)
        return gram


def standardize(
    moments: Moments, use_bias: bool = True, products: Products | None = None
) -> Standardized:
    """The problem of ``moments``, with an intercept (one a group, where there are groups) or
    without. ``products`` stand in for the X'Y of moments that have none."""
    variation = _centred_squares(moments)
    scale_inverse = np.where(variation > 0, 1 / np.sqrt(np.where(variation > 0, variation, 1)), 0.0)
    if not use_bias:
        moments = moments.shifted(np.zeros_like(moments.shift))
        moments = moments.shifted_x(np.zeros_like(moments.shift_x))
    basis, basis_y = _centring(moments, use_bias)
    n = moments.n
    xy = products if moments.xy is None else moments.xy
    if xy is None:
        raise ValueError("these moments have no X'Y (xy): give its stand-in as products")
    return Standardized(
        n=n,
        xx=moments.xx,
        basis=basis,
        scale_inverse=scale_inverse,
        xy=xy,
        mean_x=moments.shift_x + moments.sum_x / n if use_bias else np.zeros(len(basis)),
        mean_y=moments.shift + moments.sum_y / n if use_bias else np.zeros(len(basis_y)),
        yy=_mean_squares(moments, basis_y),
        groups=moments.groups if use_bias else None,
        basis_y=basis_y,
    )


def _centring(moments: Moments, use_bias: bool) -> tuple[Float64s, Float64s]:
    """U (p, q) and V (t, q)."""
    p, t = len(moments.sum_x), len(moments.sum_y)
    if not use_bias:
        return np.zeros((p, 0)), np.zeros((t, 0))
    if moments.groups is None:
        root = np.sqrt(moments.n)
        return moments.sum_x[:, None] / root, moments.sum_y[:, None] / root
    root = np.sqrt(moments.groups.n)
    basis_y = np.ascontiguousarray(moments.groups.sum_y.T / root)
    return np.ascontiguousarray(moments.groups.sum_x.T / root), basis_y


def _centred_squares(moments: Moments) -> Float64s:
    """n s_j^2 (p,), within groups where there are any; 0 where column j is constant."""
    squares = moments.squares_x.astype(np.float64)
    if moments.groups is None:
        if moments.counted:  # exact integers: n n_jj - n_j^2
            exact = moments.n * moments.squares_x - moments.sum_x**2
            counted: Float64s = exact.astype(np.float64) / moments.n
            return counted
        within = squares - moments.sum_x.astype(np.float64) ** 2 / moments.n
    else:
        within = squares - ((moments.groups.sum_x**2).T / moments.groups.n).sum(axis=1)
    return np.where(within > _NO_VARIANCE * squares, within, 0.0)


def _products_of_means(basis_y: Float64s, basis: Float64s) -> Float64s:
    """V U' (t, p). Its rows are to the bit what they are among other targets: BLAS adds up in an
    order that depends on how many there are."""
    products = np.zeros((len(basis_y), len(basis)))
    columns = np.ascontiguousarray(basis.T)  # (q, p)
    for t, means in enumerate(basis_y):
        for mean, column in zip(means, columns, strict=True):
            products[t] += mean * column
    return products


def _mean_squares(moments: Moments, basis_y: Float64s) -> Float64s:
    yy = (moments.sum_yy - (basis_y**2).sum(axis=1)) / moments.n
    return np.where(yy > _NO_VARIANCE * moments.sum_yy / moments.n, yy, 0.0)


@njit(parallel=True, cache=True)
def fill_gram(xx, basis, scale_inverse, gram):  # type: ignore[no-untyped-def]
    """gram (p, p) <- G, which may be in the memory of ``xx``, entry by entry."""
    p, q = basis.shape
    for i in prange(p):
        e_i = scale_inverse[i]
        for j in range(p):
            mean = 0.0
            for a in range(q):
                mean += basis[i, a] * basis[j, a]
            gram[i, j] = (xx[i, j] - mean) * (e_i * scale_inverse[j])
