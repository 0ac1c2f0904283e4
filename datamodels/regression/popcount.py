"""X'X of 0/1 masks as exact counts, from bits: count_ij = popcount(column_i AND column_j).

Masks are transposed and packed, 64 rows to a word, one line of words a feature. A pair of features
then costs one AND and one popcount for 64 rows, and the result is an exact integer.
"""

from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from datamodels.regression.blocks import WORD_BITS

_LANES = 8  # words are padded to this: one 512-bit register, so that the word loop has no tail
_TILE_ROWS, _TILE_COLUMNS = 2, 4  # one register tile; features are padded to _TILE_COLUMNS
_BLOCK = 512  # features a block: two blocks of packed lines nearly stay in the second-level cache
_MIN_BLOCK = 64
_PACK_FEATURES = 2048


def _ctpop(typing_context, word):  # type: ignore[no-untyped-def]  # noqa: ARG001
    """LLVM's ctpop: one instruction, and a vector instruction where the machine has it."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]  # noqa: ARG001
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), generate


_popcount: Any = intrinsic(_ctpop)


def packed_shape(n_rows: int, n_features: int) -> tuple[int, int]:
    """Shape (lines, words) of the packed form of ``n_rows`` masks, with its padding."""
    words = -(-n_rows // (WORD_BITS * _LANES)) * _LANES
    lines = -(-n_features // _TILE_COLUMNS) * _TILE_COLUMNS
    return lines, words


def pack_columns(masks: NDArray[Any], packed: NDArray[np.uint64], first_row: int = 0) -> None:
    """Write 0/1 ``masks`` (b, p) into ``packed`` (lines, words) as rows ``first_row`` onwards.

    ``first_row`` is a multiple of 64; whole words are overwritten. Bit r of word w of line j is
    row 64 w + r of feature j; any value but zero is a one.
    """
    if first_row % WORD_BITS:
        raise ValueError(f"first_row={first_row} is not a multiple of {WORD_BITS}")
    ones = masks if masks.dtype == np.bool_ else masks != 0
    _pack(np.ascontiguousarray(ones).view(np.uint8), packed, first_row // WORD_BITS)


def add_counts(packed: NDArray[np.uint64], counts: NDArray[Any], n_rows: int) -> None:
    """Add X'X of the first ``n_rows`` packed rows to the upper triangle of ``counts`` (p, p)."""
    n_words = packed_shape(n_rows, 0)[1]
    _add_counts(packed, counts, n_words, _block_size(len(packed)))


def mirror(counts: NDArray[Any]) -> None:
    """Copy the upper triangle of a square array over the lower one."""
    _mirror(counts)


def pair_counts(masks: NDArray[Any]) -> NDArray[np.int32]:
    """X'X (p, p) of 0/1 ``masks`` (n, p), exact."""
    n, p = masks.shape
    packed = np.zeros(packed_shape(n, p), np.uint64)
    counts = np.zeros((p, p), np.int32)
    pack_columns(masks, packed)
    add_counts(packed, counts, n)
    mirror(counts)
    return counts


def _block_size(lines: int) -> int:
    """At most _BLOCK, and small enough that every thread has several pairs of blocks to count."""
    wanted = max(_MIN_BLOCK, lines // 8)
    return min(_BLOCK, wanted // _TILE_COLUMNS * _TILE_COLUMNS)


@njit(parallel=True, cache=True)
def _pack(ones, packed, first_word):  # type: ignore[no-untyped-def]
    n_rows, n_features = ones.shape
    n_words = (n_rows + WORD_BITS - 1) // WORD_BITS
    n_parts = (n_features + _PACK_FEATURES - 1) // _PACK_FEATURES
    for part in prange(n_words * n_parts):
        word = part // n_parts
        j0 = (part % n_parts) * _PACK_FEATURES
        j1 = min(j0 + _PACK_FEATURES, n_features)
        bits = np.zeros(j1 - j0, np.uint64)
        for row in range(word * WORD_BITS, min((word + 1) * WORD_BITS, n_rows)):
            shift = np.uint64(row - word * WORD_BITS)
            for j in range(j0, j1):
                bits[j - j0] |= np.uint64(ones[row, j]) << shift
        for j in range(j0, j1):
            packed[j, first_word + word] = bits[j - j0]


@njit(parallel=True, cache=True)
def _add_counts(packed, counts, n_words, block):  # type: ignore[no-untyped-def]
    lines = packed.shape[0]
    n_blocks = (lines + block - 1) // block
    for pair in prange(n_blocks * n_blocks):
        i0 = (pair // n_blocks) * block
        j0 = (pair % n_blocks) * block
        if j0 >= i0:
            i1, j1 = min(i0 + block, lines), min(j0 + block, lines)
            _count_block(packed, counts, n_words, i0, i1, j0, j1)


@njit(cache=True)
def _count_block(packed, counts, n_words, i0, i1, j0, j1):  # type: ignore[no-untyped-def]
    for i in range(i0, i1, _TILE_ROWS):
        for j in range(max(j0, i // _TILE_COLUMNS * _TILE_COLUMNS), j1, _TILE_COLUMNS):
            _count_tile(packed, counts, n_words, i, j)


@njit(cache=True, inline="always")
def _count_tile(packed, counts, n_words, i, j):  # type: ignore[no-untyped-def]
    """Eight scalar counts over one loop of words: LLVM keeps each in a vector register."""
    zero = np.uint64(0)
    c00, c01, c02, c03 = zero, zero, zero, zero
    c10, c11, c12, c13 = zero, zero, zero, zero
    for w in range(n_words):
        a0, a1 = packed[i, w], packed[i + 1, w]
        b0, b1, b2, b3 = packed[j, w], packed[j + 1, w], packed[j + 2, w], packed[j + 3, w]
        c00 += _popcount(a0 & b0)
        c01 += _popcount(a0 & b1)
        c02 += _popcount(a0 & b2)
        c03 += _popcount(a0 & b3)
        c10 += _popcount(a1 & b0)
        c11 += _popcount(a1 & b1)
        c12 += _popcount(a1 & b2)
        c13 += _popcount(a1 & b3)
    _add(counts, i, j, c00)
    _add(counts, i, j + 1, c01)
    _add(counts, i, j + 2, c02)
    _add(counts, i, j + 3, c03)
    _add(counts, i + 1, j, c10)
    _add(counts, i + 1, j + 1, c11)
    _add(counts, i + 1, j + 2, c12)
    _add(counts, i + 1, j + 3, c13)


@njit(cache=True, inline="always")
def _add(counts, i, j, count):  # type: ignore[no-untyped-def]
    if i <= j < counts.shape[0]:
        counts[i, j] += counts.dtype.type(count)


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
