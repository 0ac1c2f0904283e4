"""``python -m datamodels.published units``: tell which units the weights of a file are in.

Status 0 where one of the two readings fits, clearly better than the other; else 1.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels.cli.published_commands import PUBLISHED_UNITS
from datamodels.cli.runner import Values, run, section
from datamodels.errors import InputError, UsageError
from datamodels.npy_file import open_map
from datamodels.published.mask_scales import estimate_scales
from datamodels.published.tables import columns
from datamodels.published.units import READINGS, UnitsReport, compare_units
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.named_rows import (
    evaluation_rows,
    names_evaluation,
    parse_rows,
    warn_if_assumed,
)
from datamodels.regression.result import Datamodels
from datamodels.training.layout import StoreLayout

_HEADS = ("weights are", "R2", "squared error", "slope", "offset", "R2 without offset")

_LEAST_ROWS = 3


def main() -> int:
    """The command; returns its exit status."""
    return run(PUBLISHED_UNITS, _units)


def _units(values: Values) -> int:
    options = section(values, "units")
    if options["targets"] < 1:
        raise UsageError(f"--units.targets={options['targets']} must be at least 1")
    dataset = RegressionDataset(options["store"], options["y_name"], options["x_name"])
    held_out = _held_out(dataset, options["rows"], options["store"])
    datamodels = Datamodels.load(options["datamodels"])
    n = datamodels.n_targets
    targets = np.unique(np.linspace(0, n - 1, min(n, options["targets"])).astype(np.int64))
    masks = open_map(StoreLayout(Path(options["store"])).array(options["x_name"]))
    # Of the fit, where there are enough to tell; all are drawn alike, in any case.
    others = np.setdiff1d(dataset.idx, dataset.idx[held_out])
    scales = estimate_scales(masks, others if len(others) >= len(held_out) else dataset.idx)
    report = compare_units(datamodels, dataset, held_out, scales, targets)
    print("\n".join(_lines(report, options["datamodels"], n)))
    return 0 if report.verdict is not None else 1


def _held_out(dataset: RegressionDataset, rows: str | None, store: str) -> NDArray[np.int64]:
    """Positions among the complete rows of the models to judge by."""
    n_rows = dataset.n_store_rows
    if rows is None and not evaluation_rows(store):
        raise UsageError(
            f"nothing says which of the {n_rows} rows of {store} were held out; name rows that "
            "took no part in the fit, as in --units.rows=300000-309999"
        )
    if rows is None or names_evaluation(rows):
        warn_if_assumed(store)
    numbers = (
        np.array(evaluation_rows(store))
        if rows is None
        else parse_rows(rows, dataset.idx, n_rows, store, "--units.rows")
    )
    positions = np.flatnonzero(np.isin(dataset.idx, numbers))
    if len(numbers) < _LEAST_ROWS:
        raise UsageError(
            f"--units.rows={rows} names {len(numbers)} of the rows of {store}, and it takes "
            f"{_LEAST_ROWS} at least to tell anything; name more"
        )
    if len(positions) < _LEAST_ROWS:
        how = StoreLayout(Path(store)).how_to_complete()
        raise InputError(
            f"{len(positions)} of the {len(numbers)} rows are complete in {store}, "
            f"and it takes {_LEAST_ROWS} at least: {how}, or name others by --units.rows"
        )
    return positions


def _lines(report: UnitsReport, path: str, n_targets: int) -> list[str]:
    cells = [
        (name, *(f"{value:.4g}" for value in report.readings[name].medians())) for name in READINGS
    ]
    return [
        f"{path}, read in two ways on {report.n_models:,} held-out models; medians over "
        f"{report.n_targets:,} of {n_targets:,} targets",
        "",
        *columns([_HEADS, *cells], "lrrrrr"),
        "",
        f"means and deviations of the masks: {report.scales.origin}",
        _verdict(report),
    ]


def _verdict(report: UnitsReport) -> str:
    better = report.better
    other = next(name for name in READINGS if name != better)
    r2 = [report.readings[name].medians()[0] for name in (better, other)]
    by = (
        f"R2 {r2[0]:.3g} against {r2[1]:.3g}, and the smaller error on "
        f"{report.share_better:.0%} of the targets"
    )
    if report.verdict is not None:
        return f"the weights are {better}: {by}. Load them with units={better!r}"
    reading = report.readings[better]
    if reading.fits:
        return f"neither is clearly the better one: {better} has {by}. Give more rows or targets"
    without = {name: report.readings[name].medians()[4] for name in READINGS}
    hint = max(without, key=lambda name: np.nan_to_num(without[name], nan=-np.inf))
    text = f"neither fits: the better one, {better}, has {by}"
    if without[hint] > max(r2[0], 0) + 0.01:
        text += f". With another bias {hint} weights would reach R2 {without[hint]:.3g}"
    return f"{text}. Are these rows and this array what the datamodels are about?"
