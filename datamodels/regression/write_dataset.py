"""``python -m datamodels.regression.write_dataset``: two arrays of a store as a ``.beton``."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datamodels.cli.catalogue import WRITE_DATASET
from datamodels.cli.progress import ProgressLine
from datamodels.cli.runner import Values, run, section
from datamodels.regression.beton_writer import Block, write_beton
from datamodels.regression.blocks import read_blocks
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.row_source import Progress, silent
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
        yield block.masks, block.outputs, dataset.idx[done : done + len(block.masks)]
        done += len(block.masks)
        progress("rows", done, dataset.n_rows)


if __name__ == "__main__":
    raise SystemExit(main())
