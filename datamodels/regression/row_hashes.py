"""A hash of every row as it is read: what tells one data set from another.

A row's hash is BLAKE2b, 8 bytes of it, over its mask (one bit an entry where all entries are zeros
and ones, whatever their dtype, and float64 otherwise) and over all of its outputs as the source
gives them, float32 or float64. It depends on nothing else: not on the place of the row, nor on the
block it was read in.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.regression.blocks import Int64s
from datamodels.regression.row_source import Outputs, RowSource, WrappedSource

Hashes = NDArray[np.uint64]


class HashedSource(WrappedSource):
    """The rows of a source, hashed as they pass."""

    def __init__(self, source: RowSource) -> None:
        super().__init__(source)
        self._hashes: Hashes = np.zeros(source.n_rows, np.uint64)

    def read(self, rows: Int64s) -> tuple[NDArray[Any], Outputs]:
        masks, outputs = self._source.read(rows)
        self._hashes[rows] = hashes_of(masks, outputs)
        return masks, outputs

    def hashes(self, rows: Int64s) -> Hashes:
        """Those of ``rows`` (n,), all of which were read."""
        return self._hashes[rows]


def hashes_of(masks: NDArray[Any], outputs: Outputs) -> Hashes:
    """Hashes (n,) of rows of masks (n, p) and outputs (n, t)."""
    if masks.dtype == np.bool_:  # comparing bools with numbers takes longer than all the rest
        ones, binary = masks, np.ones(len(masks), np.bool_)
    else:
        ones = masks == 1
        binary = ((masks == 0) | ones).all(axis=1)  # (n,)
    bits = np.packbits(ones, axis=1)
    y = np.ascontiguousarray(outputs, outputs.dtype.newbyteorder("<"))
    hashes = np.empty(len(masks), np.uint64)
    for i in range(len(masks)):
        mask = bits[i] if binary[i] else masks[i].astype("<f8")
        digest = hashlib.blake2b(mask.tobytes(), digest_size=8)
        digest.update(y[i].tobytes())
        hashes[i] = int.from_bytes(digest.digest(), "little")
    return hashes
