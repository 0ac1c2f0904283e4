"""Products of packed 0/1 masks with real numbers, straight from the bits.

X'R by tables ("four Russians"): for 8 rows and as many targets as one 512-bit register holds, the
256 sums of their subsets are formed once; each feature then adds the one that its byte names. X w
by masked additions: a non-zero weight is added to the rows whose bit is set.

Every number of a result is summed in an order of its own, whatever stands beside it: slices of the
targets, and any number of threads, give the same bits as the whole.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from datamodels.regression.blocks import WORD_BITS, Float64s
from datamodels.regression.popcount import Words, aligned_zeros
from datamodels.regression.sparse_rows import SparseRows

FLOAT32_ROWS = 256  # float32 sums of so many rows are added up in float64
_REGISTER = 64  # bytes of a vector register, and of a cache line
_BYTES = 8  # of a word: a table each
_SUBSETS = 256  # of 8 rows
_PANEL_WORDS = 256  # words of all lines that are laid out word by word at a time
_CHUNK, _MIN_CHUNK = 4096, 512  # features whose sums stay in the second-level cache
_BLOCK_WORDS = 64  # words of predictions that stay in the first-level cache
_AT_ONCE = 4  # weights added before a sum is stored

_unpack: Any = cgutils.unpack_tuple


def cross(
    packed: Words, n_rows: int, columns: NDArray[Any], n_features: int, dtype: Any = np.float64
) -> Float64s:
    """X'R (p, t) of the first ``n_rows`` packed rows and R = ``columns`` (n, t).

    Float64 errs by rounding alone. With ``dtype`` float32, at most ``FLOAT32_ROWS`` rows are summed
    in float32, which is twice as fast: an error of at most 16 * 2^-24 * sum_i x_ij |r_it|.
    """
    out = np.zeros((n_features, columns.shape[1]))
    add_cross(packed, n_rows, columns, out, dtype=dtype)
    return out


def add_cross(
    packed: Words,
    n_rows: int,
    columns: NDArray[Any],
    out: Float64s,
    *,
    first_row: int = 0,
    dtype: Any = np.float64,
) -> None:
    """Add X'R of packed rows ``first_row`` to ``first_row + n_rows``, R = ``columns`` (n, t), into
    ``out`` (p, t). ``first_row`` is a multiple of 64."""
    if first_row % WORD_BITS:
        raise ValueError(f"first_row={first_row} is not a multiple of {WORD_BITS}")
    if len(columns) != n_rows:
        raise ValueError(f"columns has {len(columns)} rows, and n_rows={n_rows}")
    p, t = out.shape
    _check_rows(packed, first_row + n_rows)
    if p > len(packed):
        raise ValueError(f"out has {p} features; {len(packed)} lines are packed")
    lanes = _REGISTER // np.dtype(dtype).itemsize
    part_words = FLOAT32_ROWS // WORD_BITS if np.dtype(dtype) == np.float32 else _PANEL_WORDS
    chunk = _chunk_size(p, -(-t // lanes))
    for first in range(0, n_rows, _PANEL_WORDS * WORD_BITS):
        values = _in_lanes(columns[first : first + _PANEL_WORDS * WORD_BITS], lanes, dtype)
        panel = np.empty((values.shape[1] // WORD_BITS, p), np.uint64)
        _lay_out(packed, (first_row + first) // WORD_BITS, panel)
        _add_cross(panel, values, chunk, part_words, out)


def predictions(
    packed: Words, n_rows: int, weights: SparseRows, dtype: Any = np.float64
) -> NDArray[Any]:
    """X w of the first ``n_rows`` packed rows, one target a row: (r, n).

    Weights are added in the order of their features, in ``dtype``: float32 is twice as fast, and
    errs by at most k * 2^-24 * sum_j |w_j| for k non-zero weights.
    """
    _check_rows(packed, n_rows)
    n_words = -(-n_rows // WORD_BITS)
    out = aligned_zeros((weights.n_rows, n_words * WORD_BITS), dtype)
    _predict(packed, n_words, weights.start, weights.feature, weights.value.astype(dtype), out)
    return out[:, :n_rows]


def _check_rows(packed: Words, n_rows: int) -> None:
    held = packed.shape[1] * WORD_BITS
    if n_rows > held:
        raise ValueError(f"{n_rows} rows were asked for; at most {held} are packed")


def _chunk_size(n_features: int, n_blocks: int) -> int:
    """At most _CHUNK, and small enough that every thread has several chunks."""
    wanted = n_features * n_blocks // (4 * numba.get_num_threads())
    return max(_MIN_CHUNK, min(_CHUNK, wanted))


def _in_lanes(columns: NDArray[Any], lanes: int, dtype: Any) -> NDArray[Any]:
    """``columns`` (n, t) by blocks of targets (blocks, rows, lanes), zeros where these end."""
    n, t = columns.shape
    rows = -(-n // WORD_BITS) * WORD_BITS
    values = aligned_zeros((-(-t // lanes), rows, lanes), dtype)
    for block, block_values in enumerate(values):
        part = columns[:, block * lanes : (block + 1) * lanes]
        block_values[:n, : part.shape[1]] = part
    return values


def _sum_of_rows(typing_context, out, to, base, start, table, places):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """out[to] = base[start] + sum over q of table[places[q]], rows of one vector register each."""
    signature = types.void(out, to, base, start, table, places)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        def row(k: int, place: Any) -> Any:
            return _vector(context, builder, signature.args[k], args[k], place, _lanes(out.dtype))

        sums = [builder.load(row(4, place), align=_REGISTER) for place in _unpack(builder, args[5])]
        while len(sums) > 1:
            sums = [builder.fadd(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
        total = builder.fadd(builder.load(row(2, args[3]), align=_REGISTER), sums[0])
        builder.store(total, row(0, args[1]), align=_REGISTER)
        return context.get_dummy_value()

    return signature, generate


def _masked_sums(typing_context, out, place, words, values):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """out[64 place + b] += values[q] where bit b of words[q] is set, for one q after the other."""
    signature = types.void(out, place, words, values)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(context.get_data_type(out.dtype), WORD_BITS)
        bits = ir.VectorType(ir.IntType(1), WORD_BITS)
        row = _vector(context, builder, signature.args[0], args[0], args[1], WORD_BITS)
        total = builder.load(row, align=_REGISTER)
        for word, value in zip(
            _unpack(builder, args[2]),
            _unpack(builder, args[3]),
            strict=True,
        ):
            more = builder.fadd(total, _splat(builder, value, vector))
            total = builder.select(builder.bitcast(word, bits), more, total)
        builder.store(total, row, align=_REGISTER)
        return context.get_dummy_value()

    return signature, generate


_add_rows: Any = intrinsic(_sum_of_rows)
_add_where: Any = intrinsic(_masked_sums)


def _lanes(dtype: Any) -> int:
    return int(_REGISTER * 8 // dtype.bitwidth)


def _vector(context: Any, builder: Any, array_type: Any, array: Any, place: Any, lanes: int) -> Any:
    """Pointer to the place-th vector of ``lanes`` numbers of a contiguous array."""
    data = context.make_array(array_type)(context, builder, array).data
    vector = ir.VectorType(context.get_data_type(array_type.dtype), lanes)
    return builder.gep(builder.bitcast(data, ir.PointerType(vector)), [place])


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    """A vector of one number repeated."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, one, everywhere)


@njit(parallel=True, cache=True)
def _lay_out(packed, first_word, panel):  # type: ignore[no-untyped-def]
    """panel (words, p): the words of some rows, word by word."""
    n_words, p = panel.shape
    side = 512
    for part in prange((p + side - 1) // side):
        for w0 in range(0, n_words, _BYTES):
            for j in range(part * side, min((part + 1) * side, p)):
                for w in range(w0, min(w0 + _BYTES, n_words)):
                    panel[w, j] = packed[j, first_word + w]


@njit(parallel=True, cache=True)
def _add_cross(panel, values, chunk, part_words, out):  # type: ignore[no-untyped-def]
    """One task for every block of targets and chunk of features: ``out`` is added to once."""
    n_words, p = panel.shape
    n_blocks, _, lanes = values.shape
    n_chunks = (p + chunk - 1) // chunk
    for task in prange(n_chunks * n_blocks):
        j0, block = task // n_blocks * chunk, task % n_blocks
        j1 = min(j0 + chunk, p)
        table = _aligned(_BYTES * _SUBSETS, values[block])
        part = _aligned(j1 - j0, values[block])
        total = np.zeros((j1 - j0, lanes))
        for w0 in range(0, n_words, part_words):
            part[:] = 0
            for w in range(w0, min(w0 + part_words, n_words)):
                _sum_subsets(values[block], w * WORD_BITS, table)
                _add_words(panel[w, j0:j1], table, part)
            _add_part(part, total)
        t0 = block * lanes
        for j in range(j0, j1):
            for t in range(t0, min(t0 + lanes, out.shape[1])):
                out[j, t] += total[j - j0, t - t0]


@njit(cache=True)
def _aligned(n, like):  # type: ignore[no-untyped-def]
    """Zeros (n, lanes) of the dtype of ``like``, from the beginning of a register's width on."""
    lanes = like.shape[1]
    memory = np.zeros((n + 1) * lanes, like.dtype)
    first = -np.int64(memory.ctypes.data) % _REGISTER // memory.itemsize
    return memory[first : first + n * lanes].reshape((n, lanes))


@njit(cache=True)
def _sum_subsets(values, first_row, table):  # type: ignore[no-untyped-def]
    """table[256 q + s] = sum of rows first_row + 8 q + b of ``values`` over the set bits b of s."""
    for row in range(_BYTES * 8):
        none, bit = np.uint64(row // 8 * _SUBSETS), np.uint64(1 << row % 8)
        for subset in range(none, none + bit):
            _add_rows(table, subset + bit, table, subset, values, (np.uint64(first_row + row),))


@njit(cache=True)
def _add_words(words, table, part):  # type: ignore[no-untyped-def]
    """part[j] += the sums of the 64 rows that are set in words[j]."""
    byte = np.uint64(_SUBSETS - 1)
    for j in range(len(words)):
        x = words[j]
        places = (
            x & byte,
            np.uint64(256) + ((x >> np.uint64(8)) & byte),
            np.uint64(512) + ((x >> np.uint64(16)) & byte),
            np.uint64(768) + ((x >> np.uint64(24)) & byte),
            np.uint64(1024) + ((x >> np.uint64(32)) & byte),
            np.uint64(1280) + ((x >> np.uint64(40)) & byte),
            np.uint64(1536) + ((x >> np.uint64(48)) & byte),
            np.uint64(1792) + (x >> np.uint64(56)),
        )
        _add_rows(part, np.uint64(j), part, np.uint64(j), table, places)


@njit(cache=True)
def _add_part(part, total):  # type: ignore[no-untyped-def]
    a, b = part.reshape(part.size), total.reshape(total.size)
    for k in range(len(b)):
        b[k] += np.float64(a[k])


@njit(parallel=True, cache=True)
def _predict(packed, n_words, start, feature, value, out):  # type: ignore[no-untyped-def]
    """One task for every target and block of rows."""
    n_blocks = (n_words + _BLOCK_WORDS - 1) // _BLOCK_WORDS
    for task in prange((len(start) - 1) * n_blocks):
        r, w0 = task // n_blocks, task % n_blocks * _BLOCK_WORDS
        w1 = min(w0 + _BLOCK_WORDS, n_words)
        sums = out[r, w0 * WORD_BITS : w1 * WORD_BITS]
        at, stop = start[r], start[r + 1]
        while at + _AT_ONCE <= stop:
            _add_four(packed, w0, w1, feature[at : at + _AT_ONCE], value[at : at + _AT_ONCE], sums)
            at += _AT_ONCE
        for k in range(at, stop):
            line = packed[feature[k], w0:w1]
            for w in range(len(line)):
                _add_where(sums, np.uint64(w), (line[w],), (value[k],))


@njit(cache=True)
def _add_four(packed, w0, w1, feature, value, sums):  # type: ignore[no-untyped-def]
    a, b = packed[feature[0], w0:w1], packed[feature[1], w0:w1]
    c, d = packed[feature[2], w0:w1], packed[feature[3], w0:w1]
    values = (value[0], value[1], value[2], value[3])
    for w in range(len(a)):
        _add_where(sums, np.uint64(w), (a[w], b[w], c[w], d[w]), values)
