"""``python -m datamodels.regression.write_dataset``: two arrays of a store as a ``.beton``."""

from datamodels.cli.catalogue import WRITE_DATASET
from datamodels.cli.progress import ProgressLine
from datamodels.cli.runner import Values, run, section
from datamodels.regression.dataset import RegressionDataset, write_dataset

__all__ = ["RegressionDataset", "main", "write_dataset"]


def main() -> int:
    """The command; returns its exit status."""
    return run(WRITE_DATASET, _write)


def _write(values: Values) -> None:
    options = section(values, "cfg")
    with ProgressLine() as progress:
        dataset = write_dataset(**options, progress=progress)
    print(
        f"wrote {options['out_path']}: {dataset.n_rows} rows, mask of {dataset.n_features} "
        f"({dataset.mask_dtype}), {dataset.n_targets} targets"
    )


if __name__ == "__main__":
    raise SystemExit(main())
