"""How much of the variance of the outputs a linear datamodel could explain at best.

The output of one training on mask x is

    y = mean + L(x) + N(x) + e

with L the best linear function of the mask, N the rest of the mean output over trainings of x, and
e what differs between trainings of one mask (seeds, order of batches). Over random masks and
trainings the three are uncorrelated, and var(y) = V_L + V_N + V_e.

Noise. V_e and V_L + V_N are the components of a one-way random effects analysis of variance, masks
being the groups (Searle, Casella and McCulloch, Variance Components, 1992): unbiased, for groups of
any sizes. They need masks that were trained on more than once.

Linear. Let g = cov(x, y) (p,). The best linear predictor has the weights C^-1 g, C = cov(x), and so
V_L = g' C^-1 g. Masks of independent entries, each 1 with probability alpha, have C = s I with
s = alpha (1 - alpha); those that draw m of p examples have C = s (I - 1 1'/p) with
s = m (p - m) / (p (p - 1)), and g has no part along 1. In both cases V_L = g'g / s, and for two
different masks i and k, which are independent,

    E[ (y_i - mean) (y_k - mean) K_ik ] = g'g / s = V_L,    K_ik = (x_i - alpha) . (x_k - alpha) / s

so that the mean of these products over all pairs of masks estimates V_L without bias, and without
fitting a weight: whatever the weights, sparse or not, and whatever N and e are. That is the
Haseman-Elston regression of genetics (Behavior Genetics 1972), where V_L / var(y) is called
heritability; as an estimate for fixed weights see Dicker (Biometrika 2014). Its standard error for
one target is near var(y) (2 p)^(1/2) / n for n masks, and does not need n > p. The mean of y is
estimated, which takes the share 2/n - 2/n^2 off, and is put back.

All shares are of sums over the targets: they weigh each target by its variance. Standard errors are
the jackknife's, over masks; it counts the part of the variance that comes of single pairs twice
(Efron and Stein, 1981), and that half is estimated and taken off.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.errors import InputError, UsageError
from datamodels.evaluation.repeats import Repeats, check_equal_masks, find_repeats
from datamodels.regression.blocks import Float64s

_PAIRS_PER_BLOCK = 2**24
_MASK_BYTES = 6  # of an entry of a mask: as read, those that differ, and as float32
_OUTPUT_BYTES = 44  # of an output: as read, and up to five arrays of float64
_OVERLAP_TOLERANCE = 0.1  # how far the spread of overlaps may be from that of random subsets


@dataclass(frozen=True)
class Share:
    """A share of the variance of the outputs of single trainings, with its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.3f} (standard error {self.error:.3f})"


@dataclass(frozen=True, eq=False)
class LinearShare:
    """Parts of the variance of the outputs, as shares of it.

    ``between`` and ``noise`` are None where no mask was trained on twice: what is not linear is
    then non-linear or noise.
    """

    linear: Share  # V_L: what the best linear datamodel explains
    between: Share | None  # V_L + V_N: what any function of the mask explains
    noise: Share | None  # V_e
    nonlinear: Share | None  # V_N
    linear_of_target: Float64s  # (n_targets,) V_L / var(y); one alone may leave 0 to 1
    between_of_target: Float64s | None
    variance: Float64s  # (n_targets,) var(y)
    n_masks: int
    n_trainings: int

    def table(self, explained: float | None = None) -> str:
        """Lines for people. ``explained``: what some datamodels explain of models not seen."""
        lines = []
        if self.noise is None or self.nonlinear is None:
            rest = Share(1 - self.linear.value, self.linear.error)
            lines.append(("noise and non-linear", rest))
        else:
            lines += [("noise", self.noise), ("non-linear", self.nonlinear)]
        if explained is None:
            lines.append(("linear", self.linear))
        else:
            unlearnt = Share(self.linear.value - explained, self.linear.error)
            lines.append(("linear but unlearnt", unlearnt))
        width = max(len(name) for name, _ in lines)
        text = [f"{name:<{width}}  {share}" for name, share in lines]
        if explained is not None:
            text.append(f"{'explained':<{width}}  {explained:.3f}")
        return "\n".join(text)


def estimate_linear_share(
    masks: ArrayLike, outputs: ArrayLike, mask_id: ArrayLike | None = None
) -> LinearShare:
    """Share out the variance of ``outputs`` among linear, non-linear and noise.

    Masks must be random subsets: all of one size, or of independent entries, with one alpha for all
    training examples. 2 n^2 (p + t) operations for n masks, p examples and t targets.

    Args:
        masks: (n_models, n_train) of zeros and ones.
        outputs: (n_models, n_targets).
        mask_id: (n_models,) integers; models of one id are trainings of one mask. None: all masks
            are different.

    Raises:
        InputError: shapes that do not fit, values that are not finite, fewer than 4 masks, masks of
            one id that differ, or masks that are no such random subsets.
    """
    masks, outputs = np.asarray(masks), np.asarray(outputs)
    outputs = outputs[:, None] if outputs.ndim == 1 else outputs
    _check_arrays(masks, outputs)
    n = len(outputs)
    repeats = find_repeats(np.arange(n) if mask_id is None else mask_id, n)
    check_equal_masks(masks, repeats)
    if repeats.n_masks < 4:
        raise InputError(f"{repeats.n_masks} masks do not tell a variance; give 4 or more")
    means = outputs.astype(np.float64) if repeats.are_all_alone else repeats.mean(outputs)
    linear = _linear_part(masks[repeats.first], means)
    within, between = _components(outputs, means, repeats)
    total = within + between
    total_of_target = total.of_target
    shares = {name: _share(part, total) for name, part in
              (("linear", linear), ("within", within), ("between", between))}  # fmt: skip
    known = not repeats.are_all_alone
    return LinearShare(
        linear=shares["linear"],
        between=shares["between"] if known else None,
        noise=shares["within"] if known else None,
        nonlinear=_share(between + linear.times(-1.0), total) if known else None,
        linear_of_target=_ratio(linear.of_target, total_of_target),
        between_of_target=_ratio(between.of_target, total_of_target) if known else None,
        variance=total_of_target,
        n_masks=repeats.n_masks,
        n_trainings=n,
    )


def share_bytes(n_train: int, n_targets: int) -> int:
    """Memory that :func:`estimate_linear_share` takes for a row, the row as read included."""
    return _MASK_BYTES * n_train + _OUTPUT_BYTES * n_targets


@dataclass(frozen=True, eq=False)
class _Part:
    """A component of variance, and what it is without each mask."""

    of_target: Float64s  # (t,)
    without: Float64s  # (k,) summed over the targets, without one of the k masks
    twice: float = 0.0  # the variance that the jackknife counts twice

    @property
    def total(self) -> float:
        return float(self.of_target.sum())

    def __add__(self, other: "_Part") -> "_Part":
        return _Part(
            self.of_target + other.of_target,
            self.without + other.without,
            self.twice + other.twice,
        )

    def times(self, factor: float) -> "_Part":
        return _Part(factor * self.of_target, factor * self.without, factor**2 * self.twice)


def _share(part: _Part, total: _Part) -> Share:
    """part / total, with the jackknife's standard error."""
    ratios = part.without / total.without
    k = len(ratios)
    variance = (k - 1) / k * ((ratios - ratios.mean()) ** 2).sum() - part.twice / total.total**2
    return Share(part.total / total.total, float(np.sqrt(max(variance, 0.0))))


def _linear_part(masks: NDArray[Any], means: Float64s) -> _Part:
    """V_L of mean outputs ``means`` (k, t) of different ``masks`` (k, p)."""
    k, p = masks.shape
    alpha, scale, rank = _design(masks)
    x = masks.astype(np.float32)
    x -= np.float32(alpha)
    y = means - means.mean(axis=0)
    of_target = np.zeros(y.shape[1])
    of_mask = np.zeros(k)  # sums over the pairs of a mask, and over targets
    squares = overlap_squares = 0.0
    step = max(1, _PAIRS_PER_BLOCK // k)
    for start in range(0, k, step):
        block = slice(start, start + step)
        overlaps = (x[block] @ x.T).astype(np.float64) / scale  # (b, k)
        overlaps[np.arange(len(overlaps)), np.arange(start, start + len(overlaps))] = 0.0
        products = y[block] * (overlaps @ y)  # (b, t)
        of_target += products.sum(axis=0)
        of_mask[block] = products.sum(axis=1)
        overlap_squares += float((overlaps**2).sum())
        squares += float(((overlaps * (y[block] @ y.T)) ** 2).sum())
    _check_overlaps(overlap_squares / (k * (k - 1)), rank, k, p)
    put_back = 1 - 2 / k + 2 / k**2
    pairs = k * (k - 1) * put_back
    without = (of_target.sum() - 2 * of_mask) / ((k - 1) * (k - 2) * put_back)
    spread = squares / (k * (k - 1)) - (of_target.sum() / (k * (k - 1))) ** 2  # of single pairs
    return _Part(of_target / pairs, without, twice=2 * max(spread, 0.0) / (k * (k - 1)))


def _design(masks: NDArray[Any]) -> tuple[float, float, int]:
    """alpha, s and the rank of cov(x), which is s on a space of that many dimensions."""
    _, p = masks.shape
    sizes = masks.sum(axis=1, dtype=np.int64)
    m = int(sizes[0])
    if (sizes == m).all():
        if m in (0, p):
            raise InputError(f"all masks hold {m} of the {p} training examples: none differ")
        return m / p, m * (p - m) / (p * (p - 1)), p - 1
    alpha = float(sizes.mean() / p)
    return alpha, alpha * (1 - alpha), p


def _check_overlaps(mean_square: float, rank: int, k: int, p: int) -> None:
    """InputError unless overlaps of masks vary as those of random subsets do: by ``rank``.

    The mean of k (k - 1) squares of near normal values, of pairs that are uncorrelated, is off by
    rank (2 / (k (k - 1)))^(1/2) and more for small ranks.
    """
    allowed = _OVERLAP_TOLERANCE + 6 * np.sqrt(2 / (k * (k - 1))) * (1 + 6 / p) + 8 / (k * p**0.5)
    if abs(mean_square / rank - 1) > allowed:
        raise InputError(
            f"the overlaps of two masks vary {mean_square / rank:.2f} times as much as those of "
            "random subsets of one size or of independent entries, which the estimate is for; "
            "masks that were drawn in groups, or with different chances, have no such estimate"
        )


def _components(outputs: NDArray[Any], means: Float64s, repeats: Repeats) -> tuple[_Part, _Part]:
    """Variance within masks and between them; where all masks differ, all of it is "between".

    With N rows of k masks of n_i rows: within = SSW / (N - k), between = (SSB / (k - 1) - within)
    / n0 and n0 = (N - sum n_i^2 / N) / (k - 1). Without mask i, SSW, N and the sums of SSB lose its
    share.
    """
    counts = repeats.counts.astype(np.float64)  # (k,)
    k, n = len(counts), counts.sum()
    centre = means.mean(axis=0)
    y = means - centre
    deviations = outputs - means[repeats.which]
    ssw_of_target = (deviations**2).sum(axis=0)
    ssw = np.bincount(repeats.which, (deviations**2).sum(axis=1), minlength=k)  # (k,)
    sums = counts[:, None] * y  # (k, t)
    sum_all = sums.sum(axis=0)
    ssb_of_target = (sums * y).sum(axis=0) - sum_all**2 / n
    all_squares = float((sums * y).sum())
    # |sum_all - sums_i|^2, without a second (k, t) array
    others = (sum_all**2).sum() - 2 * (sums @ sum_all) + (sums**2).sum(axis=1)  # (k,)
    ssb = all_squares - (sums * y).sum(axis=1) - others / (n - counts)
    within_of_target = _divided(ssw_of_target, n - k)
    within = _divided(ssw.sum() - ssw, (n - counts) - (k - 1))
    n0 = (n - (counts**2).sum() / n) / (k - 1)
    n0_without = (n - counts - ((counts**2).sum() - counts**2) / (n - counts)) / (k - 2)
    between = (ssb / (k - 2) - within) / n0_without
    between_of_target = (ssb_of_target / (k - 1) - within_of_target) / n0
    return _Part(within_of_target, within), _Part(between_of_target, between)


def _divided(values: Float64s, by: "Float64s | float") -> Float64s:
    """values / by, 0 where there is nothing to divide by."""
    by = np.broadcast_to(np.asarray(by, np.float64), values.shape)
    return np.divide(values, by, out=np.zeros_like(values), where=by > 0)


def _ratio(part: Float64s, total: Float64s) -> Float64s:
    return np.divide(part, total, out=np.full_like(part, np.nan), where=total > 0)


def _check_arrays(masks: NDArray[Any], outputs: NDArray[Any]) -> None:
    if masks.ndim != 2 or outputs.ndim != 2 or len(masks) != len(outputs) or masks.shape[1] < 2:
        raise InputError(
            f"masks {masks.shape} and outputs {outputs.shape}: expected (n_models, n_train) and "
            "(n_models, n_targets)"
        )
    if not np.isfinite(outputs).all():
        model, target = np.argwhere(~np.isfinite(outputs))[0]
        raise InputError(f"outputs[{model}, {target}]={outputs[model, target]} is not finite")
    if masks.dtype != np.bool_ and not ((masks == 0) | (masks == 1)).all():
        raise UsageError("masks hold other values than 0 and 1; they must be subsets")
    if not (outputs != outputs[0]).any():
        raise InputError("no output ever changes: there is no variance to share out")
