"""Standard output and error that lose what a full disk has no room for, and raise nothing.

A launcher keeps what its workers print in files. Were they on a full disk, any ``print`` of the
user's would fail a row that itself fits.
"""

import io
import sys
from typing import Any, TextIO

from datamodels.files import NO_ROOM


class _LenientFile(io.FileIO):
    """A descriptor whose writes succeed on a full disk."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return memoryview(data).nbytes


def be_lenient() -> None:
    """Let nothing that this process prints by ``sys.stdout`` and ``sys.stderr`` fail for room."""
    sys.stdout, sys.stderr = _lenient(sys.stdout), _lenient(sys.stderr)


def _lenient(stream: TextIO) -> TextIO:
    """``stream``, buffered as it was; itself where it is none of Python's own, or closed."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    raw = _LenientFile(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
