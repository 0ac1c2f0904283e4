"""LASSO paths of ours and of the public solvers, each at its best settings, to the same gap.

    python3.11 -m venv /tmp/peers
    /tmp/peers/bin/pip install . scikit-learn celer skglm adelie threadpoolctl
    /tmp/peers/bin/python -m benchmarks.peers [name of a solver ...]

Masks 5,000 x 2,000 at alpha = 0.5, 30 true normal weights a target and as much noise as signal; 100
lambdas from lambda_max down to lambda_max / 100. No intercept: masks are standardized and outputs
centred beforehand, and solvers that take Z'Z and Z'y get them for free, in the dtype they want.
Each has to reach a relative duality gap (gap / mean of y^2) of 1e-4, and of 1e-7, at every lambda.
Every solver stops by a rule of its own, so its tolerance was set, by trial, to the largest of a few
that reach the wanted gap; the gap printed is the largest over the path and the targets, computed
here in float64 from Z and y. float32 where it reaches the gap, as it is faster for all.

    1 core: one process, one thread. 2 cores: two processes of one thread for the peers, which solve
    one target at a time, and one process of two threads for ours.

``skglm GramCD`` are the epochs of its solver of that name, which as it stands forms Z'Z again at
every lambda. A solver that is not installed is left out.
"""

import importlib
import importlib.util
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

N, P, K, LAST = 5_000, 2_000, 100, 0.01
GAPS = (1e-4, 1e-7)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Float64s = NDArray[np.float64]


class Data(NamedTuple):
    """Masks and outputs, and what they become."""

    masks: NDArray[np.bool_]  # (n, p)
    outputs: Float64s  # (n, t)
    z: Float64s  # (n, p) standardized, columns contiguous
    gram: Float64s  # (p, p) Z'Z / n

    def target(self, t: int) -> "Target":
        y = self.outputs[:, t] - self.outputs[:, t].mean()
        c = self.z.T @ y / N
        return Target(y, c, np.abs(c).max() * LAST ** (np.arange(K) / (K - 1)))


class Target(NamedTuple):
    y: Float64s  # (n,) centred
    c: Float64s  # (p,) Z'y / n
    lambdas: Float64s  # (k,) descending


Solve = Callable[[Target], NDArray[Any]]  # weights (k, p)


class Peer(NamedTuple):
    """How a public solver is called."""

    name: str
    module: str
    prepare: Callable[[Data, float, Any], Solve]  # data, the solver's tolerance, dtype
    settings: dict[float, tuple[float, Any]]  # wanted gap: tolerance and dtype
    n_targets: int  # a process


class Run(NamedTuple):
    """What a process measured; its clock is that of the machine."""

    began: float  # s
    ended: float  # s
    n_targets: int
    largest_gap: float  # relative


def main() -> None:
    """Print milliseconds a target and the largest gap."""
    print(
        f"  {'ms a target':24} {'wanted':>7} {'1 core':>12} {'gap':>8} {'2 cores':>12} {'gap':>8}"
    )
    names = [name.lower() for name in sys.argv[1:]]
    for wanted in GAPS:
        for peer in PEERS:
            if _chosen(peer.name, names) and _installed(peer):
                one = measure(run_peer, (PEERS.index(peer), wanted), processes=1)
                two = measure(run_peer, (PEERS.index(peer), wanted), processes=2)
                _show(peer.name, wanted, one, two)
        if _chosen("ours", names):
            one = measure(run_ours, (wanted, 1), processes=1, threads=1)
            two = measure(run_ours, (wanted, 2), processes=1, threads=2)
            _show("ours", wanted, one, two)


def _chosen(name: str, names: list[str]) -> bool:
    return not names or any(part in name.lower() for part in names)


def _installed(peer: Peer) -> bool:
    if importlib.util.find_spec(peer.module) is None:
        print(f"  {peer.name:24} is not installed: pip install {PACKAGES[peer.module]}")
        return False
    return True


def _show(name: str, wanted: float, one: list[Run], two: list[Run]) -> None:
    columns = [f"{_milliseconds(runs):12.1f} {_largest_gap(runs):8.2e}" for runs in (one, two)]
    print(f"  {name:24} {wanted:7.0e}", *columns, flush=True)


def _milliseconds(runs: list[Run]) -> float:
    seconds = max(run.ended for run in runs) - min(run.began for run in runs)
    return 1e3 * seconds / sum(run.n_targets for run in runs)


def _largest_gap(runs: list[Run]) -> float:
    return max(run.largest_gap for run in runs)


def measure(
    function: Callable[..., None], arguments: tuple[Any, ...], processes: int, threads: int = 1
) -> list[Run]:
    """Run ``function`` in new processes that begin to solve at the same time."""
    os.environ.update(dict.fromkeys(THREADS, str(threads)))  # read when libraries are loaded
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.SimpleQueue()
    workers = [
        context.Process(target=function, args=(*arguments, rank, barrier, results))
        for rank in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise SystemExit(f"{function.__name__}{arguments} ended with {worker.exitcode}")
    return [results.get() for _ in workers]


def make_data(n_targets: int, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    masks = rng.random((N, P)) < 0.5
    weights = np.zeros((P, n_targets))
    for column in weights.T:
        column[rng.choice(P, 30, replace=False)] = rng.standard_normal(30)
    signal = masks @ weights
    outputs = signal + signal.std(axis=0) * rng.standard_normal(signal.shape)
    x = masks.astype(float)
    z = np.asfortranarray((x - x.mean(axis=0)) / x.std(axis=0))
    return Data(masks, outputs, z, z.T @ z / N)


def relative_gaps(data: Data, target: Target, weights: NDArray[Any]) -> Float64s:
    """Duality gap / mean of y^2 of each of weights (k, p), in float64: (k,).

    With r = y - Z w and s = min(1, lambda / max_j |z_j.r| / n):
    gap = 1/2 r'r/n + lambda |w|_1 - (s y'r/n - 1/2 s^2 r'r/n)
    """
    w = weights.astype(np.float64)
    r = target.y[:, None] - data.z @ w.T  # (n, k)
    rr, yr = (r**2).mean(axis=0), target.y @ r / N
    s = np.minimum(1, target.lambdas / (np.abs(data.z.T @ r).max(axis=0) / N))
    primal = rr / 2 + target.lambdas * np.abs(w).sum(axis=1)
    gaps: Float64s = (primal - (s * yr - s**2 * rr / 2)) / np.mean(target.y**2)
    return gaps


# ---- ours ----

OUR_TARGETS = 20


def run_ours(wanted: float, threads: int, _rank: int, barrier: Barrier, results: Any) -> None:
    data = make_data(OUR_TARGETS)
    targets = [data.target(t) for t in range(OUR_TARGETS)]
    lambdas = np.stack([target.lambdas for target in targets], axis=1)  # (k, t)
    few = slice(0, 2 * threads)
    ours(data.masks, data.outputs[:, few], lambdas[:3, few], wanted, threads)  # compiles
    barrier.wait()
    began, ended, weights = ours(data.masks, data.outputs, lambdas, wanted, threads)
    gaps = [
        relative_gaps(data, target, w).max() for target, w in zip(targets, weights, strict=True)
    ]
    results.put(Run(began, ended, OUR_TARGETS, max(gaps)))


def ours(
    masks: NDArray[np.bool_], outputs: Float64s, lambdas: Float64s, tol: float, threads: int
) -> tuple[float, float, Float64s]:
    """When the paths began and ended (s), and their weights (t, k, p) on standardized masks.

    As for the peers, the Gram matrix is there when the clock starts. ``lambdas`` (k, t)."""
    import numba

    from datamodels.regression.engines.contract import Limits
    from datamodels.regression.engines.cpu import CpuEngine
    from datamodels.regression.fit_config import FLOAT32_TOL
    from datamodels.regression.moment_pass import moments_of
    from datamodels.regression.row_source import ArraySource
    from datamodels.regression.standardized import standardize

    numba.set_num_threads(threads)
    problem = standardize(moments_of(ArraySource(masks, outputs), np.arange(len(masks))))
    engine = CpuEngine(problem.gram(np.float32 if tol >= FLOAT32_TOL else np.float64))
    units = problem.units(slice(None))
    every = np.arange(problem.n_targets)
    began = time.perf_counter()
    path = engine.block(problem, slice(None), np.ones((1, P)), Limits(tol, max_sweeps=10_000))
    solved = [path.solve(lam / units, every).weights for lam in lambdas]
    ended = time.perf_counter()
    weights = np.stack([rows.dense(P) for rows in solved], axis=1)  # (t, k, p)
    return began, ended, weights * units[:, None, None]


# ---- the peers ----


def run_peer(which: int, wanted: float, rank: int, barrier: Barrier, results: Any) -> None:
    warnings.simplefilter("ignore")  # about convergence: the gap is judged below
    peer = PEERS[which]
    tol, dtype = peer.settings[wanted]
    data = make_data((rank + 1) * peer.n_targets)
    targets = [data.target(rank * peer.n_targets + t) for t in range(peer.n_targets)]
    solve = peer.prepare(data, tol, dtype)
    solve(targets[0]._replace(lambdas=targets[0].lambdas[:5]))  # compiles
    barrier.wait()
    began = time.perf_counter()
    weights = [solve(target) for target in targets]
    ended = time.perf_counter()
    gaps = [relative_gaps(data, *pair).max() for pair in zip(targets, weights, strict=True)]
    results.put(Run(began, ended, len(targets), max(gaps)))


def scikit_learn(data: Data, tol: float, dtype: Any) -> Solve:
    """``lasso_path`` on Z'Z: stops on the gap, in units of y'y."""
    from sklearn.linear_model import lasso_path

    z, gram = data.z.astype(dtype, order="F"), np.asfortranarray(data.gram * N, dtype)

    def solve(target: Target) -> NDArray[Any]:
        _, weights, _ = lasso_path(
            z,
            target.y.astype(dtype),
            alphas=target.lambdas,
            precompute=gram,
            Xy=(target.c * N).astype(dtype),
            copy_X=False,
            tol=tol,
            max_iter=100_000,
        )
        return np.asarray(weights).T

    return solve


def celer(data: Data, tol: float, dtype: Any) -> Solve:
    """``celer_path`` on Z: working sets and dual extrapolation; stops on the gap."""
    celer_path = _import("celer").celer_path
    z = data.z.astype(dtype, order="F")

    def solve(target: Target) -> NDArray[Any]:
        y = target.y.astype(dtype)
        _, weights, _ = celer_path(z, y, "lasso", alphas=target.lambdas, tol=tol, max_iter=100)
        return np.asarray(weights).T

    return solve


def skglm_gram(data: Data, tol: float, dtype: Any) -> Solve:
    """Epochs of ``GramCD`` on Z'Z / n, cyclic: stops on the largest violation of optimality, in
    units of rms(y), which may fall as the root of lambda: the gaps are evener so."""
    epoch = _import("skglm.solvers.gram_cd")._gram_cd_epoch
    penalty = _skglm_l1(dtype)
    gram, features = np.asfortranarray(data.gram, dtype), np.arange(P)

    def solve(target: Target) -> NDArray[Any]:
        rms = np.sqrt(np.mean(target.y**2))
        weights = np.empty((len(target.lambdas), P), dtype)
        w, gradient = np.zeros(P, dtype), (-target.c / rms).astype(dtype)
        for i, lam in enumerate(target.lambdas):
            penalty.alpha = lam / rms
            enough = tol * np.sqrt(lam / target.lambdas[0])
            while np.max(penalty.subdiff_distance(w, gradient, features)) > enough:
                epoch(gram, w, gradient, penalty, False)
            weights[i] = w
        return np.asarray(weights * rms)

    return solve


def skglm_anderson(data: Data, tol: float, dtype: Any) -> Solve:
    """``AndersonCD`` on Z'Z / n: working sets and extrapolation; stops as :func:`skglm_gram`.

    In float32 the product it keeps up to date drifts, and the gap stays above 1e-4.
    """
    solvers, datafits = _import("skglm.solvers"), _import("skglm.datafits")
    penalty = _skglm_l1(dtype)
    quadratic = _import("skglm.utils.jit_compilation").compiled_clone(datafits.QuadraticHessian())
    gram = np.asfortranarray(data.gram, dtype)
    solver = solvers.AndersonCD(fit_intercept=False, warm_start=True, max_iter=100)

    def solve(target: Target) -> NDArray[Any]:
        rms = np.sqrt(np.mean(target.y**2))
        linear = (-target.c / rms).astype(dtype)
        weights = np.empty((len(target.lambdas), P), dtype)
        w, product = np.zeros(P, dtype), np.zeros(P, dtype)
        for i, lam in enumerate(target.lambdas):
            penalty.alpha = lam / rms
            solver.tol = tol * np.sqrt(lam / target.lambdas[0])
            solver.p0 = max(10, np.count_nonzero(w))
            w, _, _ = solver.solve(gram, linear, quadratic, penalty, w, product)
            weights[i] = w
        return np.asarray(weights * rms)

    return solve


def _skglm_l1(dtype: Any) -> Any:
    compiled_clone = _import("skglm.utils.jit_compilation").compiled_clone
    return compiled_clone(_import("skglm.penalties").L1(1.0), to_float32=dtype is np.float32)


def adelie_cov(data: Data, tol: float, dtype: Any) -> Solve:
    """``gaussian_cov`` on Z'Z / n: stops on the change of the objective of a sweep."""
    adelie = _import("adelie")
    gram = adelie.matrix.dense(np.asfortranarray(data.gram, dtype), method="cov", n_threads=1)

    def solve(target: Target) -> NDArray[Any]:
        state = adelie.solver.gaussian_cov(
            A=gram,
            v=target.c.astype(dtype),
            lmda_path=target.lambdas.astype(dtype),
            early_exit=False,
            rdev_tol=0,
            tol=tol,
            progress_bar=False,
        )
        return _all_lambdas(state.betas.toarray(), target)

    return solve


def adelie_naive(data: Data, tol: float, dtype: Any) -> Solve:
    """``grpnet`` on Z: stops as :func:`adelie_cov`."""
    adelie = _import("adelie")
    z = adelie.matrix.dense(data.z.astype(dtype, order="F"), method="naive", n_threads=1)

    def solve(target: Target) -> NDArray[Any]:
        state = adelie.grpnet(
            z,
            adelie.glm.gaussian(target.y.astype(dtype), dtype=dtype),
            lmda_path=target.lambdas.astype(dtype),
            intercept=False,
            early_exit=False,
            adev_tol=1,
            tol=tol,
            progress_bar=False,
        )
        return _all_lambdas(state.betas.toarray(), target)

    return solve


def _all_lambdas(weights: NDArray[Any], target: Target) -> NDArray[Any]:
    if len(weights) < len(target.lambdas):
        raise RuntimeError(f"the path ended after {len(weights)} of {len(target.lambdas)} lambdas")
    return weights


def _import(name: str) -> Any:
    return importlib.import_module(name)


PACKAGES = {"sklearn": "scikit-learn", "celer": "celer", "skglm": "skglm", "adelie": "adelie"}
PEERS = (
    Peer(
        "scikit-learn lasso_path",
        "sklearn",
        scikit_learn,
        {1e-4: (9.8e-5, np.float32), 1e-7: (1e-7, np.float64)},
        6,
    ),
    Peer(
        "skglm GramCD",
        "skglm",
        skglm_gram,
        {1e-4: (6.5e-5, np.float32), 1e-7: (6.5e-8, np.float64)},
        10,
    ),
    Peer(
        "skglm AndersonCD",
        "skglm",
        skglm_anderson,
        {1e-4: (7.5e-5, np.float64), 1e-7: (6e-8, np.float64)},
        6,
    ),
    Peer(
        "adelie gaussian_cov",
        "adelie",
        adelie_cov,
        {1e-4: (4e-8, np.float32), 1e-7: (8e-15, np.float64)},
        2,
    ),
    Peer(
        "adelie grpnet",
        "adelie",
        adelie_naive,
        {1e-4: (2.5e-9, np.float32), 1e-7: (8e-16, np.float64)},
        2,
    ),
    Peer(
        "celer celer_path",
        "celer",
        celer,
        {1e-4: (1e-4, np.float32), 1e-7: (1e-7, np.float64)},
        2,
    ),
)


if __name__ == "__main__":
    main()
