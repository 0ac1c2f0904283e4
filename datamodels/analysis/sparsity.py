"""The weights of datamodels without their zeros, one target a row."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, UsageError
from datamodels.optional import import_scipy_sparse
from datamodels.regression.result import Datamodels

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_BLOCK_BYTES = 2**26  # of the dense weights, looked at together


def sparse_weights(datamodels: Datamodels) -> "csr_array":
    """The weights as a sparse matrix (n_targets, n_train): row t is the datamodel of target t.

    The dense weights are read block by block and never copied as a whole. A non-zero takes 8
    bytes, so that weights without zeros (ridge) take twice what they take dense.

    Returns:
        float32, columns of a row ascending, no zeros stored.

    Raises:
        MissingPackageError: scipy is not installed.
    """
    return sparse_rows_of(datamodels.weight).T.tocsr()


def sparse_rows_of(weight: NDArray[Any]) -> "csr_array":
    """``weight`` (n, m) as it stands, without its zeros; InputError where one is not finite."""
    sparse = import_scipy_sparse()
    n, m = weight.shape
    step = max(1, _BLOCK_BYTES // max(1, m * weight.itemsize))
    start = np.zeros(n + 1, np.int64)
    columns, values = [], []
    for first in range(0, n, step):
        block = weight[first : first + step]
        row, column = np.nonzero(block)
        start[first + 1 : first + 1 + len(block)] = np.bincount(row, minlength=len(block))
        columns.append(column.astype(np.int32 if m < 2**31 else np.int64))
        values.append(block[row, column].astype(np.float32))
        _refuse_non_finite(values[-1], first + row, column)
    start = np.cumsum(start)
    parts = (
        np.concatenate(p) if p else np.zeros(0, t) for p, t in ((values, "f4"), (columns, "i4"))
    )
    data, indices = parts
    if start[-1] < 2**31:
        start = start.astype(indices.dtype)
    return sparse.csr_array((data, indices, start), shape=(n, m))


def without_own(weights: "csr_array") -> "csr_array":
    """The weights (n, n) without those of each example on itself."""
    n_targets, n_train = weights.shape
    if n_targets != n_train:
        raise UsageError(
            f"{n_targets} targets are not the {n_train} training examples: there is no own example "
            "to leave out"
        )
    targets = np.repeat(np.arange(n_targets), np.diff(weights.indptr))
    kept = weights.copy()
    kept.data[weights.indices == targets] = 0
    kept.eliminate_zeros()
    return kept


def _refuse_non_finite(
    values: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        i = bad[0]
        raise InputError(f"weight[{rows[i]}, {columns[i]}]={values[i]} is not finite")
