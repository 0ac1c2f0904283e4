"""What ending a path early costs: its picks against those of the whole path, on a real store.

    python -m benchmarks.early_end [STORE [K EPS]]

STORE is demo/store by default, which ``make demo`` leaves (2,000 networks on the digits). Margins
of test images and of training images, at several numbers of models, a fifth of which choose lambda.
Prints how many targets pick another lambda than the whole path does, how much their validation
error is above the least, and the seconds of both paths.
"""

import sys

import numpy as np

from datamodels.regression.row_source import RowSource

K, EPS = 50, 1e-2
MODELS = (200, 800, 1_600)


def main() -> None:
    """Print a row for each number of models and kind of output."""
    from datamodels.regression.dataset import RegressionDataset

    store = sys.argv[1] if sys.argv[1:] else "demo/store"
    k, eps = (int(sys.argv[2]), float(sys.argv[3])) if sys.argv[2:] else (K, EPS)
    print("| outputs | models | targets | other lambda | error above the least | seconds |")
    print("|---|---|---|---|---|---|")
    for name in ("margins", "train_margins"):
        for models in MODELS:
            row = compare(RegressionDataset(store, name), models, k, eps)
            print(f"| {name} | {models:,} | {row}")


def compare(source: RowSource, models: int, k: int, eps: float) -> str:
    """Cells of one row of the table."""
    from datamodels.regression.fit import fit_datamodels
    from datamodels.regression.fit_config import FitConfig
    from datamodels.regression.validation_rows import pick_validation_rows

    val = pick_validation_rows(models, models // 5, 0)
    train = np.setdiff1d(np.arange(models), val)
    early, whole = (
        fit_datamodels(source, train, val, FitConfig(k=k, eps=eps, end_early=end))
        for end in (True, False)
    )
    other = early.final["lambda"] != whole.final["lambda"]
    excess = (early.final["val_mse"] / whole.final["val_mse"] - 1)[other]
    least, most = (np.median(excess), excess.max()) if other.any() else (0.0, 0.0)
    seconds = [result.seconds["path"] for result in (early, whole)]
    return (
        f"{len(other):,} | {100 * other.mean():.1f}% | {100 * least:.1f}% in the median, "
        f"{100 * most:.1f}% at most | {seconds[0]:.1f}, whole {seconds[1]:.1f} |"
    )


if __name__ == "__main__":
    main()
