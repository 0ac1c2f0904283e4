"""The path of lambdas, followed for a block of targets by whichever engine solves it.

    lambda_i = lambda_max eps^(i/k),  i = 0 .. k-1

lambda_max is the smallest lambda whose solution is all zero (but for unpenalized features), one for
each target.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.engines.contract import BlockPath, Solved
from datamodels.regression.scoring import BlockScorer
from datamodels.regression.sparse_rows import EMPTY_ROW, SparseRows, stack_rows
from datamodels.regression.status import Status

# When a target's path ends before its last lambda: see path_has_turned.
MIN_LAMBDAS = 10
MIN_SINCE_BEST = 3
FALL_SINCE_BEST = 0.5
CLEAR_RISE = 3.0


class Grid(NamedTuple):
    """k lambdas that fall by a constant factor."""

    k: int
    eps: float

    @property
    def factors(self) -> Float64s:
        """lambda_i / lambda_max (k,)."""
        steps: Float64s = self.eps ** (np.arange(self.k) / self.k)
        return steps

    def lambdas(self, lambda_max: Float64s) -> Float64s:
        """Lambdas (k, t) from lambda_max (t,) downwards."""
        return self.factors[:, None] * lambda_max

    def lambdas_down_to(self, lam: Float64s, lambda_max: Float64s) -> Float64s:
        """Lambdas (m, t) at the same spacing from lambda_max (t,), the last of them ``lam`` (t,).

        A target whose ``lam`` is reached stays there.
        """
        ratio = self.eps ** (1 / self.k)
        fall = np.divide(lam, lambda_max, out=np.ones_like(lam), where=lambda_max > lam)
        steps = np.ceil(np.log(fall) / np.log(ratio) - 1e-9)
        m = int(steps.max(initial=0)) + 1
        lambdas = lambda_max * ratio ** np.arange(m)[:, None]
        down: Float64s = np.where(np.arange(m)[:, None] < steps, lambdas, lam)
        return down


def path_has_turned(
    done: int, best: Int64s, weight_nz: Int64s, lambdas: Float64s, rises: Float64s
) -> NDArray[np.bool_]:
    """Whether each target's path may end after its first ``done`` lambdas.

    The public solver ended at the first rise of the validation error, once 10 lambdas were done
    and more than one weight was non-zero; noise then ends many paths too soon. Here all of these
    must hold: 10 lambdas done; more than one weight non-zero at the last of them; no new least
    validation error for 3 lambdas; and since that least one either lambda fell to half or less, or
    the error rose by 3 standard errors of the (paired) difference.

    best (t,) index of the least validation error so far; weight_nz (t,) at the last lambda done;
    lambdas (k, t); rises (t,) of the error at the last lambda over the least, in standard errors.
    """
    last = done - 1
    lambda_best = np.take_along_axis(lambdas, best[None], axis=0)[0]
    halved = lambdas[last] <= FALL_SINCE_BEST * lambda_best
    clearly = halved | (rises >= CLEAR_RISE)  # NaN is not
    turned: NDArray[np.bool_] = (
        (done >= MIN_LAMBDAS) & (weight_nz > 1) & (last - best >= MIN_SINCE_BEST) & clearly
    )
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

    @staticmethod
    def names() -> list[str]:
        """The fields."""
        return [field.name for field in fields(PathLog)]

    @staticmethod
    def beside(logs: "list[PathLog]") -> "PathLog":
        """Logs of several blocks of targets as one; shorter ones are filled up."""
        k = max(len(log.lam) for log in logs)
        whole = PathLog.empty(k, sum(log.lam.shape[1] for log in logs))
        start = 0
        for log in logs:
            stop = start + log.lam.shape[1]
            for name in PathLog.names():
                getattr(whole, name)[: len(log.lam), start:stop] = getattr(log, name)
            start = stop
        return whole


class PathResult(NamedTuple):
    """What following the paths of a block of targets left."""

    log: PathLog  # (k, t)
    weights: SparseRows  # t rows: the best solutions, standardized, in units of rms(y)


def follow_path(
    path: BlockPath,
    lambdas: Float64s,
    units: Float64s,
    rms: Float64s,
    runs: NDArray[np.bool_],
    scorer: BlockScorer,
    *,
    end_early: bool,
) -> PathResult:
    """Solve the targets of one block at ``lambdas`` (k, t), descending.

    units (t,): what lambdas are in, rms(y) of each target where they have its units. Targets where
    ``runs`` (t,) is false are constant, or nothing correlates with them: they are not run. The
    solutions kept are those of the least validation error; a target's path ends where that has
    turned (``end_early``), or where a lambda was not solved.
    """
    state = _BlockState(path, lambdas, units, rms, runs)
    for i in range(len(lambdas)):
        if not len(state.running):
            break
        solved = state.step(i)
        state.score(i, solved, scorer)
        state.drop_ended(i, solved, scorer, end_early)
    return PathResult(state.log, stack_rows(state.best_weights))


def solutions_at(
    path: BlockPath,
    lambdas: Float64s,
    units: Float64s,
    rms: Float64s,
    runs: NDArray[np.bool_],
) -> PathResult:
    """Solve the targets of one block down ``lambdas`` (m, t) and keep the last solutions."""
    state = _BlockState(path, lambdas, units, rms, runs)
    for i in range(len(lambdas)):
        if not len(state.running):
            break
        solved = state.step(i)
        state.keep(solved, np.arange(len(state.running)))
        here = state.running
        arrived = (lambdas[i:, here] == lambdas[i, here]).all(axis=0)
        state.running = here[~arrived & (solved.status == Status.CONVERGED)]
    return PathResult(state.log, stack_rows(state.best_weights))


class _BlockState:
    """All that belongs to the targets of one block, one row or column a target.

    Targets are solved in units of their own root mean square (yy = 1), so that neither float32 nor
    the tolerance knows the scale of y. Rows are never reordered: ``running`` lists the live ones.
    """

    def __init__(
        self,
        path: BlockPath,
        lambdas: Float64s,
        units: Float64s,
        rms: Float64s,
        runs: NDArray[np.bool_],
    ) -> None:
        k, t = lambdas.shape
        self.path = path
        self.lambdas = lambdas
        self.units = units
        self.rms = rms
        self.log = PathLog.empty(k, t)
        self.best_mse = np.full(t, np.inf)
        self.best = np.zeros(t, np.int64)
        self.best_weights: list[tuple[Int64s, Float64s]] = [EMPTY_ROW] * t
        self.running: Int64s = np.flatnonzero(runs)

    def step(self, i: int) -> Solved:
        """Solve the running targets at their i-th lambda, and note it."""
        run, log = self.running, self.log
        solved = self.path.solve(self.lambdas[i, run] / self.units[run], run)
        log.lam[i, run] = self.lambdas[i, run]
        log.train_mse[i, run] = solved.residual * self.rms[run] ** 2
        log.gap[i, run] = solved.gap
        log.weight_nz[i, run] = solved.weights.counts()
        log.iterations[i, run] = solved.iterations
        log.status[i, run] = solved.status
        return solved

    def score(self, i: int, solved: Solved, scorer: BlockScorer) -> None:
        """Validation errors of the running targets, and the best solutions so far."""
        run = self.running
        errors = scorer.mean_square_errors(solved.weights, run)
        self.log.val_mse[i, run] = errors
        better = (errors < self.best_mse[run]) & (solved.status == Status.CONVERGED)
        self.best[run[better]] = i
        self.best_mse[run[better]] = errors[better]
        self.keep(solved, np.flatnonzero(better))
        scorer.remember(np.flatnonzero(better))

    def keep(self, solved: Solved, which: Int64s) -> None:
        """Keep these of the running targets' solutions."""
        for a in which:
            features, values = solved.weights.row(int(a))
            self.best_weights[self.running[a]] = (features.copy(), values.copy())

    def drop_ended(self, i: int, solved: Solved, scorer: BlockScorer, end_early: bool) -> None:
        """Paths end where they turned, and where a lambda was not solved: smaller ones are only
        harder (glmnet ends there too)."""
        run = self.running
        ended = solved.status != Status.CONVERGED
        if end_early:
            nonzero = solved.weights.counts()
            lambdas, rises = self.lambdas[:, run], scorer.rises()
            ended |= path_has_turned(i + 1, self.best[run], nonzero, lambdas, rises)
        self.running = run[~ended]


def target_blocks(n_targets: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` targets."""
    for start in range(0, n_targets, size):
        yield slice(start, min(start + size, n_targets))


def as_arrays(result: PathResult) -> dict[str, NDArray[Any]]:
    """A result as named arrays, for a file."""
    log = {name: getattr(result.log, name) for name in PathLog.names()}
    return log | result.weights.arrays("weights")


def from_arrays(arrays: dict[str, NDArray[Any]]) -> PathResult:
    """The result that :func:`as_arrays` took apart."""
    log = PathLog(**{name: arrays[name] for name in PathLog.names()})
    return PathResult(log, SparseRows.of_arrays(arrays, "weights"))
