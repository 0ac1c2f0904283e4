"""Fits of the first n rows for growing n, each row read once.

Moments add up: those of the first 2,000 rows are those of the first 1,000 and of the next 1,000,
which are counted into the same table.
Which rows choose lambda is a function of (seed, row) alone, so that their moments add up too, and a
fit of a prefix is the very fit of those rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from datamodels.errors import UsageError
from datamodels.evaluation.curve_memory import CurveSize
from datamodels.regression.blocks import Int64s, read_blocks
from datamodels.regression.engines.build import gram_engine
from datamodels.regression.fit import FitData, FitResult, fit_trials
from datamodels.regression.fit_config import TABLE_ENGINES, FitConfig
from datamodels.regression.journal import Journal
from datamodels.regression.moment_pass import MomentAccumulator
from datamodels.regression.moment_sums import Moments
from datamodels.regression.plan import FromFile, Plan, Size, make_plan, pair_bytes
from datamodels.regression.row_source import Progress, RowSource
from datamodels.regression.row_split import RowSplit, fold_of, held_out_once
from datamodels.regression.trials import FoldTables, combined_in_place

_REST = -1  # the part of rows that are never held out
_VALIDATION_PARTS = 5  # without folds, every fifth row chooses lambda


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
        self._part = part if self._folds else np.where(part == 0, 0, _REST)
        self._n = 0
        self._moments: dict[int, Moments] = {}  # of the rows so far, by their part

    def fit(self, n: int, journal: Journal | None = None) -> FitResult:
        """The fit of the first ``n`` rows; ``n`` grows from call to call."""
        split = self.split(n)
        self._extend(n)
        config = self._plan.config
        with self._total() as total:
            trials = FoldTables(
                [lambda k=k: self._moments[k] for k in self._held_out_parts],  # type: ignore[misc]
                total,
                gram_engine(config),
                config.use_bias,
                exact_gram=config.needs_exact_gram,
            )
            data = FitData(self._source, split, self._targets)
            return fit_trials(data, trials, self._plan, progress=self._report, journal=journal)

    @property
    def _held_out_parts(self) -> range:
        return range(self._folds or 1)

    @contextmanager
    def _total(self) -> Iterator[Moments]:
        """The moments of all rows so far. Their table of counts stands where that of the rest does,
        and is taken apart again: of floats, it is a table more."""
        rest = self._moments.setdefault(_REST, _no_rows(self._moments[0]))
        counted = all(moments.counted for moments in self._moments.values())
        total = rest
        for k in self._held_out_parts:
            join = combined_in_place if counted else Moments.combined
            total = join(total, self._moments[k], 1)
        yield total
        if counted:
            for k in self._held_out_parts:
                total = combined_in_place(total, self._moments[k], -1)
            self._moments[_REST] = replace(rest, xx=total.xx)

    def split(self, n: int) -> RowSplit:
        """Which of the first ``n`` rows choose lambda."""
        rows, part = self._rows[:n], self._part[:n]
        held_out = [np.sort(rows[part == k]) for k in self._held_out_parts]
        if min(map(len, held_out)) < 2 or n - max(map(len, held_out)) < 2:
            raise UsageError(
                f"the first {n} models leave a part of {min(map(len, held_out))} to choose lambda "
                "by; begin the learning curve at more models"
            )
        if self._folds is None:
            return held_out_once(rows[part != 0], held_out[0])
        return RowSplit(np.sort(rows), tuple(held_out))

    def _extend(self, n: int) -> None:
        """Read the rows up to ``n``, and add them to the moments of their parts."""
        rows, part = self._rows[self._n : n], self._part[self._n : n]
        for k in np.unique(part).tolist():
            self._moments[k] = self._extended(self._moments.get(k), np.sort(rows[part == k]))
        self._n = n

    def _extended(self, moments: Moments | None, rows: Int64s) -> Moments:
        """``moments`` with ``rows``: counted into their table, but for those of a device."""
        device = None if self._plan.config.device == "cpu" else self._plan.config.device
        n_targets = self._targets.stop - self._targets.start
        accumulator = (
            MomentAccumulator.of(moments)
            if moments is not None and device is None
            else MomentAccumulator(self._source.n_features, n_targets, device=device)
        )
        done = 0
        for block in read_blocks(
            self._source,
            rows,
            targets=self._targets,
            block_bytes=self._plan.block_bytes,
            max_rows=self._plan.config.batch_size,
        ):
            accumulator.add(block)
            done += len(block.rows)
            self._report("moments", done, len(rows))
        more = accumulator.finish()
        return more if moments is None or device is None else combined_in_place(moments, more, 1)


def _no_rows(like: Moments) -> Moments:
    """Moments of no rows, outputs and masks measured as those of ``like`` are."""
    p, t = like.n_features, like.n_targets
    assert like.xx is not None
    return replace(
        like,
        n=0,
        sum_x=np.zeros_like(like.sum_x),
        squares_x=np.zeros_like(like.squares_x),
        xx=np.zeros((p, p), like.xx.dtype),
        xy=np.zeros((p, t)),
        sum_y=np.zeros(t),
        sum_yy=np.zeros(t),
    )


def plan_prefixes(
    config: FitConfig, source: RowSource, n_rows: int, n_targets: int, n_held_out: int = 0
) -> Plan:
    """Engine and block sizes for fits of up to ``n_rows`` rows, scored on ``n_held_out`` others.

    UsageError for an engine that works without moments; InputError where the tables of pairs, and
    what is held beside them, do not fit in memory.
    """
    if config.engine not in ("auto", *TABLE_ENGINES):
        raise UsageError(
            f"engine={config.engine} works on the rows, and learning curves on moments, which add "
            f"up; use one of auto, {', '.join(TABLE_ENGINES)}"
        )
    p, dtype = source.n_features, source.mask_dtype
    pair = pair_bytes(dtype)
    size = Size(n_rows, p, n_targets, pair_bytes=pair, centred=config.use_bias)
    # As for a fit from a file of moments: with an engine that works on a table of pairs.
    moments = FromFile(Path("moments"), n_targets)
    plan = make_plan(config, size, zero_factors=False, grouped=False, moments=moments)
    CurveSize(p, n_targets, n_held_out, pair, dtype.itemsize).check(plan.config)
    return plan
