"""``python -m datamodels.regression.write_dataset``: two arrays of a store as a ``.beton``."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels.cli.catalogue import WRITE_DATASET
from datamodels.cli.progress import ProgressLine
from datamodels.cli.runner import Values, run, section, warn
from datamodels.errors import InputError
from datamodels.regression.beton_writer import Block, write_beton
from datamodels.regression.blocks import read_blocks
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.named_rows import evaluation_rows
from datamodels.regression.row_source import Outputs, Progress, silent
from datamodels.training.spec import COMPLETED

__all__ = ["RegressionDataset", "main", "write_dataset"]


def main() -> int:
    """The command; returns its exit status."""
    return run(WRITE_DATASET, _write)


def _write(values: Values) -> None:
    options = section(values, "cfg")
    if options["y_slice"] == -1:
        options["y_slice"] = None
    with ProgressLine() as progress:
        dataset = write_dataset(**options, progress=progress)
    print(
        f"wrote {options['out_path']}: {dataset.n_rows} rows, mask of {dataset.n_features} "
        f"({dataset.mask_dtype}), {dataset.n_targets} targets"
    )
    held_out = evaluation_rows(options["data_dir"])
    if count := int(np.isin(dataset.idx, held_out).sum()):
        warn(
            f"{count} of its rows are held out for evaluation in {options['data_dir']} (rows "
            f"{held_out.start}-{held_out.stop - 1} there, by their idx), which the file does not "
            "say: a fit should leave them out"
        )


def write_dataset(
    data_dir: str | Path,
    out_path: str | Path,
    y_name: str,
    x_name: str = "masks",
    *,
    y_slice: int | None = None,
    completed_name: str = COMPLETED,
    ignore_completed: bool = False,
    progress: Progress = silent,
) -> RegressionDataset:
    """Write the complete rows of two arrays of a store as an FFCV ``.beton`` file.

    Fields: ``mask`` (dtype of x), ``targets`` (float32), ``idx`` (the row of the store). The file
    appears whole or not at all; an existing one is never replaced. Errors are those of
    :class:`RegressionDataset`, ExistsError, and InputError for NaN and infinity.
    """
    dataset = RegressionDataset(
        data_dir,
        y_name,
        x_name,
        y_slice=y_slice,
        completed_name=completed_name,
        ignore_completed=ignore_completed,
    )
    write_beton(
        out_path,
        _numbered_blocks(dataset, progress),
        num_samples=dataset.n_rows,
        n_features=dataset.n_features,
        n_targets=dataset.n_targets,
        mask_dtype=dataset.mask_dtype,
    )
    return dataset


def _numbered_blocks(dataset: RegressionDataset, progress: Progress) -> Iterator[Block]:
    """All rows in blocks, with their numbers in the store."""
    done = 0
    for block in read_blocks(dataset, np.arange(dataset.n_rows)):
        idx = dataset.idx[done : done + len(block.masks)]
        yield block.masks, _as_float32(block.outputs, idx), idx
        done += len(block.masks)
        progress("rows", done, dataset.n_rows)


def _as_float32(outputs: Outputs, idx: NDArray[np.int64]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        rounded = outputs.astype(np.float32)
    if not np.isfinite(rounded).all():
        row, target = np.argwhere(~np.isfinite(rounded))[0]
        raise InputError(
            f"outputs of row {idx[row]}, target {target}, are {outputs[row, target]:g}: targets of "
            f"a .beton are float32, which ends at {np.finfo(np.float32).max:g}; fit from the store"
        )
    return rounded


if __name__ == "__main__":
    raise SystemExit(main())
