"""Products with G in float64, from a table of exact counts or from the rows themselves.

Neither forms G (see ``standardized``). With e_j = 1 / (sqrt(n) s_j), 0 for a constant column, and
the sums of the rows' groups in U,

    table:  (G w)_k = e_k ( sum_j xx_kj e_j w_j  -  U_k . sum_j U_j e_j w_j )
    rows:   G w = e X'C X (e w),   C = what centres a column, over all rows or within their groups:

X'C is X' C C, so that only the predictions X (e w), n of them a target, are centred, and X stays
as it is. Any constant by which a whole column of X is shifted is centred away too.
"""

from typing import Protocol

import numpy as np
from numba import njit, prange

from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.design import Design
from datamodels.regression.sparse_rows import SparseRows
from datamodels.regression.standardized import Standardized
from datamodels.regression.support_descent import FAST

_WIDTH = 2048  # features whose gradients stay in the first cache while rows of the table pass by
_TILE = 64  # features, or groups, at a time


class ExactProblem(Protocol):
    """A standardized problem whose G is at hand in float64."""

    @property
    def standardized(self) -> Standardized:
        """What G and the weights refer to."""

    def subtract_product(self, weights: SparseRows, gradients: Float64s) -> None:
        """gradients (r, p) <- gradients - G w, for the r rows of ``weights`` (standardized)."""

    def active_grams(self, active: SparseRows) -> tuple[Float64s, Int64s]:
        """G_AA of the features A of each row of ``active``, its values left aside: all blocks
        (a, a) one after the other, and where each starts (r + 1,)."""


class TableProblem:
    """From a table ``standardized.xx`` of counts or sums."""

    def __init__(self, standardized: Standardized) -> None:
        if standardized.xx is None:
            raise ValueError("these moments have no table xx: use RowProblem with their rows")
        self.standardized = standardized
        self._table = (standardized.xx, standardized.basis, standardized.scale_inverse)

    def subtract_product(self, weights: SparseRows, gradients: Float64s) -> None:
        _subtract_table_product(*self._table, *weights, gradients)

    def active_grams(self, active: SparseRows) -> tuple[Float64s, Int64s]:
        start = _block_starts(active)
        grams = np.empty(start[-1])
        _fill_table_grams(*self._table, active.start, active.feature, start, grams)
        return grams, start


class RowProblem:
    """From rows held in memory; needs no table.

    ``design`` holds the rows that the moments are of, less any shift where there is an intercept;
    without one ``design.shift`` has to be zero, as nothing is centred then. ``groups`` (n,): the
    group 0..q-1 of each row, in the order of ``standardized.groups``, where rows are centred
    within groups.
    """

    def __init__(
        self, standardized: Standardized, design: Design, groups: Int64s | None = None
    ) -> None:
        self.standardized = standardized
        self._design = design
        self._scale = standardized.scale_inverse
        self._group, self._group_size = _grouping(standardized, design, groups)
        self._basis = self._group_sums()

    def _group_sums(self) -> Float64s:
        """U (p, q), of the design as it is shifted."""
        q = len(self._group_size)
        basis = np.zeros((self._design.n_features, q))
        for first in range(0, q, _TILE):
            part = slice(first, min(first + _TILE, q))
            members = self._group[:, None] == np.arange(part.start, part.stop)  # (n, tile)
            root = np.sqrt(np.maximum(1, self._group_size[part]))
            basis[:, part] = self._design.cross(members / root)
        return basis

    def subtract_product(self, weights: SparseRows, gradients: Float64s) -> None:
        scaled = weights._replace(value=weights.value * self._scale[weights.feature])
        columns = np.array(self._design.predictions(scaled).T, np.float64, order="C")  # (n, r)
        if len(self._group_size):
            _centre_columns(columns, self._group, self._group_size)
        _subtract_scaled(self._design.cross(columns), self._scale, gradients)

    def active_grams(self, active: SparseRows) -> tuple[Float64s, Int64s]:
        start = _block_starts(active)
        grams = np.empty(start[-1])
        for r in range(active.n_rows):
            features, _ = active.row(r)
            scale, basis = self._scale[features], self._basis[features]
            gram = self._design.pair_products(features) - basis @ basis.T
            gram *= scale[:, None] * scale
            grams[start[r] : start[r + 1]] = gram.ravel()
        return grams, start


def _grouping(
    standardized: Standardized, design: Design, groups: Int64s | None
) -> tuple[Int64s, Int64s]:
    """Group of each row (n,) and the rows of each group (q,): one group of all rows unless there
    are several, none at all without an intercept."""
    q = standardized.basis.shape[1]
    if design.n_rows != standardized.n:
        raise ValueError(f"the design has {design.n_rows} rows, the moments {standardized.n}")
    if q == 0 and np.any(design.shift):
        raise ValueError("without an intercept the design must not be shifted: shift = 0")
    if (groups is None) != (standardized.groups is None):
        raise ValueError("groups: needed with moments of groups of rows, and only with these")
    if groups is None:
        groups = np.zeros(design.n_rows, np.int64)
    elif len(groups) != design.n_rows or groups.min() < 0 or groups.max() >= q:
        raise ValueError(f"groups: needs {design.n_rows} numbers below {q}, the groups of the fit")
    return groups, np.bincount(groups, minlength=q) if q else np.zeros(0, np.int64)


def _block_starts(active: SparseRows) -> Int64s:
    return np.concatenate([[0], np.cumsum(active.counts() ** 2)])


@njit(parallel=True, cache=True, fastmath=FAST)
def _subtract_table_product(xx, basis, scale, start, feature, value, gradients):  # type: ignore[no-untyped-def]
    """gradients (r, p) -= G w for sparse rows w, one thread a row, four rows of xx at a time."""
    p, q = basis.shape
    for r in prange(len(start) - 1):
        features, weights = feature[start[r] : start[r + 1]], value[start[r] : start[r + 1]].copy()
        inner = np.zeros(q)
        for a in range(len(features)):
            weights[a] *= scale[features[a]]
            for b in range(q):
                inner[b] += basis[features[a], b] * weights[a]
        total = np.empty(_WIDTH)
        for left in range(0, p, _WIDTH):
            width = min(_WIDTH, p - left)
            for k in range(width):
                total[k] = 0.0
                for b in range(q):
                    total[k] -= basis[left + k, b] * inner[b]
            _add_rows(xx, left, width, features, weights, total)
            for k in range(width):
                gradients[r, left + k] -= scale[left + k] * total[k]


@njit(cache=True, fastmath=FAST)
def _add_rows(xx, left, width, features, weights, total):  # type: ignore[no-untyped-def]
    """total[:width] += sum_a weights_a xx[features_a, left:left + width]."""
    size = len(features)
    whole = size - size % 4
    for a in range(0, whole, 4):
        row0 = xx[features[a], left : left + width]
        row1 = xx[features[a + 1], left : left + width]
        row2 = xx[features[a + 2], left : left + width]
        row3 = xx[features[a + 3], left : left + width]
        w0, w1, w2, w3 = weights[a], weights[a + 1], weights[a + 2], weights[a + 3]
        for k in range(width):
            total[k] += w0 * row0[k] + w1 * row1[k] + w2 * row2[k] + w3 * row3[k]
    for a in range(whole, size):
        row0, w0 = xx[features[a], left : left + width], weights[a]
        for k in range(width):
            total[k] += w0 * row0[k]


@njit(parallel=True, cache=True)
def _fill_table_grams(xx, basis, scale, start, feature, gram_start, grams):  # type: ignore[no-untyped-def]
    """Blocks G_AA of each row's features, one thread a row."""
    q = basis.shape[1]
    for r in prange(len(start) - 1):
        active = feature[start[r] : start[r + 1]]
        size = len(active)
        gram = grams[gram_start[r] : gram_start[r + 1]].reshape(size, size)
        for a in range(size):
            i = active[a]
            for b in range(a + 1):
                j = active[b]
                product = np.float64(xx[i, j])
                for m in range(q):
                    product -= basis[i, m] * basis[j, m]
                gram[a, b] = gram[b, a] = product * (scale[i] * scale[j])


@njit(cache=True)
def _centre_columns(columns, group, group_size):  # type: ignore[no-untyped-def]
    """Subtract from each column (n, r) the mean of the rows of its group."""
    n, r = columns.shape
    means = np.zeros((len(group_size), r))
    for i in range(n):
        for t in range(r):
            means[group[i], t] += columns[i, t] / group_size[group[i]]
    for i in range(n):
        for t in range(r):
            columns[i, t] -= means[group[i], t]


@njit(parallel=True, cache=True)
def _subtract_scaled(products, scale, gradients):  # type: ignore[no-untyped-def]
    """gradients (r, p) -= (scale products)', products (p, r): tile by tile, for the caches."""
    p, r = products.shape
    for tile in prange((p + _TILE - 1) // _TILE):
        left, right = tile * _TILE, min((tile + 1) * _TILE, p)
        for t in range(r):
            for k in range(left, right):
                gradients[t, k] -= scale[k] * products[k, t]
