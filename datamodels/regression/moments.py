"""``python -m datamodels.regression.moments``: moments of rows of a store, kept in a file."""

import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from datamodels.cli.catalogue import MOMENTS
from datamodels.cli.progress import ProgressLine
from datamodels.cli.runner import Values, run, section
from datamodels.errors import InputError, UsageError
from datamodels.files import check_new_file
from datamodels.regression.blocks import Int64s
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.groups import read_groups
from datamodels.regression.memory import block_bytes_beside, memory_budget
from datamodels.regression.moments_file import check_name, new_moments_file
from datamodels.regression.named_rows import parse_rows, rows_to_fit
from datamodels.regression.plan import pair_bytes
from datamodels.regression.row_moments import Collector, KnownRows
from datamodels.regression.row_source import RowSource
from datamodels.regression.sources import open_source, target_range
from datamodels.regression.threads import at_most_threads


def main() -> int:
    """The command; returns its exit status."""
    return run(MOMENTS, _make)


def _make(values: Values) -> None:
    began = time.monotonic()
    options = section(values, "moments")
    out = Path(options["out"])
    _check_values(options)
    check_name(out)
    check_new_file(out)
    source = open_source(options["data_path"], options["x_name"], options["y_name"])
    collector_options = _collector_options(options, source)
    with at_most_threads(options["threads"]), ProgressLine() as progress:
        known = _write(Collector(source, progress=progress, **collector_options), out)
    print(_summary(known, time.monotonic() - began))
    print(f"wrote {out}")


def _check_values(options: Values) -> None:
    """What :class:`Collector` would refuse only once rows are read, or not at all."""
    for name, least in (("folds", 2), ("seed", 0), ("threads", 1)):
        value = options[name]
        if value is not None and value < least:
            raise UsageError(f"{name}={value}; it must be at least {least}")
    memory = options["memory_gb"]
    if memory is not None and not 0 < memory < math.inf:
        raise UsageError(f"memory_gb={memory:g}; it must be above 0, and finite")


def _collector_options(options: Values, source: RowSource) -> dict[str, Any]:
    start, end, key = options["target_start_ind"], options["target_end_ind"], options["groups"]
    targets = target_range(start, end, source, options["data_path"])
    in_store = isinstance(source, RegressionDataset)
    return {
        "positions": _positions(options, source),
        "targets": targets,
        "folds": options["folds"],
        "seed": options["seed"],
        "groups": None if key is None else read_groups(source, options["data_path"], key),
        "groups_key": key,
        "names": (options["x_name"], options["y_name"]) if in_store else (None, None),
        "block_bytes": _block_bytes(options["memory_gb"], source, targets),
    }


def _positions(options: Values, source: RowSource) -> Int64s:
    """The rows that are asked for, as far as they are complete."""
    text, path = options["rows"], options["data_path"]
    if text is None:
        return rows_to_fit(source.idx, path, "--moments.rows")
    n_rows = int(source.idx.max()) + 1
    if isinstance(source, RegressionDataset):
        n_rows = source.n_store_rows
    asked = parse_rows(text, source.idx, n_rows, path, "--moments.rows")
    positions = np.flatnonzero(np.isin(source.idx, asked))
    missing = np.setdiff1d(asked, source.idx)
    if not len(positions):
        raise InputError(
            f"rows={text}: none of them is complete in {path}, which has {source.n_rows} complete "
            "rows; name others, or train these"
        )
    if len(missing):
        print(
            f"note: {len(missing)} of the {len(asked)} rows asked for are not complete, and left "
            f"out; the first is row {missing[0]}",
            file=sys.stderr,
        )
    return positions


def _block_bytes(memory_gb: float | None, source: RowSource, targets: slice) -> int:
    """Memory for a block of rows; InputError where the sums themselves do not fit.

    One table of pairs is held at a time, and X'Y: float64, 4 bytes an entry for counts.
    """
    p, t = source.n_features, targets.stop - targets.start
    needed = pair_bytes(source.mask_dtype) * p**2 + 8 * p * t
    budget = memory_budget(memory_gb)
    if needed >= budget:
        raise InputError(
            f"moments of {p} features and {t} targets take {needed / 2**30:.3g} GiB; "
            f"{budget / 2**30:.3g} GiB are allowed (memory_gb). Raise it, take fewer targets "
            "(target_start_ind, target_end_ind), or use a machine with more memory"
        )
    return block_bytes_beside(budget - needed)


def _write(collector: Collector, out: Path) -> KnownRows:
    """Write each part as it is finished, so that one table is in memory."""
    with new_moments_file(out) as file:
        for part in collector.parts():
            file.add(part)
            del part  # before the next one is begun
        known = collector.known_rows()
        file.finish(known)
    return known


def _summary(known: KnownRows, seconds: float) -> str:
    parts = "" if known.folds is None else f", in {known.folds} folds of seed {known.seed}"
    targets = f"{known.first_target} to {known.first_target + known.n_targets - 1}"
    return (
        f"moments of {known.n} rows ({known.rows[0]} to {known.rows[-1]}){parts}\n"
        f"  features     {known.n_features}\n"
        f"  targets      {known.n_targets} ({targets} of {known.n_targets_all})\n"
        f"  fingerprint  {known.fingerprint}\n"
        f"  seconds      {seconds:.1f}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
