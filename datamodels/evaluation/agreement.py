"""How well predicted changes agree with actual ones, with bootstrap intervals over targets."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.errors import InputError, UsageError
from datamodels.streams import stream_words

Pair = NDArray[np.float64]
Interval = tuple[float, float]

_LEAST_TARGETS = 3
_Z = 1.959964  # 97.5% quantile of the standard normal distribution


@dataclass(frozen=True)
class Estimate:
    """A number, and the interval of its bootstrap; NaN where there is none."""

    value: float
    interval: Interval

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "-"
        low, high = self.interval
        around = "" if np.isnan(low) else f" ({low:.2f} to {high:.2f})"
        return f"{self.value:.2f}{around}"


@dataclass(frozen=True)
class Agreement:
    """Of the changes of one method of removal."""

    name: str
    n: int  # removals
    n_targets: int
    predicted: float  # mean change
    actual: float  # mean change
    pearson: Estimate
    spearman: Estimate
    slope: Estimate  # actual per predicted


def measure_agreement(
    name: str,
    predicted: ArrayLike,
    actual: ArrayLike,
    target: ArrayLike,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """Correlations of predicted with actual changes, and the least-squares slope of actual on
    predicted (with an intercept): 1 where changes are as large as predicted.

    Intervals are percentiles over resampled targets, all removals of a target staying together,
    as these share their examples and their noise. A correlation is NaN where one of the two does
    not vary, and all are where there are fewer than 3 targets, which agree or not by chance.

    Args:
        predicted, actual: (m,).
        target: (m,), which target each removal is of.
        n_resamples: 0 for no interval.

    Raises:
        InputError: arrays of unequal lengths. UsageError: an option out of range.
    """
    x, y = np.asarray(predicted, np.float64), np.asarray(actual, np.float64)
    groups = np.unique(np.asarray(target), return_inverse=True)[1]
    if not x.shape == y.shape == groups.shape or x.ndim != 1:
        raise InputError(
            f"{x.shape} predicted and {y.shape} actual changes, {groups.shape} targets"
        )
    if n_resamples < 0 or not 0 < level < 1:
        raise UsageError(
            f"n_resamples={n_resamples} must be 0 or more, and level={level} in (0, 1)"
        )
    resamples = list(_resamples(groups, n_resamples, seed))

    def estimate(statistic: Callable[[Pair, Pair], float]) -> Estimate:
        if len(np.unique(groups)) < _LEAST_TARGETS:
            return Estimate(float("nan"), (float("nan"), float("nan")))
        values = np.array([statistic(x[rows], y[rows]) for rows in resamples])
        values = values[~np.isnan(values)]
        if not len(values):
            return Estimate(statistic(x, y), (float("nan"), float("nan")))
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        return Estimate(statistic(x, y), (float(low), float(high)))

    return Agreement(
        name,
        len(x),
        len(np.unique(groups)),
        float(x.mean()),
        float(y.mean()),
        estimate(pearson),
        estimate(lambda a, b: pearson(_ranks(a), _ranks(b))),
        estimate(slope_of),
    )


def pearson(x: Pair, y: Pair) -> float:
    """Pearson's correlation; NaN where one of the two does not vary."""
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip(x @ y / scale, -1, 1)) if scale > 0 else float("nan")


def slope_of(x: Pair, y: Pair) -> float:
    """Least-squares slope of y on x; NaN where x does not vary."""
    x = x - x.mean()
    scale = float(x @ x)
    return float(x @ y) / scale if scale > 0 else float("nan")


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95% score interval of a share (Wilson 1927); 0 to 1 of nothing."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, _Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(float(centre - half), 0.0), min(float(centre + half), 1.0)


def _ranks(values: Pair) -> Pair:
    """From 0, ties at their average."""
    ordered = np.sort(values)
    below, up_to = np.searchsorted(ordered, values), np.searchsorted(ordered, values, "right")
    ranks: Pair = (below + up_to - 1) / 2.0
    return ranks


def _resamples(groups: NDArray[np.int64], n_resamples: int, seed: int) -> list[NDArray[np.int64]]:
    """Rows of each resample: targets drawn with replacement, each with all its rows."""
    n_groups = int(groups.max(initial=-1)) + 1
    if n_groups < _LEAST_TARGETS:
        return []
    rows_of = [np.flatnonzero(groups == group) for group in range(n_groups)]
    drawn = []
    for r in range(n_resamples):
        words = stream_words("targets", seed=seed, index=r, count=n_groups)
        choice = ((words >> np.uint64(32)) * np.uint64(n_groups)) >> np.uint64(32)
        drawn.append(np.concatenate([rows_of[group] for group in choice.astype(np.int64)]))
    return drawn
