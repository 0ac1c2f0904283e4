"""Fit datamodels: rows in, one sparse linear model a target out.

The path of lambdas is solved on training rows, held-out rows or folds choose one lambda for each
target, and the saved fit is made at that lambda on all rows (see ``lambda_choice``, ``final_fit``).
"""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import UsageError
from datamodels.regression.baselines_final import baseline_fit
from datamodels.regression.blocks import Int64s
from datamodels.regression.engines.build import gram_engine, row_engine
from datamodels.regression.exact_problem import ExactProblem
from datamodels.regression.final_fit import FinalFit, joined, refit
from datamodels.regression.fit_config import NO_LAMBDA, TABLE_ENGINES, FitConfig
from datamodels.regression.fit_moments import MomentsMaker
from datamodels.regression.journal import Journal, NoJournal, recall
from datamodels.regression.lambda_choice import Chosen, PathRunner
from datamodels.regression.lambda_path import PathLog, target_blocks
from datamodels.regression.logs import Fields
from datamodels.regression.moments_file import check_name
from datamodels.regression.penalty_factors import PenaltyFactors
from datamodels.regression.plan import FromFile, Plan, Size, make_plan, pair_bytes
from datamodels.regression.result import Datamodels
from datamodels.regression.row_source import Progress, RowSource, silent
from datamodels.regression.row_split import RowSplit, held_out_once
from datamodels.regression.rows_in_memory import load_rows
from datamodels.regression.sparse_rows import SparseRows
from datamodels.regression.standardized import Standardized
from datamodels.regression.status import Status
from datamodels.regression.threads import at_most_threads
from datamodels.regression.trials import FoldTables, HeldOutTables, RowTrials, Trials, with_rows


@dataclass(frozen=True, eq=False)
class FitData:
    """What is fitted: rows of a source, which of them choose lambda, and what else is known."""

    source: RowSource
    split: RowSplit
    targets: slice = field(default_factory=lambda: slice(None))
    factors: PenaltyFactors | None = None  # of all targets of the source; None: all 1
    groups: Int64s | None = None  # (source.n_rows,) labels
    groups_key: str | None = None  # the array that they come from
    # (t,) of ``targets``, in the units of y (of ridge: without unit); None: chosen, or of no use
    lam: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        _check_rows(self.split, self.source.n_rows)
        object.__setattr__(self, "targets", _checked_targets(self.targets, self.source.n_targets))
        if self.lam is not None and self.split.n_trials:
            raise UsageError("with a given lambda no rows are held out to choose it")

    @property
    def n_targets(self) -> int:
        return int(self.targets.stop - self.targets.start)

    def penalty_factors(self) -> PenaltyFactors:
        """Those of the targets that are fitted."""
        if self.factors is None:
            return PenaltyFactors.ones(self.source.n_features)
        return self.factors.targets(self.targets)


@dataclass(frozen=True, eq=False)
class FitResult:
    """What a fit leaves: the datamodels and the log of how they came about."""

    fits: FinalFit
    n_features: int
    path: Fields  # (k, n_targets) each; fields as in ``logs``
    final: Fields  # (n_targets,) each
    validation_r2: NDArray[np.float64]  # (n_targets,); NaN where it is not defined
    plan: Plan
    seconds: dict[str, float] = field(default_factory=dict)  # of each stage

    @property
    def datamodels(self) -> Datamodels:
        """The models, their weights dense (n_features, n_targets)."""
        return as_datamodels(self.fits, self.n_features)


def fit_datamodels(
    source: RowSource,
    train_rows: Int64s,
    val_rows: Int64s,
    config: FitConfig,
    *,
    targets: slice = slice(None),
    progress: Progress = silent,
) -> FitResult:
    """Fit a datamodel for each of ``targets``, lambda chosen on ``val_rows``.

    The order of the rows does not matter. Mask columns and targets that never change are warnings;
    NaN or infinity in either is an InputError.
    """
    split = held_out_once(train_rows, val_rows)
    return run_fit(FitData(source, split, targets), config, progress=progress)


def plan_of(data: FitData, config: FitConfig, moments: Path | None = None) -> Plan:
    """What a fit of ``data`` will do, from a file of ``moments`` if that is named; see
    ``plan.make_plan``."""
    _check_lambda(data, config)
    if data.groups is not None and not config.use_bias:
        raise UsageError("groups are centred within themselves; use_bias=0 centres nothing")
    if data.groups is not None:
        _check_groups(data.groups[data.split.rows])
    file = None
    if moments is not None:
        check_name(moments, "moments")
        file = FromFile(moments, data.source.n_targets)
    return make_plan(
        config,
        plan_size(data, config),
        zero_factors=data.penalty_factors().has_zeros,
        grouped=data.groups is not None,
        moments=file,
    )


def _check_groups(labels: Int64s) -> None:
    n_groups = len(np.unique(labels))
    if n_groups >= len(labels) - 1:
        raise UsageError(
            f"{n_groups} groups of {len(labels)} rows: centring within groups leaves nothing to "
            "fit; give groups of several rows each"
        )


def plan_size(data: FitData, config: FitConfig) -> Size:
    """The numbers that the plan of a fit goes by."""
    split = data.split
    held_out = max((len(rows) for rows in split.held_out), default=0)
    return Size(
        n_train=len(split.rows) - held_out,
        n_features=data.source.n_features,
        n_targets=data.n_targets,
        pair_bytes=pair_bytes(data.source.mask_dtype),
        folds=split.n_trials if split.is_folds else 0,
        centred=config.use_bias,
    )


def _check_lambda(data: FitData, config: FitConfig) -> None:
    if config.estimator == "difference":
        if data.lam is not None:
            raise UsageError(NO_LAMBDA)
    elif data.lam is None and not data.split.n_trials:
        raise UsageError("give a lambda, or rows or folds that choose it")


def run_fit(
    data: FitData,
    config: FitConfig,
    *,
    plan: Plan | None = None,
    progress: Progress = silent,
    journal: Journal | None = None,
    moments: Path | None = None,
    keep_moments: Path | None = None,
) -> FitResult:
    """Fit ``data`` as ``config`` says.

    Args:
        plan: as an earlier run settled it; made here by default.
        journal: where finished blocks are kept, to go on after a stop.
        moments: file of moments to use, to add missing rows to, or to make.
        keep_moments: where to keep the moments made here, if there is no such file.
    """
    plan = plan or plan_of(data, config, moments)
    config, clock = plan.config, _Clock()
    with at_most_threads(config.threads), _spool(data, plan, moments or keep_moments) as spool:
        keep_moments = keep_moments or spool
        with clock.stage("moments"):
            trials = _trials(data, plan, progress, moments, keep_moments)
        return _fit_trials(data, trials, plan, progress, journal, clock)


def fit_trials(
    data: FitData,
    trials: Trials,
    plan: Plan,
    *,
    progress: Progress = silent,
    journal: Journal | None = None,
) -> FitResult:
    """As :func:`run_fit`, from ``trials`` of the rows of ``data`` that were made elsewhere."""
    with at_most_threads(plan.config.threads):
        return _fit_trials(data, trials, plan, progress, journal, _Clock())


def _fit_trials(
    data: FitData,
    trials: Trials,
    plan: Plan,
    progress: Progress,
    journal: Journal | None,
    clock: "_Clock",
) -> FitResult:
    runner = PathRunner(
        trials=trials,
        config=plan.config,
        factors=data.penalty_factors(),
        n_targets=data.n_targets,
        journal=journal or NoJournal(),
        report=progress,
    )
    with clock.stage("path"):
        chosen = _choose(data, runner)
    with clock.stage("refit"):
        fits, problem = _final(runner, chosen)
    fits = _without_lambda(fits, chosen, problem, data.targets.start)
    n_path = len(data.split.training(0)) if data.split.n_trials == 1 else problem.n
    _warn_constant("target", chosen.constant, data.targets.start, n_path)
    _warn_constant("mask column", problem.scale_inverse == 0, 0, problem.n)
    return _result(fits, chosen, data, plan, clock.seconds)


def _trials(
    data: FitData, plan: Plan, report: Progress, moments: Path | None, keep: Path | None
) -> Trials:
    config, split = plan.config, data.split
    load = partial(
        load_rows,
        data.source,
        targets=data.targets,
        block_bytes=plan.block_bytes,
        max_rows=config.batch_size if config.engine != "saga" else None,
        groups=data.groups,
        centred=config.use_bias,
        report=report,
    )
    if config.engine not in TABLE_ENGINES:
        started = row_engine(config, data.source, data.targets, plan.table_bytes)
        return RowTrials(split, load, started, config.use_bias)
    maker = MomentsMaker(
        data.source,
        data.targets,
        plan.block_bytes,
        report,
        data.groups,
        data.groups_key,
        device=config.device if config.device != "cpu" else None,
        max_rows=config.batch_size,
    )
    engine, exact = gram_engine(config), config.needs_exact_gram
    if split.n_trials == 1:
        held_out = load(split.held_out[0])
        if moments is None:
            rows = split.training(0)
            train = maker.make(rows, None, 0, keep, all_targets=False).total
        else:
            everything = maker.make(split.rows, None, 0, moments, all_targets=True).total
            train = with_rows(everything, held_out, -1)
        return HeldOutTables(train, held_out, engine, config.use_bias, exact_gram=exact)
    folds = config.folds if split.is_folds else None
    parts = maker.make(
        split.rows, folds, config.seed, moments or keep, all_targets=moments is not None
    )
    return FoldTables(parts.folds, parts.total, engine, config.use_bias, exact_gram=exact)


def _choose(data: FitData, runner: PathRunner) -> Chosen:
    if data.lam is not None:
        return runner.given(data.lam)
    if data.split.is_folds:
        return runner.folds(data.split.n_trials)
    if data.split.n_trials:
        return runner.held_out()
    return runner.given(np.ones(data.n_targets))  # of difference, whose lambda means nothing


def _without_lambda(fits: FinalFit, chosen: Chosen, problem: Standardized, first: int) -> FinalFit:
    """``fits`` with a status that tells, beside a warning, which targets no lambda was found for:
    their weights of zero solve nothing."""
    _warn(
        "target", chosen.fold_constant, first,
        "never changes over the training rows of a fold",
        "never change over the training rows of a fold",
        "no lambda can be chosen, weights are 0. Lower folds, or fit more models",
    )  # fmt: skip
    _warn(
        "target", chosen.unsolved, first,
        "is solved at no lambda of the path",
        "are solved at no lambda of the path",
        "none can be chosen, weights are 0. Raise max_sweeps, or fit more models",
    )  # fmt: skip
    only_on_path = chosen.constant & (problem.yy > 0)  # held-out rows differ
    without = chosen.fold_constant | chosen.unsolved | only_on_path
    if not without.any():
        return fits
    return replace(
        fits,
        status=np.where(without, np.int8(Status.NOT_RUN), fits.status),
        gap=np.where(without, np.nan, fits.gap),
    )


def _final(runner: PathRunner, chosen: Chosen) -> tuple[FinalFit, Standardized]:
    """The saved fits of all targets, block by block, and the problem that they solve."""
    if runner.config.estimator != "lasso":
        return baseline_fit(runner, chosen)
    exact = runner.trials.exact()
    parts = []
    for block in target_blocks(runner.n_targets, runner.block_size):
        step = f"final_{block.start}"
        part = recall(runner.journal, step, _from_arrays)
        if part is None:
            part = _refit(runner, exact, chosen, block)
            runner.journal.put(step, _as_arrays(part))
        parts.append(part)
        runner.report("refit", block.stop, runner.n_targets)
    return joined(parts), exact.standardized


def _refit(runner: PathRunner, exact: ExactProblem, chosen: Chosen, block: slice) -> FinalFit:
    return refit(
        exact,
        block,
        chosen.lam[block],
        chosen.warm.take(np.arange(block.start, block.stop)),
        runner.factors.block(block),
        runner.config.final_tol,
        runner.config.final_max_sweeps,
    )


def _as_arrays(fit: FinalFit) -> dict[str, NDArray[Any]]:
    arrays = {f.name: getattr(fit, f.name) for f in fields(fit) if f.name != "weights"}
    return arrays | fit.weights.arrays("weights")


def _from_arrays(arrays: dict[str, NDArray[Any]]) -> FinalFit:
    weights = SparseRows.of_arrays(arrays, "weights")
    names = [f.name for f in fields(FinalFit) if f.name != "weights"]
    return FinalFit(weights=weights, **{name: arrays[name] for name in names})


def as_datamodels(fits: FinalFit, n_features: int) -> Datamodels:
    """Saved fits as datamodels, weights dense (n_features, t)."""
    weights, t = fits.weights, len(fits.bias)
    dense = np.zeros((n_features, t), np.float32)
    dense[weights.feature, np.repeat(np.arange(t), weights.counts())] = weights.value
    return Datamodels(dense, fits.bias, fits.lam.astype(np.float32))


def _result(
    fits: FinalFit, chosen: Chosen, data: FitData, plan: Plan, seconds: dict[str, float]
) -> FitResult:
    path = {_field(name): getattr(chosen.log, name) for name in PathLog.names()}
    if chosen.val_se is not None:
        path["val_se"] = chosen.val_se
    final = {
        _field(f.name): getattr(fits, f.name)
        for f in fields(fits)
        if f.name not in ("weights", "bias")
    }
    r2 = np.full(data.n_targets, np.nan)
    if chosen.choice is not None:
        final["val_mse"] = chosen.choice.val_mse
    if chosen.choice is not None and plan.config.estimator != "difference":  # it is on no scale
        null = chosen.choice.null_mse
        r2 = 1 - np.divide(final["val_mse"], null, out=np.full(len(r2), np.nan), where=null > 0)
    return FitResult(fits, data.source.n_features, path, final, r2, plan, seconds)


def _field(name: str) -> str:
    return "lambda" if name == "lam" else name  # a Python keyword, but the name of the file


class _Clock:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began


def _check_rows(split: RowSplit, n_rows: int) -> None:
    if split.rows[0] < 0 or split.rows[-1] >= n_rows:
        raise UsageError(
            f"rows {split.rows[0]} to {split.rows[-1]} are asked for; there are rows 0 to "
            f"{n_rows - 1}"
        )


def _checked_targets(targets: slice, n_targets: int) -> slice:
    if not isinstance(targets, slice):
        raise UsageError(f"targets={targets!r}; give a slice, e.g. slice(0, 10)")
    if targets.step not in (None, 1):
        raise UsageError(
            f"targets in steps of {targets.step}; give a slice without a step, and take every "
            f"{targets.step}. target of the result"
        )
    start, stop, _ = targets.indices(n_targets)
    if stop <= start:
        raise UsageError(
            f"targets {targets.start} to {targets.stop} select none of the {n_targets}; give a "
            "start below the end"
        )
    return slice(start, stop)


def _warn_constant(what: str, constant: NDArray[np.bool_], first: int, n_rows: int) -> None:
    over = f"over {n_rows} rows"
    _warn(
        what, constant, first, f"never changes {over}", f"never change {over}", "weights are 0"
    )  # fmt: skip


def _warn(
    what: str, which: NDArray[np.bool_], first: int, one: str, many: str, therefore: str
) -> None:
    """A warning that names those of ``which``, counted from ``first``."""
    indices = np.flatnonzero(which) + first
    if len(indices):
        named = ", ".join(map(str, indices[:5])) + (", ..." if len(indices) > 5 else "")
        said = f"{what} {one}" if len(indices) == 1 else f"{what}s {many}"
        warnings.warn(f"{len(indices)} {said} ({named}): {therefore}", stacklevel=4)


@contextmanager
def _spool(data: FitData, plan: Plan, path: Path | None) -> Iterator[Path | None]:
    """Where tables of folds go that no file was named for, if they are large."""
    size = plan_size(data, plan.config)
    if path is not None or size.keeps_folds or plan.engine not in TABLE_ENGINES:
        yield None
        return
    with TemporaryDirectory(prefix="datamodels.") as folder:
        yield Path(folder) / "moments.npz"
