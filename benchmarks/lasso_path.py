"""The whole command against scikit-learn's path alone, on the same data and grid.

    python -m benchmarks.lasso_path

A store of 6,000 x 2,000 masks at alpha = 0.5 and 1,000 targets, 30 true weights each and as much
noise as signal. Ours is ``compute_datamodels`` as a process, from its start to the results on disk:
moments of 5,000 + 1,000 rows, 50 lambdas down to lambda_max / 20 at a relative gap of 1e-4 scored
on the validation rows, refit to 1e-7 in float64; once with no compiled kernels on disk (cold), then
with them. scikit-learn's ``lasso_path`` gets the Gram matrix for free, follows the same 50 lambdas
at its default tolerance (gap 1e-4), and is timed on a few of the targets. One thread each.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

N_TRAIN, N_VAL, P, T, T_PEER = 5_000, 1_000, 2_000, 1_000, 5
K, EPS = 50, 0.05


def main() -> None:
    """Print seconds and their ratio."""
    from threadpoolctl import threadpool_limits

    masks, outputs = made_up(N_TRAIN + N_VAL, P, T)
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = command_seconds(Path(folder), masks, outputs)
    with threadpool_limits(1):
        theirs = peer_seconds(masks[:N_TRAIN], outputs[:N_TRAIN]) * T
    print(f"  ours, the whole command, cold  {cold:8.1f} s for {T} targets")
    print(f"  ours, kernels compiled before  {warm:8.1f} s")
    print(f"  scikit-learn, path alone       {theirs:8.1f} s ({T_PEER} targets timed)")
    print(f"  ratio                          {theirs / warm:8.1f} ({theirs / cold:.1f} cold)")


def made_up(n: int, p: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (n, p) and outputs (n, t)."""
    rng = np.random.default_rng(0)
    masks = rng.random((n, p), np.float32) < 0.5
    weights = np.zeros((p, t), np.float32)
    for column in weights.T:
        column[rng.choice(p, min(30, p), replace=False)] = rng.standard_normal(min(30, p))
    signal = masks.astype(np.float32) @ weights
    return masks, signal + signal.std(axis=0) * rng.standard_normal(signal.shape, np.float32)


def command_seconds(folder: Path, masks: np.ndarray, outputs: np.ndarray) -> tuple[float, float]:
    """Seconds of the command without and with compiled kernels on disk."""
    store = folder / "store"
    store.mkdir()
    for name, values in (("masks", masks), ("margins", outputs)):
        np.save(store / f"{name}.npy", values)
    np.save(store / "_completed.npy", np.ones(len(masks), np.bool_))
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(folder / "kernels"),
        "NUMBA_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    seconds = []
    for run in ("cold", "warm"):
        words = [
            sys.executable, "-m", "datamodels.regression.compute_datamodels",
            f"--data.data_path={store}", f"--data.num_train={N_TRAIN}", f"--data.num_val={N_VAL}",
            f"--cfg.k={K}", f"--cfg.eps={EPS}", "--cfg.engine=cpu", f"--cfg.out_dir={folder / run}",
        ]  # fmt: skip
        began = time.perf_counter()
        done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
        seconds.append(time.perf_counter() - began)
        print(done.stdout)
    return seconds[0], seconds[1]


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
