"""X'X and X'Y of 0/1 masks from bits, against numpy's matrix products, one thread each.

    NUMBA_NUM_THREADS=1 python -m benchmarks.pair_counts

10,240 x 8,000 masks and 256 outputs. Ours includes packing the masks.
"""

import time
from collections.abc import Callable

import numpy as np

N, P, T, REPEATS = 10_240, 8_000, 256, 3


def main() -> None:
    """Print core-seconds and their ratios."""
    import numba
    from threadpoolctl import threadpool_limits

    numba.set_num_threads(1)
    rng = np.random.default_rng(0)
    masks = rng.random((N, P)) < 0.5
    outputs = rng.standard_normal((N, T))
    with threadpool_limits(1):
        report("X'X", lambda: count_pairs(masks), lambda: multiply(masks, masks, np.float32))
        report("X'Y", lambda: cross(masks, outputs), lambda: multiply(masks, outputs, np.float64))
        report("  with float32", lambda: cross(masks, outputs, np.float32),
               lambda: multiply(masks, outputs, np.float32))  # fmt: skip


def report(name: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    """One line; the first call of ours compiles."""
    ours()
    mine, others = least(ours, REPEATS), least(theirs, 1)
    print(f"  {name:16s} ours {mine:7.3f} s   numpy {others:7.2f} s   ratio {others / mine:6.1f}")


def least(action: Callable[[], object], repeats: int) -> float:
    """Core-seconds of the quickest of several runs."""
    spent = []
    for _ in range(repeats):
        began = time.process_time()
        action()
        spent.append(time.process_time() - began)
    return min(spent)


def count_pairs(masks: np.ndarray) -> object:
    """Exact integers."""
    from datamodels.regression.popcount import pair_counts

    return pair_counts(masks)


def cross(masks: np.ndarray, outputs: np.ndarray, dtype: type = np.float64) -> object:
    """X'Y from bits."""
    from datamodels.regression import bit_products, popcount

    packed = popcount.packed_zeros(*masks.shape)
    popcount.pack_columns(masks, packed)
    return bit_products.cross(packed, len(masks), outputs, masks.shape[1], dtype)


def multiply(masks: np.ndarray, others: np.ndarray, dtype: type) -> object:
    """X' times others by matrix product."""
    return masks.astype(dtype).T @ others.astype(dtype)


if __name__ == "__main__":
    main()
