"""Random words that are a function of (stream, seed, index) alone.

Every random choice that must be repeatable elsewhere (the subset of row i, a bootstrap resample)
starts from here. The words come from the counter-based generator Philox4x64-10 (Salmon, Moraes,
Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011) exactly as published, so they
are the same on every machine, byte order and numpy version. The methods of numpy's ``Generator``
are not used: numpy may change what they draw (NEP 19).
"""

import operator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import UsageError

WORD_LIMIT: Final = 2**64


def stream_words(stream: str, *, seed: int, index: int, count: int) -> NDArray[np.uint64]:
    """The first ``count`` words of row ``index`` of a stream: independent uniform 64-bit integers.

    Philox's key is (seed, name of the stream) and its counter (block, index, 0, 0), block from 1
    on, so rows, seeds and streams never share a block, and a longer row begins with a shorter one.

    Args:
        stream: what the words are for: 1 to 8 ASCII characters, a constant of the code.
        seed, index: integers from 0 to 2^64 - 1.
        count: how many words.

    Returns:
        uint64 of shape (count,).

    Raises:
        UsageError: ``seed`` or ``index`` is no integer or out of its range.
    """
    tag = stream.encode("ascii")
    if not 1 <= len(tag) <= 8:
        raise ValueError(f"a stream's name has 1 to 8 ASCII characters, not {stream!r}")
    key = np.array([checked_word("seed", seed), int.from_bytes(tag, "little")], dtype=np.uint64)
    # numpy steps the counter before it draws: the first block drawn is block 1.
    counter = np.array([0, checked_word("index", index), 0, 0], dtype=np.uint64)
    words: NDArray[np.uint64] = np.random.Philox(key=key, counter=counter).random_raw(count)
    return words


def checked_word(name: str, value: int) -> int:
    """``value`` as an int, refused unless it is an integer from 0 to 2^64 - 1."""
    try:
        number = operator.index(value)
    except TypeError:
        raise UsageError(f"{name}={value!r} is not an integer") from None
    if not 0 <= number < WORD_LIMIT:
        raise UsageError(f"{name}={number} is out of range: it must be from 0 to 2^64 - 1")
    return number
