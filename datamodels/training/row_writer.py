"""Writing one row so that it, and no other, reaches the disk whole.

Rows are written as their exact byte range with ``pwrite`` on descriptors opened
``O_WRONLY | O_DSYNC``, never through a shared map or a readable descriptor: on network file systems
those write back whole pages, and with them this host's stale copy of the neighbours' rows. All
arrays of a row are on the disk before its byte in ``_completed.npy`` is, so a row that is marked
complete is complete, whatever kills the process.
"""

import contextlib
import errno
import fcntl
import os
import struct
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datamodels.errors import DatamodelsError
from datamodels.files import write_all
from datamodels.npy_file import NpyHeader, read_header
from datamodels.training.layout import StoreLayout
from datamodels.training.spec import COMPLETED

_WRITE_ONLY = os.O_WRONLY | getattr(os, "O_DSYNC", os.O_SYNC) | getattr(os, "O_CLOEXEC", 0)
_LOCK_PATIENCE = 60.0  # seconds; a row takes milliseconds to write
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class WriteError(DatamodelsError):
    """A row could not be written; its flag was not set."""


class RowWriter:
    """Writes rows of one store, from any thread. Descriptors stay open between rows."""

    def __init__(self, layout: StoreLayout) -> None:
        self._layout = layout
        self._open: dict[str, tuple[int, NpyHeader]] = {}
        self._headers: dict[str, NpyHeader] = {}
        self._owner = os.getpid()
        self._one_at_a_time = threading.Lock()  # threads share the descriptors that hold the locks
        self._finalizer = weakref.finalize(self, _close_all, self._open)

    def write(
        self, index: int, arrays: Mapping[str, np.ndarray[Any, Any]], *, overwrite: bool
    ) -> bool:
        """Write the arrays of row ``index``, then its flag; False if the row was complete already.

        ``overwrite`` writes a complete row anew: its flag is cleared first. Arrays not given stay
        as they are. Raises WriteError when the disk is full or another process holds the row.
        """
        block = {key: array[None] for key, array in arrays.items()}
        return bool(self.write_block(index, 1, block, overwrite=overwrite)[0])

    def write_block(
        self,
        first: int,
        n_rows: int,
        arrays: Mapping[str, np.ndarray[Any, Any]],
        *,
        overwrite: bool,
    ) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Write the arrays (n_rows, ...) of rows ``first`` and on: each array with one call, and
        then all flags with one. As :meth:`write` for each row; returns which were written."""
        with self._locked(first, n_rows):
            complete = self._flags(first, n_rows)
            if overwrite and complete.any():
                self._pwrite(COMPLETED, first, bytes(n_rows))
            wanted = np.ones(n_rows, bool) if overwrite else ~complete
            for start, stop in _runs(wanted):
                for key, array in arrays.items():
                    self._pwrite(key, first + start, array[start:stop].tobytes())
                self._pwrite(COMPLETED, first + start, b"\1" * (stop - start))
        return wanted

    def write_value(self, index: int, key: str, array: np.ndarray[Any, Any]) -> None:
        """Write one array of row ``index``; its flag stays as it is."""
        with self._locked(index):
            self._pwrite(key, index, array.tobytes())

    def is_complete(self, index: int) -> bool:
        """The flag of one row, read anew from the file."""
        return bool(self._flags(index, 1)[0])

    def _flags(self, first: int, n_rows: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        header = self._header(COMPLETED)
        # A fresh descriptor: NFS promises fresh data only to a file opened after the other's close.
        descriptor = os.open(self._layout.completed, os.O_RDONLY)
        try:
            data = os.pread(descriptor, n_rows, header.row_offset(first))
        finally:
            os.close(descriptor)
        flags: np.ndarray[Any, np.dtype[np.bool_]]
        flags = np.frombuffer(data.ljust(n_rows, b"\0"), np.uint8) != 0
        return flags

    def close(self) -> None:
        """Close all descriptors; they are opened again when needed."""
        _close_all(self._open)

    def _pwrite(self, key: str, index: int, data: bytes) -> None:
        """Write rows ``index`` and on of one array."""
        descriptor, header = self._file(key)
        try:
            write_all(descriptor, header.row_offset(index), data)
        except OSError as error:
            raise WriteError(
                f"row {index}: cannot write {self._layout.array(key)}: {error.strerror}; the row "
                "stays incomplete"
            ) from error

    def _after_fork(self) -> None:
        """In a forked child: locks on inherited descriptors would be shared with the parent."""
        if self._owner != os.getpid():
            self._owner = os.getpid()
            self._one_at_a_time = threading.Lock()  # another thread may have held it at the fork
            self.close()

    def _file(self, key: str) -> tuple[int, NpyHeader]:
        if key not in self._open:
            header = self._header(key)
            self._open[key] = (_open_for_writing(self._layout.array(key)), header)
        return self._open[key]

    def _header(self, key: str) -> NpyHeader:
        if key not in self._headers:
            self._headers[key] = read_header(self._layout.array(key))
        return self._headers[key]

    @contextlib.contextmanager
    def _locked(self, index: int, n_rows: int = 1) -> Iterator[None]:
        """Hold these rows' bytes of the flags: advice that keeps two runs of one row from mixing.

        File systems without locks, and systems without locks that belong to a descriptor, do
        without: the flag is still read just before writing.
        """
        self._layout.refuse_writing()
        self._after_fork()
        with self._one_at_a_time:
            descriptor, header = self._file(COMPLETED)
            offset = header.row_offset(index)
            held = _lock(descriptor, offset, n_rows, index)
            try:
                yield
            finally:
                if held:
                    _set_lock(descriptor, offset, n_rows, fcntl.F_UNLCK)


def _runs(wanted: np.ndarray[Any, np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """Where ``wanted`` (n,) is set without a break: (start, stop) of each stretch."""
    edges = np.flatnonzero(np.diff(wanted, prepend=False, append=False))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _close_all(files: dict[str, tuple[int, NpyHeader]]) -> None:
    while files:
        with contextlib.suppress(OSError):  # closed by somebody else
            os.close(files.popitem()[1][0])


def _open_for_writing(path: Path) -> int:
    try:
        return os.open(path, _WRITE_ONLY)
    except OSError as error:
        raise WriteError(f"cannot open {path} for writing: {error.strerror}") from error


# Locks of the descriptor, not of the process; only Linux's struct flock is known here.
_SET_LOCK: int | None = getattr(fcntl, "F_OFD_SETLK", None) if sys.platform == "linux" else None


def _set_lock(descriptor: int, offset: int, length: int, kind: int) -> None:
    assert _SET_LOCK is not None
    # struct flock of Linux: l_type, l_whence, l_start, l_len, l_pid (0 for descriptor locks)
    flock = struct.pack("hhqqi4x", kind, os.SEEK_SET, offset, length, 0)
    fcntl.fcntl(descriptor, _SET_LOCK, flock)


def _lock(descriptor: int, offset: int, length: int, index: int) -> bool:
    """Lock some bytes; False where there are no such locks."""
    if _SET_LOCK is None:
        return False
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            _set_lock(descriptor, offset, length, fcntl.F_WRLCK)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            if time.monotonic() > deadline:
                raise WriteError(
                    f"row {index} has been held by another process for {_LOCK_PATIENCE:.0f} s; "
                    "end that process or try again later"
                ) from None
            time.sleep(0.01)
        else:
            return True
