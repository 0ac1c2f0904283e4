"""Sums of 0/1 masks on a device, for :class:`~.moment_pass.MomentAccumulator`."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datamodels.errors import UsageError
from datamodels.regression.blocks import Float64s
from datamodels.regression.device_counts import add_pair_counts, cross_products

_MAX_ROWS = np.iinfo(np.int32).max


class DeviceMasks:
    """Pair counts and X'Y of blocks of rows by matrix products on ``device``, copied to the host
    when the table is asked for. Counts are exact; X'Y errs as ``device_counts`` says."""

    def __init__(self, n_features: int, table: bool, device: str) -> None:
        self._device = torch.device(device)
        self._xx: torch.Tensor | None = None
        if table:
            shape = (n_features, n_features)
            self._xx = torch.zeros(shape, dtype=torch.int32, device=self._device)
        self.sum_x: NDArray[Any] = np.zeros(n_features, np.int64)
        self.shift = np.zeros(n_features)
        self.n = 0

    @property
    def squares_x(self) -> NDArray[Any]:
        return self.sum_x

    def add(self, masks: NDArray[Any], y: Float64s, xy: Float64s | None) -> None:
        """Add these rows, and X'Y of them and of ``y`` into ``xy``."""
        self.n += len(masks)
        if self.n > _MAX_ROWS:
            raise UsageError(
                f"{self.n} rows do not fit the int32 counts of {self._device}; use engine=cpu"
            )
        x = torch.from_numpy(np.ascontiguousarray(masks != 0)).to(self._device)
        self.sum_x += x.sum(dim=0, dtype=torch.int64).cpu().numpy()
        if self._xx is not None:
            add_pair_counts(x, self._xx)
        if xy is not None:
            xy += cross_products(x, torch.from_numpy(y).to(self._device)).cpu().numpy()

    def table(self) -> NDArray[Any] | None:
        """X'X (p, p) int32 on the host."""
        return None if self._xx is None else self._xx.cpu().numpy()
