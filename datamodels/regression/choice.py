"""The choice of one lambda for each target."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.lambda_path import PathLog
from datamodels.regression.status import Status


class Choice(NamedTuple):
    """The chosen lambda of each target."""

    place: Int64s  # (t,) on the path
    lam: Float64s  # (t,) in the units of y; 0 where none was solved
    val_mse: Float64s  # (t,) validation error there; NaN for a target that was not run
    null_mse: Float64s  # (t,) validation error at the first lambda: penalized weights are zero


def choose(log: PathLog, errors: Float64s, standard_errors: Float64s | None = None) -> Choice:
    """The lambda of the least validation error ``errors`` (k, t).

    With ``standard_errors`` (k, t): the largest lambda whose error is at most one standard error
    above the least (the "1se" rule of Breiman, Friedman, Olshen and Stone, 1984).
    Only lambdas that were solved can be chosen: 0 where there are none.
    """
    known = np.where(np.isnan(errors), np.inf, errors)
    index = known.argmin(axis=0)
    if standard_errors is not None:
        limit = _at(known + standard_errors, index)
        within = known <= limit
        index = np.where(within.any(axis=0), within.argmax(axis=0), index)
    least = _at(errors, index)
    lam = np.where(np.isnan(least), 0.0, _at(log.lam, index))
    return Choice(index, lam, least, errors[0])


def solved_errors(log: PathLog) -> Float64s:
    """Validation errors (k, t), NaN where the lambda was not solved."""
    return np.where(log.status == Status.CONVERGED, log.val_mse, np.nan)


class FoldLog(NamedTuple):
    """The paths of several folds, put together."""

    log: PathLog  # (k, t): means over the folds of errors and non-zeros, largest gap, all sweeps
    val_se: NDArray[np.float64]  # (k, t) standard error of the mean validation error


def combine_folds(logs: list[PathLog]) -> FoldLog:
    """One log of all folds. A lambda counts where every fold solved it: others are NaN."""
    solved = np.stack([log.status for log in logs]) == Status.CONVERGED  # (folds, k, t)
    everywhere = solved.all(axis=0)

    def mean(name: str) -> Float64s:
        stacked = np.stack([getattr(log, name) for log in logs]).astype(np.float64)
        return np.where(everywhere, stacked.mean(axis=0), np.nan)

    errors = np.stack([log.val_mse for log in logs])
    spread = errors.std(axis=0, ddof=1) / np.sqrt(len(logs))
    status = np.stack([log.status for log in logs]).max(axis=0)
    log = PathLog(
        lam=mean("lam"),
        train_mse=mean("train_mse"),
        val_mse=mean("val_mse"),
        gap=np.where(everywhere, np.stack([log.gap for log in logs]).max(axis=0), np.nan),
        weight_nz=np.where(everywhere, np.rint(mean("weight_nz")), -1).astype(np.int32),
        iterations=np.where(
            everywhere, np.sum([log.iterations for log in logs], axis=0), -1
        ).astype(np.int32),
        status=np.where(everywhere, status, np.where(status > 0, status, -1)).astype(np.int8),
    )
    return FoldLog(log, np.where(everywhere, spread, np.nan))


def _at(values: Float64s, index: Int64s) -> Float64s:
    """values[index[t], t] (t,)."""
    taken: Float64s = np.take_along_axis(values, index[None], axis=0)[0]
    return taken
