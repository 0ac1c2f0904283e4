"""The law that a learning curve follows, and where it leads.

Two laws, in the number n of models:

    saturating:  a (1 + b / n)^(-1/2)
    power:       a - b n^(-c)

The first is what estimation noise does to a linear predictor of many small effects: the prediction
is a signal of variance s plus noise of variance p v / n, and its correlation with the truth is
a (s / (s + p v / n))^(1/2). It is the accuracy of genomic prediction of Daetwyler, Villanueva and
Woolliams (PLoS ONE 2008), where b is the number of effective effects over the share of variance
that they explain. The second is the usual empirical law of learning curves (Hestness et al., 2017;
Viering and Loog, 2022): one parameter more, and wide intervals far beyond the data.

Both are fitted by least squares. With b (c) fixed the rest is linear, so a search along one line
finds the best fit, of all resamples at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, UsageError
from datamodels.evaluation.prefix_errors import draw_errors
from datamodels.regression.blocks import Float64s

_GRID = 2_000  # values of the one parameter that is searched
_STEP = 1e-4  # of that parameter, relative, for derivatives
_DRAWS = 400  # of errors, where there are no bootstrap samples


@dataclass(frozen=True)
class Estimate:
    """A value with an interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Law:
    """A curve that is linear in all parameters but one.

    ``basis(n, shape)`` gives the columns (k, m) that are combined; ``shapes(n)`` the values of the
    one parameter to try.
    """

    name: str
    words: str
    shapes: Callable[[Float64s], Float64s]
    basis: Callable[[Float64s, float], Float64s]
    inverse: Callable[[Float64s, Float64s, float], Float64s]  # coefficients (r, k), shapes, value


def _inverse_saturating(coefficients: Float64s, shapes: Float64s, value: float) -> Float64s:
    a = coefficients[:, 0]
    if value <= 0:
        return np.zeros(len(a))
    with np.errstate(divide="ignore", invalid="ignore"):
        n = shapes / ((a / value) ** 2 - 1)
    return np.where(a > value, n, np.inf)


def _inverse_power(coefficients: Float64s, shapes: Float64s, value: float) -> Float64s:
    a, b = coefficients.T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        n = (b / (a - value)) ** (1 / shapes)
    return np.where(a <= value, np.inf, np.where(b > 0, n, 0.0))


LAWS = {
    "saturating": Law(
        "saturating",
        "a (1 + b / n)^-0.5",
        lambda n: np.geomspace(n.min() / 1e3, n.max() * 1e4, _GRID),
        lambda n, b: (1 + b / n)[None] ** -0.5,
        _inverse_saturating,
    ),
    "power": Law(
        "power",
        "a - b n^-c",
        lambda n: np.geomspace(0.02, 2.0, _GRID),  # noqa: ARG005
        lambda n, c: np.stack([np.ones_like(n), -(n**-c)]),
        _inverse_power,
    ),
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """Curves of one law, one for each of r sets of points."""

    law: Law
    coefficients: Float64s  # (r, k)
    shapes: Float64s  # (r,)

    def at(self, n: Float64s) -> Float64s:
        """Their values (r, m) at ``n`` (m,)."""
        basis = np.stack([self.law.basis(n, shape) for shape in self.shapes])  # (r, k, m)
        values: Float64s = np.einsum("rk,rkm->rm", self.coefficients, basis)
        return values

    def jacobian(self, n: Float64s) -> Float64s:
        """How the values at ``n`` (m,) of the first curve change with its parameters (m, k + 1)."""
        shape, step = self.shapes[0], _STEP * self.shapes[0]
        ends = [self.coefficients[0] @ self.law.basis(n, shape + d) for d in (-step, step)]
        return np.vstack([self.law.basis(n, shape), (ends[1] - ends[0]) / (2 * step)]).T

    @property
    def limits(self) -> Float64s:
        """(r,) what they tend to."""
        return self.coefficients[:, 0]

    def reaching(self, value: float) -> Float64s:
        """(r,) the n at which they come to ``value``; infinity where they never do."""
        return self.law.inverse(self.coefficients, self.shapes, value)


def fit_law(law: Law, n: Float64s, values: Float64s) -> Fitted:
    """Least squares fits of ``law`` to each row of ``values`` (r, m) at ``n`` (m,)."""
    shapes = law.shapes(n)
    best = np.full(len(values), np.inf)
    chosen = np.zeros(len(values))
    found: Float64s | None = None
    for shape in shapes:
        basis = law.basis(n, float(shape))  # (k, m)
        coefficients = values @ np.linalg.pinv(basis)  # (r, k)
        error = ((values - coefficients @ basis) ** 2).sum(axis=1)
        better = error < best
        found = coefficients if found is None else np.where(better[:, None], coefficients, found)
        best, chosen = np.where(better, error, best), np.where(better, shape, chosen)
    assert found is not None
    return Fitted(law, found, chosen)


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """A fitted law with the uncertainty that comes of the points it was fitted to.

    ``resampled`` are fits to curves as other held-out models, and other models to learn from, would
    have given them.
    """

    fitted: Fitted  # of one curve, as measured
    resampled: Fitted
    n_last: int  # the largest number of models that was measured
    rms_residual: float
    level: float

    def at(self, n: int) -> Estimate:
        """The score with ``n`` models."""
        there = np.array([float(n)])
        values = (np.minimum(f.at(there)[:, 0], 1.0) for f in (self.fitted, self.resampled))
        return self._estimate(*values)

    @property
    def limit(self) -> Estimate:
        """The score with models without end."""
        return self._estimate(*(np.minimum(f.limits, 1.0) for f in (self.fitted, self.resampled)))

    def reaching(self, value: float) -> Estimate:
        """The number of models for a score of ``value``; infinity where it is out of reach."""
        return self._estimate(self.fitted.reaching(value), self.resampled.reaching(value))

    def say_needed(self, value: float, name: str = "LDS") -> str:
        """In words, how many more models ``value`` takes."""
        needed, limit = self.reaching(value), self.limit
        what = f"{name} {value:g}"
        if needed.value <= self.n_last:
            return f"{what} takes about {_round(needed.value)} models, which are there"
        more, low, high = (_round(n - self.n_last) for n in (needed.value, needed.low, needed.high))
        if np.isinf(needed.value):
            perhaps = "" if np.isinf(needed.low) else f"; at best it takes {low} more models"
            return (
                f"{what} is out of reach: the limit is {limit.value:.3f} ({limit.low:.3f} to "
                f"{limit.high:.3f}){perhaps}"
            )
        interval = f"({low} or more; it may be out of reach)"
        if not np.isinf(needed.high):
            interval = f"({low} to {high})"
        return f"about {more} {interval} more models for {what}"

    def _estimate(self, value: Float64s, resampled: Float64s) -> Estimate:
        tails = [(1 - self.level) / 2, (1 + self.level) / 2]
        # A value of the sample each: infinities cannot be averaged.
        low, high = np.quantile(resampled, tails, method="inverted_cdf")
        return Estimate(float(value[0]), float(low), float(high))


def extrapolate(
    n: NDArray[np.int64],
    values: Float64s,
    resampled: Float64s,
    *,
    law: str = "saturating",
    level: float = 0.95,
    seed: int = 0,
) -> Extrapolation:
    """Fit a law to a learning curve, and say where it leads.

    Two sources of error make up the interval. Which models were held out: ``resampled`` are the
    curves of bootstrap samples of them, moved to the measured mean. Which models were learnt from:
    each of those curves gets errors as nested prefixes have them, of a size that the residuals of
    the fit tell, see ``prefix_errors``. On simulated nested prefixes, intervals of 90% held the
    truth in 95% to 99% of cases. That the law itself is wrong beyond the data is in neither.

    Args:
        n: numbers of models (m,), ascending.
        values: the scores measured there (m,).
        resampled: the same of bootstrap samples (r, m); r = 0 leaves only the residuals.
        law: ``"saturating"`` or ``"power"``.
        level: coverage of the intervals.
        seed: of the errors.

    Raises:
        UsageError: no such law. InputError: fewer points than a law's parameters plus one.
    """
    if law not in LAWS:
        raise UsageError(f"law={law}; it must be one of {', '.join(LAWS)}")
    sizes = n.astype(np.float64)
    n_parameters = len(LAWS[law].basis(sizes, 1.0)) + 1
    if len(n) <= n_parameters:
        raise InputError(
            f"{len(n)} sizes do not tell {n_parameters} parameters and their uncertainty; measure "
            f"{n_parameters + 1} or more"
        )
    fitted = fit_law(LAWS[law], sizes, values[None])
    residuals = values - fitted.at(sizes)[0]
    moved = resampled - resampled.mean(axis=0) + values if len(resampled) else values[None]
    count = len(resampled) or _DRAWS
    errors = draw_errors(residuals, sizes, fitted.jacobian(sizes), count, seed)
    again = fit_law(LAWS[law], sizes, moved + errors)
    return Extrapolation(fitted, again, int(n[-1]), float(np.sqrt((residuals**2).mean())), level)


def next_goals(score: float) -> list[float]:
    """The next two twentieths above a correlation, and above 0, that are below 1."""
    reached = max(0.0, np.floor(score * 20))
    return [float(step) / 20 for step in (reached + 1, reached + 2) if step < 20]


def _round(n: float) -> str:
    """Two significant digits, which is more than is known."""
    if not np.isfinite(n):
        return "infinitely many"
    n = max(n, 0.0)
    digits = 10 ** max(0, int(np.floor(np.log10(max(n, 1.0)))) - 1)
    return f"{round(n / digits) * digits:,}"
