"""Coordinate descent on a target's working set, from rows or from a small Gram matrix: the kernels.

For one target, in the notation of ``engines.contract``, with lambda_j = lambda v_j and the columns
z_j (n,) of the working set A alone,

    minimize over w:  1/(2n) |y - Z_A w|^2 + sum_j lambda_j |w_j|,     r = y - Z_A w,  g = Z_A'r / n

One coordinate at a time: w_j <- soft(g_j + G_jj w_j, lambda_j) / G_jj. Either r is kept up to
date, O(n) a change (few rows), or g by rows of G = Z_A'Z_A / n, O(a) a change (small working sets).
Sweeps find the support quickly, and where it is nearly as large as the number of rows they converge
slowly on it: every so often the weights on the support are solved for directly.

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
    copy,
    dot,
    fill_gradient,
    gap_of,
    gram_gap,
    gram_sweep,
    soft,
    solve_directly,
    subtract,
    support_of,
)

_SUPPORT_SWEEPS = 4  # sweeps over the non-zero weights alone between two over the working set

# Rounds of sweeps between attempts to solve directly on the support.
_DIRECT_EVERY = 8
_LARGEST_DIRECT = 6_000  # features: 7e10 operations; larger supports are left to the sweeps

# A gap below _ROUNDING (in units of the mean of y^2) that so many rounds do not lower stays.
_ROUNDING = 1e-12
_PATIENCE = 4 * _DIRECT_EVERY

CHUNK = 64  # features looked at together for one that is steep enough


@njit(cache=True)
def _is_final(gap, tol, least, rounds_since):  # type: ignore[no-untyped-def]
    """Whether more rounds are of no use: the gap is small enough, not finite, or rounding."""
    stuck = gap < _ROUNDING and rounds_since > _PATIENCE and gap >= least
    return gap <= tol or not np.isfinite(gap) or stuck


# Descent from rows


@njit(cache=True)
def _fill_residual(z, at, y, w, r):  # type: ignore[no-untyped-def]
    """r <- y - Z w."""
    copy(y, r)
    for a in range(len(w)):
        if w[a] != 0:
            subtract(r, w[a], z[at[a]])


@njit(cache=True, fastmath=FAST)
def _rows_gap(z, at, lam, y, w, r, g):  # type: ignore[no-untyped-def]
    """g <- Z'r / n, and the duality gap of the working set."""
    n = len(y)
    penalty, steepest = 0.0, 0.0
    for a in range(len(w)):
        g[a] = dot(z[at[a]], r) / n
        penalty += lam[a] * abs(w[a])
        steepest = max(steepest, abs(g[a]) / lam[a])
    return gap_of(dot(r, r) / n, dot(y, r) / n, penalty, steepest)


@njit(cache=True, fastmath=FAST)
def _rows_step(column, square, lam, before, r):  # type: ignore[no-untyped-def]
    """The new weight of one feature; r follows."""
    new = soft(dot(column, r) / len(r) + square * before, lam) / square
    if new != before:
        subtract(r, new - before, column)
    return new


@njit(cache=True, fastmath=FAST)
def _rows_direct(z, at, lam, y, w, r):  # type: ignore[no-untyped-def]
    """Solve directly for the weights on their support; returns the steps made."""
    support = support_of(w)
    size, n = len(support), len(y)
    gram, c = np.empty((size, size)), np.empty(size)
    on_support, lam_support = np.empty(size), np.empty(size)
    for a in range(size):
        on_support[a], lam_support[a] = w[support[a]], lam[support[a]]
        column = z[at[support[a]]]
        c[a] = dot(column, y) / n
        for b in range(a + 1):
            gram[a, b] = gram[b, a] = dot(column, z[at[support[b]]]) / n
    steps = solve_directly(gram, c, lam_support, on_support)
    for a in range(size):
        w[support[a]] = on_support[a]
    _fill_residual(z, at, y, w, r)
    return steps


@njit(cache=True)
def _rows_sweeps(z, squares, at, lam, w, r, g, more):  # type: ignore[no-untyped-def]
    """One sweep over the working set, and ``more`` over its non-zero weights."""
    support = np.empty(len(w), np.int64)
    size = 0
    for a in range(len(w)):
        j = at[a]
        if (w[a] == 0 and abs(g[a]) <= lam[a]) or squares[j] == 0:
            continue
        w[a] = _rows_step(z[j], squares[j], lam[a], w[a], r)
        if w[a] != 0:
            support[size] = a
            size += 1
    for _ in range(more):
        for b in range(size):
            a = support[b]
            w[a] = _rows_step(z[at[a]], squares[at[a]], lam[a], w[a], r)


@njit(cache=True)
def _descend_rows(z, squares, at, lam, y, tol, max_sweeps, w):  # type: ignore[no-untyped-def]
    """Coordinate descent until gap <= tol; returns the sweeps made."""
    r, g = np.empty(len(y)), np.empty(len(w))
    _fill_residual(z, at, y, w, r)
    sweeps, rounds, best, least = 0, 0, 0, np.inf
    while sweeps < max_sweeps:
        gap = _rows_gap(z, at, lam, y, w, r, g)
        if _is_final(gap, tol, least, rounds - best):
            break
        if gap < least:
            least, best = gap, rounds
        rounds += 1
        if rounds % _DIRECT_EVERY == 0:
            sweeps += _rows_direct(z, at, lam, y, w, r)
        else:
            more = min(_SUPPORT_SWEEPS, max_sweeps - sweeps - 1)
            _rows_sweeps(z, squares, at, lam, w, r, g, more)
            sweeps += 1 + more
    return min(sweeps, max_sweeps)


@njit(parallel=True, cache=True)
def descend_rows(z, squares, at, start, lam, y, tol, max_sweeps, value):  # type: ignore[no-untyped-def]
    """Solve r targets on their working sets to a gap of tol; one thread a target.

    z (u, n) standardized columns of the features of any working set, squares (u,) = z'z / n, 0 for
    a column of nothing. Target a has the columns at[start[a]:start[a + 1]], with lambda_j at the
    same places of ``lam`` and weights, which are written, at those of ``value``. y (r, n), tol and
    max_sweeps (r,). Returns the sweeps made (r,).
    """
    sweeps = np.zeros(len(y), np.int64)
    for a in prange(len(y)):
        part = slice(start[a], start[a + 1])
        sweeps[a] = _descend_rows(
            z, squares, at[part], lam[part], y[a], tol[a], max_sweeps[a], value[part]
        )
    return sweeps


# Descent from a small Gram matrix


@njit(cache=True)
def _descend_gram(gram, c, lam, yy, tol, max_sweeps, w):  # type: ignore[no-untyped-def]
    """Coordinate descent until gap <= tol; returns the sweeps made."""
    g = np.empty(len(w))
    fill_gradient(gram, c, w, g)
    sweeps, rounds, best, least = 0, 0, 0, np.inf
    while sweeps < max_sweeps:
        gap = gram_gap(yy, c, g, lam, w)
        if _is_final(gap, tol, least, rounds - best):
            break
        if gap < least:
            least, best = gap, rounds
        rounds += 1
        if rounds % _DIRECT_EVERY == 0 and len(support_of(w)) <= _LARGEST_DIRECT:
            sweeps += solve_directly(gram, c, lam, w)
            fill_gradient(gram, c, w, g)
        else:
            gram_sweep(gram, lam, w, g)
            sweeps += 1
    return min(sweeps, max_sweeps)


@njit(parallel=True, cache=True)
def descend_gram(grams, gram_start, start, c, lam, yy, tol, max_sweeps, value):  # type: ignore[no-untyped-def]
    """Solve r targets on their working sets to a gap of tol; one thread a target.

    Target a has a working set of k = start[a + 1] - start[a] features, G (k, k) at gram_start[a] of
    ``grams``, and c, lambda_j and weights, which are written, at start[a] of c, lam and value. yy,
    tol and max_sweeps (r,). Returns the sweeps made (r,).
    """
    sweeps = np.zeros(len(yy), np.int64)
    for a in prange(len(yy)):
        part = slice(start[a], start[a + 1])
        k = start[a + 1] - start[a]
        gram = grams[gram_start[a] : gram_start[a] + k * k].reshape(k, k)
        sweeps[a] = _descend_gram(
            gram, c[part], lam[part], yy[a], tol[a], max_sweeps[a], value[part]
        )
    return sweeps


@njit(parallel=True, cache=True)
def standardize_pairs(products, basis, scale, gram):  # type: ignore[no-untyped-def]
    """gram (k * k,) <- (products_ij - U_i.U_j) e_i e_j, U ``basis`` (k, q), e ``scale`` (k,), with
    a zero for a column in the span of what is projected out."""
    k, q = basis.shape
    for i in prange(k):
        for j in range(k):
            inside = 0.0
            for a in range(q):
                inside += basis[i, a] * basis[j, a]
            gram[i * k + j] = (products[i, j] - inside) * (scale[i] * scale[j])
        if gram[i * k + i] <= LEAST_PIVOT * products[i, i] * scale[i] ** 2:
            gram[i * k + i] = 0.0


# Gradients of all features, and the working sets that they ask for


@njit(parallel=True, cache=True)
def keep_steepness(cross, scale, factors, which, steepness, peaks):  # type: ignore[no-untyped-def]
    """steepness[which[a], j] <- |g_j| / v_j of r targets; returns the largest (chunks, r).

    cross (p, r) = X'R, g_j = scale_j cross_j, factors (1 or t, p): nothing is kept for v_j = 0 or
    infinity. steepness (t, p) float32, and ``peaks`` (t, chunks) the largest of each CHUNK of
    features, after rounding; those returned are before it, and infinite where a value is not
    finite.
    """
    p, r = cross.shape
    n_chunks = peaks.shape[1]
    largest = np.zeros((n_chunks, r))
    for chunk in prange(n_chunks):
        for a in range(r):
            t = which[a]
            v = factors[t if len(factors) > 1 else 0]
            most = 0.0
            for j in range(chunk * CHUNK, min(chunk * CHUNK + CHUNK, p)):
                steep = abs(cross[j, a]) * scale[j] / v[j] if v[j] > 0 else 0.0
                if not np.isfinite(steep):
                    steep = np.inf
                most = max(most, steep)
                steepness[t, j] = steep
            largest[chunk, a] = most
            peaks[t, chunk] = most
    return largest


@njit(cache=True)
def _merge(steep, peaks, bound, feature, value, new_feature, new_value):  # type: ignore[no-untyped-def]
    """Features that were there or are as steep as ``bound``, ascending; returns how many. They are
    only counted where ``new_feature`` is empty."""
    size, b, fill = 0, 0, len(new_feature) > 0
    for chunk in range(len(peaks)):
        start, stop = chunk * CHUNK, min(chunk * CHUNK + CHUNK, len(steep))
        if peaks[chunk] < bound and (b == len(feature) or feature[b] >= stop):
            continue
        for j in range(start, stop):
            there = b < len(feature) and feature[b] == j
            if there or steep[j] >= bound:
                if fill:
                    new_feature[size] = j
                    new_value[size] = value[b] if there else 0.0
                size += 1
            b += there
    return size


@njit(parallel=True, cache=True)
def merge_working(  # type: ignore[no-untyped-def]
    steepness, peaks, which, bound, start, feature, value, new_start, new_feature, new_value
):
    """Working sets of targets ``which`` (r,), as sparse rows: the features that were there (start,
    feature, value), with their weights, and those with steepness >= bound (r,), with zeros.

    Returns their sizes (r,); with nothing in ``new_feature``, nothing else is done.
    """
    size = np.zeros(len(which), np.int64)
    for a in prange(len(which)):
        t, part, new = (
            which[a],
            slice(start[a], start[a + 1]),
            slice(new_start[a], new_start[a + 1]),
        )
        size[a] = _merge(
            steepness[t], peaks[t], bound[a], feature[part], value[part], new_feature[new],
            new_value[new],
        )  # fmt: skip
    return size
