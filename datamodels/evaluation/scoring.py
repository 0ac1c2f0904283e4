"""The linear datamodeling score: how well predictions rank models that were not fitted on.

Definition 2.3 of Park, Georgiev, Ilyas, Leclerc, Madry: TRAK: Attributing Model Behavior at
Scale, ICML 2023, arXiv 2303.14186; datamodels themselves: Ilyas, Park, Engstrom, Leclerc, Madry,
ICML 2022, arXiv 2202.00622.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.errors import InputError, UsageError
from datamodels.evaluation.measures import WORDS, check_correlation, correlate_by, resample_by
from datamodels.evaluation.rank_correlation import checked_pair
from datamodels.evaluation.repeats import average_repeats

_VALUES_PER_BLOCK = 2**25  # bounds the working memory of a product at 256 MB a factor
_SPARSE = 1 / 20  # share of non-zero weights up to which their zeros are left out of the product
_WORTH_PACKING = 2**34  # products of a mask and a weight: a second's work, as numba takes to load


@dataclass(frozen=True, eq=False)
class LinearDatamodelingScore:
    """Correlations on held-out models, one per target, and their mean.

    Attributes:
        per_target: float64 of shape (n_targets,), from -1 to 1. NaN where the true outputs are
            constant over the held-out models (undefined), 0 where only the predictions are.
        interval: bootstrap interval (low, high) of the mean over held-out models; None where none
            was asked for.
        level: coverage of the interval, such as 0.95.
        n_models: number of held-out models; of masks, where repeated trainings were averaged.
        n_resamples: number of bootstrap resamples.
        n_constant_predictions: targets scored 0 because their prediction never changes.
        correlation: Spearman's, which the LDS is defined by, or another by name.
        n_trainings: number of trainings whose outputs were averaged; None: one a model.
    """

    per_target: NDArray[np.float64]
    interval: tuple[float, float] | None
    level: float
    n_models: int
    n_resamples: int
    n_constant_predictions: int
    correlation: str = "spearman"
    n_trainings: int | None = None

    @property
    def n_targets(self) -> int:
        return len(self.per_target)

    @property
    def n_undefined(self) -> int:
        """Targets whose true outputs are constant: they are left out of the mean."""
        return int(np.count_nonzero(np.isnan(self.per_target)))

    @property
    def mean(self) -> float:
        """Mean score over the defined targets; NaN if there is none."""
        return _mean(self.per_target)

    def __str__(self) -> str:
        by = "" if self.correlation == "spearman" else f" by {WORDS[self.correlation]}"
        parts = [f"LDS{by} {self.mean:.3f}"]
        if self.interval is not None:
            low, high = self.interval
            parts.append(f"({self.level * 100:g}% interval {low:.3f} to {high:.3f})")
        on = f"{self.n_models:,} models"
        if self.n_trainings is not None:
            on = f"{self.n_models:,} masks (mean outputs of {self.n_trainings:,} trainings)"
        parts.append(f"on {on}, {self.n_targets:,} targets")
        if self.n_undefined:
            parts.append(f"of which {self.n_undefined:,} have constant outputs and are left out")
        return " ".join(parts)


def linear_datamodeling_score(
    predictions: ArrayLike,
    outputs: ArrayLike,
    *,
    correlation: str = "spearman",
    n_resamples: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
) -> LinearDatamodelingScore:
    """Score predictions against the true outputs of held-out models.

        LDS = mean_t spearman_i(predictions_it, outputs_it)

    over targets t, where i runs over models whose rows took no part in the fit. The interval is
    the bootstrap's: models are drawn with replacement, ranks taken anew and the mean over targets
    formed, ``n_resamples`` times; its ends are percentiles of these means, moved by the distance
    of their average from the LDS. (Models drawn twice tie, which lowers rank correlations by
    about 0.4 / n_models at 0.43: little, but an interval over many targets is as narrow, and
    unmoved it covered the truth in 85% of simulated cases instead of 95%.) The interval says how
    the LDS depends on which models were held out, for the targets at hand. It is a function of
    the arrays and ``seed`` alone, whatever the number of threads.

    2,000 models x 10,000 targets take about 3 s on two cores, and 1,000 resamples of them about
    40 s more. Kendall's take as long, and
    resamples three times as long; Pearson's a quarter, and resamples as long.

    Args:
        predictions: shape (n_models, n_targets); any increasing function of them scores the same.
        outputs: the true outputs, same shape.
        correlation: ``"kendall"`` (tau-b) or ``"pearson"`` in the place of Spearman's.
        n_resamples: bootstrap resamples; 0 for no interval.
        level: coverage of the interval, 0 < level < 1.
        seed: of the resamples.

    Raises:
        InputError: arrays of unequal shapes, a NaN (its model and target are named), or fewer
            than 3 models.
        UsageError: ``n_resamples`` or ``level`` out of range.
    """
    if n_resamples < 0:
        raise UsageError(f"n_resamples={n_resamples} is out of range: 0 (no interval) or more")
    if not 0 < level < 1:
        raise UsageError(f"level={level} is out of range: it must be above 0 and below 1")
    check_correlation(correlation)
    predictions, outputs = checked_pair(predictions, outputs)
    per_target = correlate_by(correlation)(predictions, outputs)
    defined = ~np.isnan(per_target)
    interval = None
    if n_resamples > 0:
        from datamodels.evaluation.bootstrap import bootstrap_means  # numba is slow to import

        means = bootstrap_means(
            predictions,
            outputs,
            defined,
            n_resamples=n_resamples,
            seed=seed,
            resampled=resample_by(correlation),
        )
        interval = _interval(means, _mean(per_target), level)
    constant = (predictions == predictions[0]).all(axis=0)
    return LinearDatamodelingScore(
        per_target=per_target,
        interval=interval,
        level=level,
        n_models=len(outputs),
        n_resamples=n_resamples,
        n_constant_predictions=int(np.count_nonzero(constant & defined)),
        correlation=correlation,
    )


def score_weights(
    weight: ArrayLike,
    masks: ArrayLike,
    outputs: ArrayLike,
    *,
    exclude_own: bool = False,
    own_index: ArrayLike | None = None,
    mask_id: ArrayLike | None = None,
    correlation: str = "spearman",
    n_resamples: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
) -> LinearDatamodelingScore:
    """Score the predictions ``masks @ weight`` of datamodels, or of any attribution scores.

    Args:
        weight: shape (n_train, n_targets). An intercept is not asked for: it moves no rank.
        masks: held-out masks, shape (n_models, n_train).
        outputs: their true outputs, shape (n_models, n_targets).
        exclude_own: for targets that are training examples: set the weight of the target's own
            mask column to 0 in its prediction. That weight is the target's self-influence, by far
            its largest, and it would dominate the score.
        own_index: shape (n_targets,), which training example each target is. May be left out when
            n_targets == n_train and target t is training example t.
        mask_id: shape (n_models,), integers: models of one id are repeated trainings of one mask,
            whose outputs are averaged; the bootstrap then resamples masks.
        correlation, n_resamples, level, seed: as in :func:`linear_datamodeling_score`.

    Raises:
        InputError: shapes that do not fit together, a weight or mask that is not finite, or models
            of one ``mask_id`` with other masks.
        UsageError: ``own_index`` without ``exclude_own``; others as in
            :func:`linear_datamodeling_score`.
    """
    weight, masks, outputs = np.asarray(weight), np.asarray(masks), np.asarray(outputs)
    n_trainings = None
    if mask_id is not None:
        check_shapes(weight, masks, outputs)
        n_trainings = len(outputs)
        masks, outputs = average_repeats(masks, outputs, mask_id)
    score = linear_datamodeling_score(
        predict_outputs(weight, masks, outputs, exclude_own=exclude_own, own_index=own_index),
        outputs,
        correlation=correlation,
        n_resamples=n_resamples,
        level=level,
        seed=seed,
    )
    averaged = n_trainings is not None and n_trainings > len(outputs)
    return replace(score, n_trainings=n_trainings) if averaged else score


def predict_outputs(
    weight: ArrayLike,
    masks: ArrayLike,
    outputs: ArrayLike,
    *,
    exclude_own: bool = False,
    own_index: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """``masks @ weight`` (n_models, n_targets), checked to fit ``outputs``; arguments and errors
    as in :func:`score_weights`."""
    weight, masks, outputs = np.asarray(weight), np.asarray(masks), np.asarray(outputs)
    check_shapes(weight, masks, outputs)
    if own_index is not None and not exclude_own:
        raise UsageError("own_index is given but exclude_own is False: set it, or leave both out")
    own = _checked_own_index(own_index, *weight.shape) if exclude_own else None
    return predict(weight, masks, own=own)


def predict(
    weight: NDArray[np.generic], masks: NDArray[np.generic], *, own: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """``masks @ weight`` in float64, each target without its own training example ``own[t]``.

    The own weight is set to 0 before the product: to subtract its share afterwards would leave
    rounding errors that break ties between models.

    Args:
        weight: (n_train, n_targets).
        masks: (n_models, n_train).
        own: (n_targets,), or None to keep every weight.

    Returns:
        (n_models, n_targets).
    """
    (n_train, n_targets), n_models = weight.shape, len(masks)
    predictions = np.empty((n_models, n_targets))
    may_pack = masks.dtype == np.bool_ and n_models * weight.size >= _WORTH_PACKING
    packed: _PackedMasks | None = None
    step = max(1, _VALUES_PER_BLOCK // n_train)
    for start in range(0, n_targets, step):
        targets = slice(start, min(start + step, n_targets))
        factor = weight[:, targets].astype(np.float64)  # (n_train, b), a copy
        _refuse_non_finite(factor, start)
        if own is not None:
            factor[own[targets], np.arange(factor.shape[1])] = 0.0
        if may_pack and np.count_nonzero(factor) <= _SPARSE * factor.size:
            packed = packed or _PackedMasks(masks)
            predictions[:, targets] = packed.times(factor)
            continue
        for first in range(0, n_models, step):
            models = slice(first, first + step)
            predictions[models, targets] = masks[models].astype(np.float64) @ factor
    return predictions


class _PackedMasks:
    """Masks (n_models, n_train) of bools, a bit an entry."""

    def __init__(self, masks: NDArray[np.generic]) -> None:
        from datamodels.regression.popcount import pack_columns, packed_zeros  # loads numba

        self._n_models = len(masks)
        self._packed = packed_zeros(*masks.shape)
        pack_columns(masks, self._packed)

    def times(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """``masks @ weight`` (n_models, b) for ``weight`` (n_train, b) of few non-zeros."""
        from datamodels.regression.bit_products import predictions
        from datamodels.regression.sparse_rows import to_sparse

        rows = to_sparse(np.ascontiguousarray(weight.T))
        products: NDArray[np.float64] = predictions(self._packed, self._n_models, rows).T
        return products


def _interval(means: NDArray[np.float64], centre: float, level: float) -> tuple[float, float]:
    """Percentiles of the resampled means, moved so that these average to ``centre``."""
    means = means[~np.isnan(means)]
    if len(means) == 0:
        return (float("nan"), float("nan"))
    moved = means - means.mean() + centre
    low, high = np.clip(np.quantile(moved, [(1 - level) / 2, (1 + level) / 2]), -1.0, 1.0)
    return (float(low), float(high))


def _mean(scores: NDArray[np.float64]) -> float:
    defined = scores[~np.isnan(scores)]
    return float(defined.mean()) if len(defined) else float("nan")


def check_shapes(
    weight: NDArray[np.generic], masks: NDArray[np.generic], outputs: NDArray[np.generic]
) -> None:
    """InputError unless weight (n_train, n_targets), masks and outputs belong together."""
    for name, values in (("weight", weight), ("masks", masks), ("outputs", outputs)):
        if values.ndim != 2:
            raise InputError(f"{name} of shape {values.shape}: expected a matrix")
    (n_train, n_targets), n_models = weight.shape, len(outputs)
    if masks.shape != (n_models, n_train) or outputs.shape != (n_models, n_targets):
        raise InputError(
            f"weight {weight.shape}, masks {masks.shape} and outputs {outputs.shape} do not fit: "
            "expected (n_train, n_targets), (n_models, n_train) and (n_models, n_targets): are "
            "these weights of this store's x and y?"
        )


def _checked_own_index(
    own_index: ArrayLike | None, n_train: int, n_targets: int
) -> NDArray[np.int64]:
    if own_index is None:
        if n_targets != n_train:
            raise InputError(
                f"exclude_own with {n_targets} targets and {n_train} training examples: "
                "own_index must say which training example each target is"
            )
        return np.arange(n_train)
    own = np.asarray(own_index)
    if own.shape != (n_targets,) or own.dtype.kind not in "iu":
        raise InputError(
            f"own_index of shape {own.shape} and dtype {own.dtype}: "
            f"expected an integer for each of the {n_targets} targets"
        )
    bad = np.flatnonzero((own < 0) | (own >= n_train))
    if len(bad):
        raise InputError(
            f"own_index[{bad[0]}]={own[bad[0]]} is out of range: "
            f"there are {n_train} training examples"
        )
    return own.astype(np.int64)


def _refuse_non_finite(factor: NDArray[np.float64], first_target: int) -> None:
    bad = np.argwhere(~np.isfinite(factor))
    if len(bad):
        example, target = bad[0]
        raise InputError(
            f"weight[{example}, {first_target + target}]={factor[example, target]} is not finite"
        )
