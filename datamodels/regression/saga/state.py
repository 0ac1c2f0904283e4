"""Minibatch proximal SAGA on many targets at once.

The gradient of row i for a target is z_i times its residual r_i = z_i.w - y_i, so one number is
stored for each row and target. With a minibatch B of b rows,

    G = sum_B z_i (new r_i - stored r_i)
    w <- prox(w - lr (G / b + average)),   prox(u)_j = sign(u_j) max(|u_j| - lr lambda v_j, 0)
    average <- average + G / n,   stored r_i <- new r_i

The bias needs no steps: z and y are centred, so it is zero at every optimum.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from datamodels.regression.saga.gradient import FullGradient
from datamodels.regression.saga.rows import StandardBatch

# All that belongs to the live targets; the target is the last axis of each.
_COLUMNS = ("column", "w", "checked", "average", "residual", "shrink")


class SagaState:
    """The targets that are being solved, one column each; ``keep`` alone reorders them."""

    def __init__(
        self, column: Tensor, w: Tensor, start: FullGradient, lr: float, largest_batch: int
    ) -> None:
        """``start``: the full gradient at w (p, a), so that the first step is already exact."""
        self.lr = lr
        self.largest_batch = largest_batch
        self.column = column  # (a,) which target each column is
        self.w = w  # (p, a) float32
        self.checked = w.clone()  # (p, a) w at the last check
        self.average = start.gradient.to(w.dtype)  # (p, a)
        self.residual = start.residual  # (n, a)
        self.shrink = w.new_zeros(1, len(column))  # (1, a) or (p, a)

    def set_penalty(self, penalty: Tensor) -> None:
        """lambda v_j: (1, a), or (p, a) where factors differ."""
        self.shrink = (self.lr * penalty).to(self.w)

    def epoch(self, batches: Iterable[StandardBatch]) -> None:
        """A step for each batch; their y are those of ``column``."""
        for batch in batches:
            self._step(batch)

    def _step(self, batch: StandardBatch) -> None:
        z, y, slot = batch
        new = torch.addmm(y, z, self.w, beta=-1)  # (b, a)
        g = z.T @ (new - self.residual.index_select(0, slot))  # (p, a)
        self.residual.index_copy_(0, slot, new)
        # A smaller batch counts for its share of a full one: divided by its own few rows, it would
        # call for a smaller step than all the others (a last batch of one row diverged).
        u = self.w.add_(g, alpha=-self.lr / self.largest_batch)
        u.add_(self.average, alpha=-self.lr)
        u.sub_(u.clamp(-self.shrink, self.shrink))
        self.average.add_(g, alpha=1 / len(self.residual))

    def change(self) -> Tensor:
        """max_j (change of w_j since the last check)^2 (a,): glmnet's measure, as var(z_j) = 1."""
        largest = (self.w - self.checked).abs_().amax(dim=0)
        self.checked.copy_(self.w)
        return largest.square()

    def mean_squares(self) -> Tensor:
        """Mean squared stored residual (a,) float64; each is at most one pass old."""
        norm = torch.linalg.vector_norm(self.residual, dim=0, dtype=torch.float64)
        mean: Tensor = norm.square() / len(self.residual)
        return mean

    def keep(self, places: Tensor) -> None:
        """Keep the columns at ``places`` (k,), in that order."""
        for name in _COLUMNS:  # one after the other: of only one are there two copies at a time
            setattr(self, name, getattr(self, name).index_select(-1, places))
