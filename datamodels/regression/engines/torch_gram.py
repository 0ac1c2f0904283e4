"""The torch engine: paths of thousands of targets at once from one Gram matrix on a device.

At each lambda a target is solved on a working set of its own: the features with a weight, those
that the strong rule lets in (Tibshirani et al. 2012: |g_j| >= v_j (2 lambda - last lambda)), and in
further rounds those that violated |g_j| <= lambda v_j. Targets of similar size are solved together
(``batched``): each needs its own G_WW (k, k), gathered from G, and per step reads all of it. Then
all p gradients are formed, and with them the gap over all features, which alone ends a target.

Everything is allocated where the Gram matrix lies. Beside it, a block of t targets holds c, g and
the non-zero weights: 8 t p bytes and little more; what is needed for a while is bounded by
``budget_bytes``, however many targets a block has.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from datamodels.errors import UsageError
from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.engines import batched
from datamodels.regression.engines.contract import Limits, Solved
from datamodels.regression.sparse_rows import SparseRows
from datamodels.regression.standardized import Standardized
from datamodels.regression.status import status_of_gap

DEFAULT_BUDGET_BYTES = 2**30

# Bytes needed for a while: of each of the p features of a target, and of each entry of G_WW (it is
# copied once when problems leave the batch; Newton steps hold it and its factor in float64).
_BYTES_PER_FEATURE = 32
_BYTES_PER_PAIR = 16

# Working sets are solved to this share of the tolerance, then less, for all features' gap to hold.
# Where even the least does not do, the tolerance is below what float32 gradients can certify.
_SHARE = 0.5
_LESS = 0.2
_LEAST_SHARE = 0.05

# A target ends below this share of the tolerance, so that its gap, were it summed without rounding
# to float32 on the way, is below the tolerance too.
_CERTAIN = 0.99

# The strong rule lets in no feature below this times lambda: it is safe but generous where lambdas
# are far apart, and what it should have let in joins in the next round.
_LEAST_SCREEN = 0.8

# In one round, a working set grows to at most this, or to so many times its non-zeros.
_FREE_GROWTH = 256
_GROWTH = 2

# Gradients cost p^2 products of a dense row of W against k p reads of rows of G: below this many
# features for each non-zero the dense product is faster.
_DENSE_BELOW = 25


class _Weights(NamedTuple):
    """Weights of t targets, k features each; filled up with value 0."""

    feature: Tensor  # (t, k) int64, ascending among the non-zeros
    value: Tensor  # (t, k) float32

    def take(self, rows: Tensor) -> "_Weights":
        return _Weights(self.feature[rows], self.value[rows])

    def packed(self) -> "_Weights":
        """The non-zeros first, and no more columns than the longest row needs."""
        zero = self.value == 0
        k = int((~zero).sum(dim=1).amax()) if len(zero) else 0
        order = zero.to(torch.uint8).argsort(dim=1, stable=True)[:, :k]
        return _Weights(self.feature.gather(1, order), self.value.gather(1, order))

    def at(self, feature: Tensor, n_features: int) -> Tensor:
        """Values (t, k) of the features (t, k) asked for."""
        dense = self.value.new_zeros((len(feature), n_features))
        return dense.scatter_add_(1, self.feature, self.value).gather(1, feature)

    def put(self, rows: Tensor, other: "_Weights") -> "_Weights":
        """With some rows replaced; wider where need be."""
        width = self.value.shape[1]
        wider = max(0, other.value.shape[1] - width)
        mine = [pad(x, (0, wider)) if wider else x for x in self]
        spare = width + wider - other.value.shape[1]
        for into, values in zip(mine, other, strict=True):
            into[rows] = pad(values, (0, spare))
        return _Weights(*mine)

    def on_host(self) -> SparseRows:
        present = self.value != 0
        counts = present.sum(dim=1).cpu().numpy()
        start = np.concatenate([[0], np.cumsum(counts)])
        feature = self.feature[present].cpu().numpy()
        return SparseRows(start, feature, self.value[present].double().cpu().numpy())


class _Measured(NamedTuple):
    """Where some targets stand, over all features."""

    gap: Tensor  # (b,) float64
    residual: Tensor  # (b,) float64 r'r/n
    score: Tensor  # (b, p) |g_j| / v_j


class TorchEngine:
    """Paths from ``gram`` (p, p) float32, on its device."""

    def __init__(self, gram: Tensor, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        self.gram = gram
        self.budget_bytes = budget_bytes

    def block(
        self, problem: Standardized, targets: slice, factors: Float64s, limits: Limits
    ) -> "TorchBlock":
        _check_factors(factors)
        c = self._upload(problem.unit_correlations(targets))
        return TorchBlock(self.gram, c, self._upload(factors), limits, self.budget_bytes)

    def _upload(self, values: Float64s) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.gram.device)


def _check_factors(factors: Float64s) -> None:
    if not (factors > 0).all():
        worst = factors[~(factors > 0)][0]
        raise UsageError(
            f"penalty factor {worst}: the torch engine takes factors above 0 (infinity leaves a"
            " feature out). Unpenalized features (factor 0) need the cpu engine"
        )


class TorchBlock:
    """The targets of one block. State is one row a target, and never reordered."""

    def __init__(
        self, gram: Tensor, c: Tensor, factors: Tensor, limits: Limits, budget_bytes: int
    ) -> None:
        self.gram = gram
        self.c = c  # (t, p)
        self.factors = factors  # (1 or t, p)
        self.limits = limits
        self.budget_bytes = budget_bytes
        self.g = c.clone()  # (t, p) at the weights
        t = len(c)
        self.weights = _Weights(
            torch.zeros((t, 0), dtype=torch.int64, device=c.device),
            torch.zeros((t, 0), dtype=torch.float32, device=c.device),
        )
        self.curvature = torch.ones(t, device=c.device)  # see batched
        self.last = self._largest_scores()

    def lambda_max(self) -> Float64s:
        return self._largest_scores().cpu().numpy()

    def _largest_scores(self) -> Tensor:
        """max_j |c_j| / v_j (t,) float64."""
        largest = torch.zeros(len(self.c), dtype=torch.float64, device=self.c.device)
        for rows in self._chunks(torch.arange(len(self.c), device=self.c.device)):
            largest[rows] = self._scores(self.c, rows).amax(dim=1).double()
        return largest

    def solve(self, lam: Float64s, which: Int64s) -> Solved:
        device = self.c.device
        rows = torch.from_numpy(np.asarray(which, np.int64)).to(device)
        lams = torch.from_numpy(np.asarray(lam, np.float64)).to(device)
        gap, residual = torch.zeros_like(lams), torch.zeros_like(lams)
        iterations = torch.zeros_like(rows)
        with _FullPrecision():
            for part in self._chunks(torch.arange(len(rows), device=device)):
                chunk = _Chunk(self, rows[part], lams[part])
                chunk.run()
                gap[part], residual[part] = chunk.gap, chunk.residual
                iterations[part] = chunk.iterations
        self.last[rows] = lams
        gaps = gap.cpu().numpy()
        return Solved(
            weights=self.weights.take(rows).on_host(),
            gap=gaps,
            iterations=iterations.cpu().numpy(),
            status=status_of_gap(gaps, self.limits.tol),
            residual=residual.cpu().numpy(),
        )

    def _chunks(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Rows in parts whose temporary (b, p) arrays fit the budget."""
        size = max(1, self.budget_bytes // (_BYTES_PER_FEATURE * self.gram.shape[0]))
        return torch.split(rows, size) if len(rows) else ()

    def _scores(self, g: Tensor, rows: Tensor) -> Tensor:
        """|g_j| / v_j (b, p) of some targets."""
        return g[rows].abs_().div_(self.factors_of(rows))

    def factors_of(self, rows: Tensor) -> Tensor:
        """(1 or b, p)."""
        return self.factors if len(self.factors) == 1 else self.factors[rows]

    def measure(self, rows: Tensor, lam: Tensor) -> _Measured:
        """Gaps and residuals of targets at their weights and gradients."""
        weights = self.weights.take(rows)
        at = (rows[:, None], weights.feature)
        c, g = self.c[at], self.g[at]
        fitted, left = batched.dot(c, weights.value), batched.dot(weights.value, g)
        penalty = lam[:, None].float() * self.factors_at(rows, weights.feature)
        score = self._scores(self.g, rows)
        norm = batched.penalty_norm(penalty, weights.value)
        largest = score.amax(dim=1).double()
        scale = torch.where(largest == 0, 0.0, largest / lam)
        gap = batched.duality_gap(fitted, left, norm, scale)
        return _Measured(gap, 1 - fitted - left, score)

    def factors_at(self, rows: Tensor, feature: Tensor) -> Tensor:
        """Factors (b, k) of features (b, k) of targets (b,)."""
        if len(self.factors) == 1:
            return self.factors[0][feature]
        return self.factors[rows[:, None], feature]

    def move(self, rows: Tensor, weights: _Weights) -> None:
        """New weights of some targets, and so new gradients."""
        self.weights = self.weights.put(rows, weights)
        self.g[rows] = self._gradients(rows, weights)

    def _gradients(self, rows: Tensor, weights: _Weights) -> Tensor:
        """c - G w (b, p) of targets ``rows`` at ``weights``."""
        p = len(self.gram)
        b, k = weights.value.shape
        if k == 0:
            return self.c[rows]
        if p <= _DENSE_BELOW * k:
            dense = torch.zeros((b, p), dtype=torch.float32, device=self.gram.device)
            dense.scatter_add_(1, weights.feature, weights.value)
            return torch.addmm(self.c[rows], dense, self.gram, alpha=-1)
        product = embedding_bag(
            weights.feature, self.gram, per_sample_weights=weights.value, mode="sum"
        )
        return self.c[rows].sub_(product)


class _Chunk:
    """Some targets of a block at one lambda, from their last weights to their next."""

    def __init__(self, block: TorchBlock, rows: Tensor, lam: Tensor) -> None:
        self.block = block
        self.rows = rows  # (b,) of the block
        self.lam = lam  # (b,) float64
        self.gap = torch.zeros_like(lam)
        self.residual = torch.zeros_like(lam)
        self.iterations = torch.zeros_like(rows)
        self.share = torch.full_like(lam, _SHARE)  # of the tolerance, for the working set's gap
        self.inside = self._non_zeros()  # (b, p) the working sets
        self.screen = torch.maximum(2 * lam - block.last[rows], _LEAST_SCREEN * lam)

    def run(self) -> None:
        """Rounds of growing the working sets and solving on them, until all targets have ended."""
        limits = self.block.limits
        running = torch.arange(len(self.rows), device=self.rows.device)
        while len(running):
            measured = self.block.measure(self.rows[running], self.lam[running])
            self.gap[running], self.residual[running] = measured.gap, measured.residual
            going = (measured.gap > _CERTAIN * limits.tol) & measured.gap.isfinite()
            going &= self.iterations[running] < limits.max_sweeps
            going &= self.share[running] >= _LEAST_SHARE
            going = going.nonzero()[:, 0]
            running = running[going]
            self._grow(running, measured.score[going])
            for group in self._groups(running):
                self._solve(group)
            self.screen[running] = self.lam[running]

    def _non_zeros(self) -> Tensor:
        weights = self.block.weights.take(self.rows)
        inside = torch.zeros(
            (len(self.rows), len(self.block.gram)), dtype=torch.bool, device=self.rows.device
        )
        place, column = (weights.value != 0).nonzero(as_tuple=True)
        inside[place, weights.feature[place, column]] = True
        return inside

    def _grow(self, running: Tensor, score: Tensor) -> None:
        """Let features join whose score |g_j| / v_j (b, p) reaches the screen. Where none does,
        what is left is the working set's own gap: ask for less of it."""
        inside = self.inside[running]
        joins = (score >= self.screen[running, None]) & (score > 0) & ~inside
        count = joins.sum(dim=1)
        most = (_GROWTH - 1) * inside.sum(dim=1).clamp(min=_FREE_GROWTH)
        many = (count > most).nonzero()[:, 0]
        if len(many):
            k = int(most[many].amax())
            least = (score[many] * joins[many]).topk(k, dim=1).values[:, -1:]
            joins[many] &= score[many] >= least
        self.inside[running] = inside | joins
        self.share[running] *= torch.where(count > 0, 1.0, _LESS)

    def _groups(self, running: Tensor) -> list[Tensor]:
        """Targets by falling size of their working sets, as many together as fit the budget, and
        none below half the size of the largest, to which all are filled up."""
        if not len(running):
            return []
        sizes, order = self.inside[running].sum(dim=1).sort(descending=True)
        k = sizes.cpu().numpy()
        groups, first = [], 0
        while first < len(k):
            fit = max(1, self.block.budget_bytes // (_BYTES_PER_PAIR * max(1, int(k[first])) ** 2))
            similar = int(np.searchsorted(-k, -k[first] / 2, side="right"))
            end = max(first + 1, min(first + fit, similar))
            groups.append(running[order[first:end]])
            first = end
        return groups

    def _solve(self, places: Tensor) -> None:
        """Solve some targets on their working sets; their state in the block moves on."""
        block, rows = self.block, self.rows[places]
        feature, present = _pack(self.inside[places])
        penalty = self.lam[places, None].float() * block.factors_at(rows, feature)
        problems = batched.Subproblems(
            gram=block.gram[feature[:, :, None], feature[:, None, :]],
            c=block.c[rows[:, None], feature],
            penalty=torch.where(present, penalty, torch.inf),
        )
        outcome = batched.solve(
            problems,
            torch.where(present, block.weights.take(rows).at(feature, len(block.gram)), 0.0),
            block.curvature[rows],
            tol=self.share[places] * block.limits.tol,
            limit=block.limits.max_sweeps - self.iterations[places],
        )
        self.iterations[places] += outcome.iterations
        block.curvature[rows] = outcome.curvature
        block.move(rows, _Weights(feature, outcome.weights).packed())


def _pack(inside: Tensor) -> tuple[Tensor, Tensor]:
    """Features (b, k) inside (b, p), ascending and filled up with 0; which of them are real."""
    counts = inside.sum(dim=1)
    row, column = inside.nonzero(as_tuple=True)
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    present = torch.arange(int(counts.amax()), device=row.device) < counts[:, None]
    feature = torch.zeros(present.shape, dtype=torch.int64, device=row.device)
    feature[row, place] = column
    return feature, present


class _FullPrecision:
    """Float32 products in float32: a device may otherwise be set to round their factors to 10
    bits (TF32), which no gap of 1e-4 survives."""

    def __enter__(self) -> None:
        self.before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")

    def __exit__(self, *_: object) -> None:
        torch.set_float32_matmul_precision(self.before)
