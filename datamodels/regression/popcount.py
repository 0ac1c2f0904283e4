"""X'X of 0/1 masks as exact counts, from bits: count_ij = popcount(column_i AND column_j).

Masks are transposed and packed, 64 rows to a word, one line of words a feature. A pair of features
then costs one AND and one popcount for 64 rows, and the result is an exact integer.
"""

from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from datamodels.regression.blocks import WORD_BITS, Int64s

Words = NDArray[np.uint64]

_LANES = 8  # words are padded to this: one 512-bit register, so that the word loop has no tail
_TILE = 8  # features counted against one other at a time; lines are padded to this
_BLOCK = 256  # features a block, and words of each: two blocks fill a second-level cache of 1 MB
_BLOCK_WORDS = 256
_MIN_BLOCK = 64
_PACK_FEATURES = 512
_CACHE_LINE = 64  # bytes


def _ctpop(typing_context, word):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """LLVM's ctpop: one instruction, and a vector instruction where the machine has it."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]  # noqa: ARG001
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), generate


_popcount: Any = intrinsic(_ctpop)


def aligned_zeros(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Zeros that begin at a cache line: vectors across two of them take twice as long to load."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + _CACHE_LINE, np.uint8)
    first = -memory.ctypes.data % _CACHE_LINE
    zeros: NDArray[Any] = memory[first : first + size].view(dtype).reshape(shape)
    return zeros


def packed_shape(n_rows: int, n_features: int) -> tuple[int, int]:
    """Shape (lines, words) of the packed form of ``n_rows`` masks, with its padding."""
    words = -(-n_rows // (WORD_BITS * _LANES)) * _LANES
    lines = -(-n_features // _TILE) * _TILE
    return lines, words


def packed_zeros(n_rows: int, n_features: int) -> Words:
    """Packed masks (lines, words), all zero, to be filled by :func:`pack_columns`."""
    packed: Words = aligned_zeros(packed_shape(n_rows, n_features), np.uint64)
    return packed


def pack_columns(masks: NDArray[Any], packed: Words, first_row: int = 0) -> None:
    """Write 0/1 ``masks`` (b, p) into ``packed`` (lines, words) as rows ``first_row`` onwards.

    ``first_row`` is a multiple of 64; whole words are overwritten. Bit r of word w of line j is
    row 64 w + r of feature j; any value but zero is a one.
    """
    if first_row % WORD_BITS:
        raise ValueError(f"first_row={first_row} is not a multiple of {WORD_BITS}")
    ones = masks if masks.dtype == np.bool_ else masks != 0
    _pack(np.ascontiguousarray(ones).view(np.uint8), packed, first_row // WORD_BITS)


def unpack_columns(packed: Words, features: Int64s, n_rows: int) -> NDArray[np.uint8]:
    """Columns of some features as zeros and ones, one a row: (a, n_rows)."""
    lines = np.ascontiguousarray(packed[features]).view(np.uint8)
    return np.unpackbits(lines, axis=1, count=n_rows, bitorder="little")


def take_lines(packed: Words, features: Int64s) -> Words:
    """The packed form of some features alone, with padding of its own."""
    lines, _ = packed_shape(0, len(features))
    taken: Words = aligned_zeros((lines, packed.shape[1]), np.uint64)
    taken[: len(features)] = packed[features]
    return taken


def add_counts(packed: Words, counts: NDArray[Any], n_rows: int, sign: int = 1) -> None:
    """Add X'X of the first ``n_rows`` packed rows to the upper triangle of ``counts`` (p, p), or
    take it away (``sign`` -1)."""
    lines, n_words = packed_shape(n_rows, len(counts))
    if packed.shape[0] != lines or packed.shape[1] < n_words:
        raise ValueError(
            f"packed is {packed.shape}; {n_rows} rows of {len(counts)} features are "
            f"{(lines, n_words)}"
        )
    _add_counts(packed, counts, n_words, _block_size(lines), sign)


def mirror(counts: NDArray[Any]) -> None:
    """Copy the upper triangle of a square array over the lower one."""
    _mirror(counts)


def pair_counts(masks: NDArray[Any]) -> NDArray[np.int32]:
    """X'X (p, p) of 0/1 ``masks`` (n, p), exact."""
    n, p = masks.shape
    packed = packed_zeros(n, p)
    counts = np.zeros((p, p), np.int32)
    pack_columns(masks, packed)
    add_counts(packed, counts, n)
    mirror(counts)
    return counts


def pair_products(packed: Words, features: Int64s) -> NDArray[np.int32]:
    """X_A'X_A (a, a) of some features over all packed rows, exact; they may repeat."""
    a = len(features)
    lines = take_lines(packed, features)
    counts = np.zeros((a, a), np.int32)
    add_counts(lines, counts, packed.shape[1] * WORD_BITS)
    mirror(counts)
    return counts


def _block_size(lines: int) -> int:
    """At most _BLOCK, and small enough that every thread has several pairs of blocks to count."""
    wanted = max(_MIN_BLOCK, lines // 8)
    return min(_BLOCK, wanted // _TILE * _TILE)


@njit(parallel=True, cache=True)
def _pack(ones, packed, first_word):  # type: ignore[no-untyped-def]
    """Eight words of a line at a time: they are one cache line."""
    n_rows, n_features = ones.shape
    n_words = (n_rows + WORD_BITS - 1) // WORD_BITS
    n_groups = (n_words + _LANES - 1) // _LANES
    n_parts = (n_features + _PACK_FEATURES - 1) // _PACK_FEATURES
    for part in prange(n_groups * n_parts):
        w0 = (part // n_parts) * _LANES
        w1 = min(w0 + _LANES, n_words)
        j0 = (part % n_parts) * _PACK_FEATURES
        j1 = min(j0 + _PACK_FEATURES, n_features)
        bits = np.zeros((_LANES, j1 - j0), np.uint64)
        for word in range(w0, w1):
            _gather_bits(ones[word * WORD_BITS : (word + 1) * WORD_BITS, j0:j1], bits[word - w0])
        for j in range(j1 - j0):
            for word in range(w1 - w0):
                packed[j0 + j, first_word + w0 + word] = bits[word, j]


@njit(cache=True)
def _gather_bits(ones, bits):  # type: ignore[no-untyped-def]
    """Row r of ``ones`` (64 or fewer, features) becomes bit r; eight rows meet in bytes first."""
    n_rows, n_features = ones.shape
    byte = np.empty(n_features, np.uint8)
    for first in range(0, n_rows, 8):
        byte[:] = 0
        for row in range(first, min(first + 8, n_rows)):
            line, shift = ones[row], np.uint8(row - first)
            for j in range(n_features):
                byte[j] |= np.uint8(line[j] << shift)
        for j in range(n_features):
            bits[j] |= np.uint64(byte[j]) << np.uint64(first)


@njit(parallel=True, cache=True)
def _add_counts(packed, counts, n_words, block, sign):  # type: ignore[no-untyped-def]
    lines = packed.shape[0]
    pairs = _block_pairs((lines + block - 1) // block)
    for pair in prange(len(pairs)):
        i0, j0 = pairs[pair, 0] * block, pairs[pair, 1] * block
        i1, j1 = min(i0 + block, lines), min(j0 + block, lines)
        for first in range(0, n_words, _BLOCK_WORDS):
            n = min(_BLOCK_WORDS, n_words - first)
            _count_block(packed, counts, first, n, i0, i1, j0, j1, sign)


@njit(cache=True)
def _block_pairs(n_blocks):  # type: ignore[no-untyped-def]
    """Pairs (i, j) with i <= j: nothing but work, so that equal shares of them are equal work."""
    pairs = np.empty((n_blocks * (n_blocks + 1) // 2, 2), np.int64)
    n = 0
    for i in range(n_blocks):
        for j in range(i, n_blocks):
            pairs[n, 0], pairs[n, 1] = i, j
            n += 1
    return pairs


@njit(cache=True)
def _count_block(packed, counts, first, n_words, i0, i1, j0, j1, sign):  # type: ignore[no-untyped-def]
    for i in range(i0, i1, _TILE):
        for j in range(max(j0, i), j1):
            _count_tile(packed, counts, first, n_words, i, j, sign)


@njit(cache=True, inline="always")
def _count_tile(packed, counts, first, n_words, i, j, sign):  # type: ignore[no-untyped-def]
    """Eight scalar counts over one loop of words: LLVM keeps each in a vector register.

    The eight lines stay in the first-level cache while j runs on. Inlined by numba, their
    addresses are worked out once for all j: a tenth of the time.
    """
    words = slice(first, first + n_words)
    a0, a1, a2, a3 = (
        packed[i, words],
        packed[i + 1, words],
        packed[i + 2, words],
        packed[i + 3, words],
    )
    a4, a5, a6, a7 = (
        packed[i + 4, words],
        packed[i + 5, words],
        packed[i + 6, words],
        packed[i + 7, words],
    )
    b = packed[j, words]
    zero = np.uint64(0)
    c0, c1, c2, c3, c4, c5, c6, c7 = zero, zero, zero, zero, zero, zero, zero, zero
    for w in range(n_words):
        c0 += _popcount(a0[w] & b[w])
        c1 += _popcount(a1[w] & b[w])
        c2 += _popcount(a2[w] & b[w])
        c3 += _popcount(a3[w] & b[w])
        c4 += _popcount(a4[w] & b[w])
        c5 += _popcount(a5[w] & b[w])
        c6 += _popcount(a6[w] & b[w])
        c7 += _popcount(a7[w] & b[w])
    _add(counts, i, j, c0, sign)
    _add(counts, i + 1, j, c1, sign)
    _add(counts, i + 2, j, c2, sign)
    _add(counts, i + 3, j, c3, sign)
    _add(counts, i + 4, j, c4, sign)
    _add(counts, i + 5, j, c5, sign)
    _add(counts, i + 6, j, c6, sign)
    _add(counts, i + 7, j, c7, sign)


@njit(cache=True, inline="always")
def _add(counts, i, j, count, sign):  # type: ignore[no-untyped-def]
    if i <= j < counts.shape[0]:
        counts[i, j] += counts.dtype.type(sign * np.int64(count))


@njit(parallel=True, cache=True)
def _mirror(counts):  # type: ignore[no-untyped-def]
    p = counts.shape[0]
    side = 64
    n_blocks = (p + side - 1) // side
    for bi in prange(n_blocks):
        for bj in range(bi + 1):
            for i in range(bi * side, min((bi + 1) * side, p)):
                for j in range(bj * side, min((bj + 1) * side, i)):
                    counts[i, j] = counts[j, i]
