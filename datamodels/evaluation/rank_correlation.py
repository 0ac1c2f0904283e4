"""Spearman's rank correlation of many columns at once."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.errors import InputError

_VALUES_PER_BLOCK = 2**22  # bounds the working memory at a few hundred MB


def spearman(predictions: ArrayLike, outputs: ArrayLike) -> NDArray[np.float64]:
    """Spearman correlation of each column of ``predictions`` with that of ``outputs``.

        score_t = corr_i( rank(predictions_it), rank(outputs_it) ),  tied values at average ranks

    Conventions where the correlation is 0/0:

    - constant outputs: NaN, there is nothing to predict;
    - constant predictions of outputs that vary: 0, a predictor that says nothing.

    Args:
        predictions: real numbers, shape (n_models, n_targets). Infinities rank first and last.
        outputs: the same shape.

    Returns:
        float64 of shape (n_targets,), from -1 to 1, or NaN.

    Raises:
        InputError: the arrays are not two matrices of real numbers of one shape, hold a NaN
            (its model and target are named), or have fewer than 3 models.
    """
    predictions, outputs = checked_pair(predictions, outputs)
    n_models, n_targets = outputs.shape
    scores = np.empty(n_targets)
    for block in target_blocks(n_models, n_targets):
        a = doubled_ranks(predictions[:, block])  # (b, n_models)
        b = doubled_ranks(outputs[:, block])
        scores[block] = correlation(
            np.einsum("ti,ti->t", a, b), np.einsum("ti,ti->t", a, a), np.einsum("ti,ti->t", b, b)
        )
    return scores


def doubled_ranks(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Average ranks of each column, centred and doubled so that they are whole numbers.

    With ranks from 1 to n and ties at their average, the value is 2 rank - (n + 1). Sums of
    products of whole numbers are exact in float64 up to 2^53, that is, for n up to 200,000: the
    result does not depend on the order of the rows.

    Args:
        values: shape (n, b), without NaN.

    Returns:
        float64 of shape (b, n): a column of ``values`` is a row here.
    """
    columns = sortable(values)  # (b, n)
    b, n = columns.shape
    order = np.argsort(columns, axis=1)
    ordered = np.take_along_axis(columns, order, axis=1)
    starts_group = np.ones((b, n), dtype=np.bool_)
    starts_group[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    starts = np.flatnonzero(starts_group)  # over all columns, one after the other
    sizes = np.diff(starts, append=b * n)
    # A group of `size` values after `before` smaller ones has 2 rank = 2 before + size + 1.
    doubled = np.repeat(2 * (starts % n) + sizes - n, sizes).reshape(b, n)
    ranks = np.empty((b, n))
    np.put_along_axis(ranks, order, doubled.astype(np.float64), axis=1)
    return ranks


def sortable(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """The columns of ``values`` as contiguous rows, in a type that numpy sorts fast."""
    dtype = np.float32 if values.dtype == np.float16 else values.dtype  # the same order
    return np.ascontiguousarray(values.T, dtype=dtype)


def correlation(
    ab: NDArray[np.float64], aa: NDArray[np.float64], bb: NDArray[np.float64]
) -> NDArray[np.float64]:
    """ab / sqrt(aa bb), with the conventions of :func:`spearman` (a predicts b) where it is 0/0."""
    scale = np.sqrt(aa * bb)  # one root: exactly aa where aa == bb, so a perfect score is 1
    scores = np.zeros_like(ab)
    np.divide(ab, scale, out=scores, where=scale > 0)
    scores[bb == 0] = np.nan
    np.clip(scores, -1.0, 1.0, out=scores)
    return scores


def target_blocks(n_models: int, n_targets: int) -> list[slice]:
    """Consecutive slices of the targets whose columns fit the working memory together."""
    size = max(1, _VALUES_PER_BLOCK // n_models)
    return [slice(start, min(start + size, n_targets)) for start in range(0, n_targets, size)]


def checked_pair(
    predictions: ArrayLike, outputs: ArrayLike
) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Both as matrices (n_models, n_targets) that can be ranked, or :class:`InputError`."""
    predictions, outputs = np.asarray(predictions), np.asarray(outputs)
    for name, values in (("predictions", predictions), ("outputs", outputs)):
        if values.ndim != 2:
            raise InputError(f"{name} of shape {values.shape}: expected (n_models, n_targets)")
        if values.dtype.kind not in "biuf":
            raise InputError(f"{name} of dtype {values.dtype}: expected real numbers")
    if predictions.shape != outputs.shape:
        raise InputError(
            f"predictions have shape {predictions.shape} and outputs {outputs.shape}: "
            "both must be (n_models, n_targets) of the same models and targets"
        )
    if len(outputs) < 3:
        raise InputError(f"a rank correlation needs 3 or more models; there are {len(outputs)}")
    _refuse_nan("predictions", predictions)
    _refuse_nan("outputs", outputs)
    return predictions, outputs


def _refuse_nan(name: str, values: NDArray[np.generic]) -> None:
    if values.dtype.kind != "f":
        return
    n_models, n_targets = values.shape
    for block in target_blocks(n_models, n_targets):
        bad = np.argwhere(np.isnan(values[:, block]))
        if len(bad):
            model, target = bad[0]
            raise InputError(
                f"{name} hold NaN at model {model}, target {block.start + target} (row, column "
                "of the array given): leave such models or targets out"
            )
