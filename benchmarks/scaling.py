"""How the cost grows with models, targets and features: seconds of each stage, and exponents.

    python -m benchmarks.scaling

Masks at alpha = 0.5, 30 true weights a target and as much noise as signal; 50 lambdas to
lambda_max / 20, whole paths at a relative gap of 1e-4. One of the three numbers varies at a time,
by factors of two; the exponent is the slope of log seconds over log number by least squares.
"""

import numpy as np

from benchmarks.lasso_path import made_up

MODELS, TARGETS, FEATURES = 10_000, 128, 2_000
FACTORS = (1, 2, 4, 8)


def main() -> None:
    """Print a table for each of the three."""
    stage_seconds(600, 100, 4)  # compiles
    print("| varied | numbers | moments s | path s | refit s | exponents |")
    print("|---|---|---|---|---|---|")
    report("models", [(MODELS * f, FEATURES, TARGETS) for f in FACTORS], 0)
    report("targets", [(MODELS, FEATURES, TARGETS * f) for f in FACTORS], 2)
    report("features", [(MODELS, FEATURES * f, TARGETS) for f in FACTORS], 1)


def report(name: str, sizes: list[tuple[int, int, int]], varied: int) -> None:
    """One row of the table."""
    seconds = np.array([stage_seconds(*size) for size in sizes])  # (sizes, 3)
    numbers = np.array([size[varied] for size in sizes])
    slopes = [np.polyfit(np.log(numbers), np.log(column), 1)[0] for column in seconds.T]
    columns = [", ".join(f"{value:.2f}" for value in column) for column in seconds.T]
    print(f"| {name} | {', '.join(f'{n:,}' for n in numbers)} | {' | '.join(columns)} | "
          f"{', '.join(f'{slope:.2f}' for slope in slopes)} |", flush=True)  # fmt: skip


def stage_seconds(n: int, p: int, t: int) -> list[float]:
    """Seconds of moments, path and refit."""
    from datamodels.regression.fit import fit_datamodels
    from datamodels.regression.fit_config import FitConfig
    from datamodels.regression.row_source import ArraySource

    masks, outputs = made_up(n, p, t)
    rows, n_val = np.arange(n), min(n // 10, 1_000)
    config = FitConfig(k=50, eps=0.05, end_early=False, engine="cpu")
    result = fit_datamodels(ArraySource(masks, outputs), rows[n_val:], rows[:n_val], config)
    return [result.seconds[stage] for stage in ("moments", "path", "refit")]


if __name__ == "__main__":
    main()
