"""Coordinate descent on a shared Gram matrix: the numba kernels, many targets in parallel.

For one target, in the notation of ``standardized``,

    minimize over w:  1/2 (yy - 2 c.w + w'G w) + lambda |w|_1,     g = c - G w

One coordinate at a time: w_j <- soft(g_j + G_jj w_j, lambda) / G_jj. The gradient g is kept up to
date ("covariance updates", Friedman, Hastie and Tibshirani 2010), so no step reads a mask, and the
only stopping rule is the duality gap, which g gives for O(p) operations.

All kernels that call one another live in this file: numba's cache on disk notices a change of the
file that holds a kernel, not of the files that its callees come from.
"""

import numpy as np
from numba import njit, prange

from datamodels.regression.status import Status

_CONVERGED = int(Status.CONVERGED)
_ITERATION_LIMIT = int(Status.ITERATION_LIMIT)
_NON_FINITE = int(Status.NON_FINITE)

# Sums may be reassociated and contracted (vector units); infinities and NaN keep their meaning.
_FAST = {"contract", "reassoc", "nsz"}

# Changes that wait for one joint update of g: the rows of G are read side by side, g once for all.
_PENDING = 8

# The first sweep skips changes below this times sqrt(tol yy / p), each next sweep half of that:
# p changes of that size together are worth about tol yy of objective.
_FIRST_SKIP = 0.5

# Sweeps between attempts to solve directly on a support of s features, and steps in an attempt: a
# step factorizes, s^3 / 3 operations, so that large supports (s > 3,162) are left to the sweeps.
_DIRECT_EVERY = 64
_MAX_DIRECT = 64
_DIRECT_WORK = 10_000_000
_LEAST_PIVOT = 1e-10  # of the diagonal: below it a column depends on those before it

# Rounding away from zero must cost this much less than the nearest value does: see _round_in_turn.
_MUCH_LESS = 0.25


@njit(cache=True, fastmath=_FAST)
def duality_gap(c, g, w, yy, lam):  # type: ignore[no-untyped-def]
    """Objective at ``w`` minus the dual objective of its scaled residual: >= 0, and 0 only at the
    optimum. c, g, w (p,), g = c - G w; in the units of yy (those of y^2).

    r'r/n = yy - c.w - w.g,  y'r/n = yy - c.w,  s = min(1, lam / max|g|),
    gap = r'r/n / 2 + lam |w|_1 - (s y'r/n - s^2 r'r/n / 2)
    """
    cw = 0.0
    wg = 0.0
    norm = 0.0
    largest = 0.0
    total = 0.0  # max passes over NaN, a sum does not
    for j in range(len(w)):
        largest = max(largest, abs(g[j]))
        total += abs(g[j])
        if w[j] != 0:
            cw += c[j] * w[j]
            wg += w[j] * g[j]
            norm += abs(w[j])
    if not np.isfinite(total):
        return np.nan
    rr = yy - cw - wg
    s = min(1.0, lam / largest) if largest > 0 else 1.0
    return 0.5 * rr + lam * norm - (s * (yy - cw) - 0.5 * s * s * rr)


@njit(cache=True, inline="always")
def _soft(u, lam):  # type: ignore[no-untyped-def]
    """Soft threshold; soft(u, lam) / d is the argmin over v of d v^2 / 2 - u v + lam |v|."""
    if u > lam:
        return u - lam
    if u < -lam:
        return u + lam
    return 0.0


@njit(cache=True, fastmath=_FAST)
def _apply(gram, changed, deltas, n_pending, g):  # type: ignore[no-untyped-def]
    """g <- g - sum_b delta_b G[changed_b]. g is float64 and the sum of a batch float32: its
    rounding is relative to the changes, not to g, so g does not drift over a long path."""
    if n_pending == _PENDING:
        r0, r1, r2, r3 = gram[changed[0]], gram[changed[1]], gram[changed[2]], gram[changed[3]]
        r4, r5, r6, r7 = gram[changed[4]], gram[changed[5]], gram[changed[6]], gram[changed[7]]
        d0, d1, d2, d3 = deltas[0], deltas[1], deltas[2], deltas[3]
        d4, d5, d6, d7 = deltas[4], deltas[5], deltas[6], deltas[7]
        for k in range(len(g)):
            low = d0 * r0[k] + d1 * r1[k] + d2 * r2[k] + d3 * r3[k]
            high = d4 * r4[k] + d5 * r5[k] + d6 * r6[k] + d7 * r7[k]
            g[k] -= low + high
    else:
        for b in range(n_pending):
            row, delta = gram[changed[b]], deltas[b]
            for k in range(len(g)):
                g[k] -= delta * row[k]


@njit(cache=True, fastmath=_FAST)
def _sweep(gram, diagonal, lam, skip, w, g, changed, deltas):  # type: ignore[no-untyped-def]
    """One pass over the features: those with a weight or a violated bound (|g_j| > lam) move,
    unless G_jj times the change is ``skip`` or less."""
    n_pending = 0
    for j in range(len(w)):
        if w[j] == 0 and abs(g[j]) <= lam:
            continue
        if diagonal[j] == 0:  # a constant column keeps weight 0
            continue
        before = diagonal[j] * w[j]
        u = g[j] + before
        if abs(_soft(u, lam) - before) <= skip:
            continue
        for b in range(n_pending):
            u -= deltas[b] * gram[changed[b], j]
        new = _soft(u, lam) / diagonal[j]
        delta = np.float32(new - w[j])
        if delta == 0:
            continue
        w[j] = 0.0 if new == 0 else w[j] + delta
        changed[n_pending] = j
        deltas[n_pending] = delta
        n_pending += 1
        if n_pending == _PENDING:
            _apply(gram, changed, deltas, n_pending, g)
            n_pending = 0
    _apply(gram, changed, deltas, n_pending, g)


@njit(cache=True)
def _descend(gram, diagonal, c, lam, tol, max_sweeps, w, g):  # type: ignore[no-untyped-def]
    """Sweeps until gap <= tol, for a target in units of its own root mean square (yy = 1)."""
    changed = np.empty(_PENDING, np.int64)
    deltas = np.empty(_PENDING, np.float32)
    skip = _FIRST_SKIP * np.sqrt(tol / len(w))
    for sweep in range(max_sweeps + 1):
        gap = duality_gap(c, g, w, 1.0, lam)
        if gap <= tol:
            return gap, sweep, _CONVERGED
        if not np.isfinite(gap):
            return gap, sweep, _NON_FINITE
        if sweep < max_sweeps:
            _sweep(gram, diagonal, lam, skip, w, g, changed, deltas)
            skip *= 0.5
    return gap, max_sweeps, _ITERATION_LIMIT


@njit(cache=True)
def _extrapolate(gram, ratio, w, g, previous_w, previous_g):  # type: ignore[no-untyped-def]
    """Continue the last step of the path ``ratio`` times: w is piecewise linear in lambda, and g
    is linear in w, so the guess costs O(p). Weights that would cross zero stop there."""
    one = np.empty(1, np.int64)
    delta = np.empty(1, np.float32)
    for j in range(len(w)):
        w_j, g_j = w[j], g[j]
        w[j] += ratio * (w_j - previous_w[j])
        g[j] += ratio * (g_j - previous_g[j])
        previous_w[j] = w_j
        previous_g[j] = g_j
    for j in range(len(w)):
        if w[j] * previous_w[j] <= 0 and w[j] != 0:
            one[0] = j
            delta[0] = -w[j]
            w[j] = 0.0
            _apply(gram, one, delta, 1, g)


@njit(cache=True)
def _fit_of(c, g, w):  # type: ignore[no-untyped-def]
    """Non-zero weights, and the mean squared residual r'r/n = yy - c.w - w.g with yy = 1."""
    weight_nz, rr = 0, 1.0
    for j in range(len(w)):
        if w[j] != 0:
            weight_nz += 1
            rr -= w[j] * (c[j] + g[j])
    return weight_nz, rr


@njit(parallel=True, cache=True)
def path_step(  # type: ignore[no-untyped-def]
    gram, diagonal, c, lam, ratio, tol, max_sweeps, which, w, g, previous_w, previous_g,
    gap, sweeps, status, weight_nz, residual,
):  # fmt: skip
    """Bring targets ``which`` of a block from their last lambda to ``lam``; one thread a target.

    gram (p, p) and its diagonal (p,) float32; c, w, g, previous_w, previous_g (t, p) float64, in
    units of each target's root mean square, and so lam (t,). gap, sweeps, status, weight_nz and
    the mean squared residual (t,) are written for them.
    """
    for a in prange(len(which)):
        t = which[a]
        _extrapolate(gram, ratio, w[t], g[t], previous_w[t], previous_g[t])
        gap[t], sweeps[t], status[t] = _descend(
            gram, diagonal, c[t], lam[t], tol, max_sweeps, w[t], g[t]
        )
        weight_nz[t], residual[t] = _fit_of(c[t], g[t], w[t])


@njit(cache=True, fastmath=_FAST)
def _exact_gradient(xx, m, n, inv_d, c, w, g):  # type: ignore[no-untyped-def]
    """g <- c - G w in float64, G from the exact table (see ``standardized``)."""
    for k in range(len(g)):
        g[k] = c[k]
    for j in range(len(w)):
        if w[j] != 0:
            row, m_j, factor = xx[j], m[j], w[j] * inv_d[j]
            for k in range(len(g)):
                g[k] -= factor * inv_d[k] * (n * row[k] - m_j * m[k])


@njit(cache=True)
def _active_features(inv_d, lam, w, g):  # type: ignore[no-untyped-def]
    """Features with a weight or a violated bound (|g_j| > lam); constant columns never are."""
    active = np.empty(len(w), np.int64)
    size = 0
    for j in range(len(w)):
        if inv_d[j] > 0 and (w[j] != 0 or abs(g[j]) > lam):
            active[size] = j
            size += 1
    return active[:size]


@njit(cache=True)
def _active_gram(xx, m, n, inv_d, active):  # type: ignore[no-untyped-def]
    """G of the active features (a, a) in float64, from the exact table."""
    size = len(active)
    gram = np.empty((size, size))
    for a in range(size):
        i = active[a]
        for b in range(size):
            j = active[b]
            gram[a, b] = (n * xx[i, j] - m[i] * m[j]) * (inv_d[i] * inv_d[j])
    return gram


@njit(cache=True, fastmath=_FAST)
def _cholesky(a):  # type: ignore[no-untyped-def]
    """Overwrite the lower triangle of a symmetric a (s, s) by its Cholesky factor.

    Returns s, or the first row that depends on those before it; the factor of these, and the
    row's own part of it, are then in place.
    """
    size = len(a)
    for i in range(size):
        floor = _LEAST_PIVOT * a[i, i]
        for j in range(i):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            a[i, j] = total / a[j, j]
        total = a[i, i]
        for k in range(i):
            total -= a[i, k] ** 2
        if total <= floor:
            return i
        a[i, i] = np.sqrt(total)
    return size


@njit(cache=True, fastmath=_FAST)
def _forward(factor, b):  # type: ignore[no-untyped-def]
    """b <- L^-1 b."""
    for i in range(len(b)):
        total = b[i]
        for k in range(i):
            total -= factor[i, k] * b[k]
        b[i] = total / factor[i, i]


@njit(cache=True, fastmath=_FAST)
def _backward(factor, b):  # type: ignore[no-untyped-def]
    """b <- L'^-1 b."""
    for i in range(len(b) - 1, -1, -1):
        total = b[i]
        for k in range(i + 1, len(b)):
            total -= factor[k, i] * b[k]
        b[i] = total / factor[i, i]


@njit(cache=True, fastmath=_FAST)
def _direction(gram, c, lam, w, support):  # type: ignore[no-untyped-def]
    """Where the weights on the support (s,) should go, and how far at most.

    To the exact solution with the signs kept, by a step of 1; where a feature of the support
    depends on others, along the change that leaves all predictions as they are and |w|_1 no
    larger, as far as it goes.
    """
    size = len(support)
    block = np.empty((size, size))
    for a in range(size):
        for b in range(size):
            block[a, b] = gram[support[a], support[b]]
    direction = np.zeros(size)
    dependent = _cholesky(block)
    if dependent == size:
        for a in range(size):
            direction[a] = c[support[a]] - lam * np.sign(w[support[a]])
        _forward(block, direction)
        _backward(block, direction)
        for a in range(size):
            direction[a] -= w[support[a]]
        return direction, 1.0
    direction[:dependent] = block[dependent, :dependent]
    _backward(block[:dependent, :dependent], direction[:dependent])
    direction[dependent] = -1.0
    slope = 0.0
    for a in range(size):
        slope += np.sign(w[support[a]]) * direction[a]
    if slope > 0:
        direction *= -1
    return direction, np.inf


@njit(cache=True, fastmath=_FAST)
def _solve_support(gram, c, lam, w, g):  # type: ignore[no-untyped-def]
    """Move w in the best ``_direction`` on its support, up to the first sign that would change;
    that weight becomes zero (feature-sign search, Lee, Battle, Raina, Ng, NIPS 2006).

    The objective falls along the way. Returns whether a weight became zero, so that another step
    on the smaller support is worth taking.
    """
    support = np.flatnonzero(w)
    direction, step = _direction(gram, c, lam, w, support)
    first = -1
    for a in range(len(support)):
        before = w[support[a]]
        if before * direction[a] < 0 and -before / direction[a] <= step:
            step, first = -before / direction[a], a
    if not np.isfinite(step):
        return False
    for a in range(len(support)):
        w[support[a]] += step * direction[a]
    if first >= 0:
        w[support[first]] = 0.0
    for k in range(len(g)):
        g[k] = c[k]
    for a in range(len(support)):
        row, weight = gram[support[a]], w[support[a]]
        for k in range(len(g)):
            g[k] -= weight * row[k]
    return first >= 0


@njit(cache=True, fastmath=_FAST)
def _descend_exact(gram, c, lam, tol, max_sweeps, w, g):  # type: ignore[no-untyped-def]
    """Coordinate descent in float64, yy = 1, until gap <= tol; returns the sweeps made.

    Sweeps find the support quickly, and where it is nearly as large as the number of rows they
    converge slowly on it: every so often the weights on the support are solved for directly.
    """
    for sweep in range(max_sweeps):
        if duality_gap(c, g, w, 1.0, lam) <= tol:
            return sweep
        if sweep % _DIRECT_EVERY == _DIRECT_EVERY - 1:
            size = np.count_nonzero(w)
            for _ in range(min(_MAX_DIRECT, _DIRECT_WORK // max(1, size * size))):  # type: ignore[operator]
                if not _solve_support(gram, c, lam, w, g):
                    break
        for j in range(len(w)):
            new = _soft(g[j] + gram[j, j] * w[j], lam) / gram[j, j]
            delta = new - w[j]
            if delta != 0:
                w[j] = new
                row = gram[j]
                for k in range(len(g)):
                    g[k] -= delta * row[k]
    return max_sweeps


@njit(parallel=True, cache=True)
def exact_gaps(xx, m, n, inv_d, c, lam, which, w, g, gap, weight_nz, residual):  # type: ignore[no-untyped-def]
    """Float64 gradients g (t, p) at weights w (t, p) of targets ``which``, from the exact table,
    and with them gap, weight_nz and mean squared residual (t,)."""
    for a in prange(len(which)):
        t = which[a]
        _exact_gradient(xx, m, n, inv_d, c[t], w[t], g[t])
        gap[t] = duality_gap(c[t], g[t], w[t], 1.0, lam[t])
        weight_nz[t], residual[t] = _fit_of(c[t], g[t], w[t])


@njit(cache=True, fastmath=_FAST)
def _round_in_turn(gram, lam, scale, w, g):  # type: ignore[no-untyped-def]
    """Move each weight to a value whose raw weight w_j scale_j is a float32. Done one after the
    other, each makes up for the rounding of those before.

    A weight rounded towards zero leaves |g_j| above lam by G_jj times the difference; the largest
    such excess scales the whole dual solution down and costs |w|_1 times itself. A weight rounded
    away from zero costs |w_j| times G_jj times the difference, but every one of them does.
    """
    norm = 0.0
    for j in range(len(w)):
        norm += abs(w[j])
    for j in range(len(w)):
        if w[j] == 0:
            continue
        exact = _soft(g[j] + gram[j, j] * w[j], lam) / gram[j, j]
        raw = np.float32(exact * scale[j])
        away = np.nextafter(raw, np.float32(np.copysign(np.inf, exact)))
        loss = norm * (abs(exact) - abs(raw / scale[j]))
        loss_away = abs(exact) * (abs(away / scale[j]) - abs(exact))
        if loss_away < _MUCH_LESS * loss:
            raw = away
        delta = raw / scale[j] - w[j]
        w[j] += delta
        for k in range(len(g)):
            g[k] -= delta * gram[j, k]


@njit(cache=True)
def _solve_one(xx, m, n, inv_d, scale, c, lam, tol, max_sweeps, w, g):  # type: ignore[no-untyped-def]
    active = _active_features(inv_d, lam, w, g)
    size = len(active)
    gram = _active_gram(xx, m, n, inv_d, active)
    c_active, w_active, g_active = np.empty(size), np.empty(size), np.empty(size)
    scale_active = np.empty(size)
    for a in range(size):
        j = active[a]
        c_active[a], w_active[a], g_active[a], scale_active[a] = c[j], w[j], g[j], scale[j]
    made = _descend_exact(gram, c_active, lam, tol, max_sweeps, w_active, g_active)
    _round_in_turn(gram, lam, scale_active, w_active, g_active)
    for a in range(size):
        w[active[a]] = w_active[a]
    return made


@njit(parallel=True, cache=True)
def solve_active(  # type: ignore[no-untyped-def]
    xx, m, n, inv_d, scale, c, lam, tol, max_sweeps, which, w, g, sweeps
):
    """Solve targets ``which`` on their active features alone, those with a weight or a violated
    bound at gradient g (t, p), to a gap of tol; then round, so that w * scale (t, p) are float32.
    w (t, p) and sweeps (t,) are changed, g is left stale."""
    for a in prange(len(which)):
        t = which[a]
        allowed = max_sweeps - sweeps[t]
        sweeps[t] += _solve_one(xx, m, n, inv_d, scale[t], c[t], lam[t], tol, allowed, w[t], g[t])
