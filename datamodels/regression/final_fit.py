"""The fit that is saved: one lambda, all rows, certified in float64.

A gap of 1e-4 is enough to choose lambda and leaves errors near 1e-2 in the weights, so the saved
fit goes to 1e-7, which float32 sums cannot certify. Each round solves the problem of a target's
active features in float64 from the exact counts, rounds the weights to the float32 that is saved,
and evaluates the gradient of all features and the duality gap of just those rounded weights;
features outside that violate their bound join the next round.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodels.regression import coordinate_descent
from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.standardized import Standardized
from datamodels.regression.status import Status

# The active features are solved to this share of the tolerance: the rest of it is left to the
# features outside and to rounding. A round that changes little shrinks it further.
_FIRST_SHARE = 0.3
_NEXT_SHARE = 0.1
_LEAST_SHARE = 1e-3
_MAX_ROUNDS = 20


@dataclass(frozen=True, eq=False)
class FinalFit:
    """The saved fit of some targets, in raw units: mask . weight + bias predicts the output."""

    weight: NDArray[np.float32]  # (t, p)
    bias: NDArray[np.float32]  # (t,)
    lam: Float64s  # (t,) in the units of y
    gap: Float64s  # (t,) of the saved weights, in float64, relative to the mean of y^2
    train_mse: Float64s  # (t,)
    weight_nz: NDArray[np.int32]  # (t,)
    iterations: NDArray[np.int32]  # (t,) sweeps over the active features
    status: NDArray[np.int8]  # (t,)


def refit(
    problem: Standardized,
    targets: slice,
    lam: Float64s,
    warm: NDArray[np.float32],
    tol: float,
    max_sweeps: int,
) -> FinalFit:
    """Fit ``targets`` at ``lam`` (t,) to a relative gap of ``tol``.

    ``warm`` (t, p): standardized weights to start from, in units of each target's rms(y). A target
    with lam = 0 was constant over the training rows: its weights stay zero.
    """
    state = _RefitState(problem, targets, lam, warm, max_sweeps)
    share = _FIRST_SHARE
    state.certify(tol)
    for _ in range(_MAX_ROUNDS):
        if not len(state.running):
            break
        state.solve(share * tol)
        state.certify(tol)
        share = max(share * _NEXT_SHARE, _LEAST_SHARE)
    return state.finish()  # targets that are still running stay FLOAT32_LIMIT


class _RefitState:
    """All that belongs to the targets of one block, one row a target, in units of their rms(y)."""

    def __init__(
        self,
        problem: Standardized,
        targets: slice,
        lam: Float64s,
        warm: NDArray[np.float32],
        max_sweeps: int,
    ) -> None:
        self.problem = problem
        self.max_sweeps = max_sweeps
        self.table = (problem.xx, problem.m, problem.table_n, problem.inv_d)
        self.mean_y = problem.mean_y[targets]
        self.rms = np.sqrt(problem.yy[targets])
        self.raw_lam = lam
        fitted = (self.rms > 0) & (lam > 0)
        unit = np.where(fitted, self.rms, 1.0)
        self.scale = problem.inv_scale * unit[:, None]  # (t, p) raw weight / standardized weight
        self.lam = lam / unit
        self.c = problem.correlations(targets) / unit[:, None]
        self.w = self._as_saved(np.where(fitted[:, None], warm.astype(np.float64), 0.0))
        self.g = np.zeros_like(self.c)
        t = len(unit)
        self.gap = np.zeros(t)
        self.residual = np.ones(t)
        self.weight_nz = np.zeros(t, np.int64)
        self.sweeps = np.zeros(t, np.int64)
        self.status = np.where(fitted, Status.FLOAT32_LIMIT, Status.CONVERGED)
        self.running: Int64s = np.flatnonzero(fitted)

    def _as_saved(self, w: Float64s) -> Float64s:
        """The standardized weights that float32 raw weights stand for."""
        raw = (w * self.scale).astype(np.float32)
        saved = np.zeros_like(w)
        np.divide(raw, self.scale, out=saved, where=self.scale > 0)
        return saved

    def solve(self, tol: float) -> None:
        """Solve the running targets on their active features, and round the weights."""
        coordinate_descent.solve_active(
            *self.table, self.scale, self.c, self.lam, tol, self.max_sweeps,
            self.running, self.w, self.g, self.sweeps,
        )  # fmt: skip

    def certify(self, tol: float) -> None:
        """Evaluate all gradients and gaps; targets that reached ``tol`` or the limit stop."""
        run = self.running
        coordinate_descent.exact_gaps(
            *self.table, self.c, self.lam, run,
            self.w, self.g, self.gap, self.weight_nz, self.residual,
        )  # fmt: skip
        gap = self.gap[run]
        self.status[run[self.sweeps[run] >= self.max_sweeps]] = Status.ITERATION_LIMIT
        self.status[run[gap <= tol]] = Status.CONVERGED
        self.status[run[~np.isfinite(gap)]] = Status.NON_FINITE
        self.running = run[self.status[run] == Status.FLOAT32_LIMIT]

    def finish(self) -> FinalFit:
        raw = self.w * self.scale
        with np.errstate(invalid="ignore", over="ignore"):  # non-finite is a status
            bias = (self.mean_y - raw @ self.problem.mean_x).astype(np.float32)
        return FinalFit(
            weight=raw.astype(np.float32),
            bias=bias,
            lam=self.raw_lam,
            gap=self.gap,
            train_mse=self.residual * self.rms**2,
            weight_nz=self.weight_nz.astype(np.int32),
            iterations=self.sweeps.astype(np.int32),
            status=self.status.astype(np.int8),
        )
