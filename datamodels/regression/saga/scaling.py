"""The first pass over a loader: how many rows, which, and the means and deviations of x and y.

Means and sums of squared deviations of each batch are merged in float64 (Chan, Golub, LeVeque
1979), so a mean far from zero costs no digits.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodels.errors import InputError
from datamodels.regression.blocks import Int64s
from datamodels.regression.saga.loader import Batch, Loader, checked_batch

# A deviation below this share of the mean is rounding of float64 means.
_NO_DEVIATION = 1e-14


@dataclass(frozen=True, eq=False)
class Scaling:
    """x and y are solved for as (x - mean_x) inv_scale and (y - mean_y) / unit; all float64.

    Without an intercept nothing is centred: mean_x is zero, mean_y the bias that is given.
    """

    mean_x: Tensor  # (p,)
    inv_scale: Tensor  # (p,) 1 / s_j; 0 for a constant column, which so gets weight 0
    mean_y: Tensor  # (t,)
    unit: Tensor  # (t,) root mean square of y - mean_y; 1 where that is zero
    varies: Tensor  # (t,) bool: whether y - mean_y is anything but zero

    def features(self, mask: Tensor, dtype: torch.dtype) -> Tensor:
        """z (b, p). Masks of few digits are exact in ``dtype``; of others the mean is taken off in
        float64."""
        exact = mask.dtype in (torch.bool, torch.uint8, torch.float16)
        work = dtype if exact else torch.float64
        z = mask.to(work) - self.mean_x.to(work)
        return z.mul_(self.inv_scale.to(work)).to(dtype)

    def outputs(self, target: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
        """Centred outputs of some targets, in their units: (b, a)."""
        y = target.index_select(1, columns).double() - self.mean_y[columns]
        return y.div_(self.unit[columns]).to(dtype)


@dataclass(frozen=True, eq=False)
class Measured:
    """What the first pass tells."""

    n: int
    largest_batch: int
    idx: Int64s  # (n,) ascending
    x: "Spread"
    y: "Spread"

    def scaling(self, bias: Tensor | None = None) -> Scaling:
        """With an intercept, or with ``bias`` (t,) in its place."""
        spread = self.x.deviation(self.n)
        mean_x, mean_y = self.x.mean, self.y.mean
        if bias is not None:
            mean_x, mean_y = torch.zeros_like(mean_x), bias.to(mean_y)
        deviation_y = self.y.deviation(self.n)
        unit = torch.hypot(deviation_y, self.y.mean - mean_y)
        return Scaling(
            mean_x=mean_x,
            inv_scale=torch.where(spread > 0, 1 / spread, 0.0),
            mean_y=mean_y,
            unit=torch.where(unit > 0, unit, 1.0),
            varies=unit > 0,
        )


class Spread:
    """Mean and sum of squared deviations of columns (c,), batch after batch, in float64."""

    def __init__(self, values: Tensor) -> None:
        self.mean, self.squares = _spread(values)

    def merge(self, values: Tensor, before: int) -> None:
        """Add a batch (b, c) to the ``before`` rows known so far."""
        mean, squares = _spread(values)
        apart, share = mean - self.mean, len(values) / (before + len(values))
        self.mean = self.mean + apart * share
        self.squares = self.squares + squares + apart**2 * (before * share)

    def deviation(self, n: int) -> Tensor:
        """s (c,), population form; 0 for a constant column."""
        s = (self.squares / n).sqrt()
        return torch.where(s > _NO_DEVIATION * self.mean.abs(), s, 0.0)


def measure(loader: Loader, device: torch.device | None = None) -> Measured:
    """Read a loader once, on ``device`` or that of its masks; InputError for NaN, infinity, and
    rows that come twice."""
    x: Spread | None = None
    y: Spread | None = None
    named: list[NDArray[Any]] = []
    n = largest = 0
    for parts in loader:
        batch = checked_batch(parts)
        _check_finite(batch)
        device = batch.mask.device if device is None else device
        mask, target = batch.mask.to(device), batch.target.to(device)
        if x is None or y is None:
            x, y = Spread(mask), Spread(target)
        else:
            x.merge(mask, n)
            y.merge(target, n)
        named.append(batch.idx.cpu().numpy().astype(np.int64))  # a copy: loaders reuse memory
        n, largest = n + len(mask), max(largest, len(mask))
    if x is None or y is None or n < 2:
        raise InputError(f"the loader yields {n} rows; fitting takes at least 2")
    return Measured(n, largest, _each_once(np.concatenate(named)), x, y)


def _spread(values: Tensor) -> tuple[Tensor, Tensor]:
    values = values.double()
    mean = values.mean(dim=0)
    return mean, (values - mean).square_().sum(dim=0)


def _each_once(idx: Int64s) -> Int64s:
    idx = np.sort(idx)
    repeated = idx[1:][np.diff(idx) == 0]
    if len(repeated):
        raise InputError(
            f"idx {repeated[0]} comes twice in one pass of the loader; every row must have an idx "
            "of its own and come once"
        )
    return idx


def _check_finite(batch: Batch) -> None:
    for name, values in (("mask", batch.mask), ("target", batch.target)):
        if values.is_floating_point() and not bool(values.isfinite().all()):
            row, column = (~values.isfinite()).nonzero()[0].tolist()
            raise InputError(
                f"{name} of the row with idx {int(batch.idx[row])}, column {column}, is "
                f"{values[row, column].item()}; leave the row out, or train that model again"
            )
