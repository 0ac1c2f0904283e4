"""Far fewer rows than features: coordinate descent on the residuals.

A change of one weight costs O(n), a sweep over a working set of a features O(a n), so that the one
pass over all features that certifies each lambda is most of the work. The standardized columns of
working sets are kept in float64 once they were asked for: 32 MB for all of 50,000 features of 80
rows.
"""

import numpy as np

from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.engines import row_descent
from datamodels.regression.engines.row_path import WorkingSetEngine
from datamodels.regression.engines.row_problem import RowBlock
from datamodels.regression.sparse_rows import SparseRows

_LEAST_SQUARE = 1e-10  # of z_j: a column that was projected to less is one of rounding


class FewRowsEngine(WorkingSetEngine):
    """See the module; ``table_bytes`` bounds the columns that are kept."""

    default_table_bytes = 2**29

    def descent(self, rows: RowBlock) -> "RowsDescent":
        """What solves the working sets of these rows."""
        return RowsDescent(rows, self.table_bytes)


class RowsDescent:
    """Descends on the residuals of several targets at once, from a table of columns."""

    def __init__(self, rows: RowBlock, table_bytes: int) -> None:
        self.rows = rows
        self.table = ColumnTable(rows, min(rows.p, max(1, table_bytes // (8 * rows.n))))

    def descend(
        self, which: Int64s, working: SparseRows, lam: Float64s, tol: Float64s, max_sweeps: Int64s
    ) -> Int64s:
        """See ``row_path.Descent``."""
        sweeps = np.empty(len(which), np.int64)
        for a, b in self._spans(working):
            part = slice(working.start[a], working.start[b])
            at = self.table.places(working.feature[part])
            sweeps[a:b] = row_descent.descend_rows(
                self.table.columns,
                self.table.squares,
                at,
                working.start[a : b + 1] - working.start[a],
                lam[part],
                self.rows.y[which[a:b]],
                tol[a:b],
                max_sweeps[a:b],
                working.value[part],
            )
        return sweeps

    def _spans(self, working: SparseRows) -> list[tuple[int, int]]:
        """Ranges of rows, each with no more features than the table has room for."""
        if self.table.capacity >= self.rows.p:
            return [(0, working.n_rows)]
        spans, a = [], 0
        while a < working.n_rows:
            room = working.start[a] + self.table.capacity
            b = max(int(np.searchsorted(working.start, room, side="right")) - 1, a + 1)
            spans.append((a, b))
            a = b
        return spans


class ColumnTable:
    """Standardized columns of the features that were asked for; emptied when it is full."""

    def __init__(self, rows: RowBlock, capacity: int) -> None:
        self.rows = rows
        self.held = 0
        self._empty(capacity)

    @property
    def capacity(self) -> int:
        return len(self.columns)

    def places(self, features: Int64s) -> Int64s:
        """Where the columns of ``features`` (a,) are in ``columns`` and ``squares``."""
        missing = np.unique(features[self.place[features] < 0])
        if self.held + len(missing) > self.capacity:
            missing = np.unique(features)
            self._empty(max(self.capacity, len(missing)))
        stop = self.held + len(missing)
        columns = self.rows.columns(missing)
        self.columns[self.held : stop] = columns
        self.squares[self.held : stop] = _squares(columns)
        self.place[missing] = np.arange(self.held, stop)
        self.held = stop
        places: Int64s = self.place[features]
        return places

    def _empty(self, capacity: int) -> None:
        self.columns = np.empty((capacity, self.rows.n))
        self.squares = np.empty(capacity)
        self.place = np.full(self.rows.p, -1)
        self.held = 0


def _squares(columns: Float64s) -> Float64s:
    """z'z / n of columns (a, n), 0 for one that was projected to nothing."""
    squares: Float64s = np.einsum("an,an->a", columns, columns) / columns.shape[1]
    return np.where(squares > _LEAST_SQUARE, squares, 0.0)
