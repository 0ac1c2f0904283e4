"""Coordinate descent on a shared Gram matrix: the numba kernels of the ``cpu`` path engine.

The problem and the names c, G, g, v, lambda and gap are those of ``engines.contract``. One
coordinate at a time: w_j <- soft(g_j + G_jj w_j, lambda v_j) / G_jj; unpenalized features are
solved for together, exactly, after each sweep. The gradient g is kept up to date ("covariance
updates", Friedman, Hastie and Tibshirani 2010), so no step reads a mask.

Each target has *members*: features that have had a weight, or soon may. Their part of G is packed
side by side, sweeps work on it alone, and what they changed is then applied to the gradient of all
features at once: one row of G for each changed weight, however many sweeps changed it. The gap is
that of all features, and those that violate their bounds become members. A target with many
members (``opened``) has all features as members, and its sweeps work on G itself.

All kernels that call one another live in this file: numba's cache on disk notices a change of the
file that holds a kernel, not of the files that its callees come from.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.status import Status

_CONVERGED = int(Status.CONVERGED)
_ITERATION_LIMIT = int(Status.ITERATION_LIMIT)
_NON_FINITE = int(Status.NON_FINITE)
_UNFINISHED = int(Status.NOT_RUN)

# Sums may be reassociated and contracted (vector units); infinities and NaN keep their meaning.
_FAST = {"contract", "reassoc", "nsz"}

# Of kernels that only kernels call. Wrappers for Python, and entries of their own in the cache,
# would make up a sixth of the time of compiling.
_INNER: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

# Rows of G that are applied together, read side by side: g is read and written once for all.
_TOGETHER = 8

# The first sweep over k features skips changes below _FIRST_SKIP sqrt(tol yy / k), and each next
# one _SKIP_DECAY of that: k changes of that size together are worth about tol yy of objective.
# Slow decay has the largest changes made first; measured, that saves a third of all changes.
_FIRST_SKIP = 0.2
_SKIP_DECAY = 0.8

# Most by which a step goes further than to the minimum along its coordinate.
_MOST_RELAXATION = 0.25

# Rows of packed members have an odd number of cache lines (of 16 float32): rows a multiple of 4 KiB
# apart would compete for the same few places of a cache.
_LINE = 16
_FIRST_LINES = 7

# Members are solved to this share of the tolerance; what remains is for the other features.
_MEMBERS_SHARE = 0.9

# Features with |g_j| / v_j above this share of lambda become members before the first sweep,
# fewer where lambda fell by less (strong rule).
_JOIN_SHARE = 0.9


Gram = NDArray[Any]  # float32 or float64


class Problem(NamedTuple):
    """What is given: G for all targets, and penalties for all (f = 1) or for each (f = t)."""

    n: int  # rows that G was formed from
    gram: Gram  # (p, p)
    diagonal: Gram  # (p,) side by side, where sweeps read it
    c: Float64s  # (t, p)
    yy: Float64s  # (t,) 1, or 0 for a constant target
    penalty: Float64s  # (f, p) v; 0 where it is infinite
    inverse: Float64s  # (f, p) 1 / v; 0 where v is infinite, and where it is 0
    free: Int64s  # (f, u) unpenalized features that do not depend on one another ...
    n_free: Int64s  # (f,) ... the first of them
    cholesky: Float64s  # (f, u, u) lower factor of their part of G
    most_packed: int  # a target with more members is opened


# What a target's path is about, but for its features: one record a target.
TARGET = np.dtype(
    [
        ("lam", np.float64),
        ("last_lam", np.float64),  # the lambda before
        ("n_members", np.int64),
        ("n_packed", np.int64),  # members whose part of G is packed,
        ("side", np.int64),  # with rows so long
        ("opened", np.bool_),  # all features are members, in order, and nothing is packed
        ("share", np.float64),  # of the tolerance, to which sweeps are made
        ("gap", np.float64),
        ("residual", np.float64),  # r'r/n
        ("sweeps", np.int64),  # at this lambda
        ("status", np.int64),  # _UNFINISHED while another round is needed
        ("weight_nz", np.int64),
    ],
    align=True,
)


class State(NamedTuple):
    """Where the targets of a block stand, one row a target."""

    target: NDArray[np.void]  # (t,) TARGET
    w: Float64s  # (t, p)
    g: Float64s  # (t, p) gradient at w
    last_w: Float64s  # (t, p) at the lambda before
    last_g: Float64s  # (t, p)
    members: Int64s  # (t, p) the first n_members of them; free ones come first
    is_member: NDArray[np.bool_]  # (t, p)
    packed: Gram  # (t, m^2) G of the members, for up to m of them


@njit(**_INNER, inline="always")
def _soft(u, threshold):  # type: ignore[no-untyped-def]
    """Soft threshold; soft(u, l) / d is the argmin over x of d x^2 / 2 - u x + l |x|."""
    return u - min(max(u, -threshold), threshold)


@njit(**_INNER, fastmath=_FAST)
def _sum_of_sizes(g):  # type: ignore[no-untyped-def]
    total = 0.0
    for k in range(len(g)):
        total += abs(g[k])
    return total


@njit(**_INNER, fastmath=_FAST | {"nnan"})
def _largest(g, inverse):  # type: ignore[no-untyped-def]
    """max |g_j| / v_j over the penalized features; g must be finite."""
    largest = 0.0
    for k in range(len(g)):
        largest = max(largest, abs(g[k]) * inverse[k])
    return largest


@njit(**_INNER, fastmath=_FAST)
def _fit_of(c, penalty, w, g, yy):  # type: ignore[no-untyped-def]
    """y'r/n, r'r/n and sum_j v_j |w_j|; features without a weight add nothing."""
    cw, wg, norm = 0.0, 0.0, 0.0
    for j in range(len(w)):
        cw += c[j] * w[j]
        wg += g[j] * w[j]
        norm += penalty[j] * abs(w[j])
    return yy - cw, yy - cw - wg, norm


@njit(**_INNER, error_model="numpy")
def _gap(fit, lam, inverse, g):  # type: ignore[no-untyped-def]
    """Duality gap of a ``_fit_of`` over the features of g; NaN where something is not finite."""
    yr, rr, norm = fit
    # A sum does not pass over NaN, as max does.
    if not np.isfinite(rr + norm + _sum_of_sizes(g)):
        return np.nan
    largest = _largest(g, inverse)
    s = min(1.0, lam / largest) if largest > 0 else 1.0
    return 0.5 * rr + lam * norm - (s * yr - 0.5 * s * s * rr)


@njit(**_INNER, fastmath=_FAST)
def _apply(gram, rows, deltas, g):  # type: ignore[no-untyped-def]
    """g <- g - sum_b delta_b G[row_b]. g is float64 and the sum of a batch of the dtype of G: its
    rounding is relative to the changes, not to g, so g does not drift over a long path."""
    r0, r1, r2, r3 = gram[rows[0]], gram[rows[1]], gram[rows[2]], gram[rows[3]]
    r4, r5, r6, r7 = gram[rows[4]], gram[rows[5]], gram[rows[6]], gram[rows[7]]
    d0, d1, d2, d3 = deltas[0], deltas[1], deltas[2], deltas[3]
    d4, d5, d6, d7 = deltas[4], deltas[5], deltas[6], deltas[7]
    for k in range(len(g)):
        low = d0 * r0[k] + d1 * r1[k] + d2 * r2[k] + d3 * r3[k]
        high = d4 * r4[k] + d5 * r5[k] + d6 * r6[k] + d7 * r7[k]
        g[k] -= low + high


@njit(**_INNER)
def _apply_all(gram, rows, deltas, g):  # type: ignore[no-untyped-def]
    """``_apply`` for any number of rows."""
    batch = np.empty(_TOGETHER, np.int64)
    batch_deltas = np.empty(_TOGETHER, gram.dtype)
    for start in range(0, len(rows), _TOGETHER):
        for b in range(_TOGETHER):
            inside = start + b < len(rows)
            # A batch that is not full reads its first row again, which is at hand.
            batch[b] = rows[start + b] if inside else rows[start]
            batch_deltas[b] = deltas[start + b] if inside else 0
        _apply(gram, batch, batch_deltas, g)


@njit(**_INNER, fastmath=_FAST)
def _to_move(diagonal, penalty, inverse, lam, skip, w, g, moves, found):  # type: ignore[no-untyped-def]
    """Penalized features whose change times G_jj would exceed ``skip``, written into ``found``."""
    for j in range(len(w)):
        before = diagonal[j] * w[j]
        move = abs(_soft(g[j] + before, lam * penalty[j]) - before)
        moves[j] = move if inverse[j] > 0 else 0.0
    n_found = 0
    for j in range(len(w)):
        found[n_found] = j
        n_found += moves[j] > skip
    return found[:n_found]


@njit(**_INNER, inline="always")
def _relaxed(before, new, relax):  # type: ignore[no-untyped-def]
    """Go ``relax`` times as far (successive over-relaxation), but not to zero or across it."""
    further = before + relax * (new - before)
    return further if new != 0 and further * before > 0 else new


@njit(**_INNER, fastmath=_FAST, error_model="numpy")
def _sweep(gram, diagonal, penalty, lam, relax, features, w, g):  # type: ignore[no-untyped-def]
    """Move ``features`` one after the other; g is brought up to date for some at a time."""
    batch = np.empty(_TOGETHER, np.int64)
    deltas = np.empty(_TOGETHER, gram.dtype)
    mutual = np.empty((_TOGETHER, _TOGETHER), gram.dtype)
    for start in range(0, len(features), _TOGETHER):
        size = min(_TOGETHER, len(features) - start)
        for b in range(_TOGETHER):
            batch[b] = features[start + b] if b < size else features[start]
            deltas[b] = 0
            for e in range(b):
                mutual[b, e] = gram[batch[e], batch[b]]
        for b in range(size):
            j = batch[b]
            u = g[j] + diagonal[j] * w[j]
            for e in range(b):
                u -= deltas[e] * mutual[b, e]
            new = _relaxed(w[j], _soft(u, lam * penalty[j]) / diagonal[j], relax)
            deltas[b] = new - w[j]
            w[j] = 0.0 if new == 0 else w[j] + deltas[b]
        _apply(gram, batch, deltas, g)


@njit(**_INNER, error_model="numpy")
def _fit_free(gram, free, cholesky, w, g):  # type: ignore[no-untyped-def]
    """Move the unpenalized features to where their g is zero, with the others as they are."""
    size = len(free)
    change = np.empty(size)
    for a in range(size):
        total = g[free[a]]
        for b in range(a):
            total -= cholesky[a, b] * change[b]
        change[a] = total / cholesky[a, a]
    for a in range(size - 1, -1, -1):
        for b in range(a + 1, size):
            change[a] -= cholesky[b, a] * change[b]
        change[a] /= cholesky[a, a]
    deltas = change.astype(gram.dtype)
    for a in range(size):
        w[free[a]] += deltas[a]
    _apply_all(gram, free, deltas, g)


@njit(**_INNER)
def _descend(  # type: ignore[no-untyped-def]
    gram, diagonal, c, yy, penalty, inverse, free, cholesky, lam, tol, relax, max_sweeps, w, g
):
    """Sweeps until gap <= tol: (sweeps made, status). w, g = c - G w (k,) and all else are of k
    features; gram may have further rows and columns."""
    moves, found = np.empty(len(w)), np.empty(len(w) + 1, np.int64)
    skip = _FIRST_SKIP * np.sqrt(tol / max(len(w), 1))
    for sweep in range(max_sweeps + 1):
        _fit_free(gram, free, cholesky, w, g)
        fit = _fit_of(c, penalty, w, g, yy)
        gap = _gap(fit, lam, inverse, g)
        if gap <= tol:
            return sweep, _CONVERGED
        if not np.isfinite(gap):
            return sweep, _NON_FINITE
        if sweep < max_sweeps:
            features = _to_move(diagonal, penalty, inverse, lam, skip, w, g, moves, found)
            _sweep(gram, diagonal, penalty, lam, relax, features, w, g)
            skip *= _SKIP_DECAY
    return max_sweeps, _ITERATION_LIMIT


@njit(**_INNER)
def _lengthen_rows(flat, rows, side, longer):  # type: ignore[no-untyped-def]
    """Move ``rows`` rows of ``side`` numbers to where they lie in rows of ``longer``."""
    for a in range(rows - 1, 0, -1):
        for b in range(rows - 1, -1, -1):
            flat[a * longer + b] = flat[a * side + b]


@njit(**_INNER)
def _packed(gram, members, one, flat):  # type: ignore[no-untyped-def]
    """G of the members, (k or more, k or more); ``one`` and ``flat`` (m^2,) keep it."""
    size, packed = len(members), one.n_packed
    if size > one.side:
        lines = max(_FIRST_LINES, 2 * (one.side // _LINE) + 1, (size // _LINE + 1) | 1)
        side = min(lines * _LINE, int(np.sqrt(len(flat))))
        _lengthen_rows(flat, packed, one.side, side)
        one.side = side
    block = flat[: one.side * one.side].reshape(one.side, one.side)
    for a in range(packed, size):
        row = gram[members[a]]
        for b in range(size):
            block[a, b] = row[members[b]]
    for b in range(packed):
        for a in range(packed, size):
            block[b, a] = block[a, b]
    one.n_packed = size
    return block


@njit(**_INNER)
def _extrapolate(gram, ratio, members, w, g, last_w, last_g):  # type: ignore[no-untyped-def]
    """Continue the last step of the path ``ratio`` times: w is piecewise linear in lambda, and g
    is linear in w, so the guess costs O(p). Weights that would cross zero stop there."""
    for k in range(len(g)):
        g_k = g[k]
        g[k] += ratio * (g_k - last_g[k])
        last_g[k] = g_k
    crossed = np.empty(len(members) + 1, np.int64)
    deltas = np.empty(len(members) + 1, gram.dtype)
    n_crossed = 0
    for j in members:
        w_j = w[j]
        w[j] += ratio * (w_j - last_w[j])
        last_w[j] = w_j
        if w[j] != 0 and w[j] * w_j <= 0:
            crossed[n_crossed], deltas[n_crossed] = j, -w[j]
            n_crossed += 1
            w[j] = 0.0
    _apply_all(gram, crossed[:n_crossed], deltas[:n_crossed], g)


@njit(**_INNER)
def _join(threshold, inverse, g, is_member, members, n_members):  # type: ignore[no-untyped-def]
    """Make members of all features with |g_j| / v_j > threshold; returns how many there are."""
    for j in range(len(g)):
        if abs(g[j]) * inverse[j] > threshold and not is_member[j]:
            is_member[j] = True
            members[n_members] = j
            n_members += 1
    return n_members


@njit(**_INNER)
def _start(problem, state, t, f, lam):  # type: ignore[no-untyped-def]
    """Guess the solution of a target at ``lam``, and who its members are."""
    one, w, g, members = state.target[t], state.w[t], state.g[t], state.members[t]
    fell, falls = one.last_lam - one.lam, max(one.lam - lam, 0.0)
    ratio = min(falls / fell, 1.0) if fell > 0 else 0.0
    known = members[: one.n_members]
    _extrapolate(problem.gram, ratio, known, w, g, state.last_w[t], state.last_g[t])
    # The strong rule (Tibshirani et al. 2012) for a gradient that is extrapolated already.
    threshold = max(lam - falls, _JOIN_SHARE * lam)
    one.n_members = _join(
        threshold, problem.inverse[f], g, state.is_member[t], members, one.n_members
    )
    one.last_lam, one.lam, one.share = one.lam, lam, 1.0
    one.sweeps, one.status = 0, _UNFINISHED


@njit(**_INNER)
def _open(state, t):  # type: ignore[no-untyped-def]
    state.target[t].opened = True
    state.target[t].n_members = len(state.w[t])
    for j in range(len(state.w[t])):
        state.members[t, j] = j
        state.is_member[t, j] = True


@njit(**_INNER)
def _take_changes(gram, members, w_members, w, g):  # type: ignore[no-untyped-def]
    """Change w (p,) into the members' weights w_members, and g (p,) by as much."""
    before = w[members]
    changed = np.flatnonzero(w_members != before)
    deltas = (w_members[changed] - before[changed]).astype(gram.dtype)
    for a in range(len(changed)):  # by just what is applied to g
        b = changed[a]
        w[members[b]] = 0.0 if w_members[b] == 0 else before[b] + deltas[a]
    _apply_all(gram, members[changed], deltas, g)


@njit(**_INNER)
def _judge(problem, state, t, f, solved, tol, max_sweeps):  # type: ignore[no-untyped-def]
    """The gap over all features of a target, and what follows from it."""
    one, g, inverse = state.target[t], state.g[t], problem.inverse[f]
    known = state.members[t, : one.n_members]
    fit = _fit_of(
        problem.c[t][known], problem.penalty[f][known], state.w[t][known], g[known], problem.yy[t]
    )
    one.gap, one.residual = _gap(fit, one.lam, inverse, g), fit[1]
    if one.gap <= tol:
        one.status = _CONVERGED
    elif not np.isfinite(one.gap):
        one.status = _NON_FINITE
    elif one.sweeps >= max_sweeps:
        one.status = _ITERATION_LIMIT
    else:
        one.n_members = _join(
            one.lam, inverse, g, state.is_member[t], state.members[t], one.n_members
        )
        if one.n_members == len(known) and solved:
            one.share *= 0.5
            one.sweeps += 1  # so that rounds that change nothing come to an end


@njit(**_INNER)
def _improve(problem, state, t, f, tol, max_sweeps):  # type: ignore[no-untyped-def]
    """One round: sweeps over the members, their changes applied to the gradient of all features,
    the gap, and the violators of their bounds made members."""
    one, members = state.target[t], state.members[t, : state.target[t].n_members]
    gram, diagonal, c, w, g = problem.gram, problem.diagonal, problem.c[t], state.w[t], state.g[t]
    penalty, inverse = problem.penalty[f], problem.inverse[f]
    free, sweeps, share = problem.free[f, : problem.n_free[f]], max_sweeps - one.sweeps, one.share
    if not one.opened:
        gram = _packed(gram, members, one, state.packed[t])
        diagonal, c, w, g = diagonal[members], c[members], w[members], g[members]
        penalty, inverse, free = penalty[members], inverse[members], np.arange(len(free))
        # Members that are hard to solve for leave sweeps for those that have yet to join.
        sweeps, share = (sweeps + 1) // 2, _MEMBERS_SHARE * one.share
    # The eigenvalues of G among k independent features spread over (1 +- sqrt(k / n))^2; the wider
    # they do, the more over-relaxation saves.
    relax = 1 + min(one.weight_nz / problem.n, _MOST_RELAXATION)
    made, status = _descend(
        gram, diagonal, c, problem.yy[t], penalty, inverse, free, problem.cholesky[f],
        one.lam, share * tol, relax, sweeps, w, g,
    )  # fmt: skip
    one.sweeps += made
    if not one.opened:
        _take_changes(problem.gram, members, w, state.w[t], state.g[t])
    _judge(problem, state, t, f, status == _CONVERGED, tol, max_sweeps)


@njit(**_INNER)
def _solve_one(problem, state, t, lam, tol, max_sweeps):  # type: ignore[no-untyped-def]
    one, f = state.target[t], min(t, len(problem.inverse) - 1)
    _start(problem, state, t, f, lam)
    while one.status == _UNFINISHED:
        if one.n_members > problem.most_packed and not one.opened:
            _open(state, t)
        _improve(problem, state, t, f, tol, max_sweeps)
    one.weight_nz = np.count_nonzero(state.w[t][state.members[t, : one.n_members]])


@njit(cache=True)
def fit_free(problem, state):  # type: ignore[no-untyped-def]
    """Bring all targets, at w = 0, to where only unpenalized features have weights."""
    for t in range(len(state.w)):
        f = min(t, len(problem.inverse) - 1)
        free = problem.free[f, : problem.n_free[f]]
        _fit_free(problem.gram, free, problem.cholesky[f], state.w[t], state.g[t])


@njit(parallel=True, cache=True)
def solve(problem, state, which, lam, tol, max_sweeps):  # type: ignore[no-untyped-def]
    """Bring targets ``which`` (r,) from their last lambda to ``lam`` (r,); one thread a target."""
    # A call, as numba drops what the body of a parallel loop writes to arrays that a tuple holds.
    for a in prange(len(which)):
        _solve_one(problem, state, which[a], lam[a], tol, max_sweeps)


@njit(**_INNER)
def _copy_nonzeros(w, is_member, feature, value):  # type: ignore[no-untyped-def]
    place = 0
    for j in range(len(w)):
        if is_member[j] and w[j] != 0:
            feature[place], value[place] = j, w[j]
            place += 1


@njit(parallel=True, cache=True)
def copy_weights(w, is_member, which, first, feature, value):  # type: ignore[no-untyped-def]
    """Features and values of the non-zero weights of targets ``which`` (r,), those of the a-th
    between places first[a] and first[a + 1]."""
    for a in prange(len(which)):
        t, part = which[a], slice(first[a], first[a + 1])
        _copy_nonzeros(w[t], is_member[t], feature[part], value[part])
