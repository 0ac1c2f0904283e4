"""Which units the weights of a datamodels file are in, told from models that it was not fitted to.

Two readings of the same numbers, for a mask x, an output y, weights w and a bias b:

    raw           prediction = x . w + b
    standardized  prediction = ((x - mean) / deviation) . w + b

with the means and deviations of the masks of the fit. On held-out models the right one explains
part of the variance of y, with a slope of y on the prediction near 1; the wrong one is off by the
sum of the weights, and by a factor of the deviation (2 at alpha = 50%).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.published.training_scales import TrainingScales
from datamodels.regression.result import Datamodels
from datamodels.regression.row_source import RowSource

READINGS = ("raw", "standardized")
_BLOCK_BYTES = 2**27
_LEAST_R2 = 1e-3  # below, predictions say nothing
_SLOPES = (0.5, 2.0)  # of an honest fit: shrunken weights leave it above 1
_CLEARLY = 0.75  # share of the targets that one reading must fit better than the other


@dataclass(frozen=True, eq=False)
class Reading:
    """How one reading of the weights does, target by target, on n held-out models.

    NaN where outputs do not vary or are not finite; the slope also where predictions do not vary.
    """

    error: NDArray[np.float64]  # (n_targets,) mean squared
    r2: NDArray[np.float64]  # (n_targets,) 1 - error / variance of the outputs
    slope: NDArray[np.float64]  # (n_targets,) of the least squares line, actual on predicted
    offset: NDArray[np.float64]  # (n_targets,) mean of actual - predicted

    @property
    def r2_without_offset(self) -> NDArray[np.float64]:
        """R2 of the same weights with a bias that makes the mean right (n_targets,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = self.error / (1 - self.r2)
            values: NDArray[np.float64] = self.r2 + self.offset**2 / variance
        return values

    def medians(self) -> tuple[float, ...]:
        """Over targets: R2, error, slope, offset, R2 without offset."""
        parts = (self.r2, self.error, self.slope, self.offset, self.r2_without_offset)
        return tuple(_median(part) for part in parts)

    @property
    def fits(self) -> bool:
        """Whether these are predictions at all: some variance explained, at about the right
        scale."""
        return _median(self.r2) >= _LEAST_R2 and _SLOPES[0] <= _median(self.slope) <= _SLOPES[1]


@dataclass(frozen=True, eq=False)
class UnitsReport:
    """Both readings on the same models and targets."""

    readings: Mapping[str, Reading]  # by the names in READINGS
    n_models: int
    n_targets: int
    scales: TrainingScales

    @property
    def better(self) -> str:
        """The reading with the larger median R2."""
        return max(
            READINGS, key=lambda name: np.nan_to_num(_median(self.readings[name].r2), nan=-1e9)
        )

    @property
    def share_better(self) -> float:
        """Share of the targets on which its error is the smaller one."""
        best = self.readings[self.better].error
        other = next(self.readings[name].error for name in READINGS if name != self.better)
        defined = np.isfinite(best) & np.isfinite(other)
        return float((best < other)[defined].mean()) if defined.any() else 0.0

    @property
    def verdict(self) -> str | None:
        """The reading that fits, clearly better than the other; None where neither does."""
        clear = self.readings[self.better].fits and self.share_better >= _CLEARLY
        return self.better if clear else None


def compare_units(
    datamodels: Datamodels,
    source: RowSource,
    rows: NDArray[np.int64],
    scales: TrainingScales,
    targets: NDArray[np.int64] | None = None,
) -> UnitsReport:
    """Try both readings of the weights of ``datamodels``, as the file has them, on ``rows`` of
    ``source``, which took no part in the fit. Rows are read block by block.

    Args:
        scales: of the masks of the fit.
        targets: those to look at (b,); None: all.

    Raises:
        InputError: shapes do not fit together, or fewer than 3 rows.
    """
    if (source.n_features, source.n_targets) != (datamodels.n_train_examples, datamodels.n_targets):
        raise InputError(
            f"the datamodels are of {datamodels.n_train_examples} training examples and "
            f"{datamodels.n_targets} targets, the models of {source.n_features} and "
            f"{source.n_targets}: they do not belong together"
        )
    if len(rows) < 3:
        raise InputError(f"{len(rows)} models tell nothing; give 3 at least, and better a thousand")
    which = np.arange(datamodels.n_targets) if targets is None else targets
    raw = np.ascontiguousarray(datamodels.weight[:, which])  # (n_train, b)
    bias = datamodels.bias[which].astype(np.float64)
    inverse = np.zeros(len(raw))
    np.divide(1.0, scales.deviation, out=inverse, where=scales.deviation > 0)
    scaled = raw * inverse[:, None]  # (n_train, b)
    shifted = bias - scales.mean @ scaled
    scaled = scaled.astype(np.float32)
    sums = {name: _Sums.zeros(len(which)) for name in READINGS}
    step = max(1, _BLOCK_BYTES // (4 * max(1, source.n_features)))
    for start in range(0, len(rows), step):
        masks, outputs = source.read(rows[start : start + step])
        x, y = masks.astype(np.float32), outputs[:, which].astype(np.float64)
        product = x @ raw
        sums["raw"].add(product + bias, y)
        again = product * inverse[0] if scales.are_uniform else x @ scaled
        sums["standardized"].add(again + shifted, y)
    readings = {name: sums[name].reading() for name in READINGS}
    return UnitsReport(readings, len(rows), len(which), scales)


@dataclass(eq=False)
class _Sums:
    """What the readings need of predictions p and outputs y, summed over models, a target each."""

    n: int
    p: NDArray[np.float64]
    y: NDArray[np.float64]
    pp: NDArray[np.float64]
    yy: NDArray[np.float64]
    py: NDArray[np.float64]

    @classmethod
    def zeros(cls, n_targets: int) -> "_Sums":
        return cls(0, *(np.zeros(n_targets) for _ in range(5)))

    def add(self, p: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        """Models (b, n_targets) more."""
        self.n += len(y)
        with np.errstate(invalid="ignore"):  # outputs may be infinite
            self.p += p.sum(axis=0)
            self.y += y.sum(axis=0)
            self.pp += np.einsum("ij,ij->j", p, p)
            self.yy += np.einsum("ij,ij->j", y, y)
            self.py += np.einsum("ij,ij->j", p, y)

    def reading(self) -> Reading:
        mean_p, mean_y = self.p / self.n, self.y / self.n
        with np.errstate(divide="ignore", invalid="ignore"):
            var_p = np.maximum(self.pp / self.n - mean_p**2, 0.0)
            var_y = np.maximum(self.yy / self.n - mean_y**2, 0.0)
            error = (self.pp - 2 * self.py + self.yy) / self.n
            r2 = 1 - error / var_y
            slope = (self.py / self.n - mean_p * mean_y) / var_p
        finite = np.isfinite(r2)
        error, r2, slope = (np.where(finite, part, np.nan) for part in (error, r2, slope))
        slope = np.where(np.isfinite(slope), slope, np.nan)
        return Reading(error, r2, slope, np.where(finite, mean_y - mean_p, np.nan))


def _median(values: NDArray[np.float64]) -> float:
    """Over the targets for which it is defined."""
    defined = values[~np.isnan(values)]
    return float(np.median(defined)) if len(defined) else float("nan")
