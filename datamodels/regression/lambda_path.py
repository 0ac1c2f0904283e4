"""The path of lambdas, and the choice of one of them for each target by held-out rows.

    lambda_i = lambda_max eps^(i/k),  i = 0 .. k-1,  lambda_max = max_j |c_j|

lambda_max is the smallest lambda whose solution is all zero, one for each target. A target's lambda
is the one with the least mean squared error on the validation rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodels.regression import coordinate_descent
from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.standardized import Standardized
from datamodels.regression.status import Status
from datamodels.regression.validation import ValidationRows

# When a target's path ends before its last lambda: see path_has_turned.
MIN_LAMBDAS = 10
MIN_SINCE_BEST = 3
FALL_SINCE_BEST = 0.5


def lambda_grid(lambda_max: Float64s, k: int, eps: float) -> Float64s:
    """Lambdas (k, t) from lambda_max (t,) downwards, in its units (those of y)."""
    steps: Float64s = eps ** (np.arange(k) / k)
    return steps[:, None] * lambda_max


def path_has_turned(
    done: int, best: Int64s, weight_nz: Int64s, lambdas: Float64s
) -> NDArray[np.bool_]:
    """Whether each target's path may end after its first ``done`` lambdas.

    The public solver ended at the first rise of the validation error, once 10 lambdas were done
    and more than one weight was non-zero; noise then ends many paths too soon. Here all of these
    must hold: 10 lambdas done; more than one weight non-zero at the last of them; and no new least
    validation error for 3 lambdas, over which lambda fell to half or less.

    best (t,) index of the least validation error so far, weight_nz (t,) at the last lambda done,
    lambdas (k, t).
    """
    last = done - 1
    lambda_best = np.take_along_axis(lambdas, best[None], axis=0)[0]
    long_ago = (last - best >= MIN_SINCE_BEST) & (lambdas[last] <= FALL_SINCE_BEST * lambda_best)
    turned: NDArray[np.bool_] = (done >= MIN_LAMBDAS) & (weight_nz > 1) & long_ago
    return turned


@dataclass(frozen=True, eq=False)
class PathLog:
    """What happened at each lambda (k, t). After a target's path has ended: NaN, -1 for integers.

    Errors are in the units of y^2, lambda in those of y; gap is relative to the mean of y^2.
    """

    lam: Float64s
    train_mse: Float64s
    val_mse: Float64s
    gap: Float64s
    weight_nz: NDArray[np.int32]
    iterations: NDArray[np.int32]
    status: NDArray[np.int8]

    @staticmethod
    def empty(k: int, n_targets: int) -> "PathLog":
        shape = (k, n_targets)
        return PathLog(
            lam=np.full(shape, np.nan),
            train_mse=np.full(shape, np.nan),
            val_mse=np.full(shape, np.nan),
            gap=np.full(shape, np.nan),
            weight_nz=np.full(shape, -1, np.int32),
            iterations=np.full(shape, -1, np.int32),
            status=np.full(shape, Status.NOT_RUN, np.int8),
        )

    def columns(self, targets: slice) -> "PathLog":
        """Views of some targets' columns."""
        return PathLog(**{name: values[:, targets] for name, values in vars(self).items()})


@dataclass(frozen=True, eq=False)
class Picked:
    """The chosen solutions of a block of targets."""

    lam: Float64s  # (t,) in the units of y
    weights: NDArray[np.float32]  # (t, p) standardized, in units of each target's rms(y)


def follow_path(
    problem: Standardized,
    gram: NDArray[np.float32],
    validation: ValidationRows,
    targets: slice,
    config: FitConfig,
    log: PathLog,
) -> Picked:
    """Solve the targets of one block from lambda_max downwards; ``log`` is filled in (k, t)."""
    state = _BlockState(problem, gram, targets, config)
    outputs = validation.outputs(targets, problem.mean_y[targets])
    for i in range(config.k):
        if not len(state.running):
            break
        state.step(i)
        state.score(i, validation, outputs)
        state.write(i, log)
        state.drop_ended(i)
    return Picked(lam=state.best_lambda(), weights=state.best_weights)


class _BlockState:
    """All that belongs to the targets of one block, one row a target.

    Targets are solved in units of their own root mean square (yy = 1), so that neither float32 nor
    the tolerance knows the scale of y. Rows are never reordered: ``running`` lists the live ones.
    """

    def __init__(
        self,
        problem: Standardized,
        gram: NDArray[np.float32],
        targets: slice,
        config: FitConfig,
    ) -> None:
        self.config = config
        self.gram = gram
        self.diagonal = gram.diagonal().copy()  # side by side, where sweeps read it
        self.rms = np.sqrt(problem.yy[targets])
        varies = self.rms > 0
        unit = np.where(varies, self.rms, 1.0)
        self.c = problem.correlations(targets) / unit[:, None]  # (t, p)
        self.lambdas = lambda_grid(np.abs(self.c).max(axis=1), config.k, config.eps)  # (k, t)
        self.problem = problem
        self.w = np.zeros_like(self.c)
        self.g = self.c.copy()
        self.previous_w = self.w.copy()
        self.previous_g = self.g.copy()
        t = len(unit)
        self.gap = np.zeros(t)
        self.sweeps = np.zeros(t, np.int64)
        self.status = np.full(t, Status.NOT_RUN, np.int64)
        self.weight_nz = np.zeros(t, np.int64)
        self.residual = np.zeros(t)
        self.val_mse = np.full(t, np.nan)
        self.best_mse = np.full(t, np.inf)
        self.best = np.zeros(t, np.int64)
        self.best_weights = np.zeros(self.c.shape, np.float32)
        self.running: Int64s = np.flatnonzero(varies & (self.lambdas[0] > 0))

    def step(self, i: int) -> None:
        """Solve the running targets at lambda i from their solutions at i - 1."""
        # Lambdas fall by a constant factor, so the step of w should too; the first step, from
        # lambda_max where all weights are zero, has nothing to continue.
        ratio = self.config.eps ** (1 / self.config.k)
        coordinate_descent.path_step(
            self.gram, self.diagonal, self.c, self.lambdas[i], ratio,
            self.config.tol, self.config.max_sweeps,
            self.running, self.w, self.g, self.previous_w, self.previous_g,
            self.gap, self.sweeps, self.status, self.weight_nz, self.residual,
        )  # fmt: skip

    def score(self, i: int, validation: ValidationRows, outputs: Float64s) -> None:
        """Validation errors of the running targets, and the best solutions so far."""
        run = self.running
        validation.mean_square_errors(outputs, self.w, self.rms, self.problem, run, self.val_mse)
        better = self.val_mse[run] < self.best_mse[run]
        new = run[better & (self.status[run] == Status.CONVERGED)]
        self.best[new] = i
        self.best_mse[new] = self.val_mse[new]
        self.best_weights[new] = self.w[new]

    def write(self, i: int, log: PathLog) -> None:
        run = self.running
        log.lam[i, run] = self.lambdas[i, run] * self.rms[run]
        log.train_mse[i, run] = self.residual[run] * self.rms[run] ** 2
        log.val_mse[i, run] = self.val_mse[run]
        log.gap[i, run] = self.gap[run]
        log.weight_nz[i, run] = self.weight_nz[run]
        log.iterations[i, run] = self.sweeps[run]
        log.status[i, run] = self.status[run]

    def drop_ended(self, i: int) -> None:
        """Paths end where they turned, and where a lambda was not solved: smaller ones are only
        harder (glmnet ends there too)."""
        run = self.running
        ended = self.status[run] != Status.CONVERGED
        if self.config.end_early:
            ended |= path_has_turned(
                i + 1, self.best[run], self.weight_nz[run], self.lambdas[:, run]
            )
        self.running = run[~ended]

    def best_lambda(self) -> Float64s:
        """Lambda of the least validation error (t,), in the units of y."""
        best: Float64s = np.take_along_axis(self.lambdas, self.best[None], axis=0)[0] * self.rms
        return best
