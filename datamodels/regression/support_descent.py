"""Weights on their support, from a small float64 Gram matrix: kernels that other kernels call.

For one target, in the notation of ``engines.contract``, with lambda_j = lambda v_j > 0 and the
features of a working set alone,

    minimize over w:  1/2 (yy - 2 c.w + w'G w) + sum_j lambda_j |w_j|,     g = c - G w

Coordinate descent, w_j <- soft(g_j + G_jj w_j, lambda_j) / G_jj, finds the support quickly, and
where that is nearly as large as the number of rows it converges slowly on it. ``solve_directly``
solves for the weights on the support, with a Cholesky factor that follows its changes.

``exact_descent`` and ``engines.row_descent`` call these. numba's cache on disk notices a change of
the files that hold those callers, not of this one: they carry a digest of it, which a test
compares, so that a change of this file is one of theirs as well.
"""

import numpy as np
from numba import njit

# Sums may be reassociated and contracted (vector units); infinities and NaN keep their meaning.
FAST = {"contract", "reassoc", "nsz"}

LEAST_PIVOT = 1e-10  # of the diagonal: below it a column depends on those before it

# Steps in a direct attempt on a support of s features: one factorization, s^3 / 3 operations, and a
# few times s^2 for each step.
_MAX_DIRECT = 256


# Loops stand where numpy's slices and index arrays would: these take seconds to compile.


@njit(cache=True, inline="always")
def soft(u, lam):  # type: ignore[no-untyped-def]
    """Soft threshold; soft(u, lam) / d is the argmin over v of d v^2 / 2 - u v + lam |v|."""
    if u > lam:
        return u - lam
    if u < -lam:
        return u + lam
    return 0.0


@njit(cache=True)
def copy(source, target):  # type: ignore[no-untyped-def]
    """target <- source, which may be shorter."""
    for a in range(len(source)):
        target[a] = source[a]


@njit(cache=True, fastmath=FAST)
def dot(a, b):  # type: ignore[no-untyped-def]
    """a . b"""
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(cache=True, fastmath=FAST)
def subtract(r, weight, column):  # type: ignore[no-untyped-def]
    """r <- r - weight column"""
    for i in range(len(r)):
        r[i] -= weight * column[i]


@njit(cache=True)
def support_of(w):  # type: ignore[no-untyped-def]
    """Where w is not zero."""
    support = np.empty(len(w), np.int64)
    size = 0
    for a in range(len(w)):
        if w[a] != 0:
            support[size] = a
            size += 1
    return support[:size]


@njit(cache=True)
def drop_place(places, at, size):  # type: ignore[no-untyped-def]
    """Close the gap of one of the first ``size`` places; returns how many are left."""
    for a in range(at, size - 1):
        places[a] = places[a + 1]
    return size - 1


# The duality gap


@njit(cache=True, fastmath=FAST)
def gap_of(rr, yr, penalty, steepest):  # type: ignore[no-untyped-def]
    """Duality gap from r'r/n, y'r/n, sum_j lambda_j |w_j| and max_j |g_j| / lambda_j."""
    s = min(1.0, 1.0 / steepest) if steepest > 0 else 1.0
    return 0.5 * rr + penalty - (s * yr - 0.5 * s * s * rr)


@njit(cache=True, fastmath=FAST)
def gram_gap(yy, c, g, lam, w):  # type: ignore[no-untyped-def]
    """Duality gap of the problem of these features alone, all lam > 0."""
    cw, wg, penalty, steepest = 0.0, 0.0, 0.0, 0.0
    for a in range(len(w)):
        cw += c[a] * w[a]
        wg += w[a] * g[a]
        penalty += lam[a] * abs(w[a])
        steepest = max(steepest, abs(g[a]) / lam[a])
    return gap_of(yy - cw - wg, yy - cw, penalty, steepest)


# Sweeps


@njit(cache=True)
def fill_gradient(gram, c, w, g):  # type: ignore[no-untyped-def]
    """g <- c - G w."""
    copy(c, g)
    for a in range(len(w)):
        if w[a] != 0:
            subtract(g, w[a], gram[a])


@njit(cache=True, fastmath=FAST)
def gram_sweep(gram, lam, w, g):  # type: ignore[no-untyped-def]
    """One sweep over the weights that are not zero or have a violated bound (|g_j| > lambda_j)."""
    for a in range(len(w)):
        if (w[a] == 0 and abs(g[a]) <= lam[a]) or gram[a, a] == 0:
            continue
        new = soft(g[a] + gram[a, a] * w[a], lam[a]) / gram[a, a]
        if new != w[a]:
            subtract(g, new - w[a], gram[a])
            w[a] = new


# Direct solutions on a support


@njit(cache=True, fastmath=FAST)
def extend_factor(gram, support, factor, done):  # type: ignore[no-untyped-def]
    """Continue the Cholesky factor of gram[support, support] (s, s) from row ``done``.

    Returns s, or the first row that depends on those before it; the factor of these, and the
    row's own part of it, are then in place (lower triangle).
    """
    for i in range(done, len(support)):
        row, of_row = factor[i], gram[support[i]]
        for j in range(i):
            other = factor[j]
            total = 0.0
            for k in range(j):
                total += row[k] * other[k]
            row[j] = (of_row[support[j]] - total) / other[j]
        total = 0.0
        for k in range(i):
            total += row[k] * row[k]
        pivot = of_row[support[i]] - total
        if pivot <= LEAST_PIVOT * of_row[support[i]]:
            return i
        row[i] = np.sqrt(pivot)
    return len(support)


@njit(cache=True, fastmath=FAST)
def drop_from_factor(factor, place, done):  # type: ignore[no-untyped-def]
    """Make the factor of ``done`` features that of all but the one at ``place``: without its row,
    the rows below have one entry too many each, which rotations of two columns take away."""
    cosine, sine = np.empty(done), np.empty(done)
    for i in range(place, done - 1):
        row = factor[i]
        copy(factor[i + 1, : i + 2], row)
        for k in range(place, i):
            left, right = row[k], row[k + 1]
            row[k] = cosine[k] * left + sine[k] * right
            row[k + 1] = cosine[k] * right - sine[k] * left
        length = np.hypot(row[i], row[i + 1])
        cosine[i], sine[i] = row[i] / length, row[i + 1] / length
        row[i] = length


@njit(cache=True, fastmath=FAST)
def forward(factor, b):  # type: ignore[no-untyped-def]
    """b <- L^-1 b, with the first len(b) rows of L."""
    for i in range(len(b)):
        total = b[i]
        for k in range(i):
            total -= factor[i, k] * b[k]
        b[i] = total / factor[i, i]


@njit(cache=True, fastmath=FAST)
def backward(factor, b):  # type: ignore[no-untyped-def]
    """b <- L'^-1 b, with the first len(b) rows of L."""
    for i in range(len(b) - 1, -1, -1):
        b[i] /= factor[i, i]
        known = b[i]
        for k in range(i):
            b[k] -= factor[i, k] * known


@njit(cache=True, fastmath=FAST)
def direction_from(factor, done, c, lam, w, support):  # type: ignore[no-untyped-def]
    """Where the weights on the support (s,) should go, and how far at most.

    To the exact solution with the signs kept, by a step of 1; where a feature of the support
    depends on others (row ``done`` < s of the factor), along the change that leaves all
    predictions as they are and sum_j lambda_j |w_j| no larger, as far as it goes.
    """
    size = len(support)
    direction = np.zeros(size)
    if done == size:
        for a in range(size):
            j = support[a]
            direction[a] = c[j] - lam[j] * np.sign(w[j])
        forward(factor, direction)
        backward(factor, direction)
        for a in range(size):
            direction[a] -= w[support[a]]
        return direction, 1.0
    copy(factor[done, :done], direction)
    backward(factor, direction[:done])
    direction[done] = -1.0
    slope = 0.0
    for a in range(done + 1):
        j = support[a]
        slope += lam[j] * np.sign(w[j]) * direction[a]
    if slope > 0:
        for a in range(done + 1):
            direction[a] = -direction[a]
    return direction, np.inf


@njit(cache=True, fastmath=FAST)
def move(w, support, direction, step):  # type: ignore[no-untyped-def]
    """Move w along ``direction`` by ``step``, or up to the first sign that would change: that
    weight becomes zero. Returns its place in the support (-1: none), or -2 for a step of no end."""
    first = -1
    for a in range(len(support)):
        before = w[support[a]]
        if before * direction[a] < 0 and -before / direction[a] <= step:
            step, first = -before / direction[a], a
    if not np.isfinite(step):
        return -2
    for a in range(len(support)):
        w[support[a]] += step * direction[a]
    if first >= 0:
        w[support[first]] = 0.0
    return first


@njit(cache=True, fastmath=FAST)
def solve_directly(gram, c, lam, w):  # type: ignore[no-untyped-def]
    """Solve for the weights on their support (feature-sign search, Lee, Battle, Raina, Ng, NIPS
    2006): a step to the exact solution ends at the first weight that would change its sign, and
    is repeated without that weight. The objective falls along the way. Returns the steps made."""
    support = support_of(w)
    size, done, steps = len(support), 0, 0
    factor = np.empty((size, size))
    for _ in range(_MAX_DIRECT):
        steps += 1
        done = extend_factor(gram, support[:size], factor, done)
        direction, step = direction_from(factor, done, c, lam, w, support[:size])
        first = move(w, support[:size], direction, step)
        if first < 0:
            break
        if first < done:
            drop_from_factor(factor, first, done)
            done -= 1
        size = drop_place(support, first, size)
    return steps
