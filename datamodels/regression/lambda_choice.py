"""From trials to one lambda a target, and a solution near it to start the saved fit from."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodels.regression.baselines import RIDGE_EPS
from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.choice import Choice, choose, combine_folds, solved_errors
from datamodels.regression.engines.contract import BlockPath, Limits
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.journal import Journal, recall
from datamodels.regression.lambda_path import (
    Grid,
    PathLog,
    PathResult,
    as_arrays,
    follow_path,
    from_arrays,
    solutions_at,
    target_blocks,
)
from datamodels.regression.penalty_factors import PenaltyFactors
from datamodels.regression.row_source import Progress
from datamodels.regression.sparse_rows import SparseRows, stack_rows
from datamodels.regression.standardized import Standardized
from datamodels.regression.status import Status
from datamodels.regression.trials import Trial, Trials


@dataclass(frozen=True, eq=False)
class Chosen:
    """One lambda a target, and how it came about."""

    lam: Float64s  # (t,) in the units of y
    warm: SparseRows  # t rows: standardized weights at or near it, in units of rms(y)
    log: PathLog  # (k, t)
    val_se: Float64s | None  # (k, t) with folds
    choice: Choice | None  # None where lambda was given
    constant: NDArray[np.bool_]  # (t,) targets that never change over the rows of the path
    fold_constant: NDArray[np.bool_]  # (t,) others that never change outside one of the folds
    unsolved: NDArray[np.bool_]  # (t,) others that were solved at no lambda


@dataclass(frozen=True, eq=False)
class PathRunner:
    """Follows the paths of all targets, block by block; finished blocks are kept in a journal."""

    trials: Trials
    config: FitConfig
    factors: PenaltyFactors
    n_targets: int
    journal: Journal
    report: Progress

    def held_out(self) -> Chosen:
        """The lambda of the least validation error on the rows held out."""
        grid = self._grid()
        with self.trials.trial(0) as trial:

            def follow(block: slice) -> PathResult:
                path = self._start(trial, block)
                lambdas, units, runs = self._lambdas(trial, block, path, grid)
                return self._follow(trial, block, path, lambdas, units, runs)

            log, warm = self._all_blocks("path", follow)
            constant = trial.problem.yy == 0
        choice = choose(log, solved_errors(log))
        unsolved = (choice.lam == 0) & (log.status[0] != Status.NOT_RUN)
        none = np.zeros_like(constant)
        return Chosen(choice.lam, warm, log, None, choice, constant, none, unsolved)

    def folds(self, n_folds: int) -> Chosen:
        """The lambda of the least mean validation error over folds, or by the 1se rule.

        All folds follow the same lambdas, from the lambda_max of all rows.
        """
        grid = self._grid()
        with self.trials.everything() as trial:
            lambdas = self._whole_grid(trial, grid)
            constant = trial.problem.yy == 0
        logs, somewhere = [], np.zeros_like(constant)
        for fold in range(n_folds):
            with self.trials.trial(fold) as trial:

                def follow(block: slice, trial: Trial = trial) -> PathResult:
                    path, units = self._start(trial, block), self._lambda_units(trial, block)
                    runs = (trial.problem.yy[block] > 0) & (lambdas[0, block] > 0)
                    return self._follow(trial, block, path, lambdas[:, block], units, runs)

                logs.append(self._all_blocks(f"fold {fold + 1} of {n_folds}", follow)[0])
                somewhere |= trial.problem.yy == 0
        together = combine_folds(logs)
        errors = together.log.val_mse
        spread = together.val_se if self.config.rule == "1se" else None
        choice = choose(together.log, errors, spread)
        _, warm, _ = self.solve_at(choice.lam, self.config.tol)
        without = (choice.lam == 0) & (lambdas[0] > 0) & ~constant
        return Chosen(
            lam=choice.lam,
            warm=warm,
            log=together.log,
            val_se=together.val_se,
            choice=choice,
            constant=constant,
            fold_constant=without & somewhere,
            unsolved=without & ~somewhere,
        )

    def given(self, lam: Float64s) -> Chosen:
        """The lambdas (t,) that were asked for."""
        log, warm, problem = self.solve_at(lam, self.config.tol)
        none = np.zeros(self.n_targets, np.bool_)
        return Chosen(lam, warm, log, None, None, problem.yy == 0, none, none)

    def solve_at(
        self, lam: Float64s, tol: float, stage: str = "all rows"
    ) -> tuple[PathLog, SparseRows, Standardized]:
        """Solutions on all rows, down the path to ``lam`` (t,), to a gap of ``tol``."""
        grid = self._grid()
        with self.trials.everything() as trial:

            def follow(block: slice) -> PathResult:
                path, units = self._start(trial, block, tol), self._lambda_units(trial, block)
                largest = self._largest(path, block) * units
                runs = (trial.problem.yy[block] > 0) & (largest > 0) & (lam[block] > 0)
                lambdas = grid.lambdas_down_to(lam[block], np.where(runs, largest, lam[block]))
                return solutions_at(path, lambdas, units, trial.problem.units(block), runs)

            return (*self._all_blocks(stage, follow), trial.problem)

    def _whole_grid(self, trial: Trial, grid: Grid) -> Float64s:
        """Lambdas (k, t) of all targets, in the units of y."""
        parts = []
        for block in target_blocks(self.n_targets, self.block_size):
            largest = self._largest(self._start(trial, block), block)
            parts.append(grid.lambdas(largest * self._lambda_units(trial, block)))
        return np.concatenate(parts, axis=1)

    def _follow(
        self,
        trial: Trial,
        block: slice,
        path: BlockPath,
        lambdas: Float64s,
        units: Float64s,
        runs: NDArray[np.bool_],
    ) -> PathResult:
        assert trial.scorer is not None
        scorer = trial.scorer.block(trial.problem, block)
        rms = trial.problem.units(block)
        return follow_path(path, lambdas, units, rms, runs, scorer, end_early=self.config.end_early)

    def _all_blocks(
        self, stage: str, follow: Callable[[slice], PathResult]
    ) -> tuple[PathLog, SparseRows]:
        """``follow`` each block that the journal does not know."""
        logs, rows = [], []
        for block in target_blocks(self.n_targets, self.block_size):
            step = f"{stage.replace(' ', '_')}_{block.start}"
            result = recall(self.journal, step, from_arrays)
            if result is None:
                result = follow(block)
                self.journal.put(step, as_arrays(result))
            logs.append(result.log)
            rows += list(_rows(result.weights))
            self.report(stage, block.stop, self.n_targets)
        return PathLog.beside(logs), stack_rows(rows)

    @property
    def block_size(self) -> int:
        assert self.config.target_block is not None  # settled by the plan
        return self.config.target_block

    def _start(self, trial: Trial, block: slice, tol: float | None = None) -> BlockPath:
        limits = Limits(tol or self.config.tol, self.config.max_sweeps)
        return trial.engine.block(trial.problem, block, self.factors.block(block), limits)

    def _lambdas(
        self, trial: Trial, block: slice, path: BlockPath, grid: Grid
    ) -> tuple[Float64s, Float64s, NDArray[np.bool_]]:
        """Lambdas (k, t) of a block, their units (t,), and which targets run (t,)."""
        units, largest = self._lambda_units(trial, block), self._largest(path, block)
        return grid.lambdas(largest * units), units, (trial.problem.yy[block] > 0) & (largest > 0)

    def _largest(self, path: BlockPath, block: slice) -> Float64s:
        """lambda_max (t,), and 1 where it is zero but unpenalized features are to be fitted: to
        them any lambda is as good."""
        largest = path.lambda_max()
        unpenalized = (self.factors.block(block) == 0).any(axis=1)  # (t,) or (1,)
        return np.where((largest == 0) & unpenalized, 1.0, largest)

    def _lambda_units(self, trial: Trial, block: slice) -> Float64s:
        """What lambda is measured in: rms(y) (t,), and nothing for the baselines."""
        units = trial.problem.units(block)
        return units if self.config.estimator == "lasso" else np.ones_like(units)

    def _grid(self) -> Grid:
        if self.config.estimator == "difference":
            return Grid(1, 0.5)
        eps = self.config.eps if self.config.estimator == "lasso" else RIDGE_EPS
        return Grid(self.config.k, eps)


def _rows(weights: SparseRows) -> Iterator[tuple[Int64s, Float64s]]:
    for r in range(weights.n_rows):
        yield weights.row(r)
