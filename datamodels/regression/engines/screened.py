"""Too many features for a Gram matrix of all: small ones of each target's working set.

The table of pairs of a working set is counted when a target is about to be solved: a features cost
a^2 / 2 pairs, far less than the gradients of all features that certify the solution. Targets are
taken as many at a time as their tables fit ``table_bytes``. One whose own table does not fit ends
its path there, at its iteration limit.
"""

import numpy as np

from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.engines import row_descent
from datamodels.regression.engines.row_path import WorkingSetEngine
from datamodels.regression.engines.row_problem import RowBlock
from datamodels.regression.sparse_rows import SparseRows


class ScreenedEngine(WorkingSetEngine):
    """See the module; ``table_bytes`` bounds the Gram matrices that are held at a time."""

    default_table_bytes = 2**30

    def descent(self, rows: RowBlock) -> "PairsDescent":
        """What solves the working sets of these rows."""
        return PairsDescent(rows, self.table_bytes)


class PairsDescent:
    """Descends on the Gram matrices of the working sets."""

    def __init__(self, rows: RowBlock, table_bytes: int) -> None:
        self.rows = rows
        self.table_bytes = table_bytes
        self._cross = rows.cross(rows.y)  # (p, t)

    def descend(
        self, which: Int64s, working: SparseRows, lam: Float64s, tol: Float64s, max_sweeps: Int64s
    ) -> Int64s:
        """See ``row_path.Descent``."""
        sweeps = max_sweeps.copy()  # of those too large for a table: they end unsolved
        yy = (self.rows.y[which] ** 2).mean(axis=1)
        of = np.repeat(which, working.counts())
        c = self._cross[working.feature, of] * self.rows.scale[working.feature]
        for a, b in self._spans(working.counts()):
            part = slice(working.start[a], working.start[b])
            grams, gram_start = self._grams([working.row(row)[0] for row in range(a, b)])
            sweeps[a:b] = row_descent.descend_gram(
                grams,
                gram_start,
                working.start[a : b + 1] - working.start[a],
                c[part],
                lam[part],
                yy[a:b],
                tol[a:b],
                max_sweeps[a:b],
                working.value[part],
            )
        return sweeps

    def _grams(self, features: list[Int64s]) -> tuple[Float64s, Int64s]:
        """G~ (a, a) of each list of features, one after the other, and where each starts."""
        start = np.cumsum([0] + [len(some) ** 2 for some in features])
        grams = np.empty(start[-1])
        for some, first, stop in zip(features, start[:-1], start[1:], strict=True):
            row_descent.standardize_pairs(
                self.rows.design.pair_products(some),
                self.rows.pair_basis(some),
                self.rows.problem.scale_inverse[some],
                grams[first:stop],
            )
        return grams, start[:-1]

    def _spans(self, counts: Int64s) -> list[tuple[int, int]]:
        """Ranges of targets whose tables fit the bytes there are, without those that never do."""
        need = 8 * counts**2
        fits = 2 * need <= self.table_bytes  # the products, and G~
        room = self.table_bytes - int(need[fits].max(initial=0))
        spans: list[tuple[int, int]] = []
        used = 0
        for b in np.flatnonzero(fits):
            follows = bool(spans) and spans[-1][1] == b
            if follows and used + need[b] <= room:
                spans[-1], used = (spans[-1][0], int(b) + 1), used + int(need[b])
            else:
                spans.append((int(b), int(b) + 1))
                used = int(need[b])
        return spans
