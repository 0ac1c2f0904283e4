"""What the path is followed on: training parts with their engines, and the rows that score them.

A trial is one training part, prepared for its engine, and what was held out of it. Three ways to
provide trials: from rows in memory, and, where a table of all pairs of features is kept, from one
held-out part or from folds. The table is held once and changes hands between the trials.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from datamodels.regression.blocks import Int64s
from datamodels.regression.design import BitDesign
from datamodels.regression.engines.contract import Engine
from datamodels.regression.exact_problem import ExactProblem, RowProblem, TableProblem
from datamodels.regression.moment_sums import Moments
from datamodels.regression.pair_table import PairTable
from datamodels.regression.popcount import add_counts, mirror
from datamodels.regression.row_split import RowSplit
from datamodels.regression.rows_in_memory import RowsInMemory
from datamodels.regression.scoring import HeldOutMoments, HeldOutRows, Scorer
from datamodels.regression.standardized import Standardized, standardize

GramEngine = Callable[[NDArray[Any]], Engine]
RowEngine = Callable[[RowsInMemory, Int64s], Engine]


class Trial(NamedTuple):
    """A training part, the engine that follows its paths, and what was held out of it."""

    problem: Standardized
    engine: Engine
    scorer: Scorer | None


class Trials(Protocol):
    """The parts of a fit. One is open at a time, and ``exact`` comes last."""

    def trial(self, i: int) -> AbstractContextManager[Trial]:
        """The i-th training part."""

    def everything(self) -> AbstractContextManager[Trial]:
        """All rows, nothing held out."""

    def exact(self) -> ExactProblem:
        """All rows, with products in float64, for the saved fit."""


class RowTrials:
    """Trials of rows that are read into memory as they are needed."""

    def __init__(
        self,
        split: RowSplit,
        load: Callable[[Int64s], RowsInMemory],
        engine: RowEngine,
        use_bias: bool,
    ) -> None:
        self._split, self._load, self._engine, self._use_bias = split, load, engine, use_bias

    @contextmanager
    def trial(self, i: int) -> Iterator[Trial]:
        held_out = self._load(self._split.held_out[i])
        yield self._open(self._split.training(i), scorer_of(held_out))

    @contextmanager
    def everything(self) -> Iterator[Trial]:
        yield self._open(self._split.rows, None)

    def _open(self, rows: Int64s, scorer: Scorer | None) -> Trial:
        loaded = self._load(rows)
        return Trial(loaded.standardized(self._use_bias), self._engine(loaded, rows), scorer)

    def exact(self) -> ExactProblem:
        rows = self._load(self._split.rows)
        problem = rows.standardized(self._use_bias)
        groups = None
        if problem.groups is not None and rows.groups is not None:
            groups = np.searchsorted(problem.groups.labels, rows.groups)
        return RowProblem(problem, rows.design, groups)


class _Tables:
    """A table of pairs whose memory is lent to an engine."""

    def __init__(
        self, moments: Moments, engine: GramEngine, use_bias: bool, *, exact_gram: bool = False
    ) -> None:
        """``exact_gram``: lend a Gram matrix of float64, beside the counts."""
        self._moments, self._engine, self._use_bias = moments, engine, use_bias
        self._exact_gram = exact_gram

    @contextmanager
    def _lent(self, scorer: Scorer | None) -> Iterator[Trial]:
        assert self._moments.xx is not None
        problem = standardize(self._moments, self._use_bias)
        if self._exact_gram:
            yield Trial(problem, self._engine(problem.gram(np.float64)), scorer)
            return
        table = PairTable(self._moments.xx)
        try:
            yield Trial(problem, self._engine(table.lend_gram(problem)), scorer)
        finally:
            table.take_back()

    def exact(self) -> ExactProblem:
        return TableProblem(standardize(self._moments, self._use_bias))


class HeldOutTables(_Tables):
    """The training rows' table; the held-out rows are in memory, and join it in the end."""

    def __init__(
        self,
        train: Moments,
        held_out: RowsInMemory,
        engine: GramEngine,
        use_bias: bool,
        *,
        exact_gram: bool = False,
    ) -> None:
        super().__init__(train, engine, use_bias, exact_gram=exact_gram)
        self._held_out: RowsInMemory | None = held_out

    def trial(self, i: int) -> AbstractContextManager[Trial]:  # noqa: ARG002
        if self._held_out is None:
            raise RuntimeError("the held-out rows have joined the training rows")
        return self._lent(scorer_of(self._held_out))

    def everything(self) -> AbstractContextManager[Trial]:
        self._join()
        return self._lent(None)

    def exact(self) -> ExactProblem:
        self._join()
        return super().exact()

    def _join(self) -> None:
        if self._held_out is not None:
            self._moments = with_rows(self._moments, self._held_out, 1)
            self._held_out = None


class FoldTables(_Tables):
    """The table of all rows, less one fold's at a time. Without folds, that of all rows."""

    def __init__(
        self,
        parts: Sequence[Callable[[], Moments]],
        total: Moments,
        engine: GramEngine,
        use_bias: bool,
        *,
        exact_gram: bool = False,
    ) -> None:
        super().__init__(total, engine, use_bias, exact_gram=exact_gram)
        self._parts = parts

    @contextmanager
    def trial(self, i: int) -> Iterator[Trial]:
        total, part = self._moments, self._parts[i]()
        self._moments = combined_in_place(total, part, -1)
        try:
            with self._lent(HeldOutMoments(part)) as trial:
                yield trial
        finally:
            # Only a table of counts went there and back: it is exact, sums of floats are not.
            if total.counted:
                total = replace(total, xx=combined_in_place(self._moments, part, 1).xx)
            self._moments = total

    def everything(self) -> AbstractContextManager[Trial]:
        return self._lent(None)


def scorer_of(rows: RowsInMemory) -> Scorer:
    """Rows in memory as a scorer."""
    return HeldOutRows(rows.design, rows.outputs, rows.groups)


def with_rows(moments: Moments, rows: RowsInMemory, sign: int) -> Moments:
    """``moments`` with ``rows`` added (sign 1) or taken away (-1); their table is reused."""
    more = rows.moments()
    table = moments.xx
    if moments.counted and isinstance(rows.design, BitDesign) and table is not None:
        add_counts(rows.design.packed, table, rows.design.n_rows, sign)
        mirror(table)
        return replace(moments.without_table().combined(more, sign), xx=table)
    everything = np.arange(rows.design.n_features)
    more = replace(more, xx=rows.design.pair_products(everything))
    return moments.combined(more, sign)


def combined_in_place(moments: Moments, other: Moments, sign: int) -> Moments:
    """``moments`` with those of ``other`` added (1) or taken away (-1).

    A table of counts is changed where it stands; others are made anew.
    """
    if not (moments.counted and other.counted):
        return moments.combined(other, sign)
    table, more = moments.xx, other.xx
    together = moments.without_table().combined(other.without_table(), sign)
    if table is None or more is None:
        return together
    return replace(together, xx=_add_counts_in_place(table, more, sign))


def _add_counts_in_place(table: NDArray[Any], more: NDArray[Any], sign: int) -> NDArray[Any]:
    if np.can_cast(more.dtype, table.dtype):
        (np.add if sign > 0 else np.subtract)(table, more, out=table)
        return table
    total: NDArray[Any] = table + sign * more
    return total
