"""Fit datamodels: rows in, one sparse linear model a target out.

The path of lambdas is solved on the training rows, the validation rows choose one lambda for each
target, and the saved fit is made at that lambda on all rows (see ``lambda_path``, ``final_fit``).
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from datamodels.errors import UsageError
from datamodels.regression.blocks import Int64s, read_blocks
from datamodels.regression.final_fit import FinalFit, refit
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.lambda_path import PathLog, follow_path
from datamodels.regression.logs import Fields, write_logs
from datamodels.regression.memory import check_memory
from datamodels.regression.moments import MomentAccumulator, Moments
from datamodels.regression.result import Datamodels
from datamodels.regression.row_source import Progress, RowSource, silent
from datamodels.regression.standardized import Standardized, standardize
from datamodels.regression.status import Status
from datamodels.regression.validation import ValidationRows


@dataclass(frozen=True, eq=False)
class FitResult:
    """What a fit leaves: the datamodels and the log of how they came about."""

    datamodels: Datamodels
    path: Fields  # (k, n_targets) each; fields as in ``logs``
    final: Fields  # (n_targets,) each

    @property
    def validation_r2(self) -> NDArray[np.float64]:
        """1 - (validation MSE at the picked lambda) / (that of the training mean), (n_targets,).

        The path begins with all weights zero, that is, with the training mean. NaN for a target
        that is constant over the training or the validation rows.
        """
        mse = self.path["val_mse"]
        # Only a lambda that was solved can be picked.
        picked = np.fmin.reduce(
            np.where(self.path["status"] == Status.CONVERGED, mse, np.nan), axis=0
        )
        share: NDArray[np.float64] = np.full(len(picked), np.nan)
        np.divide(picked, mse[0], out=share, where=mse[0] > 0)
        return 1 - share


def save_logs(out_dir: str | os.PathLike[str], result: FitResult) -> None:
    """Write the log of a fit into the existing folder ``out_dir`` (layout: see ``logs``)."""
    write_logs(out_dir, result.path, result.final)


def fit_datamodels(
    source: RowSource,
    train_rows: Int64s,
    val_rows: Int64s,
    config: FitConfig,
    *,
    targets: slice = slice(None),
    progress: Progress = silent,
) -> FitResult:
    """Fit a datamodel for each of ``targets``, lambda chosen on ``val_rows``.

    The order of the rows does not matter. Mask columns and targets that never change are warnings;
    NaN or infinity in either is an InputError.
    """
    train_rows, val_rows = np.sort(train_rows), np.sort(val_rows)
    _check_rows(train_rows, val_rows, source.n_rows)
    targets = _checked_targets(targets, source.n_targets)
    check_memory(source, targets.stop - targets.start)
    with _threads(config.threads):
        train, val, validation = _read(source, train_rows, val_rows, targets, config, progress)
        problem = standardize(train, config.use_bias)
        _warn_constant("target", problem.yy == 0, targets.start, len(train_rows))
        log, lam, warm = _choose_lambdas(problem, validation, config, progress)
        everything = standardize(train + val, config.use_bias)
        del train, val, problem
        _warn_constant("mask column", everything.inv_d == 0, 0, everything.n)
        final = _fit_final(everything, lam, warm, config, progress)
    return _result(final, log)


def _read(
    source: RowSource,
    train_rows: Int64s,
    val_rows: Int64s,
    targets: slice,
    config: FitConfig,
    report: Progress,
) -> tuple[Moments, Moments, ValidationRows]:
    """One pass over the rows: moments of both parts, and the validation rows themselves."""
    n_targets = targets.stop - targets.start
    train = MomentAccumulator(source.n_features, n_targets)
    val = MomentAccumulator(source.n_features, n_targets)
    validation = ValidationRows(len(val_rows), source.n_features, source.mask_dtype)
    total, done = len(train_rows) + len(val_rows), 0
    for rows, moments in ((train_rows, train), (val_rows, val)):
        for block in read_blocks(
            source,
            rows,
            targets=targets,
            block_bytes=config.block_bytes,
            max_rows=config.batch_size,
        ):
            moments.add(block)
            if moments is val:
                validation.add(block)
            done += len(block.masks)
            report("rows", done, total)
    return train.finish(), val.finish(), validation


def _choose_lambdas(
    problem: Standardized, validation: ValidationRows, config: FitConfig, report: Progress
) -> tuple[PathLog, NDArray[np.float64], NDArray[np.float32]]:
    """Path log (k, t), chosen lambda (t,), and its standardized weights (t, p)."""
    n_targets, n_features = len(problem.yy), len(problem.inv_d)
    log = PathLog.empty(config.k, n_targets)
    lam = np.zeros(n_targets)
    warm = np.zeros((n_targets, n_features), np.float32)
    gram = problem.gram()
    for block in _blocks(n_targets, config.target_block):
        picked = follow_path(problem, gram, validation, block, config, log.columns(block))
        lam[block], warm[block] = picked.lam, picked.weights
        report("path", block.stop, n_targets)
    return log, lam, warm


def _fit_final(
    problem: Standardized,
    lam: NDArray[np.float64],
    warm: NDArray[np.float32],
    config: FitConfig,
    report: Progress,
) -> FinalFit:
    parts = []
    for block in _blocks(len(lam), config.target_block):
        parts.append(
            refit(
                problem, block, lam[block], warm[block], config.final_tol, config.final_max_sweeps
            )
        )
        report("refit", block.stop, len(lam))
    return FinalFit(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    )


def _result(final: FinalFit, log: PathLog) -> FitResult:
    datamodels = Datamodels(
        np.ascontiguousarray(final.weight.T), final.bias, final.lam.astype(np.float32)
    )
    path = {_field(name): values for name, values in vars(log).items()}
    summary = {
        _field(name): values
        for name, values in vars(final).items()
        if name not in ("weight", "bias")
    }
    return FitResult(datamodels, path, summary)


def _field(name: str) -> str:
    return "lambda" if name == "lam" else name  # a Python keyword, but the name of the file


def _blocks(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _check_rows(train_rows: Int64s, val_rows: Int64s, n_rows: int) -> None:
    if len(train_rows) < 2 or len(val_rows) < 1:
        raise UsageError(
            f"{len(train_rows)} training and {len(val_rows)} validation rows; fitting takes at "
            "least 2 rows and choosing lambda at least 1"
        )
    both = np.concatenate([train_rows, val_rows])
    if both.min() < 0 or both.max() >= n_rows:
        raise UsageError(
            f"rows {both.min()} to {both.max()} are asked for; there are rows 0 to {n_rows - 1}"
        )
    shared = np.intersect1d(train_rows, val_rows)
    if len(shared):
        raise UsageError(
            f"{len(shared)} rows (the first is {shared[0]}) are in both parts; validation rows "
            "must not be fitted before lambda is chosen"
        )


def _checked_targets(targets: slice, n_targets: int) -> slice:
    start, stop, step = targets.indices(n_targets)
    if step != 1 or stop <= start:
        raise UsageError(
            f"targets {targets.start} to {targets.stop} select none of the {n_targets} in steps of "
            "one; give a start below the end"
        )
    return slice(start, stop)


def _warn_constant(what: str, constant: NDArray[np.bool_], first: int, n_rows: int) -> None:
    indices = np.flatnonzero(constant) + first
    if len(indices):
        named = ", ".join(map(str, indices[:5])) + (", ..." if len(indices) > 5 else "")
        change = f"{what} never changes" if len(indices) == 1 else f"{what}s never change"
        warnings.warn(
            f"{len(indices)} {change} over {n_rows} rows ({named}): weights are 0", stacklevel=3
        )


@contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads or before, before))
    try:
        yield
    finally:
        numba.set_num_threads(before)
