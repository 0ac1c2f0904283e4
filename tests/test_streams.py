"""The random words under every repeatable choice: the published Philox, addressed as documented."""

import numpy as np
import pytest

from datamodels.errors import UsageError
from datamodels.streams import stream_words

WORD = 2**64 - 1


def philox_block(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 as published, one block at a time in Python's integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & WORD, (p0 >> 64) ^ c3 ^ k1, p0 & WORD
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & WORD, (k1 + 0xBB67AE8584CAA73B) & WORD
    return [c0, c1, c2, c3]


KNOWN_ANSWERS = [  # Random123's kat_vectors, philox4x64 10: counter, key, block
    (
        [0] * 4,
        [0] * 2,
        [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B],
    ),
    (
        [WORD] * 4,
        [WORD] * 2,
        [0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0],
    ),
    (
        [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89],
        [0x452821E638D01377, 0xBE5466CF34E90C6C],
        [0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6],
    ),
]


@pytest.mark.parametrize(("counter", "key", "block"), KNOWN_ANSWERS)
def test_oracle_and_numpy_give_the_published_vectors(counter, key, block):
    assert philox_block(counter, key) == block
    before = sum(word << 64 * place for place, word in enumerate(counter)) - 1
    before %= 2**256
    numpy_counter = np.array([before >> 64 * place & WORD for place in range(4)], dtype=np.uint64)
    philox = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=numpy_counter)
    assert philox.random_raw(4).tolist() == block


@pytest.mark.parametrize("seed", [0, 7, WORD])
@pytest.mark.parametrize("index", [0, 1, 299_999, WORD])
def test_words_are_philox_at_the_documented_counter(seed, index):
    key = [seed, int.from_bytes(b"test", "little")]
    words = stream_words("test", seed=seed, index=index, count=12).reshape(3, 4)
    for block in (1, 2, 3):
        assert words[block - 1].tolist() == philox_block([block, index, 0, 0], key)


def test_a_longer_row_begins_with_the_shorter():
    long = stream_words("test", seed=3, index=4, count=101)
    np.testing.assert_array_equal(stream_words("test", seed=3, index=4, count=10), long[:10])


def test_rows_seeds_and_streams_share_no_word():
    rows = [
        stream_words(stream, seed=seed, index=index, count=50)
        for stream in ("one", "two")
        for seed in (0, 1)
        for index in (0, 1)
    ]
    assert len(np.unique(rows)) == 8 * 50


def test_numpy_integers_are_integers():
    a = stream_words("test", seed=np.uint64(5), index=np.int32(6), count=3)
    np.testing.assert_array_equal(a, stream_words("test", seed=5, index=6, count=3))


@pytest.mark.parametrize("bad", [-1, 2**64, 1.5, "3", None])
@pytest.mark.parametrize("name", ["seed", "index"])
def test_bad_seed_or_index_is_named(name, bad):
    good = {"seed": 0, "index": 0}
    with pytest.raises(UsageError, match=f"{name}="):
        stream_words("test", **{**good, name: bad}, count=4)
