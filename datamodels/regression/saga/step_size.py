"""A step size that is safe for the data.

With a fixed split into batches, minibatch SAGA is SAGA on the batches' mean losses, whose gradients
are Lipschitz with L_B = largest eigenvalue of Z_B'Z_B / b. SAGA converges for steps of
1 / (3 max_B L_B) (Defazio, Bach, Lacoste-Julien 2014, theorem 1). Another split at each pass has
other batches, but their L_B are close to these; shuffled passes were seen to converge at twice the
step.
"""

import torch
from torch import Tensor

from datamodels.regression.saga.rows import TrainingRows

# The power method from below; masks drawn at random are at 0.95 of the eigenvalue and more by then,
# and the factor 3 leaves more room than that.
_POWER_STEPS = 20


def safe_step(rows: TrainingRows) -> float:
    """1 / (3 max_B L_B) over the batches of one pass."""
    none = torch.zeros(0, dtype=torch.int64, device=rows.device)
    largest = torch.zeros((), dtype=torch.float32, device=rows.device)
    for z, _, _ in rows.batches(none):
        largest = torch.maximum(largest, _largest_eigenvalue(z))
    curvature = float(largest) / rows.largest_batch
    return 1 / (3 * curvature) if curvature > 0 else 1.0  # no column varies: any step will do


def _largest_eigenvalue(z: Tensor) -> Tensor:
    """Of Z_B'Z_B, z (b, p). A scalar, estimated from below."""
    # The rows of a whole pass sum to zero: a start of equal signs would be orthogonal to all.
    u = torch.cos(torch.arange(len(z), dtype=z.dtype, device=z.device))
    value = z.new_zeros(())
    for _ in range(_POWER_STEPS):
        v = z.T @ (u / u.norm().clamp_min(torch.finfo(z.dtype).tiny))
        value = v @ v
        u = z @ v
    return value
