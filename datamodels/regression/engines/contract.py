"""What a path engine is: the problem it is given, and what it answers.

For one target, in units of its own root mean square (mean of y^2 = 1), with the standardized
features z_j (see ``standardized``) and penalty factors v_j,

    minimize over w:  1/(2n) |y - Z w|^2 + lambda sum_j v_j |w_j|

    c = Z'y / n (p,),  G = Z'Z / n (p, p),  g = c - G w,  r = y - Z w,
    r'r/n = 1 - c.w - w.g,   y'r/n = 1 - c.w,   s = min(1, lambda / max_j |g_j| / v_j),
    gap = r'r/(2n) + lambda sum_j v_j |w_j| - (s y'r/n - s^2 r'r/(2n))

A factor v_j = 0 leaves feature j unpenalized: its g_j is zero at the optimum, the maximum runs over
v_j > 0, and the gap is a bound only where g_j = 0 for it. A factor of infinity leaves feature j
out. A feature that never changes has z_j = 0 (scale 0) and keeps weight 0.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.sparse_rows import SparseRows
from datamodels.regression.standardized import Standardized


class Solved(NamedTuple):
    """Solutions of r targets at one lambda each."""

    weights: SparseRows  # r rows; standardized, in units of each target's rms(y)
    gap: Float64s  # (r,) duality gap in units of the mean of y^2
    iterations: Int64s  # (r,) sweeps over the features
    status: Int64s  # (r,) see Status
    residual: Float64s  # (r,) r'r/n in units of the mean of y^2


class Limits(NamedTuple):
    """When a problem counts as solved, and when it is given up."""

    tol: float  # gap in units of the mean of y^2
    max_sweeps: int  # at each lambda


class BlockPath(Protocol):
    """Paths of the targets of one block, each taken from its last lambda to the next."""

    def lambda_max(self) -> Float64s:
        """Smallest lambda of each target (t,) at which all penalized weights are zero."""

    def solve(self, lam: Float64s, which: Int64s) -> Solved:
        """Solve targets ``which`` (r,) of the block at ``lam`` (r,), from where they stand.

        A target's lambdas only fall, and one that was left out does not come back.
        """


class Engine(Protocol):
    """Starts paths for blocks of targets of one problem."""

    def block(
        self, problem: Standardized, targets: slice, factors: NDArray[np.float64], limits: Limits
    ) -> BlockPath:
        """``factors``: penalty factors (1, p) of all, or (t, p) of each target of the block."""
