"""Learning curves: how well datamodels of the first n models of a store predict others."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.errors import InputError, UsageError
from datamodels.evaluation.extrapolation import Extrapolation, extrapolate
from datamodels.evaluation.measures import check_correlation, correlate_by, resample_by
from datamodels.evaluation.repeats import average_repeats, find_repeats
from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.journal import Journal, NoJournal
from datamodels.regression.row_source import Progress, RowSource, silent

_HELD_OUT_SHARE = 0.2
_FACTOR = 2**0.5  # between sizes
_LARGEST_TO_LEAST = 16
_LEAST = 50  # models
_EXTRAPOLATED_SPAN, _LEAST_POINTS = 8.01, 5


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """What fits of the first n models say of the same held-out models.

    LDS are of mean outputs over repeated trainings of a mask, errors are of single trainings.
    """

    FILE_NAME: ClassVar[str] = "curve.json"  # of the summary in a folder of results

    sizes: Int64s  # (m,) models that were fitted, those that chose lambda included
    lds: Float64s  # (m, n_targets) correlations; NaN where outputs never change
    mse: Float64s  # (m, n_targets) mean squared errors on the held-out models
    variance: Float64s  # (n_targets,) of the outputs there
    nonzeros: Float64s  # (m,) mean number of weights of a target
    resampled: Float64s  # (m, r) mean LDS of bootstrap samples of the held-out models
    n_held_out: int
    correlation: str = "spearman"
    level: float = 0.95

    @property
    def mean_lds(self) -> Float64s:
        """(m,) over targets whose outputs change."""
        means: Float64s = np.nanmean(self.lds, axis=1)
        return means

    @property
    def r2(self) -> Float64s:
        """(m,) share of the variance of the outputs that is predicted, all targets together."""
        shares: Float64s = 1 - self.mse.sum(axis=1) / self.variance.sum()
        return shares

    @property
    def intervals(self) -> Float64s:
        """(m, 2) bootstrap intervals of the mean LDS, as ``linear_datamodeling_score`` gives."""
        moved = self.resampled - self.resampled.mean(axis=1, keepdims=True)
        tails = [(1 - self.level) / 2, (1 + self.level) / 2]
        ends = np.quantile(moved, tails, axis=1).T + self.mean_lds[:, None]
        return np.asarray(np.clip(ends, -1.0, 1.0))

    def extrapolate(self, law: str = "saturating", *, seed: int = 0) -> Extrapolation:
        """The law that the mean LDS follows, see ``extrapolation.extrapolate``.

        It is fitted to sizes from an eighth of the largest on, where there are enough of them:
        smaller ones follow other laws (on the digits, they made forecasts worse).
        """
        near = self.sizes >= self.sizes[-1] / _EXTRAPOLATED_SPAN
        if near.sum() < _LEAST_POINTS:
            near[:] = True
        return extrapolate(
            self.sizes[near],
            self.mean_lds[near],
            self.resampled[near].T,
            law=law,
            level=self.level,
            seed=seed,
        )

    def table(self) -> str:
        """A line a size, for people."""
        head = f"{'models':>8}  {'LDS':>6}  {f'{self.level * 100:g}% interval':>16}  "
        lines = [head + f"{'R2':>6}  {'error':>9}  {'weights':>8}"]
        ends = self.intervals
        for i, n in enumerate(self.sizes):
            interval = f"{ends[i, 0]:.3f} to {ends[i, 1]:.3f}"
            lines.append(
                f"{n:>8,}  {self.mean_lds[i]:>6.3f}  {interval:>16}  {self.r2[i]:>6.3f}  "
                f"{self.mse[i].mean():>9.4g}  {self.nonzeros[i]:>8.1f}"
            )
        return "\n".join(lines)

    def save(self, folder: str | Path) -> None:
        """``curve.npz`` with all of it, and :attr:`FILE_NAME` with the means, into a folder."""
        arrays = {
            name: getattr(self, name)
            for name in ("sizes", "lds", "mse", "variance", "nonzeros", "resampled")
        }
        np.savez(Path(folder) / "curve.npz", **arrays)
        summary = {
            "sizes": self.sizes.tolist(),
            "lds": self.mean_lds.tolist(),
            "intervals": self.intervals.tolist(),
            "r2": self.r2.tolist(),
            "mse": self.mse.mean(axis=1).tolist(),
            "nonzeros": self.nonzeros.tolist(),
            "n_held_out": self.n_held_out,
            "correlation": self.correlation,
            "level": self.level,
        }
        text = json.dumps(summary, indent=2) + "\n"
        (Path(folder) / self.FILE_NAME).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "LearningCurve":
        """What :meth:`save` left."""
        try:
            summary = json.loads((Path(folder) / cls.FILE_NAME).read_text(encoding="utf-8"))
            rest = {name: summary[name] for name in ("n_held_out", "correlation", "level")}
            with np.load(Path(folder) / "curve.npz") as file:
                return cls(**dict(file), **rest)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder} holds no learning curve: {error}") from None


@dataclass(frozen=True, eq=False)
class CurveRows:
    """Which rows of a source are learnt from, in this order, and which are held out."""

    learnt: Int64s  # positions
    held_out: Int64s
    names: Int64s  # (source.n_rows,) what rows are drawn by: their mask's number, or their own
    mask_id: Int64s | None  # (source.n_rows,)


def split_rows(
    source: RowSource,
    num_held_out: int | None = None,
    mask_id: ArrayLike | None = None,
    evaluation: ArrayLike = (),
) -> CurveRows:
    """The last ``num_held_out`` rows (a fifth by default) are held out, and the others learnt from.

    ``mask_id`` (source.n_rows,): other trainings of held-out masks are left out altogether.
    ``evaluation``: positions of rows that are never learnt from; where there are any, the rows
    that are held out are the last of these (all by default).
    """
    n, reserved = source.n_rows, np.asarray(evaluation, np.int64)
    of = reserved if len(reserved) else np.arange(n)
    default = len(reserved) or max(3, round(_HELD_OUT_SHARE * n))
    count = default if num_held_out is None else num_held_out
    held_out = of[-count:] if 3 <= count <= len(of) else of[:0]
    learnt = np.setdiff1d(np.arange(n), reserved if len(reserved) else held_out)
    if not len(held_out) or len(learnt) < _LEAST:
        what = "complete rows for evaluation" if len(reserved) else "complete rows"
        left = n - (len(reserved) or count)
        raise UsageError(
            f"num_held_out={count} of {len(of)} {what} leaves {left} to learn from; hold out 3 or "
            f"more of them, and leave {_LEAST} or more"
        )
    if mask_id is None:
        return CurveRows(learnt, held_out, source.idx, None)
    ids = np.asarray(mask_id)
    names = find_repeats(ids, n).which
    apart = learnt[~np.isin(ids[learnt], ids[held_out])]
    if len(apart) < _LEAST:
        raise InputError(
            f"the {count} held-out rows share their masks with all but {len(apart)} of the others, "
            f"and {_LEAST} or more are needed to learn from: hold out fewer, or keep the trainings "
            "of a mask together in the store"
        )
    return CurveRows(apart, held_out, names, ids)


def default_sizes(n: int) -> list[int]:
    """Nine numbers of models from n / 16, or 50, up to n, growing by about the square root of 2."""
    least = max(_LEAST, n / _LARGEST_TO_LEAST)
    count = max(5, round(np.log(n / least) / np.log(_FACTOR)) + 1)
    return sorted({round(size) for size in np.geomspace(min(least, n), n, count)})


def measure_learning_curve(
    source: RowSource,
    config: FitConfig | None = None,
    *,
    sizes: Sequence[int] | None = None,
    rows: CurveRows | None = None,
    targets: slice = slice(None),
    correlation: str = "spearman",
    n_resamples: int = 400,
    level: float = 0.95,
    seed: int = 0,
    journal: Journal | None = None,
    fit_journal: Journal | None = None,
    progress: Progress = silent,
) -> LearningCurve:
    """Fit the first n rows for each n of ``sizes``, and score every fit on the same other rows.

    Rows are read once: moments of later rows are added to those of earlier ones, and each fit comes
    from its moments. It is the fit that ``run_fit`` makes of those rows alone. A fifth of the rows
    of a fit chooses lambda (the same rows in every fit that has them), or folds do
    (``config.folds``); the fit at that lambda is of all of them.

    Args:
        source: complete rows, such as a ``RegressionDataset``.
        config: the fits; lambda's path, the estimator and the folds.
        sizes: numbers of rows, ascending; :func:`default_sizes` if not given.
        rows: from :func:`split_rows`, which is called without options if not given.
        targets: contiguous.
        correlation: ``"spearman"``, which the LDS is defined by, or another by name.
        n_resamples: bootstrap samples of the held-out models, the same for every fit.
        level: coverage of intervals.
        seed: of the rows that choose lambda, and of the bootstrap.
        journal: where finished sizes are kept, to go on after a stop.
        fit_journal: where the finished blocks of a fit are.

    Raises:
        UsageError: sizes that are not there, or an engine that works without moments.
        InputError: values that are not finite, or a table of pairs that does not fit in memory.
    """
    from datamodels.evaluation.prefixes import PrefixFits, plan_prefixes  # numba is slow to import

    config = config or FitConfig()
    check_correlation(correlation)
    rows = rows or split_rows(source)
    sizes = checked_sizes(sizes, len(rows.learnt))
    targets = slice(*targets.indices(source.n_targets))
    n_targets = targets.stop - targets.start
    plan = plan_prefixes(config, source, sizes[-1], n_targets, len(rows.held_out))
    fits = PrefixFits(source, rows.learnt, rows.names, targets, plan, seed, progress)
    judge = _Judge(source, rows, targets, correlation, n_resamples, seed)
    journal = journal or NoJournal()
    steps = []
    for n in sizes:
        step = journal.get(f"models_{n}")
        if step is None:
            step = judge.score(fits.fit(n, fit_journal and _Named(fit_journal, f"fit_{n}_")))
            journal.put(f"models_{n}", step)
        steps.append(step)
    return LearningCurve(
        sizes=np.array(sizes),
        variance=judge.variance,
        n_held_out=len(judge.outputs),
        correlation=correlation,
        level=level,
        **{name: np.stack([step[name] for step in steps]) for name in steps[0]},
    )


class _Judge:
    """The held-out models, and what they say of a fit."""

    def __init__(
        self,
        source: RowSource,
        rows: CurveRows,
        targets: slice,
        correlation: str,
        n_resamples: int,
        seed: int,
    ) -> None:
        masks, outputs = source.read(rows.held_out)
        self._rows_masks, self._rows_outputs = masks, outputs[:, targets]
        self.masks, self.outputs = masks, self._rows_outputs
        if rows.mask_id is not None:
            self.masks, self.outputs = average_repeats(
                masks, self._rows_outputs, rows.mask_id[rows.held_out], source.idx[rows.held_out]
            )
        self.variance: Float64s = self._rows_outputs.astype(np.float64).var(axis=0)
        self._correlation, self._n_resamples, self._seed = correlation, n_resamples, seed
        if not (self.outputs != self.outputs[0]).any():
            raise InputError("no target varies over the held-out models: there is nothing to rank")

    def score(self, fit: Any) -> dict[str, NDArray[Any]]:
        """Of a ``FitResult``: rows of the fields of :class:`LearningCurve`."""
        from datamodels.evaluation.bootstrap import bootstrap_means
        from datamodels.evaluation.scoring import predict

        models = fit.datamodels
        predictions = predict(models.weight, self.masks, own=None) + models.bias
        lds = correlate_by(self._correlation)(predictions, self.outputs)
        means = bootstrap_means(
            predictions,
            self.outputs,
            ~np.isnan(lds),
            n_resamples=self._n_resamples,
            seed=self._seed,
            resampled=resample_by(self._correlation),
        )
        if self.masks is not self._rows_masks:
            predictions = predict(models.weight, self._rows_masks, own=None) + models.bias
        error = ((predictions - self._rows_outputs) ** 2).mean(axis=0)
        nonzeros = np.float64(fit.fits.weight_nz.clip(min=0).mean())
        return {"lds": lds, "mse": error, "resampled": means, "nonzeros": np.array(nonzeros)}


@dataclass(frozen=True)
class _Named:
    """A journal whose steps' names begin with ``prefix``."""

    journal: Journal
    prefix: str

    def get(self, step: str) -> dict[str, NDArray[Any]] | None:
        return self.journal.get(self.prefix + step)

    def put(self, step: str, arrays: dict[str, NDArray[Any]]) -> None:
        self.journal.put(self.prefix + step, arrays)


def checked_sizes(sizes: Sequence[int] | None, n: int) -> list[int]:
    """Ascending, the default ones if not given; UsageError where ``n`` models do not have them."""
    if sizes is None:
        return default_sizes(n)
    found = sorted({int(size) for size in sizes})
    if not found or found[0] < 10 or found[-1] > n:
        raise UsageError(
            f"sizes={','.join(map(str, found))}: give numbers of models from 10 to {n}, which are "
            "there to learn from"
        )
    return found
