"""``python -m datamodels.analysis.influence``: weights with standard errors."""

import math
import time
from pathlib import Path

import numpy as np

from datamodels.analysis.estimators import Estimates, difference_of_means, ridge, ridge_bytes
from datamodels.cli.catalogue import INFLUENCE
from datamodels.cli.progress import ProgressLine
from datamodels.cli.runner import Values, run, section
from datamodels.errors import InputError, UsageError
from datamodels.evaluation.averaged_source import AveragedSource
from datamodels.evaluation.repeats import find_repeats, read_mask_id
from datamodels.files import check_new_file, new_file
from datamodels.regression.blocks import Int64s
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.memory import block_bytes_beside, memory_budget
from datamodels.regression.moment_sums import Moments
from datamodels.regression.named_rows import parse_rows, rows_to_fit
from datamodels.regression.row_moments import Collector
from datamodels.regression.row_source import RowSource
from datamodels.regression.sources import open_source, target_range
from datamodels.training.layout import StoreLayout

_ESTIMATORS = ("difference", "ridge")
_BYTES = 8 + 4 + 4  # an entry of X'Y, and of weight and standard error


def main() -> int:
    """The command; returns its exit status."""
    return run(INFLUENCE, _estimate)


def _estimate(values: Values) -> None:
    began = time.monotonic()
    options = section(values, "influence")
    out = Path(options["out"])
    _check_options(options, out)
    source = open_source(options["data_path"], options["x_name"], options["y_name"])
    targets = target_range(
        options["target_start_ind"], options["target_end_ind"], source, options["data_path"]
    )
    positions = _positions(options, source)
    averaged = _averaged(options, source, positions)
    if averaged is None:
        moments = _read_moments(options, source, positions, targets)
    else:
        moments = _read_moments(options, averaged, np.arange(averaged.n_rows), targets)
    with_ridge = options["estimator"] == "ridge"
    estimates = ridge(moments, options["lam"]) if with_ridge else difference_of_means(moments)
    _save(estimates, out)
    print(_summary(estimates, options["estimator"], len(positions), time.monotonic() - began))
    print(f"wrote {out}")


def _check_options(options: Values, out: Path) -> None:
    if options["estimator"] not in _ESTIMATORS:
        raise UsageError(
            f"influence.estimator={options['estimator']}: it is one of {', '.join(_ESTIMATORS)}"
        )
    lam, memory = options["lam"], options["memory_gb"]
    if lam is not None and options["estimator"] != "ridge":
        raise UsageError("influence.lam is for influence.estimator=ridge: leave one of them out")
    if lam is not None and not 0 < lam < math.inf:
        raise UsageError(f"influence.lam={lam:g} is out of range: it must be above 0, and finite")
    if memory is not None and not 0 < memory < math.inf:
        raise UsageError(f"influence.memory_gb={memory:g}; it must be above 0, and finite")
    if out.suffix != ".npz":
        raise UsageError(f"influence.out={out}: estimates are written as .npz; end the name so")
    check_new_file(out)


def _averaged(options: Values, source: RowSource, positions: Int64s) -> AveragedSource | None:
    """A row a mask, where some masks were trained on more than once: rows of one mask are no
    independent ones. None where all masks differ, for all that is known."""
    name = options["mask_id"]
    if not isinstance(source, RegressionDataset):
        if name is not None:
            raise UsageError(
                f"influence.mask_id={name}: {options['data_path']} is a .beton file, which holds "
                "no such array; give the store's folder as data_path"
            )
        return None
    ids = read_mask_id(options["data_path"], source, name)
    if ids is None:
        return None
    repeats = find_repeats(ids[positions], len(positions))
    return None if repeats.are_all_alone else AveragedSource(source, positions, repeats)


def _read_moments(options: Values, source: RowSource, positions: Int64s, targets: slice) -> Moments:
    table = options["estimator"] == "ridge"
    p, t = source.n_features, targets.stop - targets.start
    needed = _BYTES * p * t + (ridge_bytes(p) if table else 0)
    budget = memory_budget(options["memory_gb"])
    if needed >= budget:
        raise InputError(
            f"{options['estimator']} of {p} training examples and {t} targets takes "
            f"{needed / 2**30:.3g} GiB; {budget / 2**30:.3g} GiB are allowed (memory_gb). Raise "
            "it, or take fewer targets (target_start_ind, target_end_ind)"
        )
    with ProgressLine() as progress:
        (moments,) = Collector(
            source,
            positions,
            targets=targets,
            table=table,
            block_bytes=block_bytes_beside(budget - needed),
            progress=progress,
        ).parts()
    return moments


def _positions(options: Values, source: RowSource) -> Int64s:
    """The rows that are asked for, all of which must be complete."""
    text, path = options["rows"], options["data_path"]
    if text is None:
        return rows_to_fit(source.idx, path, "--influence.rows")
    n_rows = int(source.idx.max()) + 1
    if isinstance(source, RegressionDataset):
        n_rows = source.n_store_rows
    asked = parse_rows(text, source.idx, n_rows, path, "--influence.rows")
    missing = np.setdiff1d(asked, source.idx)
    if len(missing):
        raise InputError(
            f"{len(missing)} of the {len(asked)} rows asked for are not complete in {path} (the "
            f"first is row {missing[0]}); {StoreLayout(Path(path)).how_to_complete()}, or name "
            "other rows"
        )
    return np.flatnonzero(np.isin(source.idx, asked))


def _save(estimates: Estimates, out: Path) -> None:
    arrays = {
        name: getattr(estimates, name) for name in ("weight", "standard_error", "bias", "lam")
    }
    with new_file(out) as partial, partial.open("wb") as file:
        np.savez(file, **arrays, n_models=np.array(estimates.n_models))


def _summary(estimates: Estimates, name: str, n_trainings: int, seconds: float) -> str:
    """The table for people; the last use of ``estimates``, whose standard errors it reorders."""
    n_train, n_targets = estimates.weight.shape
    on = f"{estimates.n_models} models"
    if n_trainings > estimates.n_models:
        on = f"{estimates.n_models} masks (mean outputs of {n_trainings} trainings)"
    lines = [f"{name}: {n_targets} targets, {n_train} examples, {on}"]
    if name == "ridge":
        low, middle, high = np.quantile(estimates.lam, [0, 0.5, 1])
        lines.append(f"  lambda          {middle:.3g} in the median, {low:.3g} to {high:.3g}")
    beyond = _share_beyond(estimates, 4)
    # In place, as they are written by now: a copy is not in the memory that is allowed for.
    middle = np.nanmedian(estimates.standard_error.reshape(-1), overwrite_input=True)
    lines.append(f"  standard error  {middle:.3g} in the median")
    lines.append(f"  beyond 4 of its standard errors  {beyond:.2%} of weights (0.006% by chance)")
    lines.append(f"  seconds         {seconds:.1f}")
    return "\n".join(lines)


def _share_beyond(estimates: Estimates, z: float) -> float:
    count = 0
    for weight, error in zip(estimates.weight, estimates.standard_error, strict=True):
        count += int(np.count_nonzero(np.abs(weight) > z * error))
    return count / estimates.weight.size


if __name__ == "__main__":
    raise SystemExit(main())
