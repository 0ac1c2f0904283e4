"""What a run says at its end."""

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datamodels.regression.logs import Fields
from datamodels.regression.run_config import RunConfig
from datamodels.regression.status import Status

if TYPE_CHECKING:
    from datamodels.regression.fit import FitResult


def print_summary(result: "FitResult", config: RunConfig, seconds: float) -> None:
    """A short table on standard output."""
    final, r2 = result.final, result.validation_r2
    defined = r2[~np.isnan(r2)]
    shown = f"{np.median(defined):.3f} in the median" if len(defined) else "undefined"
    stages = ", ".join(f"{name} {spent:.1f}" for name, spent in result.seconds.items())
    print(
        f"{len(result.fits.bias)} datamodels of {result.n_features} training examples, from "
        f"{_models(config)}\n"
        f"  lambda                 {_spread(final['lambda'], '.3g')}\n"
        f"  non-zero weights       {_spread(final['weight_nz'], '.0f')}\n"
        f"  validation R2          {shown}\n"
        f"  largest relative gap   {_largest(final['gap'])}\n"
        f"  seconds                {seconds:.1f} ({stages})"
    )


def _largest(gaps: NDArray[Any]) -> str:
    known = gaps[~np.isnan(gaps)]
    return f"{known.max():.1e}" if len(known) else "undefined"


def _models(config: RunConfig) -> str:
    if config.chooses_by_held_out_rows:
        return f"{config.num_train} + {config.num_val} models"
    if config.fit.folds is not None:
        how = f"{config.fit.folds} folds"
    else:
        how = "lambda given" if config.lam is not None else "no lambda"
    return f"{config.num_rows} models ({how})"


def _spread(values: NDArray[Any], form: str) -> str:
    least, median, most = (format(v, form) for v in np.percentile(values, (0, 50, 100)))
    return f"{median} in the median, {least} to {most}"


def status_of(final: Fields, config: RunConfig) -> int:
    """The exit status: 1 when a fit was not finished, with a line that says so."""
    status, gap = final["status"], final["gap"]
    rounded = np.flatnonzero(status == Status.FLOAT32_LIMIT)
    if len(rounded):
        print(
            f"note: {_named(rounded, config)} solved, but float32 weights hold the gap only to "
            f"{gap[rounded].max():.1e}, not to {config.fit.final_tol:g}",
            file=sys.stderr,
        )
    without = np.flatnonzero(status == Status.NOT_RUN)
    if len(without):
        print(
            f"error: {_named(without, config)} without a lambda, and all weights are 0: constant "
            "over the rows that a path was fitted on, or solved nowhere on it; -1 in "
            "final_lambda/status.npy. Fit more models, or leave them out",
            file=sys.stderr,
        )
    fine = (Status.CONVERGED, Status.FLOAT32_LIMIT, Status.NOT_RUN)
    failed = np.flatnonzero(~np.isin(status, fine))
    if not len(failed):
        return 1 if len(without) else 0
    print(
        f"error: {_named(failed, config)} not solved to the gap {config.fit.final_tol:g}; see "
        f"final_lambda/status.npy. Raise cfg.eps, which ends the path at a larger lambda, or fit "
        "more models",
        file=sys.stderr,
    )
    return 1


def _named(targets: NDArray[np.int64], config: RunConfig) -> str:
    """How many targets, and which is the first of them."""
    first = targets[0] + config.target_start_ind
    others = len(targets) - 1
    return f"targets {first} and {others} more are" if others else f"target {first} is"
