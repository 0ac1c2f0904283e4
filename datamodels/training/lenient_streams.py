"""Standard output and error that lose what a full disk has no room for, and raise nothing.

A launcher keeps what its workers print in files. Were they on a full disk, any ``print`` of the
user's would fail a row that itself fits.
"""

import io
import os
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
    sys.stdout = sys.__stdout__ = _lenient(sys.stdout)
    sys.stderr = sys.__stderr__ = _lenient(sys.stderr)


def _lenient(stream: TextIO) -> TextIO:
    stream.flush()
    descriptor = stream.fileno()
    raw = _LenientFile(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=os.isatty(descriptor) or descriptor == 2,
    )
