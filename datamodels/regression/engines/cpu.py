"""The ``cpu`` engine: coordinate descent on a Gram matrix in memory, one thread a target.

Solves the problem of ``contract`` with the kernels of ``coordinate_descent``. Memory beyond G: for
each target of a block, a few numbers a feature, and four bytes for each pair of its members (at
most ``MOST_PACKED`` squared, and no more than a few times the square of its non-zeros).
"""

import numpy as np

from datamodels.regression import coordinate_descent
from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.coordinate_descent import TARGET, Problem, State
from datamodels.regression.engines.contract import BlockPath, Limits, Solved
from datamodels.regression.sparse_rows import SparseRows
from datamodels.regression.standardized import Standardized

# A target with more members than this would take too much memory for their part of G.
MOST_PACKED = 2032

_LEAST_PIVOT = 1e-5  # of the diagonal: below it, float32 cannot tell a column from those before it


class CpuEngine:
    """Paths of all targets on one Gram matrix G (p, p), float32 or, for gaps that float32 cannot
    hold, float64."""

    def __init__(self, gram: coordinate_descent.Gram) -> None:
        self.gram = np.ascontiguousarray(gram)
        self.diagonal = self.gram.diagonal().copy()

    def block(
        self, problem: Standardized, targets: slice, factors: Float64s, limits: Limits
    ) -> BlockPath:
        """Paths of some targets; factors (1, p) or (t, p)."""
        free, n_free, cholesky = _unpenalized(self.gram, factors)
        given = Problem(
            n=problem.n,
            gram=self.gram,
            diagonal=self.diagonal,
            c=problem.unit_correlations(targets),
            yy=(problem.yy[targets] > 0).astype(np.float64),
            penalty=np.where(np.isfinite(factors), factors, 0.0),
            inverse=np.where(factors > 0, 1 / np.where(factors > 0, factors, 1.0), 0.0),
            free=free,
            n_free=n_free,
            cholesky=cholesky,
            most_packed=int(
                min(open_share(problem.n, len(self.gram)) * len(self.gram), MOST_PACKED)
            ),
        )
        return _CpuPath(given, limits)


def open_share(n: int, p: int) -> float:
    """A target with more members than this share of the features sweeps over all of them.

    With more rows than features, sweeps converge so soon that most changes are of a weight that had
    not changed yet at this lambda, and packing saves less than it costs. Measured with p = 2,000
    and a path to lambda_max/100: for n = 5,000 shares of 0.05 to 0.25 differ by a tenth, and 0.5
    takes a fifth longer; for n = 500, 0.5 takes half as long as 0.1.
    """
    return 0.15 if n > p else 0.5


class _CpuPath:
    """Where the targets of one block stand."""

    def __init__(self, problem: Problem, limits: Limits) -> None:
        self.problem = problem
        self.limits = limits
        self.state = _state_at_zero(problem)
        coordinate_descent.fit_free(problem, self.state)
        largest: Float64s = (np.abs(self.state.g) * problem.inverse).max(axis=1, initial=0.0)
        self.state.target["lam"] = self.state.target["last_lam"] = self.largest = largest
        self.state.last_w[:], self.state.last_g[:] = self.state.w, self.state.g

    def lambda_max(self) -> Float64s:
        return self.largest

    def solve(self, lam: Float64s, which: Int64s) -> Solved:
        coordinate_descent.solve(self.problem, self.state, which, lam, *self.limits)
        target = self.state.target[which]
        return Solved(
            weights=self._weights(which),
            gap=target["gap"].copy(),
            iterations=target["sweeps"].copy(),
            status=target["status"].copy(),
            residual=target["residual"].copy(),
        )

    def _weights(self, which: Int64s) -> SparseRows:
        state = self.state
        first = np.zeros(len(which) + 1, np.int64)
        np.cumsum(state.target["weight_nz"][which], out=first[1:])
        feature, value = np.empty(first[-1], np.int64), np.empty(first[-1])
        coordinate_descent.copy_weights(state.w, state.is_member, which, first, feature, value)
        return SparseRows(first, feature, value)


def _state_at_zero(problem: Problem) -> State:
    """All weights zero; the unpenalized features are members."""
    t, p = problem.c.shape
    target = np.zeros(t, TARGET)
    target["n_members"] = problem.n_free
    members, is_member = np.zeros((t, p), np.int64), np.zeros((t, p), np.bool_)
    for i, size in enumerate(target["n_members"]):
        free = problem.free[min(i, len(problem.free) - 1), :size]
        members[i, :size] = free
        is_member[i, free] = True
    return State(
        target=target,
        w=np.zeros((t, p)),
        g=problem.c.copy(),
        last_w=np.zeros((t, p)),
        last_g=np.zeros((t, p)),
        members=members,
        is_member=is_member,
        # memory is taken when it is used
        packed=np.empty((t, problem.most_packed**2), problem.gram.dtype),
    )


def _unpenalized(
    gram: coordinate_descent.Gram, factors: Float64s
) -> tuple[Int64s, Int64s, Float64s]:
    """Of each row of factors (f, p): unpenalized features that do not depend on one another (f, u),
    how many they are (f,), and the Cholesky factor of their part of G (f, u, u), padded."""
    found = []
    for row in factors:
        features = np.flatnonzero(row == 0)
        kept, cholesky = _independent(gram[np.ix_(features, features)].astype(np.float64))
        found.append((features[kept], cholesky))
    most = max(len(features) for features, _ in found)
    free, n_free = np.zeros((len(found), most), np.int64), np.zeros(len(found), np.int64)
    factor = np.zeros((len(found), most, most))
    for f, (features, cholesky) in enumerate(found):
        u = n_free[f] = len(features)
        free[f, :u], factor[f, :u, :u] = features, cholesky
    return free, n_free, factor


def _independent(gram: Float64s) -> tuple[Int64s, Float64s]:
    """Features (of u) that do not depend on those before them, and their Cholesky factor."""
    rest = gram.copy()
    kept, columns = [], []
    for i in range(len(gram)):
        pivot = rest[i, i]
        if pivot > _LEAST_PIVOT * gram[i, i]:
            kept.append(i)
            columns.append(rest[:, i] / np.sqrt(pivot))
            rest -= np.outer(columns[-1], columns[-1])
    chosen = np.array(kept, np.int64)
    return chosen, np.tril(np.array(columns).reshape(len(kept), len(gram)).T[chosen])
