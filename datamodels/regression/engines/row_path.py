"""The path of a block of targets with working sets: what few_rows and screened have in common.

For each target and lambda, the working set is made of the non-zero weights and the features that
the sequential strong rule (Tibshirani et al., JRSS B 2012) lets in,

    |g_j| >= v_j (2 lambda - lambda_before) ;

the engine's ``Descent`` solves on it; residuals of the whole block then give the gradients of all
features in one pass over the rows, and with them the duality gap of the whole problem. Features
with |g_j| > lambda v_j join where that is above the tolerance, and the target is solved again.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.design import Design
from datamodels.regression.engines import row_descent
from datamodels.regression.engines.contract import BlockPath, Limits, Solved
from datamodels.regression.engines.row_problem import RowBlock
from datamodels.regression.sparse_rows import EMPTY_ROW, SparseRows, stack_rows
from datamodels.regression.standardized import Standardized
from datamodels.regression.status import status_of_gap

_INNER = 0.3  # of the tolerance: a working set's own gap, and the next time it is solved again
_LEAST_NEW = 200  # features that may join a working set at once; as many as it has, if more
_STALLED = 0.9  # a gap that is not below this times the last one, nothing having joined, stays
_LEAST_STEEPNESS = float(np.finfo(np.float32).tiny)


class Descent(Protocol):
    """How an engine solves working sets."""

    def descend(
        self, which: Int64s, working: SparseRows, lam: Float64s, tol: Float64s, max_sweeps: Int64s
    ) -> Int64s:
        """Solve targets ``which`` (r,) on their working sets to gaps of tol (r,).

        ``lam``: lambda v_j beside each feature of ``working``, whose values are the weights to
        start from and are overwritten. Returns the sweeps made (r,).
        """


class Standing(NamedTuple):
    """Where each target stands (t,): what its gap at any lambda is made of."""

    rr: Float64s  # r'r/n
    yr: Float64s  # y'r/n
    norm: Float64s  # sum_j v_j |w_j|
    steepest: Float64s  # max_j |g_j| / v_j
    infeasible: Float64s  # sum over v_j = 0 of |g_j| max(1, |w_j|), which is rounding

    def gaps(self, lam: Float64s, which: Int64s) -> Float64s:
        """Duality gaps of targets ``which`` (r,) at ``lam`` (r,); NaN where g is not finite."""
        rr, yr, norm, steepest, infeasible = (values[which] for values in self)
        s = np.minimum(1, np.divide(lam, steepest, out=np.ones_like(lam), where=steepest > lam))
        gap: Float64s = 0.5 * rr + lam * norm - (s * yr - 0.5 * s**2 * rr) + infeasible
        return np.where(np.isfinite(steepest), gap, np.nan)


class RowPath:
    """Paths of the targets of a :class:`RowBlock`, one row of every array a target."""

    def __init__(self, rows: RowBlock, descent: Descent, limits: Limits) -> None:
        t = rows.n_targets
        self.rows = rows
        self.descent = descent
        self.limits = limits
        self.weights: list[tuple[Int64s, Float64s]] = [EMPTY_ROW] * t  # of the penalized features
        self.free_weights = np.zeros((t, len(rows.free)))
        self.standing = Standing(*np.zeros((5, t)))
        self.steepness = np.zeros((t, rows.p), np.float32)  # |g_j| / v_j
        self.peaks = np.zeros((t, -(-rows.p // row_descent.CHUNK)), np.float32)
        self._stand(np.arange(t), stack_rows(self.weights))
        self._lambda_max = self.standing.steepest.copy()
        self.lam = self._lambda_max.copy()

    def lambda_max(self) -> Float64s:
        """Smallest lambda of each target (t,) at which all penalized weights are zero."""
        return self._lambda_max.copy()

    def solve(self, lam: Float64s, which: Int64s) -> Solved:
        """Solve targets ``which`` (r,) of the block at ``lam`` (r,), from where they stand."""
        sweeps = np.zeros(len(which), np.int64)
        gap = self.standing.gaps(lam, which)
        left = np.flatnonzero(gap > self.limits.tol)
        bound = 2 * lam - self.lam[which]
        tol = self.limits.tol
        working = self._weights_of(which[left])
        while len(left):
            tol *= _INNER
            grown, joined = self._grown(which[left], bound[left], working)
            sweeps[left] += self._descend(
                which[left], lam[left], grown, tol, self.limits.max_sweeps - sweeps[left]
            )
            self._stand(which[left], grown)
            before, gap[left] = gap[left], self.standing.gaps(lam[left], which[left])
            stalled = (joined == 0) & ~(gap[left] < _STALLED * before)
            again = np.flatnonzero(
                (gap[left] > self.limits.tol) & ~stalled & (sweeps[left] < self.limits.max_sweeps)
            )
            bound = lam
            working, left = grown.take(again), left[again]
        self.lam[which] = lam
        return self._solved(which, gap, sweeps)

    def _descend(
        self, which: Int64s, lam: Float64s, working: SparseRows, tol: float, max_sweeps: Int64s
    ) -> Int64s:
        of = np.repeat(np.arange(len(which)), working.counts())
        factors = self.rows.factors
        v = factors[which[of] if len(factors) > 1 else 0, working.feature]
        return self.descent.descend(
            which, working, lam[of] * v, np.full(len(which), tol), max_sweeps
        )

    def _stand(self, which: Int64s, working: SparseRows) -> None:
        """Take over the weights of targets ``which``: residuals, gradients of all features."""
        weights = _without_zeros(working)
        residuals = self.rows.residuals(which, weights)
        r, n, free = residuals.values, self.rows.n, self.rows.free
        cross = self.rows.cross(r)
        largest = row_descent.keep_steepness(
            cross, self.rows.scale, self.rows.factors, which, self.steepness, self.peaks
        )  # (chunks, r)
        g_free = np.abs(cross[free].T) * self.rows.scale[free]  # (r, k0)
        infeasible = (g_free * np.maximum(1, np.abs(residuals.free_weights))).sum(axis=1)
        parts = ((r**2).mean(axis=1), (self.rows.y[which] * r).sum(axis=1) / n,
                 self._norms(which, weights), largest.max(axis=0), infeasible)  # fmt: skip
        for all_targets, values in zip(self.standing, parts, strict=True):
            all_targets[which] = values
        self.free_weights[which] = residuals.free_weights
        for a, t in enumerate(which):
            self.weights[int(t)] = weights.row(a)

    def _norms(self, which: Int64s, weights: SparseRows) -> Float64s:
        """sum_j v_j |w_j| (r,)."""
        of = np.repeat(np.arange(len(which)), weights.counts())
        factors = self.rows.factors
        v = factors[which[of] if len(factors) > 1 else 0, weights.feature]
        norms: Float64s = np.bincount(of, v * np.abs(weights.value), len(which)).astype(np.float64)
        return norms

    def _weights_of(self, which: Int64s) -> SparseRows:
        return stack_rows([self.weights[t] for t in which])

    def _grown(
        self, which: Int64s, bound: Float64s, working: SparseRows
    ) -> tuple[SparseRows, Int64s]:
        """Working sets with the features steeper than ``bound`` (r,), the steepest of them where
        they are too many at once; and how many joined (r,)."""
        at_least = np.maximum(bound, _LEAST_STEEPNESS).astype(np.float32)
        known = (self.steepness, self.peaks, which, at_least, *working)
        sizes = (np.zeros(len(which) + 1, np.int64), working.feature[:0], working.value[:0])
        joined = row_descent.merge_working(*known, *sizes) - working.counts()
        most = np.maximum(_LEAST_NEW, working.counts())
        for a in np.flatnonzero(joined > most):
            steepness = self.steepness[which[a]].copy()
            steepness[working.row(int(a))[0]] = 0
            at_least[a] = np.partition(steepness, -most[a])[-most[a]]
        counts = row_descent.merge_working(*known, *sizes)
        start = np.concatenate([[0], np.cumsum(counts)])
        grown = SparseRows(start, np.empty(start[-1], np.int64), np.empty(start[-1]))
        row_descent.merge_working(*known, *grown)
        return grown, counts - working.counts()

    def _solved(self, which: Int64s, gap: Float64s, sweeps: Int64s) -> Solved:
        status = status_of_gap(gap, self.limits.tol)
        weights = self._weights_of(which)
        if len(self.rows.free):
            weights = _with_features(weights, self.rows.free, self.free_weights[which])
        return Solved(weights, gap, sweeps, status, self.standing.rr[which])


def _without_zeros(rows: SparseRows) -> SparseRows:
    held = rows.value != 0
    before = np.concatenate([[0], np.cumsum(held)])
    return SparseRows(before[rows.start], rows.feature[held], rows.value[held])


def _with_features(rows: SparseRows, features: Int64s, values: Float64s) -> SparseRows:
    """``rows`` with ``features`` (k,) of ``values`` (r, k) among theirs."""
    merged = []
    for a in range(rows.n_rows):
        feature, value = rows.row(a)
        feature, value = np.append(feature, features), np.append(value, values[a])
        order = np.argsort(feature)
        merged.append((feature[order], value[order]))
    return stack_rows(merged)


class PartedPath:
    """A block whose targets do not all have the same unpenalized features, as several paths."""

    def __init__(self, parts: list[tuple[Int64s, BlockPath]]) -> None:
        self.parts = parts
        t = sum(len(targets) for targets, _ in parts)
        self.part, self.place = np.empty(t, np.int64), np.empty(t, np.int64)
        for number, (targets, _) in enumerate(parts):
            self.part[targets], self.place[targets] = number, np.arange(len(targets))

    def lambda_max(self) -> Float64s:
        """Smallest lambda of each target (t,) at which all penalized weights are zero."""
        lam = np.empty(len(self.part))
        for targets, path in self.parts:
            lam[targets] = path.lambda_max()
        return lam

    def solve(self, lam: Float64s, which: Int64s) -> Solved:
        """Solve targets ``which`` (r,) of the block at ``lam`` (r,), from where they stand."""
        pieces, order = [], []
        for number, (_, path) in enumerate(self.parts):
            mine = np.flatnonzero(self.part[which] == number)
            if len(mine):
                pieces.append(path.solve(lam[mine], self.place[which[mine]]))
                order.append(mine)
        if not pieces:
            return self.parts[0][1].solve(lam, which)
        back = np.argsort(np.concatenate(order))
        rows = [piece.weights.row(a) for piece in pieces for a in range(piece.weights.n_rows)]
        columns = zip(*(piece[1:] for piece in pieces), strict=True)
        return Solved(
            stack_rows([rows[a] for a in back]), *(np.concatenate(c)[back] for c in columns)
        )


def same_unpenalized(factors: Float64s) -> list[Int64s]:
    """Targets (rows of ``factors``) that have the same unpenalized features."""
    sets: dict[bytes, list[int]] = {}
    for t, row in enumerate(factors):
        sets.setdefault(np.packbits(row == 0).tobytes(), []).append(t)
    return [np.array(targets) for targets in sets.values()]


class WorkingSetEngine(ABC):
    """An engine that works on the rows: ``design``, and the raw outputs (n, t_all) of its rows.

    groups: labels (n,) where rows are centred within groups.
    table_bytes: bound of the tables that an engine holds for its working sets.
    """

    default_table_bytes: ClassVar[int]

    def __init__(
        self,
        design: Design,
        outputs: NDArray[np.floating],
        groups: Int64s | None = None,
        table_bytes: int | None = None,
    ) -> None:
        self.design = design
        self.outputs = outputs
        self.groups = groups
        self.table_bytes = self.default_table_bytes if table_bytes is None else table_bytes

    @abstractmethod
    def descent(self, rows: RowBlock) -> Descent:
        """What solves the working sets of these rows."""

    def block(
        self, problem: Standardized, targets: slice, factors: Float64s, limits: Limits
    ) -> BlockPath:
        """Start the paths of a block of targets: see ``contract.Engine``."""
        numbers = np.arange(problem.n_targets)[targets]
        sets = same_unpenalized(factors)
        if len(sets) == 1:
            return self._path(problem, numbers, factors, limits)
        return PartedPath(
            [(some, self._path(problem, numbers[some], factors[some], limits)) for some in sets]
        )

    def _path(
        self, problem: Standardized, targets: Int64s, factors: Float64s, limits: Limits
    ) -> RowPath:
        rows = RowBlock(self.design, self.outputs, self.groups, problem, targets, factors)
        return RowPath(rows, self.descent(rows), limits)
