"""Weights of several targets with only their non-zeros kept (compressed sparse rows)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodels.regression.blocks import Float64s, Int64s

EMPTY_ROW: tuple[Int64s, Float64s] = (np.zeros(0, np.int64), np.zeros(0))


class SparseRows(NamedTuple):
    """Row r has values ``value[start[r]:start[r + 1]]`` at the features of the same places.

    Features ascend within a row; everything else is zero.
    """

    start: Int64s  # (r + 1,)
    feature: Int64s  # (nnz,)
    value: Float64s  # (nnz,)

    @property
    def n_rows(self) -> int:
        return len(self.start) - 1

    def row(self, r: int) -> tuple[Int64s, Float64s]:
        """Features and values of one row."""
        part = slice(self.start[r], self.start[r + 1])
        return self.feature[part], self.value[part]

    def counts(self) -> Int64s:
        """Non-zeros of each row (r,)."""
        return np.diff(self.start)

    def dense(self, n_features: int, dtype: Any = np.float64) -> NDArray[Any]:
        """The rows with their zeros (r, n_features)."""
        rows = np.repeat(np.arange(self.n_rows), self.counts())
        full = np.zeros((self.n_rows, n_features), dtype)
        full[rows, self.feature] = self.value
        return full

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The parts, called ``name_start`` and so on, for a file."""
        return {f"{name}_{part}": values for part, values in self._asdict().items()}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], name: str) -> "SparseRows":
        """The rows that :meth:`arrays` took apart, among other ``arrays``."""
        return cls(*(arrays[f"{name}_{part}"] for part in cls._fields))

    def take(self, rows: Int64s) -> "SparseRows":
        """Some of the rows, in the order asked for."""
        return stack_rows([self.row(int(r)) for r in rows])


def to_sparse(dense: NDArray[Any]) -> SparseRows:
    """The non-zeros of ``dense`` (r, p)."""
    rows, features = np.nonzero(dense)
    start = np.searchsorted(rows, np.arange(len(dense) + 1))
    return SparseRows(start, features, dense[rows, features].astype(np.float64))


def stack_rows(rows: Sequence[tuple[Int64s, Float64s]]) -> SparseRows:
    """Rows given one by one as (features, values)."""
    start = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(features) for features, _ in rows], out=start[1:])
    if not rows:
        return SparseRows(start, np.zeros(0, np.int64), np.zeros(0))
    return SparseRows(
        start,
        np.concatenate([features for features, _ in rows]),
        np.concatenate([values for _, values in rows]),
    )
