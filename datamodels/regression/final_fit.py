"""The fit that is saved: one lambda, all rows, certified in float64.

A gap of 1e-4 is enough to choose lambda and leaves errors near 1e-2 in the weights, so the saved
fit goes to 1e-7, which float32 sums cannot certify. Each round solves the problem of a target's
active features in float64 from exact products of columns, rounds the weights to the float32 that
is saved, and evaluates the gradient of all features and the duality gap of just those rounded
weights; features outside that violate their bound join the next round.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from datamodels.regression import exact_descent
from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.exact_problem import ExactProblem
from datamodels.regression.sparse_rows import SparseRows, stack_rows
from datamodels.regression.status import Status

# The active features are solved to this share of the tolerance: the rest of it is left to the
# features outside and to rounding. A round that was not enough shrinks it further.
_FIRST_SHARE = 0.3
_NEXT_SHARE = 0.1
_LEAST_SHARE = 1e-3
# At most so many features that violate their bound join in a round, or as many as have weights: a
# poor start has violators by the thousand. While some wait, a share of the gap is close enough.
_LEAST_ROOM = 256
_SHARE_OF_GAP = 0.1
_MAX_ROUNDS = 20

_DENSE_BYTES = 1 << 27  # rows of p float64 held at a time
_DENSE_ROWS = 4  # c, g, and what they are formed of
_GRAM_BYTES = 1 << 28  # blocks of G held at a time, unless a single one is larger


@dataclass(frozen=True, eq=False)
class FinalFit:
    """The saved fit of some targets, in raw units: mask . weight + bias predicts the output."""

    weights: SparseRows  # t rows, float32 numbers
    bias: NDArray[np.float32]  # (t,)
    lam: Float64s  # (t,) in the units of y
    gap: Float64s  # (t,) of the saved weights, in float64, relative to the mean of y^2
    train_mse: Float64s  # (t,)
    weight_nz: NDArray[np.int32]  # (t,)
    iterations: NDArray[np.int32]  # (t,) sweeps over the active features
    status: NDArray[np.int8]  # (t,)


def refit(
    problem: ExactProblem,
    targets: slice,
    lam: Float64s,
    warm: SparseRows,
    factors: Float64s,
    tol: float,
    max_sweeps: int,
) -> FinalFit:
    """Fit ``targets`` at ``lam`` (t,) to a relative gap of ``tol``.

    ``warm``: t rows of standardized weights to start from, in units of each target's rms(y).
    ``factors`` (1, p) or (t, p): penalty factors, 0 for unpenalized features, infinity for those
    left out. A target with lam = 0 was constant over the training rows: its weights stay zero.
    """
    first, last, _ = targets.indices(problem.standardized.n_targets)
    step = max(1, _DENSE_BYTES // (8 * _DENSE_ROWS * max(1, problem.standardized.n_features)))
    parts = []
    for begin in range(0, max(1, last - first), step):
        part = slice(begin, min(begin + step, last - first))
        state = _RefitState(
            problem,
            slice(first + part.start, first + part.stop),
            lam[part],
            warm.take(np.arange(part.start, part.stop)),
            factors[part] if len(factors) > 1 else factors,
            max_sweeps,
        )
        parts.append(_run(state, tol))
    return joined(parts)


def _run(state: "_RefitState", tol: float) -> FinalFit:
    state.certify(tol)
    for _ in range(_MAX_ROUNDS):
        if not len(state.running):
            break
        state.solve(tol)
        state.certify(tol)
    state.give_up()
    return state.finish()


class _RefitState:
    """All that belongs to the targets of one block, one row a target, in units of their rms(y)."""

    def __init__(
        self,
        problem: ExactProblem,
        targets: slice,
        lam: Float64s,
        warm: SparseRows,
        factors: Float64s,
        max_sweeps: int,
    ) -> None:
        self.problem = problem
        self.max_sweeps = max_sweeps
        self.factors = np.require(factors, np.float64, ["C", "W"])  # one type for numba
        standardized = problem.standardized
        self.inv_scale = standardized.inv_scale
        self.mean_x, self.mean_y = standardized.mean_x, standardized.mean_y[targets]
        self.yy = standardized.yy[targets]
        fitted = (self.yy > 0) & (lam > 0)
        self.rms = np.where(fitted, standardized.units(targets), 1.0)
        self.raw_lam = lam
        self.lam = lam / self.rms
        self.c = standardized.unit_correlations(targets)
        t = len(self.rms)
        self.gap = np.zeros(t)
        self.residual = np.ones(t)  # r'r/n
        self.excess = np.zeros(t)  # r'r/n of the weights minus that of the dual's
        self.sweeps = np.zeros(t, np.int64)
        self.share = np.full(t, _FIRST_SHARE)
        self.complete = np.zeros(t, np.bool_)  # whether all violators are active
        self.status = np.where(fitted, Status.FLOAT32_LIMIT, Status.CONVERGED)
        self.running: Int64s = np.flatnonzero(fitted)
        # Rows of the targets that run: as saved, and with the unpenalized weights unrounded
        self.weights = self._as_saved(warm)
        self.dual = self.weights.value
        # Rows of the targets that ended, by target
        self.ended = dict.fromkeys(range(t), (np.zeros(0, np.int64), np.zeros(0)))

    def _as_saved(self, warm: SparseRows) -> SparseRows:
        """Start of the running targets: weights that float32 raw weights stand for."""
        rows = []
        for t in self.running:
            feature, value = warm.row(t)
            scale = self.inv_scale[feature] * self.rms[t]
            factors = self.factors[t if len(self.factors) > 1 else 0, feature]
            with np.errstate(over="ignore"):  # non-finite is a status
                raw = (value * scale).astype(np.float32)
            kept = (raw != 0) & np.isfinite(factors)
            rows.append((feature[kept], raw[kept] / scale[kept]))
        return stack_rows(rows)

    def solve(self, tol: float) -> None:
        """Solve the running targets on their active features, and round the weights."""
        aims = np.maximum(self.share * tol, np.where(self.complete, 0, _SHARE_OF_GAP * self.gap))
        self.share[self.complete] *= _NEXT_SHARE
        self.share = np.maximum(self.share, _LEAST_SHARE)
        self.dual = np.zeros_like(self.weights.value)
        for first, last in _portions(self.weights.counts() ** 2 * 8, _GRAM_BYTES):
            part = slice(self.weights.start[first], self.weights.start[last])
            active = SparseRows(
                self.weights.start[first : last + 1] - self.weights.start[first],
                self.weights.feature[part],
                self.weights.value[part],
            )
            grams, gram_start = self.problem.active_grams(active)
            exact_descent.solve_active(
                grams, gram_start, active.start, active.feature, self.running[first:last],
                self.c, self.lam, self.factors, self.inv_scale, self.rms, aims, self.max_sweeps,
                active.value, self.dual[part], self.excess, self.sweeps,
            )  # fmt: skip

    def certify(self, tol: float) -> None:
        """Evaluate all gradients and gaps; targets that reached ``tol`` or the limit stop."""
        run = self.running
        start, feature, value = self.weights
        g = self.c[run]
        self.problem.subtract_product(SparseRows(start, feature, self.dual), g)
        exact_descent.certify(
            run, self.c, g, self.lam, self.factors, start, feature, value,
            self.dual, self.excess, self.gap, self.residual,
        )  # fmt: skip
        gap = self.gap[run]
        self.status[run[self.sweeps[run] >= self.max_sweeps]] = Status.ITERATION_LIMIT
        self.status[run[gap <= tol]] = Status.CONVERGED
        self.status[run[~np.isfinite(gap)]] = Status.NON_FINITE
        going_on = self.status[run] == Status.FLOAT32_LIMIT
        active = []
        for a, t in enumerate(run):
            self.ended[t] = self.weights.row(a)
            if going_on[a]:
                active.append(self._active(t, g[a], *self.weights.row(a)))
        self.running = run[going_on]
        self.weights = stack_rows(active)

    def give_up(self) -> None:
        """End the targets that still run: FLOAT32_LIMIT where the rounding of the weights is all
        that is left, every violator active and these solved to the least share of the tolerance."""
        run = self.running
        unsolved = ~self.complete[run] | (self.share[run] > _LEAST_SHARE)
        self.status[run[unsolved]] = Status.ITERATION_LIMIT

    def _active(
        self, t: int, gradient: Float64s, feature: Int64s, value: Float64s
    ) -> tuple[Int64s, Float64s]:
        """Features of target t that have a weight, no penalty or one of the worst violations of
        their bound, |g_j| <= lambda v_j; and their weights, zeros among them."""
        factors = self.factors[t if len(self.factors) > 1 else 0]
        bound = self.lam[t] * factors
        is_free = (factors == 0) & (self.inv_scale > 0)
        violates = (np.abs(gradient) > bound) & (factors > 0)  # never true of a constant column
        feature, value = feature[value != 0], value[value != 0]
        violates[feature] = False
        violators = np.flatnonzero(violates)
        room = max(_LEAST_ROOM, len(feature))
        self.complete[t] = len(violators) <= room
        if not self.complete[t]:
            excess = np.abs(gradient[violators]) / bound[violators]
            violators = violators[np.argpartition(excess, -room)[-room:]]
        active = np.unique(np.concatenate([feature, violators, np.flatnonzero(is_free)]))
        weights = np.zeros(len(active))
        weights[np.searchsorted(active, feature)] = value
        return active, weights

    def finish(self) -> FinalFit:
        rows = []
        bias = np.zeros(len(self.rms), np.float32)
        with np.errstate(invalid="ignore", over="ignore"):  # non-finite is a status
            for t in self.ended:
                feature, raw, bias[t] = self._raw(t)
                rows.append((feature, raw))
        weights = stack_rows(rows)
        return FinalFit(
            weights=weights,
            bias=bias,
            lam=self.raw_lam,
            gap=self.gap,
            train_mse=self.residual * self.yy,
            weight_nz=weights.counts().astype(np.int32),
            iterations=self.sweeps.astype(np.int32),
            status=self.status.astype(np.int8),
        )

    def _raw(self, t: int) -> tuple[Int64s, Float64s, np.float32]:
        """Features, raw weights and bias of target t; no weights where something is not finite."""
        feature, value = self.ended[t]
        raw = (value * self.inv_scale[feature] * self.rms[t]).astype(np.float32)
        kept = raw != 0
        feature, weight = feature[kept], raw[kept].astype(np.float64)
        bias = np.float32(self.mean_y[t] - weight @ self.mean_x[feature])
        if np.isfinite(bias) and self.status[t] != Status.NON_FINITE:
            return feature, weight, bias
        self.status[t] = Status.NON_FINITE
        self.gap[t] = self.residual[t] = np.nan  # of weights that are not saved
        mean = np.float32(self.mean_y[t])
        return feature[:0], weight[:0], mean if np.isfinite(mean) else np.float32(0)


def _portions(sizes: Int64s, limit: int) -> Iterator[tuple[int, int]]:
    """Consecutive (first, last) of a total size of at most ``limit``, one at least in each."""
    first, total = 0, 0
    for i, size in enumerate(sizes):
        if i > first and total + size > limit:
            yield first, i
            first, total = i, 0
        total += int(size)
    if len(sizes):
        yield first, len(sizes)


def joined(parts: list[FinalFit]) -> FinalFit:
    """The fits of consecutive targets as one."""
    values = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(FinalFit)
        if field.name != "weights"
    }
    rows = [part.weights.row(r) for part in parts for r in range(part.weights.n_rows)]
    return FinalFit(weights=stack_rows(rows), **values)
