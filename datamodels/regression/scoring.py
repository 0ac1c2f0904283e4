"""How well the solutions of a path predict rows that were held out.

    mean over held-out rows of (y - mean_y - (x - mean_x) . weight)^2

with the means of the training rows: of the row's group where there are groups, and the grand mean
for a group that no training row belongs to. From the rows themselves, or, where all that is at hand
are their moments, as a quadratic form in these (float64: it cancels in float32).
"""

from typing import Protocol

import numpy as np
from numba import njit, prange

from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.design import Design
from datamodels.regression.moment_sums import Groups, Moments
from datamodels.regression.row_source import Outputs
from datamodels.regression.sparse_rows import SparseRows
from datamodels.regression.standardized import Standardized


class BlockScorer(Protocol):
    """Scores solutions of one block of targets."""

    def mean_square_errors(self, weights: SparseRows, which: Int64s) -> Float64s:
        """Errors (r,), in the units of y^2, of standardized ``weights`` (r rows, in units of each
        target's rms) of the block's targets ``which`` (r,)."""

    def remember(self, places: Int64s) -> None:
        """The solutions at these places of the last call are their targets' best so far."""

    def rises(self) -> Float64s:
        """How clearly each error (r,) of the last call is above that of its target's best: the mean
        over rows of the difference of squared residuals, in its standard errors. NaN where nothing
        tells."""


class Scorer(Protocol):
    """Held-out rows."""

    def block(self, problem: Standardized, targets: slice) -> BlockScorer:
        """A scorer of solutions of ``problem`` for some of its targets."""


def raw_weights(weights: SparseRows, problem: Standardized, units: Float64s) -> SparseRows:
    """Standardized weights, in units (r,) of each row's target, as raw weights."""
    scale = problem.inv_scale[weights.feature] * np.repeat(units, weights.counts())
    return weights._replace(value=weights.value * scale)


class HeldOutRows:
    """Rows kept in memory: masks, outputs (n, t) of all targets, and labels (n,) of groups."""

    def __init__(self, design: Design, outputs: Outputs, groups: Int64s | None) -> None:
        self.design = design
        self.outputs = outputs
        self.groups = groups

    def block(self, problem: Standardized, targets: slice) -> "BlockScorer":
        return _RowsBlock(self, problem, targets)


class _RowsBlock:
    def __init__(self, rows: HeldOutRows, problem: Standardized, targets: slice) -> None:
        self.design, self.problem = rows.design, problem
        self.units = problem.units(targets)
        means_x, means_y, self.place = _training_means(problem, targets, rows.groups)
        self.means_x = means_x - rows.design.shift  # (q, p)
        y = np.asarray(rows.outputs[:, targets], np.float64)
        centre = means_y[0] if self.place is None else means_y[self.place]
        self.y = np.ascontiguousarray((y - centre).T)  # (t, n)
        self.which = np.zeros(0, np.int64)  # (r,) of the last call
        self.squares = np.zeros((0, self.y.shape[1]), np.float32)  # (r, n) residuals^2, last call
        self.best = np.zeros(self.y.shape, np.float32)  # (t, n) of the best solutions

    def mean_square_errors(self, weights: SparseRows, which: Int64s) -> Float64s:
        raw = raw_weights(weights, self.problem, self.units[which])
        residual = self.y[which] - self.design.predictions(raw)
        offset = _products(raw, self.means_x)  # (r, q)
        residual += offset if self.place is None else offset[:, self.place]
        residual *= residual
        self.which, self.squares = which, residual.astype(np.float32)
        errors: Float64s = residual.mean(axis=1)
        return errors

    def remember(self, places: Int64s) -> None:
        self.best[self.which[places]] = self.squares[places]

    def rises(self) -> Float64s:
        ratios: Float64s = _mean_over_error(self.squares, self.best, self.which)
        return ratios


def _training_means(
    problem: Standardized, targets: slice, labels: Int64s | None
) -> tuple[Float64s, Float64s, Int64s | None]:
    """Means of masks (q, p) and outputs (q, t), and which of them each of ``labels`` takes."""
    mean_x, mean_y = problem.mean_x[None], problem.mean_y[None, targets]
    groups = problem.groups
    if groups is None or labels is None:
        return mean_x, mean_y, None
    group_x, group_y = group_means(problem, groups, targets)
    place = np.searchsorted(groups.labels, labels)
    place = np.minimum(place, len(groups.labels) - 1)
    unseen = groups.labels[place] != labels
    return (
        np.concatenate([group_x, mean_x]),
        np.concatenate([group_y, mean_y]),
        np.where(unseen, len(groups.labels), place),
    )


def group_means(problem: Standardized, groups: Groups, targets: slice) -> tuple[Float64s, Float64s]:
    """Means of each group's masks (q, p) and outputs (q, t), in raw units."""
    n, sum_y = groups.n[:, None], groups.sum_y[:, targets]
    shift_x = problem.mean_x - groups.sum_x.sum(axis=0) / problem.n
    shift_y = problem.mean_y[targets] - sum_y.sum(axis=0) / problem.n
    return shift_x + groups.sum_x / n, shift_y + sum_y / n


@njit(parallel=True, cache=True)
def _mean_over_error(squares, best, which):  # type: ignore[no-untyped-def]
    """Mean of squares_r - best_t over its standard error (r,); NaN where they do not differ."""
    r, n = squares.shape
    ratios = np.full(r, np.nan)
    for i in prange(r):
        total, total_of_squares = 0.0, 0.0
        for k in range(n):
            difference = np.float64(squares[i, k]) - best[which[i], k]
            total += difference
            total_of_squares += difference * difference
        mean = total / n
        variance = total_of_squares / n - mean * mean
        if variance > 0 and n > 1:
            ratios[i] = mean / np.sqrt(variance / (n - 1))
    return ratios


@njit(parallel=True, cache=True)
def _sparse_products(start, feature, value, lines):  # type: ignore[no-untyped-def]
    r, q = len(start) - 1, lines.shape[0]
    products = np.zeros((r, q))
    for i in prange(r):
        for a in range(start[i], start[i + 1]):
            for line in range(q):
                products[i, line] += value[a] * lines[line, feature[a]]
    return products


def _products(weights: SparseRows, lines: Float64s) -> Float64s:
    """weights . lines (r, q) for dense lines (q, p)."""
    products: Float64s = _sparse_products(*weights, lines)
    return products


class HeldOutMoments:
    """The moments, with their table of pairs, of rows that are not at hand themselves."""

    def __init__(self, moments: Moments) -> None:
        self.moments = moments

    def block(self, problem: Standardized, targets: slice) -> "BlockScorer":
        return _MomentsBlock(self.moments.targets(targets), problem, targets)


class _MomentsBlock:
    """With x' = x - shift_x, y' = y - shift and a = (shift - mean_y) - (shift_x - mean_x) . w,

    sum (y' - x'.w + a)^2 = sum y'^2 - 2 w . X'y' + w' X'X w + sum_g 2 a_g s_g + n_g a_g^2,
    s_g = sum of y' - x'.w over the rows of group g
    """

    def __init__(self, moments: Moments, problem: Standardized, targets: slice) -> None:
        self.moments, self.problem = moments, problem
        self.units = problem.units(targets)
        groups = moments.groups
        labels = groups.labels if groups else None
        means_x, means_y, place = _training_means(problem, targets, labels)
        self.n, self.sum_x, self.sum_y = _group_sums(moments, place is not None)
        if place is not None:
            means_x, means_y = means_x[place], means_y[place]
        self.dx = moments.shift_x - means_x  # (q, p)
        self.dy = moments.shift - means_y  # (q, t)
        self.n_last = 0

    def mean_square_errors(self, weights: SparseRows, which: Int64s) -> Float64s:
        raw, m = raw_weights(weights, self.problem, self.units[which]), self.moments
        total = m.sum_yy[which] + _quadratic_forms(*raw, m.xx, m.xy, which)
        a = self.dy[:, which].T - _products(raw, self.dx)  # (r, q)
        s = self.sum_y[:, which].T - _products(raw, self.sum_x)
        errors: Float64s = (total + (2 * a * s + self.n * a**2).sum(axis=1)) / m.n
        self.n_last = len(which)
        return errors

    def remember(self, places: Int64s) -> None:
        """Sums of rows tell nothing of their spread."""

    def rises(self) -> Float64s:
        return np.full(self.n_last, np.nan)


def _group_sums(moments: Moments, by_group: bool) -> tuple[Float64s, Float64s, Float64s]:
    """n (q,), sum of x' (q, p), sum of y' (q, t): of each group, or of all rows as one."""
    groups = moments.groups
    if groups is not None and by_group:
        return groups.n.astype(np.float64), groups.sum_x.astype(np.float64), groups.sum_y
    n = np.array([moments.n], np.float64)
    return n, moments.sum_x[None].astype(np.float64), moments.sum_y[None]


@njit(parallel=True, cache=True)
def _quadratic_forms(start, feature, value, xx, xy, which):  # type: ignore[no-untyped-def]
    """w' X'X w - 2 w . X'y (r,) for sparse w."""
    forms = np.zeros(len(which))
    for r in prange(len(which)):
        for a in range(start[r], start[r + 1]):
            row, part = xx[feature[a]], -2.0 * xy[feature[a], which[r]]
            for b in range(start[r], start[r + 1]):
                part += value[b] * row[feature[b]]
            forms[r] += value[a] * part
    return forms
