"""The saved fit of the baselines: all rows, at the chosen lambda."""

import numpy as np

from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.final_fit import FinalFit
from datamodels.regression.lambda_choice import Chosen, PathRunner
from datamodels.regression.lambda_path import PathLog
from datamodels.regression.sparse_rows import SparseRows
from datamodels.regression.standardized import Standardized


def baseline_fit(runner: PathRunner, chosen: Chosen) -> tuple[FinalFit, Standardized]:
    """Fit all targets at their lambdas, to the final tolerance; gaps are those of the float32 Gram
    matrix."""
    log, weights, problem = runner.solve_at(chosen.lam, runner.config.final_tol, "refit")
    last = np.maximum((log.status >= 0).sum(axis=0) - 1, 0)  # of each target's lambdas
    rms = np.repeat(problem.units(slice(None)), weights.counts())
    raw = (weights.value * problem.inv_scale[weights.feature] * rms).astype(np.float32)
    means = np.zeros(runner.n_targets)
    np.add.at(
        means,
        np.repeat(np.arange(runner.n_targets), weights.counts()),
        problem.mean_x[weights.feature] * raw.astype(np.float64),
    )
    status = _last(log, "status", last)
    not_run = status < 0  # constant, or without correlations: all weights are zero
    return FinalFit(
        weights=SparseRows(weights.start, weights.feature, raw.astype(np.float64)),
        bias=(problem.mean_y - means).astype(np.float32),
        lam=chosen.lam if runner.config.estimator == "ridge" else np.zeros(runner.n_targets),
        gap=np.where(not_run, 0.0, _last(log, "gap", last)),
        train_mse=np.where(not_run, problem.yy, _last(log, "train_mse", last)),
        weight_nz=weights.counts().astype(np.int32),
        iterations=np.where(not_run, 0, _last(log, "iterations", last)).astype(np.int32),
        status=np.where(not_run, 0, status).astype(np.int8),
    ), problem


def _last(log: PathLog, name: str, last: Int64s) -> Float64s:
    values: Float64s = np.take_along_axis(getattr(log, name), last[None], axis=0)[0]
    return values
