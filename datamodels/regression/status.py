"""How the fit of one target ended: a value in the result, never a printed line."""

from enum import IntEnum

import numpy as np

from datamodels.regression.blocks import Float64s, Int64s


class Status(IntEnum):
    """The outcome of one problem (a target at one lambda), as it is written to the logs."""

    NOT_RUN = -1  # the target's path had ended at an earlier lambda, or never began
    CONVERGED = 0  # duality gap <= tolerance * mean(y^2)
    ITERATION_LIMIT = 1  # the sweeps or rounds allowed were used up before that
    NON_FINITE = 2  # the gap became infinite or not a number
    FLOAT32_LIMIT = 3  # solved in float64; the gap of its float32 weights is above the tolerance


def status_of_gap(gap: Float64s, tol: float) -> Int64s:
    """How problems (r,) that are given up at these duality gaps ended."""
    status = np.where(gap <= tol, Status.CONVERGED, Status.ITERATION_LIMIT)
    return np.where(np.isfinite(gap), status, Status.NON_FINITE).astype(np.int64)
