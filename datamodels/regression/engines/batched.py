"""Many small LASSO problems at once: the steps that the torch engine takes on its working sets.

Each of b problems, in the notation of ``contract``, on k features of its own,

    minimize over w:  1/2 (1 - 2 c.w + w'G w) + sum_j u_j |w_j|,   u_j = lambda v_j,   g = c - G w

Two kinds of steps are taken, in turns. Accelerated proximal gradient steps (FISTA, Beck and
Teboulle 2009, restarted where the momentum points uphill, O'Donoghue and Candes 2015) find the
support, and where features are nearly independent they are all that is needed. Now and then
Newton steps on the support are tried: near-dependent features (few rows, duplicate columns) make
gradient steps slow. A problem ends at its duality gap; problems that have ended leave the batch.

Problems smaller than k are filled up with u_j = infinity, whose weight is always zero. Weights and
products are float32, sums that cancel float64.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# Gradient steps between looks at the gap (each waits for the device), and between Newton steps.
_CHECK_EVERY = 4
_NEWTON_EVERY = 40
_NEWTON_TRIES = 4  # Newton steps in a row
_NEWTON_PARTS = 8  # of the batch at a time: their matrices are float64, and need a copy

# A problem whose gap has not fallen by a tenth for so many steps has come as near as float32 goes.
_FALL = 0.9
_STALLED = 200

# Added to the diagonal of a Newton step's matrix: beyond the negative eigenvalues that rounding to
# float32 gives a singular G of a few thousand features, below all curvatures that matter.
_RIDGE = 1e-5

# Lengths tried of a Newton step; and, where features depend on one another and the step is long,
# in units of the length at which the first weight reaches zero (a little more, to be past it).
_LENGTHS = (1.0, 0.5, 0.25, 0.1)
_CROSSINGS = (1.0001, 3.0, 10.0, 30.0)

# A step's curvature is believed where the step is above this times w: below, it is rounding.
_STEP_NOISE = 1e-4
_MARGIN = 1.01  # of the step bound over the largest curvature seen


class Subproblems(NamedTuple):
    """b problems of k features."""

    gram: Tensor  # (b, k, k) float32
    c: Tensor  # (b, k) float32
    penalty: Tensor  # (b, k) float32 u = lambda v; infinity: no such feature

    def take(self, rows: Tensor) -> "Subproblems":
        return Subproblems(self.gram[rows], self.c[rows], self.penalty[rows])


class Outcome(NamedTuple):
    """What became of b problems."""

    weights: Tensor  # (b, k) float32
    curvature: Tensor  # (b,) float32: largest curvature met, the next step bound
    iterations: Tensor  # (b,) int64 gradient steps


def duality_gap(fitted: Tensor, left: Tensor, norm: Tensor, scale: Tensor) -> Tensor:
    """Duality gap (b,) float64 from c.w, w.g, sum_j u_j |w_j| and max_j |g_j| / u_j, each (b,)."""
    rr = 1 - fitted - left
    s = 1 / scale.double().clamp(min=1)
    return 0.5 * rr + norm - (s * (1 - fitted) - 0.5 * s * s * rr)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Row by row, in float64: (b, k), (b, k) -> (b,)."""
    return (a.double() * b.double()).sum(dim=1)


def penalty_norm(penalty: Tensor, weights: Tensor) -> Tensor:
    """sum_j u_j |w_j| (b,) float64, over w_j != 0 (u_j may be infinite elsewhere)."""
    terms = penalty.double() * weights.double().abs()
    return torch.where(weights != 0, terms, 0.0).sum(dim=1)


@dataclass
class _Iterates:
    """State of the problems still in the batch, one row a problem; ``take`` reorders all of it."""

    place: Tensor  # (b,) row among the problems that the batch began with
    problems: Subproblems
    w: Tensor  # (b, k)
    gw: Tensor  # (b, k) G w
    z: Tensor  # (b, k) extrapolated point, from which the next gradient step goes
    gz: Tensor  # (b, k) G z
    momentum: Tensor  # (b,) FISTA's t
    curvature: Tensor  # (b,) bound of d'G d / d'd over the steps d so far
    least_gap: Tensor  # (b,) float64, of which later ones were not much lower
    least_at: Tensor  # (b,) int64 steps made at that gap

    @staticmethod
    def start(problems: Subproblems, w: Tensor, curvature: Tensor) -> "_Iterates":
        gw = _products(problems.gram, w)
        place = torch.arange(len(w), device=w.device)
        no_gap = torch.full_like(curvature, torch.inf, dtype=torch.float64)
        return _Iterates(
            place, problems, w, gw, w, gw, torch.ones_like(curvature), curvature,
            no_gap, torch.zeros_like(place),
        )  # fmt: skip

    def take(self, rows: Tensor) -> "_Iterates":
        rest = {
            name: value[rows] for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return _Iterates(problems=self.problems.take(rows), **rest)

    def gaps(self) -> Tensor:
        """Duality gaps over the features of each problem (b,) float64."""
        g = self.problems.c - self.gw
        return duality_gap(
            dot(self.problems.c, self.w),
            dot(self.w, g),
            penalty_norm(self.problems.penalty, self.w),
            (g.abs() / self.problems.penalty).amax(dim=1),
        )

    def stalled(self, gap: Tensor, made: int) -> Tensor:
        """Whether gaps (b,) have long stopped falling, now that ``made`` steps are made."""
        lower = gap < _FALL * self.least_gap
        self.least_gap = torch.where(lower, gap, self.least_gap)
        self.least_at = torch.where(lower, made, self.least_at)
        return made - self.least_at >= _STALLED


def solve(
    problems: Subproblems, weights: Tensor, curvature: Tensor, tol: Tensor, limit: Tensor
) -> Outcome:
    """Steps from ``weights`` (b, k) until each gap <= tol (b,), or for about ``limit`` (b,) steps.

    ``curvature`` (b,): first guesses of the largest eigenvalue of each G; too low is mended.
    """
    state = _Iterates.start(problems, weights, curvature)
    solved = torch.empty_like(weights)
    found = torch.empty_like(curvature)
    steps = torch.zeros_like(limit)
    made = 0
    while True:
        gap = state.gaps()
        ended = (gap <= tol[state.place]) | (made >= limit[state.place])
        ended |= ~gap.isfinite() | state.stalled(gap, made)
        remaining = (~ended).nonzero()[:, 0]
        if 2 * len(remaining) <= len(ended):  # ended problems cost time until they leave
            solved[state.place] = state.w
            found[state.place] = state.curvature
            if not len(remaining):
                return Outcome(solved, found, steps)
            state = state.take(remaining)
            remaining = torch.arange(len(remaining), device=remaining.device)
        _advance(state, made)
        made += _CHECK_EVERY
        still = state.place[remaining]
        steps[still] = limit[still].clamp(max=made)


def _advance(state: _Iterates, made: int) -> None:
    """The next _CHECK_EVERY gradient steps after ``made``, and Newton steps when it is time."""
    if made % _NEWTON_EVERY == _NEWTON_EVERY - _CHECK_EVERY:
        for _ in range(_NEWTON_TRIES):
            _newton_step(state)
    for _ in range(_CHECK_EVERY):
        _gradient_step(state)


def _products(gram: Tensor, w: Tensor) -> Tensor:
    """w'G = G w of each problem (b, k); as a row, which some libraries multiply faster."""
    return torch.bmm(w[:, None, :], gram)[:, 0]


def _soft(x: Tensor, threshold: Tensor) -> Tensor:
    """Soft threshold; 0 where the threshold is infinite."""
    return x - torch.clamp(x, -threshold, threshold)


def _gradient_step(state: _Iterates) -> None:
    """One FISTA step. Its only product is G w: G is linear, so G z and G (w - z) come from it.

    A step d with d'G d > L d'd shows that the bound L was too low: L is raised, and the momentum
    dropped. So the bound is learnt on the way, with no search and no eigenvalue.
    """
    _, c, penalty = state.problems
    bound = state.curvature[:, None]
    w = _soft(state.z + (c - state.gz) / bound, penalty / bound)
    gw = _products(state.problems.gram, w)

    d = w - state.z
    dd, dgd = (d * d).sum(dim=1), (d * (gw - state.gz)).sum(dim=1)
    known = dd > _STEP_NOISE**2 * (w * w).sum(dim=1)
    met = torch.where(known, _MARGIN * dgd / dd, 0.0)
    too_low = met > state.curvature * _MARGIN
    state.curvature = torch.where(too_low, met, state.curvature)

    step = w - state.w
    restart = ((d * step).sum(dim=1) < 0) | too_low
    ahead = (1 + torch.sqrt(1 + 4 * state.momentum**2)) / 2
    beta = torch.where(restart, 0.0, (state.momentum - 1) / ahead)[:, None]
    state.momentum = torch.where(restart, 1.0, ahead)
    state.z = w + beta * step
    state.gz = gw + beta * (gw - state.gw)
    state.w, state.gw = w, gw


def _newton_step(state: _Iterates) -> None:
    """Move each w towards the minimum on its support with its signs kept, if that lowers the
    objective; weights that would change sign become zero."""
    parts = torch.arange(len(state.w), device=state.w.device).chunk(_NEWTON_PARTS)
    direction = torch.cat([_newton_direction(state.take(part)) for part in parts])
    best, change = _best_length(state, direction)
    moved = (change < 0)[:, None]
    state.w = torch.where(moved, best, state.w)
    state.gw = _products(state.problems.gram, state.w)
    state.z, state.gz = state.w, state.gw
    state.momentum = torch.ones_like(state.momentum)


def _newton_direction(state: _Iterates) -> Tensor:
    """(G_SS + ridge)^-1 (g - u sign(w)) on the support S, 0 elsewhere: (b, k) float32."""
    support = state.w != 0
    slope = state.problems.c - state.gw - state.problems.penalty * state.w.sign()
    slope = torch.where(support, slope, 0.0).double()
    both = support[:, :, None] & support[:, None, :]
    matrix = torch.where(both, state.problems.gram, 0.0).double()
    matrix.diagonal(dim1=1, dim2=2).add_(torch.where(support, _RIDGE, 1.0))
    factor, failed = torch.linalg.cholesky_ex(matrix)
    direction = torch.cholesky_solve(slope[:, :, None], factor)[:, :, 0]
    return torch.where((failed == 0)[:, None], direction, 0.0).float()


def _best_length(state: _Iterates, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Of some lengths along ``direction`` the one of the least objective: weights (b, k), and how
    much the objective changes (b,). All lengths share one product with G."""
    lengths = _lengths(state.w, direction)[:, :, None]
    w = state.w[:, None, :] + lengths * direction[:, None, :]  # (b, lengths, k)
    w = torch.where(w * state.w[:, None, :] > 0, w, 0.0)
    d = w - state.w[:, None, :]
    gd = torch.bmm(d, state.problems.gram)
    g = (state.problems.c - state.gw)[:, None, :]
    shrunk = torch.where(
        state.w[:, None, :] != 0,
        state.problems.penalty[:, None, :] * (w.abs() - state.w.abs()[:, None, :]),
        0.0,
    )
    change = (d.double() * (0.5 * gd - g) + shrunk).sum(dim=2)  # (b, lengths)
    least, at = change.min(dim=1)
    return w[torch.arange(len(w), device=w.device), at], least


def _lengths(w: Tensor, direction: Tensor) -> Tensor:
    """Lengths to try along each direction (b, lengths), at most 1."""
    crossing = torch.where(w * direction < 0, -w / direction, torch.inf).amin(dim=1)
    in_crossings = torch.tensor(_CROSSINGS, device=w.device) * crossing[:, None]
    fixed = torch.tensor(_LENGTHS, device=w.device).expand(len(w), -1)
    return torch.cat([fixed, in_crossings.clamp(max=1)], dim=1)
