"""A regression at the size of the largest published data, on made-up masks.

    python -m benchmarks.published_scale [ROWS FEATURES TARGETS [ENGINE [DEVICE]]]

300,000 x 50,000 masks at alpha = 0.5 by default, 1,000 targets with 30 true weights each (drawn
from 2,000 of the features, so that making the outputs takes seconds) and half of the variance
noise. A tenth of the rows chooses lambda; 100 lambdas to lambda_max / 1000, each path to its early
end, relative gap 1e-4; refit on all rows to 1e-7 in float64. The masks are held as bits and are
unpacked as they are read, as from a store. ``20000 500000 16 screened`` is the case of too many
features for a Gram matrix, ``300000 50000 10000 torch`` all test images of CIFAR-10 on a GPU (13
GiB of rows beside the 17 GiB that the fit may take). DEVICE, e.g. ``cuda:1``, is of the engine
torch: CUDA, where there is any, if it is left out.
"""

import resource
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS, FEATURES, TARGETS = 300_000, 50_000, 1_000
POOL, TRUE = 2_000, 30
K, EPS = 100, 1e-3
CHUNK = 4_096


class PackedSource:
    """Random masks, kept as bits; see ``datamodels.regression.row_source.RowSource``."""

    def __init__(self, n: int, p: int, t: int) -> None:
        rng = np.random.default_rng(0)
        self.bits = rng.integers(0, 256, (n, p // 8), np.uint8)
        self.weights = np.zeros((min(POOL, p), t), np.float32)
        for column in self.weights.T:
            chosen = rng.choice(len(column), TRUE, replace=False)
            column[chosen] = rng.standard_normal(TRUE)
        signal = np.concatenate(
            [self._masks(slice(i, i + CHUNK))[:, :POOL] @ self.weights for i in range(0, n, CHUNK)]
        )
        scale = signal.std(axis=0)
        for start in range(0, n, CHUNK):
            block = signal[start : start + CHUNK]
            block += scale * rng.standard_normal(block.shape, np.float32)
        self.outputs = signal
        self.idx = np.arange(n)

    n_rows = property(lambda self: len(self.bits))
    n_features = property(lambda self: 8 * self.bits.shape[1])
    n_targets = property(lambda self: self.outputs.shape[1])
    mask_dtype = np.dtype(np.bool_)

    def _masks(self, rows: slice) -> NDArray[np.bool_]:
        return np.unpackbits(self.bits[rows], axis=1).view(np.bool_)

    def read(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Masks and outputs of these rows."""
        return np.unpackbits(self.bits[rows], axis=1).view(np.bool_), self.outputs[rows]


def main() -> None:
    """Fit, and print what it took."""
    from datamodels.cli.progress import ProgressLine
    from datamodels.regression.fit import fit_datamodels
    from datamodels.regression.fit_config import FitConfig
    from datamodels.regression.row_source import ArraySource

    n, p, t = (int(word) for word in sys.argv[1:4]) if sys.argv[1:] else (ROWS, FEATURES, TARGETS)
    engine = sys.argv[4] if sys.argv[4:] else "cpu"
    device = sys.argv[5] if sys.argv[5:] else None
    config = FitConfig(k=K, eps=EPS, engine=engine, device=device, memory_gb=17)
    small = np.random.default_rng(1).random((300, 50)) < 0.5
    rows = np.arange(300)
    fit_datamodels(ArraySource(small, small[:, :2]), rows[:200], rows[200:], config)  # compiles

    began = time.perf_counter()
    source = PackedSource(n, p, t)
    print(f"  {n} x {p} masks and {t} targets made in {time.perf_counter() - began:.0f} s")
    rows = np.arange(n)
    began = time.perf_counter()
    with ProgressLine() as progress:
        result = fit_datamodels(source, rows[n // 10 :], rows[: n // 10], config, progress=progress)
    seconds = time.perf_counter() - began
    for stage, spent in result.seconds.items():
        print(f"  {stage:22s} {spent:8.1f} s")
    print(f"  all                    {seconds:8.1f} s")
    print(f"  peak memory            {_peak_gib():8.1f} GiB")
    final = result.final
    print(f"  non-zero weights       {np.median(final['weight_nz']):8.0f} in the median")
    print(f"  largest gap, path      {np.nanmax(result.path['gap']):8.1e}")
    print(f"  largest gap, saved     {final['gap'].max():8.1e}")
    print(f"  validation R2          {np.median(result.validation_r2):8.3f} in the median")


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
