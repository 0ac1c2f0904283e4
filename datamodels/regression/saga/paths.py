"""Where each target is on its path: its lambda, its best one so far, and the log."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import DatamodelsError, UsageError
from datamodels.files import new_file, refuse_existing
from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.logs import Fields
from datamodels.regression.status import Status

Flags = NDArray[np.bool_]

FIELDS = ("lambda", "train_mse", "val_mse", "weight_nz", "epochs", "status")


@dataclass(frozen=True)
class PathRules:
    """When a lambda counts as solved, and when a path ends."""

    lam_decay: float  # lambda_i = start lam_decay^i
    num_lambdas: int
    early_stop_freq: int  # passes between two looks at the weights
    early_stop_eps: float  # in the units of y^2
    min_lams_to_try: int
    max_epochs: int  # at each lambda

    def __post_init__(self) -> None:
        if not 0 < self.lam_decay <= 1:
            raise UsageError(f"lam_decay={self.lam_decay}; it must be above 0 and at most 1")
        if not self.early_stop_eps > 0:
            raise UsageError(f"early_stop_eps={self.early_stop_eps}; it must be above 0")
        for name in ("num_lambdas", "early_stop_freq", "max_epochs"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True, eq=False)
class Solution:
    """How some targets (s,) came out at the lambda that each of them is at."""

    status: Int64s
    train_mse: Float64s  # in the units of y^2
    val_mse: Float64s
    weight_nz: Int64s


class TargetPaths:
    """One entry a target (t,), live or ended; entries never move."""

    def __init__(self, start_lams: Float64s, varies: Flags, rules: PathRules) -> None:
        t = len(start_lams)
        self.rules = rules
        self.lam = start_lams.copy()  # (t,) in the units of y
        self.varies = varies
        self.done = np.zeros(t, np.int64)  # lambdas
        self.epochs = np.zeros(t, np.int64)  # passes at this lambda
        self.ended = np.zeros(t, np.bool_)
        self.last_mse = np.full(t, np.inf)
        self.best_mse = np.full(t, np.inf)
        self.best_lam = np.full(t, np.nan)
        self.log = _empty_log((rules.num_lambdas, t))

    def settled(self, targets: Int64s, change: Float64s) -> Int64s:
        """Status of live targets (a,) given their largest squared change of a weight, in the units
        of y^2; NOT_RUN for those that need more passes."""
        status = np.full(len(targets), Status.NOT_RUN, np.int64)
        status[self.epochs[targets] >= self.rules.max_epochs] = Status.ITERATION_LIMIT
        # A constant target is solved by zero weights, whatever lambda.
        status[(change < self.rules.early_stop_eps) | ~self.varies[targets]] = Status.CONVERGED
        status[~np.isfinite(change)] = Status.NON_FINITE
        status[self.ended[targets]] = Status.NOT_RUN
        return status

    def record(self, targets: Int64s, solution: Solution) -> Flags:
        """Log what came out, move on or end, and say which targets (s,) have a new best."""
        converged = solution.status == Status.CONVERGED
        better: Flags = converged & (solution.val_mse < self.best_mse[targets])
        self._write(targets, solution)
        self.best_mse[targets[better]] = solution.val_mse[better]
        self.best_lam[targets[better]] = self.lam[targets[better]]
        rises = solution.val_mse > self.last_mse[targets]
        self.done[targets] += 1
        done = self.done[targets]
        turned = rises & (done >= self.rules.min_lams_to_try) & (solution.weight_nz > 1)
        # After a lambda that was not solved, smaller ones are only harder (glmnet ends there too).
        last = done == self.rules.num_lambdas
        self.ended[targets] = ~converged | turned | last | ~self.varies[targets]
        self.last_mse[targets] = solution.val_mse
        self.lam[targets] *= self.rules.lam_decay
        self.epochs[targets] = 0
        return better

    def _write(self, targets: Int64s, solution: Solution) -> None:
        place = (self.done[targets], targets)
        values = {"lambda": self.lam[targets], "epochs": self.epochs[targets], **vars(solution)}
        for name in FIELDS:
            self.log[name][place] = values[name]


def _empty_log(shape: tuple[int, int]) -> Fields:
    """Fields (num_lambdas, t): NaN, and -1 for integers, where a path had ended before."""
    floats = {name: np.full(shape, np.nan) for name in ("lambda", "train_mse", "val_mse")}
    counts = {name: np.full(shape, -1, np.int32) for name in ("weight_nz", "epochs")}
    return {**floats, **counts, "status": np.full(shape, Status.NOT_RUN, np.int8)}


def log_files(logdir: str | os.PathLike[str]) -> dict[str, Path]:
    """The file of each field, in a folder that is made now rather than after hours of training.

    ExistsError where a file is there already, DatamodelsError where no folder can be.
    """
    files = {name: Path(logdir) / f"{name}.npy" for name in FIELDS}
    for file in files.values():
        refuse_existing(file)
    try:
        Path(logdir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatamodelsError(f"cannot make the folder {logdir}: {error.strerror}") from error
    return files


def write_log(files: dict[str, Path], log: Fields) -> None:
    """One ``.npy`` file a field, (num_lambdas, n_targets)."""
    for name, file in files.items():
        with new_file(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, log[name])
