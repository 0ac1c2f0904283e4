"""Standardized batches of a loader, each row with the slot where its residuals are stored."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodels.errors import InputError
from datamodels.regression.blocks import Int64s
from datamodels.regression.saga.loader import Loader, checked_batch
from datamodels.regression.saga.scaling import Scaling


class StandardBatch(NamedTuple):
    """Some rows as the solver sees them."""

    z: Tensor  # (b, p)
    y: Tensor  # (b, a) of the targets asked for
    slot: Tensor  # (b,) int64, 0 .. n-1


class TrainingRows:
    """The rows of a loader, pass after pass, in the units of ``scaling``."""

    def __init__(
        self, loader: Loader, scaling: Scaling, idx: Int64s, largest_batch: int, first_pass: int = 0
    ) -> None:
        """``idx`` (n,), ascending: the rows there are; row idx[i] has slot i."""
        self.loader = loader
        self.scaling = scaling
        self.idx = idx
        self.largest_batch = largest_batch
        self._pass = first_pass

    @property
    def n(self) -> int:
        return len(self.idx)

    @property
    def device(self) -> torch.device:
        return self.scaling.mean_x.device

    def batches(
        self, columns: Tensor, dtype: torch.dtype = torch.float32
    ) -> Iterator[StandardBatch]:
        """One pass, with the outputs of targets ``columns`` (a,)."""
        start_pass(self.loader, self._pass)
        self._pass += 1
        seen = 0
        for parts in self.loader:
            batch = checked_batch(parts)
            slot = self._slots(batch.idx.cpu().numpy())
            yield StandardBatch(
                self.scaling.features(batch.mask.to(self.device), dtype),
                self.scaling.outputs(batch.target.to(self.device), columns, dtype),
                torch.from_numpy(slot).to(self.device),
            )
            seen += len(slot)
        if seen != self.n:
            raise InputError(
                f"the loader yielded {self.n} rows in its first pass and {seen} in a later one; it "
                "must yield the same rows each time (not a generator, drop_last=False)"
            )

    def _slots(self, idx: Int64s) -> Int64s:
        slot = np.minimum(np.searchsorted(self.idx, idx), self.n - 1)
        unknown = idx[self.idx[slot] != idx]
        if len(unknown):
            raise InputError(
                f"idx {unknown[0]} was not in the loader's first pass; it must yield the same rows "
                "each time (drop_last=False)"
            )
        return slot


def start_pass(loader: Loader, number: int) -> None:
    """Tell a loader that shuffles by pass (RowLoader does) which one comes next."""
    set_epoch = getattr(loader, "set_epoch", None)
    if set_epoch is not None:
        set_epoch(number)


def validation_errors(loader: Loader, scaling: Scaling, columns: Tensor, w: Tensor) -> Tensor:
    """Mean squared error of w (p, a) over a loader's rows, for targets ``columns``: (a,) float64,
    in units of each target's."""
    total = torch.zeros(len(columns), dtype=torch.float64, device=w.device)
    n = 0
    start_pass(loader, 0)  # always the same order, and so the same rounding
    for parts in loader:
        batch = checked_batch(parts)
        z = scaling.features(batch.mask.to(w.device), w.dtype)
        y = scaling.outputs(batch.target.to(w.device), columns, torch.float64)
        total += (y - z @ w).square().sum(dim=0)
        n += len(z)
    if not n:
        raise InputError("the validation loader yields no rows; choosing lambda takes at least 1")
    return total / n
