"""Reading many rows of one array at a time, as the bytes they are, with plain reads.

A map of a file on a failing disk or server ends the process (SIGBUS); a read is an error.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.npy_file import NpyHeader, read_header

Progress = Callable[[str, int, int], None]  # stage, done, of how many

_BLOCK_BYTES = 1 << 24  # what is read at a time
_BLOCK_ROWS = 1 << 20


class RowBlocks:
    """The rows of one ``.npy`` file, opened now; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.header: NpyHeader = read_header(path)
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def read(self, first: int, end: int) -> NDArray[np.uint8]:
        """Rows ``first`` to ``end`` - 1 as bytes (end - first, row_bytes)."""
        block = np.empty((end - first, self.header.row_bytes), np.uint8)
        rest, offset = block.reshape(-1), self.header.row_offset(first)
        while rest.size:  # one call reads 2 GiB at most
            count = os.preadv(self._descriptor, [rest.data], offset)
            if count == 0:
                raise InputError(f"{self._path} ends before row {end - 1}")
            rest, offset = rest[count:], offset + count
        return block

    def __enter__(self) -> "RowBlocks":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def block_bounds(header: NpyHeader, rows: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and end of blocks of a few megabytes that hold all of the flagged ``rows`` (n,); what
    lies between them may be read along, but no long stretch of it."""
    step = max(1, min(_BLOCK_BYTES // max(header.row_bytes, 1), _BLOCK_ROWS))
    for begin in range(0, len(rows), step):
        here = np.flatnonzero(rows[begin : begin + step])
        if here.size:
            yield begin + int(here[0]), begin + int(here[-1]) + 1


def in_words(block: NDArray[np.uint8]) -> NDArray[Any]:
    """The same bytes in the widest integers that rows consist of: quicker to look through."""
    for dtype in (np.uint64, np.uint32, np.uint16):
        if block.shape[1] and block.shape[1] % np.dtype(dtype).itemsize == 0:
            return block.view(dtype)
    return block
