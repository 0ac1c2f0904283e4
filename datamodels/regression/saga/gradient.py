"""One full pass at given weights: where SAGA starts, and what a duality gap is made of."""

from typing import NamedTuple

import torch
from torch import Tensor

from datamodels.regression.saga.rows import TrainingRows


class FullGradient(NamedTuple):
    """Residuals r = Z w - y of all rows and what follows from them, of a targets."""

    residual: Tensor  # (n, a) float32
    gradient: Tensor  # (p, a) Z'r / n
    rr: Tensor  # (a,) r'r / n, float64
    yr: Tensor  # (a,) -y'r / n, float64


def full_gradient(
    rows: TrainingRows, columns: Tensor, w: Tensor, dtype: torch.dtype
) -> FullGradient:
    """One pass over the rows at weights w (p, a) of targets ``columns``, computed in ``dtype``."""
    a, device = len(columns), w.device
    w = w.to(dtype)
    residual = torch.empty(rows.n, a, dtype=torch.float32, device=device)
    gradient = torch.zeros_like(w)
    rr = torch.zeros(a, dtype=torch.float64, device=device)
    yr = torch.zeros_like(rr)
    for z, y, slot in rows.batches(columns, dtype):
        r = torch.addmm(y, z, w, beta=-1)  # (b, a)
        gradient.addmm_(z.T, r, alpha=1 / rows.n)
        residual.index_copy_(0, slot, r.float())
        rr += r.double().square().sum(dim=0)
        yr -= (y * r).sum(dim=0)
    return FullGradient(residual, gradient, rr / rows.n, yr / rows.n)
