"""The whole regression against scikit-learn's path alone, on the same data and grid.

    python -m benchmarks.lasso_path

6,000 x 2,000 masks at alpha = 0.5, 30 true weights a target and as much noise as signal. Ours is
everything from masks to certified weights: moments of 5,000 + 1,000 rows, 50 lambdas down to
lambda_max / 20 at a relative gap of 1e-4 scored on the validation rows, refit to 1e-7 in float64.
scikit-learn's ``lasso_path`` gets the Gram matrix for free, follows the same 50 lambdas at its
default tolerance (gap 1e-4), and is timed on a few of the targets. One thread each, kernels
compiled before.
"""

import time

import numpy as np

N_TRAIN, N_VAL, P, T, T_PEER = 5_000, 1_000, 2_000, 100, 5
K, EPS = 50, 0.05


def main() -> None:
    """Print seconds a target and their ratio."""
    from threadpoolctl import threadpool_limits

    masks, outputs = problem()
    with threadpool_limits(1):
        ours = fit_seconds(masks, outputs)
        theirs = peer_seconds(masks[:N_TRAIN], outputs[:N_TRAIN])
    print(f"  ours, everything       {ours * 1e3:8.1f} ms a target ({T} targets)")
    print(f"  scikit-learn, path     {theirs * 1e3:8.1f} ms a target ({T_PEER} targets)")
    print(f"  ratio                  {theirs / ours:8.1f}")


def problem() -> tuple[np.ndarray, np.ndarray]:
    """Masks (n, p) and outputs (n, t)."""
    rng = np.random.default_rng(0)
    masks = rng.random((N_TRAIN + N_VAL, P)) < 0.5
    weights = np.zeros((P, T))
    for column in weights.T:
        column[rng.choice(P, 30, replace=False)] = rng.standard_normal(30)
    signal = masks @ weights
    return masks, (signal + signal.std(axis=0) * rng.standard_normal(signal.shape)).astype("f4")


def fit_seconds(masks: np.ndarray, outputs: np.ndarray) -> float:
    """Seconds a target, from masks to saved weights."""
    from datamodels.regression.fit import fit_datamodels
    from datamodels.regression.fit_config import FitConfig
    from datamodels.regression.row_source import ArraySource

    rows = np.arange(N_TRAIN + N_VAL)
    config = FitConfig(k=K, eps=EPS, threads=1, end_early=False)
    small = ArraySource(masks[:300, :50], outputs[:300, :2])
    fit_datamodels(small, rows[:200], rows[200:300], config)  # compiles
    began = time.perf_counter()
    fit_datamodels(ArraySource(masks, outputs), rows[:N_TRAIN], rows[N_TRAIN:], config)
    return (time.perf_counter() - began) / T


def peer_seconds(masks: np.ndarray, outputs: np.ndarray) -> float:
    """Seconds a target of scikit-learn's path, the Gram matrix and correlations given."""
    from sklearn.linear_model import lasso_path

    x = masks.astype(float)
    z = np.asfortranarray((x - x.mean(axis=0)) / x.std(axis=0))
    gram = z.T @ z
    seconds = 0.0
    for y in outputs[:, :T_PEER].T.astype(float):
        y_centred = y - y.mean()
        correlations = z.T @ y_centred
        lambdas = np.abs(correlations).max() / len(z) * EPS ** (np.arange(K) / K)
        began = time.perf_counter()
        lasso_path(z, y_centred, alphas=lambdas, precompute=gram, Xy=correlations, copy_X=False)
        seconds += time.perf_counter() - began
    return seconds / T_PEER


if __name__ == "__main__":
    main()
