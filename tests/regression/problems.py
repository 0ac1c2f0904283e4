"""Small regressions of every kind, and the slow exact way to judge a solution of one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import lasso_path

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """Masks, outputs, and whether the solution of a LASSO on them is unique."""

    x: NDArray[np.generic]  # (n, p)
    y: NDArray[np.float32]  # (n, t)
    unique: bool = True


def random_masks(n: int, p: int, alpha: float = 0.5, seed: int = 0) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random((n, p)) < alpha


def outputs_of(x: NDArray[np.generic], t: int, noise: float = 0.5, seed: int = 1) -> Floats:
    """Outputs (n, t) of 8 true weights a target, some noise, and a mean far from zero."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((x.shape[1], t))
    for column in weights.T:
        chosen = rng.choice(len(column), min(8, len(column)), replace=False)
        column[chosen] = rng.standard_normal(len(chosen))
    signal = x.astype(float) @ weights
    return (signal + noise * rng.standard_normal(signal.shape) + 3).astype(np.float32)


def _plain() -> Problem:
    x = random_masks(300, 60)
    return Problem(x, outputs_of(x, 5))


def _few_rows() -> Problem:
    x = random_masks(80, 150)
    return Problem(x, outputs_of(x, 4), unique=False)


def _duplicate_columns() -> Problem:
    x = random_masks(200, 40)
    x[:, 30:] = x[:, :10]
    return Problem(x, outputs_of(x, 4), unique=False)


def _rank_deficient() -> Problem:
    x = np.random.default_rng(5).standard_normal((150, 12)) @ np.random.default_rng(
        6
    ).standard_normal((12, 50))
    return Problem(x, outputs_of(x, 3), unique=False)


def _constant_columns() -> Problem:
    x = random_masks(250, 50)
    x[:, 3], x[:, 20] = True, False
    return Problem(x, outputs_of(x, 4))


def _unequal_alphas() -> Problem:
    x = np.random.default_rng(7).random((400, 70)) < np.linspace(0.02, 0.98, 70)
    return Problem(x, outputs_of(x, 3))


def _float_masks() -> Problem:
    x = np.random.default_rng(8).standard_normal((200, 40)) * np.linspace(0.1, 10, 40) + 2
    x[:, 7] = 0.3  # constant, and not exact in binary
    return Problem(x.astype(np.float32), outputs_of(x, 3))


def _one_target() -> Problem:
    x = random_masks(120, 30)
    return Problem(x, outputs_of(x, 1))


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "plain": _plain,
    "few_rows": _few_rows,
    "duplicate_columns": _duplicate_columns,
    "rank_deficient": _rank_deficient,
    "constant_columns": _constant_columns,
    "unequal_alphas": _unequal_alphas,
    "float_masks": _float_masks,
    "one_target": _one_target,
}


@dataclass(frozen=True, eq=False)
class Exact:
    """The standardized problem in float64, straight from the raw rows."""

    z: Floats  # (n, p) standardized; zeros for a constant column
    y: Floats  # (n, t)
    mean_x: Floats  # (p,)
    scale: Floats  # (p,) 0 for a constant column
    mean_y: Floats  # (t,)

    @staticmethod
    def of(x: NDArray[np.generic], y: NDArray[np.generic], use_bias: bool = True) -> "Exact":
        x, y = x.astype(np.float64), y.astype(np.float64)
        deviation = x.std(axis=0)
        scale = np.where(np.ptp(x, axis=0) > 0, deviation, 0)
        mean_x = x.mean(axis=0) if use_bias else np.zeros(x.shape[1])
        mean_y = y.mean(axis=0) if use_bias else np.zeros(y.shape[1])
        z = (x - mean_x) / np.where(scale > 0, scale, np.inf)
        return Exact(z, y - mean_y, mean_x, scale, mean_y)

    @property
    def yy(self) -> Floats:
        return (self.y**2).mean(axis=0)

    @property
    def lambda_max(self) -> Floats:
        return np.abs(self.z.T @ self.y).max(axis=0) / len(self.y)

    def objective(self, w: Floats, lam: Floats) -> Floats:
        """1/(2n) |y - Z w|^2 + lam |w|_1, a value a target; w (p, t)."""
        residual = self.y - self.z @ w
        return (residual**2).mean(axis=0) / 2 + lam * np.abs(w).sum(axis=0)

    def relative_gap(self, w: Floats, lam: Floats) -> Floats:
        """Duality gap / mean of y^2 from the residuals themselves."""
        residual = self.y - self.z @ w
        largest = np.abs(self.z.T @ residual).max(axis=0) / len(self.y)
        s = np.minimum(1, lam / np.where(largest > 0, largest, np.inf))
        rr, yr = (residual**2).mean(axis=0), (self.y * residual).mean(axis=0)
        dual = s * yr - s**2 * rr / 2
        return (self.objective(w, lam) - dual) / self.yy

    def sklearn_path(self, target: int, lambdas: Floats, tol: float = 1e-10) -> Floats:
        """Solutions (p, len(lambdas)) by scikit-learn at descending lambdas."""
        _, weights, _ = lasso_path(
            self.z, self.y[:, target], alphas=lambdas, tol=tol, max_iter=200_000
        )
        return weights
