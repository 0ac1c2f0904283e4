"""Coordinate descent in float64 on the active features of a target: the numba kernels.

For one target, in the notation of ``engines.contract`` and with lambda_j = lambda v_j,

    minimize over w:  1/2 (1 - 2 c.w + w'G w) + sum_j lambda_j |w_j|,     g = c - G w

G is that of the target's active features alone, (a, a). Unpenalized features (v_j = 0) are always
active. They are projected out of the others, with B the penalized active features,

    G~_BB = G_BB - G_B0 G_00^-1 G_0B,   c~_B = c_B - G_B0 G_00^-1 c_0,   yy~ = 1 - c_0'G_00^-1 c_0,

which leaves a problem in w_B alone, and w_0 = G_00^-1 (c_0 - G_0B w_B) at its end.

All kernels that call one another live in this file, but for those of ``support_descent``: numba's
cache on disk notices a change of the file that holds a kernel, not of the files that its callees
come from. A change of that file is one of this one by the digest below.
"""

# support_descent.py: 788b19e72bd9

import numpy as np
from numba import njit, prange

from datamodels.regression.support_descent import (
    FAST,
    LEAST_PIVOT,
    backward,
    dot,
    drop_place,
    extend_factor,
    fill_gradient,
    forward,
    gap_of,
    gram_gap,
    gram_sweep,
    soft,
    solve_directly,
)

# Sweeps between attempts to solve directly on the support.
_DIRECT_EVERY = 64
_LARGEST_DIRECT = 3_000  # features: 9e9 operations; larger supports are left to the sweeps

# Rounding away from zero must cost this much less than the nearest value does: see _round_in_turn.
_MUCH_LESS = 0.25


@njit(cache=True, fastmath=FAST)
def _row_factors(factors, t):  # type: ignore[no-untyped-def]
    """Penalty factors of target t, out of its own row or the one of all."""
    return factors[t if len(factors) > 1 else 0]


@njit(cache=True)
def _parted(values):  # type: ignore[no-untyped-def]
    """Places of the zeros, and of all others."""
    places = np.empty(len(values), np.int64)
    zeros = 0
    for j in range(len(values)):
        if values[j] == 0:
            places[zeros] = j
            zeros += 1
    others = zeros
    for j in range(len(values)):
        if values[j] != 0:
            places[others] = j
            others += 1
    return places[:zeros], places[zeros:]


@njit(cache=True)
def _taken(values, places):  # type: ignore[no-untyped-def]
    """values[places], by a loop that compiles faster."""
    taken = np.empty(len(places))
    for a in range(len(places)):
        taken[a] = values[places[a]]
    return taken


@njit(cache=True, fastmath=FAST)
def _descend(gram, yy, c, lam, tol, max_sweeps, w, g):  # type: ignore[no-untyped-def]
    """Coordinate descent until gap <= tol; returns the sweeps made.

    Sweeps find the support quickly, and where it is nearly as large as the number of rows they
    converge slowly on it: every so often the weights on the support are solved for directly.
    """
    for sweep in range(max_sweeps):
        if gram_gap(yy, c, g, lam, w) <= tol:
            return sweep
        if sweep % _DIRECT_EVERY == _DIRECT_EVERY - 1 and np.count_nonzero(w) <= _LARGEST_DIRECT:
            solve_directly(gram, c, lam, w)
            fill_gradient(gram, c, w, g)
        gram_sweep(gram, lam, w, g)
    return max_sweeps


@njit(cache=True, fastmath=FAST)
def _round_in_turn(gram, lam, scale, w, g):  # type: ignore[no-untyped-def]
    """Move each weight to a value whose raw weight w_j scale_j is a float32. Done one after the
    other, each makes up for the rounding of those before.

    A weight rounded towards zero leaves |g_j| above lam_j by G_jj times the difference; the
    largest such excess, relative to lam_j, scales the whole dual solution down and costs
    sum_k lam_k |w_k| times itself. A weight rounded away from zero costs |w_j| times G_jj times
    the difference, but every one of them does.
    """
    norm = 0.0
    for j in range(len(w)):
        norm += lam[j] * abs(w[j])
    for j in range(len(w)):
        if w[j] == 0:
            continue
        exact = soft(g[j] + gram[j, j] * w[j], lam[j]) / gram[j, j]
        raw = np.float32(exact * scale[j])
        away = np.nextafter(raw, np.float32(np.copysign(np.inf, exact)))
        loss = norm / lam[j] * (abs(exact) - abs(raw / scale[j]))
        loss_away = abs(exact) * (abs(away / scale[j]) - abs(exact))
        if loss_away < _MUCH_LESS * loss:
            raw = away
        delta = raw / scale[j] - w[j]
        w[j] += delta
        for k in range(len(g)):
            g[k] -= delta * gram[j, k]


@njit(cache=True)
def _independent(gram, free):  # type: ignore[no-untyped-def]
    """Unpenalized features that do not depend on those before them, and the factor of their G."""
    kept, size, done = free.copy(), len(free), 0
    factor = np.empty((size, size))
    while True:
        done = extend_factor(gram, kept[:size], factor, done)
        if done == size:
            return kept[:size], factor
        size = drop_place(kept, done, size)


@njit(cache=True, fastmath=FAST)
def _project_out(gram, c, rest, kept, factor):  # type: ignore[no-untyped-def]
    """The problem of features ``rest`` with features ``kept`` projected out.

    Returns G~ (b, b), c~ (b,), yy~, and L^-1 G_0B transposed (b, k) and L^-1 c_0 (k,). A feature
    of the span of those kept gets a zero on the diagonal of G~.
    """
    size, n_kept = len(rest), len(kept)
    half, half_c = np.empty((size, n_kept)), _taken(c, kept)
    forward(factor, half_c)
    reduced, reduced_c = np.empty((size, size)), np.empty(size)
    for a in range(size):
        for b in range(n_kept):
            half[a, b] = gram[rest[a], kept[b]]
        forward(factor, half[a])
        reduced_c[a] = c[rest[a]] - dot(half[a], half_c)
        for b in range(a + 1):
            value = gram[rest[a], rest[b]] - dot(half[a], half[b])
            reduced[a, b] = reduced[b, a] = value
        if reduced[a, a] <= LEAST_PIVOT * gram[rest[a], rest[a]]:
            reduced[a, a] = 0.0
    return reduced, reduced_c, 1 - dot(half_c, half_c), half, half_c


@njit(cache=True, fastmath=FAST)
def _solve_unpenalized(factor, half, half_c, w_rest, scale):  # type: ignore[no-untyped-def]
    """w_0 = G_00^-1 (c_0 - G_0B w_B), that with float32 raw weights, and d'G_00 d of their
    difference d: what r'r/n is larger by for the rounding."""
    exact = half_c.copy()
    for a in range(len(w_rest)):
        for k in range(len(exact)):
            exact[k] -= w_rest[a] * half[a, k]
    backward(factor, exact)
    rounded = np.empty(len(exact))
    for k in range(len(exact)):
        rounded[k] = np.float32(exact[k] * scale[k]) / scale[k]
    excess = 0.0
    for k in range(len(exact)):
        total = 0.0
        for a in range(k, len(exact)):
            total += factor[a, k] * (exact[a] - rounded[a])
        excess += total * total
    return exact, rounded, excess


@njit(cache=True)
def _solve_one(gram, c, lam, scale, tol, max_sweeps, w, dual):  # type: ignore[no-untyped-def]
    """Solve one target on its active features from w (a,), and round; returns the sweeps made and
    the excess of r'r/n at w over that at ``dual``: see ``solve_active``."""
    free, rest = _parted(lam)
    if len(free) == 0:
        g = np.empty(len(w))
        fill_gradient(gram, c, w, g)
        made = _descend(gram, 1.0, c, lam, tol, max_sweeps, w, g)
        _round_in_turn(gram, lam, scale, w, g)
        for a in range(len(w)):
            dual[a] = w[a]
        return made, 0.0
    kept, factor = _independent(gram, free)
    reduced, reduced_c, yy, half, half_c = _project_out(gram, c, rest, kept, factor)
    lam_rest, scale_rest = _taken(lam, rest), _taken(scale, rest)
    w_rest, g = _taken(w, rest), np.empty(len(rest))
    for a in range(len(rest)):
        if reduced[a, a] == 0:
            w_rest[a] = 0.0
    fill_gradient(reduced, reduced_c, w_rest, g)
    made = _descend(reduced, yy, reduced_c, lam_rest, tol, max_sweeps, w_rest, g)
    _round_in_turn(reduced, lam_rest, scale_rest, w_rest, g)
    exact, rounded, excess = _solve_unpenalized(factor, half, half_c, w_rest, _taken(scale, kept))
    for a in range(len(w)):
        w[a] = dual[a] = 0.0  # unpenalized features that depend on others stay zero
    for a in range(len(rest)):
        w[rest[a]] = dual[rest[a]] = w_rest[a]
    for a in range(len(kept)):
        w[kept[a]], dual[kept[a]] = rounded[a], exact[a]
    return made, excess


@njit(cache=True)
def _solve_target(  # type: ignore[no-untyped-def]
    gram, active, c, lam, factors, inv_scale, rms, tol, max_sweeps, value, dual, excess
):
    """``_solve_one`` from the arrays of all features, and G in one piece; returns the sweeps."""
    size = len(active)
    c_active, lam_active, scale = np.empty(size), np.empty(size), np.empty(size)
    for a in range(size):
        j = active[a]
        c_active[a], lam_active[a], scale[a] = c[j], lam * factors[j], inv_scale[j] * rms
    made, excess[0] = _solve_one(
        gram.reshape(size, size), c_active, lam_active, scale, tol, max_sweeps, value, dual
    )
    return made


@njit(parallel=True, cache=True)
def solve_active(  # type: ignore[no-untyped-def]
    grams, gram_start, start, feature, which, c, lam, factors, inv_scale, rms, tol, max_sweeps,
    value, dual, excess, sweeps,
):  # fmt: skip
    """Solve targets ``which`` (r,) on their active features, to gaps of tol, and round.

    Active features of target which[a]: feature[start[a]:start[a + 1]], with weights at the same
    places of ``value`` and G (a, a) at gram_start[a] of ``grams``. c (t, p), factors (1 or t, p);
    lam, rms, tol, excess, sweeps (t,). Written are ``value``, standardized weights whose raw ones
    w_j inv_scale_j rms are float32; ``dual``, the same but for the unpenalized, unrounded so that
    their g_j = 0; excess, r'r/n at the one minus that at the other; and sweeps.
    """
    for a in prange(len(which)):
        t = which[a]
        begin, end = start[a], start[a + 1]
        sweeps[t] += _solve_target(
            grams[gram_start[a] : gram_start[a + 1]], feature[begin:end], c[t], lam[t],
            _row_factors(factors, t), inv_scale, rms[t], tol[t], max_sweeps - sweeps[t],
            value[begin:end], dual[begin:end], excess[t : t + 1],
        )  # fmt: skip


@njit(cache=True, fastmath=FAST)
def _judge(c, g, lam, factors, feature, value, dual, excess):  # type: ignore[no-untyped-def]
    """Gap and r'r/n of one target: see ``certify``."""
    cw, wg, penalty, steepest, infeasible = 0.0, 0.0, 0.0, 0.0, 0.0
    total = 0.0  # max passes over NaN, a sum does not
    for b in range(len(feature)):
        j = feature[b]
        cw += c[j] * dual[b]
        wg += g[j] * dual[b]
        if value[b] != 0:
            penalty += lam * factors[j] * abs(value[b])
        if factors[j] == 0:
            infeasible += abs(g[j]) * max(abs(dual[b]) - 1, 0.0)
    for k in range(len(g)):
        total += abs(g[k])
        if factors[k] > 0:
            steepest = max(steepest, abs(g[k]) / factors[k])
        else:
            infeasible += abs(g[k])
    if not np.isfinite(total):
        return np.nan, np.nan
    yr = 1 - cw
    rr = yr - wg  # at the dual's weights
    gap = gap_of(rr, yr, penalty, steepest / lam) + 0.5 * excess
    return gap + infeasible, rr + excess


@njit(parallel=True, cache=True)
def certify(  # type: ignore[no-untyped-def]
    which, c, g, lam, factors, start, feature, value, dual, excess, gap, residual
):
    """Duality gaps and r'r/n (t,) of targets ``which`` (r,), in units of the mean of y^2.

    g (r, p) = c - G w at the weights ``dual``, whose unpenalized g_j are zero: its residual is that
    of ``value`` projected off the unpenalized columns, r~ = r - Z_0 G_00^-1 g_0. With
    d = G_00^-1 g_0 the difference of the two weights,

        r'r/n = r~'r~/n + d'G_00 d  (the excess),
        gap = r'r/(2n) + lambda sum_j v_j |w_j| - (s y'r~/n - s^2 r~'r~/(2n)) + i,
        s = min(1, lambda / max_(v_j > 0) |g_j| / v_j),   i = sum_(v_j = 0) |g_j| max(1, |w_j|) :

    i is what an unpenalized |g_j| that is not quite zero could be worth to an optimal weight of no
    more than max(1, |w_j|). It is rounding after ``solve_active``, and keeps weights that did not
    come from there from passing.
    """
    for a in prange(len(which)):
        t, begin, end = which[a], start[a], start[a + 1]
        gap[t], residual[t] = _judge(
            c[t], g[a], lam[t], _row_factors(factors, t), feature[begin:end], value[begin:end],
            dual[begin:end], excess[t],
        )  # fmt: skip
