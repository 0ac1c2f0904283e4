"""The correlations that predictions are scored by, by name."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import UsageError
from datamodels.evaluation.rank_correlation import checked_pair, spearman
from datamodels.near_miss import nearest

Correlate = Callable[[NDArray[np.generic], NDArray[np.generic]], NDArray[np.float64]]
Resample = Callable[
    [NDArray[np.generic], NDArray[np.generic], NDArray[np.int64]], NDArray[np.float64]
]

CORRELATIONS = ("spearman", "kendall", "pearson")
WORDS = {
    "spearman": "Spearman's rank correlation",
    "kendall": "Kendall's tau-b",
    "pearson": "Pearson's correlation",
}


def check_correlation(name: str) -> None:
    """UsageError unless ``name`` is one of ``CORRELATIONS``."""
    if name in CORRELATIONS:
        return
    close = nearest(name, list(CORRELATIONS))
    hint = f"; did you mean {close}?" if close else ""
    raise UsageError(f"correlation={name}; it must be one of {', '.join(CORRELATIONS)}{hint}")


def correlate_by(name: str) -> Correlate:
    """The function (n_models, n_targets) twice -> (n_targets,) of that name."""
    check_correlation(name)
    if name == "kendall":
        from datamodels.evaluation.kendall import kendall_tau  # numba is slow to import

        return kendall_tau
    if name == "pearson":
        from datamodels.evaluation.pearson import pearson_correlation

        return pearson_correlation
    return spearman


def resample_by(name: str) -> Resample:
    """The function of the same two arrays and of multiplicities (n_resamples, n_models) ->
    (n_targets, n_resamples)."""
    check_correlation(name)
    if name == "kendall":
        from datamodels.evaluation.kendall import resampled_kendall

        return resampled_kendall
    if name == "pearson":
        from datamodels.evaluation.pearson import resampled_pearson

        return resampled_pearson
    from datamodels.evaluation.bootstrap import resampled_spearman

    return resampled_spearman


def pooled_correlation(
    predictions: NDArray[np.generic],
    outputs: NDArray[np.generic],
    *,
    correlation: str = "spearman",
) -> float:
    """One correlation over all (model, target) pairs at once, nothing centred.

        pooled = corr_(i,t)( predictions_it, outputs_it )

    Differences between targets count as much as those between models: predictions that know only
    the mean output of each target can come close to 1. It is not the LDS, and says little of how
    models are ranked; predictions need the datamodels' bias to be comparable over targets.

    Args:
        predictions, outputs: shape (n_models, n_targets); errors as in ``spearman``.
        correlation: one of ``CORRELATIONS``.

    Returns:
        From -1 to 1; NaN where the outputs are all the same.
    """
    predictions, outputs = checked_pair(predictions, outputs)
    return float(correlate_by(correlation)(predictions.reshape(-1, 1), outputs.reshape(-1, 1))[0])
