"""Margins from logits: how clearly a model prefers the right class.

    largest:    z_y - max_(k != y) z_k                 the margin of the datamodels paper
    logsumexp:  z_y - log sum_(k != y) exp(z_k)        = log p / (1 - p), with p = softmax(z)_y

for logits z of one output and its label y.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.errors import InputError, UsageError

MarginKind = Literal["largest", "logsumexp"]

_KINDS = ("largest", "logsumexp")
_VALUES_PER_BLOCK = 2**23  # logits in memory at a time, some 100 MB with what is made of them


def margins_from_logits(
    logits: NDArray[Any],
    labels: ArrayLike,
    kind: MarginKind = "largest",
    *,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Margins (m, n) of the logits of m models for n examples, computed in float32, to whose
    infinity larger logits are rounded.

    Args:
        logits: (m, n, c) of c classes, in memory or mapped: it is read block by block.
        labels: (n,) the right classes, 0 to c - 1.
        kind: ``"largest"`` or ``"logsumexp"``.
        out: (m, n) floats to write them to, such as a map of a file; None makes a float32 array.
            Margins of float16 logits may be twice as large as float16 holds, 65,504.

    Returns:
        ``out``. NaN where logits are NaN, or infinities leave a difference undefined; infinite
        where a logit is.

    Raises:
        UsageError: no such kind. InputError: shapes, labels or dtypes do not fit, or a finite
            margin is too large for ``out``, as rows of a store refuse it; what was computed before
            it has been written.
    """
    if kind not in _KINDS:
        raise UsageError(f"kind={kind!r}; it is one of {', '.join(_KINDS)}")
    if logits.ndim != 3 or logits.shape[2] < 2 or logits.dtype.kind != "f":
        raise InputError(
            f"logits have shape {logits.shape} and dtype {logits.dtype}; they must be floats of "
            "shape (models, examples, classes), with 2 classes at least"
        )
    m, n, c = logits.shape
    right = _checked_labels(labels, n, c)
    if out is None:
        out = np.empty((m, n), np.float32)
    elif out.shape != (m, n) or out.dtype.kind != "f":
        raise InputError(
            f"out has shape {out.shape} and dtype {out.dtype}; these margins are floats of shape "
            f"{(m, n)}"
        )
    rows = max(1, _VALUES_PER_BLOCK // max(1, n * c))
    columns = max(1, _VALUES_PER_BLOCK // c)
    for first in range(0, m, rows):
        models = slice(first, first + rows)
        for start in range(0, n, columns):  # one model alone may be too much
            examples = slice(start, start + columns)
            margins = _margins(logits[models, examples], right[examples], kind)
            with np.errstate(over="ignore"):
                rounded = margins.astype(out.dtype)
            _refuse_overflow(margins, rounded, first, start)
            out[models, examples] = rounded
    return out


def _refuse_overflow(
    margins: NDArray[np.float32], rounded: NDArray[Any], first: int, start: int
) -> None:
    """InputError where finite margins (b, n) are infinite once rounded; ``first`` and ``start`` are
    the model and the example that the block begins with."""
    lost = np.isinf(rounded) & np.isfinite(margins)
    if lost.any():
        i, j = np.argwhere(lost)[0]
        raise InputError(
            f"the margin of model {first + i} for example {start + j} is {margins[i, j]:g}, and "
            f"out is {rounded.dtype}, which ends at {np.finfo(rounded.dtype).max:g}: give out as "
            "float32, or leave it out"
        )


def _margins(
    logits: NDArray[Any], right: NDArray[np.int64], kind: MarginKind
) -> NDArray[np.float32]:
    """Of a block: (b, n, c), (n,) -> (b, n)."""
    with np.errstate(over="ignore"):
        values = np.array(logits, np.float32)  # a copy, in which the right class is taken out
    examples = np.arange(len(right))
    correct = values[:, examples, right]  # (b, n)
    values[:, examples, right] = -np.inf
    others: NDArray[np.float32] = values.max(axis=2)  # (b, n)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # of infinite logits
        if kind == "logsumexp":
            top = np.where(np.isfinite(others), others, np.float32(0))
            values -= top[:, :, None]  # the largest term is then exp(0): nothing overflows
            np.exp(values, out=values)
            others = top + np.log(values.sum(axis=2))
        margins: NDArray[np.float32] = correct - others
    return margins


def _checked_labels(labels: ArrayLike, n: int, c: int) -> NDArray[np.int64]:
    right = np.asarray(labels)
    if right.shape != (n,) or right.dtype.kind not in "iu":
        raise InputError(
            f"labels have shape {right.shape} and dtype {right.dtype}; give an integer for each of "
            f"the {n} examples"
        )
    outside = np.flatnonzero((right < 0) | (right >= c))
    if len(outside):
        raise InputError(
            f"labels[{outside[0]}]={right[outside[0]]} is out of range: the logits are of {c} "
            f"classes, 0 to {c - 1}"
        )
    return right.astype(np.int64)
