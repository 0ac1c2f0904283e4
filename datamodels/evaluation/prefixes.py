"""Fits of the first n rows for growing n, each row read once.

Moments add up: those of the first 2,000 rows are those of the first 1,000 and of the next 1,000.
Which rows choose lambda is a function of (seed, row) alone, so that their moments add up too, and a
fit of a prefix is the very fit of those rows.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datamodels.errors import UsageError
from datamodels.regression.blocks import Int64s
from datamodels.regression.engines.build import gram_engine
from datamodels.regression.fit import FitData, FitResult, fit_trials
from datamodels.regression.fit_config import TABLE_ENGINES, FitConfig
from datamodels.regression.journal import Journal
from datamodels.regression.moment_sums import Moments
from datamodels.regression.plan import FromFile, Plan, Size, make_plan, pair_bytes
from datamodels.regression.row_moments import Collector
from datamodels.regression.row_source import Progress, RowSource
from datamodels.regression.row_split import RowSplit, fold_of, held_out_once
from datamodels.regression.trials import FoldTables, combined_in_place

_VALIDATION_PARTS = 5  # without folds, every fifth row chooses lambda


@dataclass(frozen=True, eq=False)
class _Sums:
    """Moments of the rows so far, and of each part of them that is held out in turn."""

    total: Moments
    parts: list[Moments]


class PrefixFits:
    """Fits of longer and longer prefixes of some rows.

    Args:
        source: where rows are read from.
        rows: positions in ``source``, in the order in which they join.
        names: (source.n_rows,) what decides in which part a row is: its number in the store, or
            its mask's, so that trainings of one mask stay together.
        targets: contiguous.
        plan: from :func:`plan_prefixes`.
        seed: of the parts.
    """

    def __init__(
        self,
        source: RowSource,
        rows: Int64s,
        names: Int64s,
        targets: slice,
        plan: Plan,
        seed: int,
        report: Progress,
    ) -> None:
        self._source, self._rows, self._targets = source, rows, targets
        self._plan, self._report = plan, report
        self._folds = plan.config.folds
        part = fold_of(names[rows], self._folds or _VALIDATION_PARTS, seed)
        # -1: rows that are never held out
        self._part = part if self._folds else np.where(part == 0, 0, -1)
        self._n = 0
        self._sums: _Sums | None = None

    def fit(self, n: int, journal: Journal | None = None) -> FitResult:
        """The fit of the first ``n`` rows; ``n`` grows from call to call."""
        split = self.split(n)
        self._extend(n)
        assert self._sums is not None
        config = self._plan.config
        trials = FoldTables(
            [lambda part=part: part for part in self._sums.parts],  # type: ignore[misc]
            self._sums.total,
            gram_engine(config),
            config.use_bias,
            exact_gram=config.needs_exact_gram,
        )
        data = FitData(self._source, split, self._targets)
        return fit_trials(data, trials, self._plan, progress=self._report, journal=journal)

    def split(self, n: int) -> RowSplit:
        """Which of the first ``n`` rows choose lambda."""
        rows, part = self._rows[:n], self._part[:n]
        n_parts = self._folds or 1
        held_out = [np.sort(rows[part == k]) for k in range(n_parts)]
        if min(map(len, held_out)) < 2 or n - max(map(len, held_out)) < 2:
            raise UsageError(
                f"the first {n} models leave a part of {min(map(len, held_out))} to choose lambda "
                "by; begin the learning curve at more models"
            )
        if self._folds is None:
            return held_out_once(rows[part != 0], held_out[0])
        return RowSplit(np.sort(rows), tuple(held_out))

    def _extend(self, n: int) -> None:
        """Read the rows up to ``n``, and add their moments."""
        new = slice(self._n, n)
        rows, part = self._rows[new], self._part[new]
        for k in range(-1, self._folds or 1):
            if (part == k).any():
                self._add(k, self._moments(rows[part == k]))
        self._n = n

    def _moments(self, rows: Int64s) -> Moments:
        collector = Collector(
            self._source,
            rows,
            targets=self._targets,
            device=None if self._plan.config.device == "cpu" else self._plan.config.device,
            block_bytes=self._plan.block_bytes,
            max_rows=self._plan.config.batch_size,
            progress=self._report,
        )
        return next(collector.parts())

    def _add(self, k: int, more: Moments) -> None:
        if self._sums is None:
            none = _without_rows(more)
            self._sums = _Sums(none, [_without_rows(more) for _ in range(self._folds or 1)])
        parts = self._sums.parts
        if k >= 0:
            parts[k] = _joined(parts[k], more)
        self._sums = _Sums(_joined(self._sums.total, more), parts)


def _joined(moments: Moments, more: Moments) -> Moments:
    # The first rows' own arrays would be added to in place, in both sums.
    if moments.n == 0:
        return _copied(more)
    return combined_in_place(moments, more, 1)


def _without_rows(like: Moments) -> Moments:
    return replace(like, n=0, xx=None)


def _copied(moments: Moments) -> Moments:
    return replace(moments, xx=None if moments.xx is None else moments.xx.copy())


def plan_prefixes(config: FitConfig, source: RowSource, n_rows: int, n_targets: int) -> Plan:
    """Engine and block sizes for fits of up to ``n_rows`` rows.

    UsageError for an engine that works without moments; InputError where the table of pairs does
    not fit in memory.
    """
    if config.engine not in ("auto", *TABLE_ENGINES):
        raise UsageError(
            f"engine={config.engine} works on the rows, and learning curves on moments, which add "
            f"up; use one of auto, {', '.join(TABLE_ENGINES)}"
        )
    size = Size(
        n_train=n_rows,
        n_features=source.n_features,
        n_targets=n_targets,
        pair_bytes=pair_bytes(source.mask_dtype),
        folds=config.folds or 1,
        centred=config.use_bias,
    )
    # As for a fit from a file of moments: with an engine that works on a table of pairs.
    return make_plan(
        config,
        size,
        zero_factors=False,
        grouped=False,
        moments=FromFile(Path("moments"), n_targets),
    )
