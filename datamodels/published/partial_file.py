"""A file of which some byte ranges are there, and a journal that says which.

``x.npy.partial`` is a sparse file of the final size whose ``.npy`` header is written first: numpy
maps it, and what is not there yet reads as zeros. ``x.npy.partial.jsonl`` has a line for the object
that it comes from (bucket, key, ETag, size) and one for each range whose bytes are on the disk,
with their CRC-32. A range is noted after its bytes are safe, so that the journal never promises
what a killed process or a lost machine left unwritten. Once every byte is there the file gets its
final name, and then the journal the name ``x.npy.jsonl``: a record by which later damage is found.
"""

import json
import os
import threading
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import DatamodelsError, InputError, MissingFileError
from datamodels.files import (
    disk_errors,
    is_file_of,
    leftovers_of,
    locked_folder,
    new_file,
    publish,
    refuse_existing,
    sync_folder,
    try_lock,
    write_all,
)
from datamodels.published.byte_ranges import ByteRanges, Range
from datamodels.published.headers_on_disk import local_header
from datamodels.published.layout import PARTIAL, final_of, journal_of, partial_of, record_of


@dataclass(frozen=True)
class Source:
    """The object that a file comes from, in the state that its ETag names."""

    bucket: str
    key: str
    etag: str
    size: int  # bytes


@dataclass(frozen=True)
class Written:
    """A range whose bytes are on the disk."""

    start: int
    stop: int
    crc32: int


@dataclass(frozen=True)
class Journal:
    """What a journal says."""

    source: Source
    written: tuple[Written, ...]
    length: int  # bytes of whole lines; a line that was cut short by a crash may follow

    @property
    def ranges(self) -> ByteRanges:
        """All bytes that are there."""
        return ByteRanges((part.start, part.stop) for part in self.written)


def read_journal(final: Path) -> Journal | None:
    """The journal of the file that is to be ``final``; None where there is none."""
    try:
        return _read(journal_of(final))
    except InputError as error:
        raise InputError(
            f"{error}, so that nothing is known of {partial_of(final)}. Remove both and download "
            "it again"
        ) from None


def read_record(final: Path) -> Journal | None:
    """The record of the download of ``final``, which is whole; None where there is none.

    It is the journal itself where a process was killed just before it renamed that.
    """
    try:
        found = _read(journal_of(final)) if was_just_finished(final) else None
        return found or _read(record_of(final))
    except InputError as error:
        raise InputError(f"{error}; remove it") from None


def was_just_finished(final: Path) -> bool:
    """Whether ``final`` has its name, but the journal beside it is not its record yet."""
    partial = partial_of(final)
    if not (final.is_file() and journal_of(final).is_file()):
        return False
    return not os.path.lexists(partial) or (partial.exists() and partial.samefile(final))


def _read(path: Path) -> Journal | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    length = content.rfind(b"\n") + 1
    try:
        lines = [json.loads(line) for line in content[:length].splitlines()]
        source = Source(**lines[0])
        written = tuple(Written(**line) for line in lines[1:])
        if any(not 0 <= part.start < part.stop <= source.size for part in written):
            raise ValueError("a range outside the file")
    except (ValueError, TypeError, IndexError):
        raise InputError(f"{path} is damaged") from None
    return Journal(source, written, length)


class PartialFile:
    """The ``.partial`` file of ``final``, open for writing by this process alone.

    Several threads may call :meth:`write` at a time.
    """

    def __init__(self, final: Path) -> None:
        """Open what :meth:`create` made; MissingFileError where it made nothing.

        DatamodelsError where another process is at work on it: not one that tidies up, which is
        waited for.
        """
        self.final = final
        self.path = partial_of(final)
        self._journal = journal_of(final)
        self._lock = threading.Lock()
        with locked_folder(final.parent):  # remove_leftovers takes the journal's lock in there
            try:
                self._notes = os.open(self._journal, os.O_WRONLY)
            except FileNotFoundError:
                raise MissingFileError(f"no journal {self._journal}") from None
            try:
                self._open()
            except BaseException:
                os.close(self._notes)
                raise

    def _open(self) -> None:
        if try_lock(self._notes) is False or not is_file_of(self._notes, self._journal):
            raise DatamodelsError(
                f"another process is downloading {self.final}; wait until it ends, or stop it"
            )
        journal = read_journal(self.final)
        if journal is None:
            raise MissingFileError(f"no journal {self._journal}")
        self.source = journal.source
        self.ranges = journal.ranges
        self._length = journal.length
        with disk_errors(self._journal):
            os.ftruncate(self._notes, self._length)  # a line that a crash cut short
        if not self.path.is_file() or self.path.stat().st_size != self.source.size:
            raise InputError(
                f"{self.path} is not the file of {self.source.size} bytes that its journal is "
                "about. Remove both and download it again"
            )
        with disk_errors(self.path):
            self._file = os.open(self.path, os.O_RDWR)

    @classmethod
    def create(cls, final: Path, source: Source, header: bytes = b"") -> "PartialFile":
        """Begin the file of ``source``, whose first bytes are ``header``."""
        with disk_errors(partial_of(final)):
            final.parent.mkdir(parents=True, exist_ok=True)
        with locked_folder(final.parent):
            refuse_existing(final)
            refuse_existing(journal_of(final))  # of a .partial file without one nothing is known
            _begin(final, source, header)
        return cls(final)

    def missing(self, start: int = 0, stop: int | None = None) -> list[Range]:
        """Ranges of ``start`` to ``stop - 1`` (to the end) that are not there, in order."""
        return self.ranges.missing(start, self.source.size if stop is None else stop)

    def write(self, offset: int, content: bytes | bytearray | memoryview) -> None:
        """Put ``content`` at ``offset``: once this returns it is there, whatever happens then."""
        part = Written(offset, offset + len(content), zlib.crc32(content))
        if not 0 <= part.start <= part.stop <= self.source.size:
            raise ValueError(f"{part} is not within {self.source.size} bytes")
        if not len(content):
            return
        with disk_errors(self.path, len(content)):
            write_all(self._file, offset, content)
            os.fsync(self._file)
        with self._lock, disk_errors(self._journal):
            line = _line(asdict(part))
            try:
                write_all(self._notes, self._length, line)
                os.fsync(self._notes)
            except OSError:
                os.ftruncate(self._notes, self._length)  # no half a line in the midst of others
                raise
            self._length += len(line)
            self.ranges.add(part.start, part.stop)

    def finish(self) -> None:
        """Give the file its final name; every byte must be there."""
        if gaps := self.missing():
            raise ValueError(f"{self.path} lacks {gaps}")
        with disk_errors(self.final):
            os.fsync(self._file)
            publish(self.path, self.final)
            sync_folder(self.final.parent)
            _keep_record(self.final)
        self.close()

    def close(self) -> None:
        """Let go of the file; it stays as it is."""
        for descriptor in (self._file, self._notes):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._notes = -1

    def __enter__(self) -> "PartialFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _begin(final: Path, source: Source, header: bytes) -> None:
    """The sparse file of ``source``, and then its journal."""
    path, journal = partial_of(final), journal_of(final)
    with disk_errors(path, source.size):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            os.ftruncate(file, source.size)
            write_all(file, 0, header)
            os.fsync(file)
        finally:
            os.close(file)
    lines = [_line(asdict(source))]
    if header:
        lines.append(_line(asdict(Written(0, len(header), zlib.crc32(header)))))
    with new_file(journal) as temporary, disk_errors(journal):
        temporary.write_bytes(b"".join(lines))


def remove_leftovers(final: Path) -> None:
    """Put in order what a process left that was killed while the file was begun, or got its final
    name. What a process is at work on is left alone."""
    with locked_folder(final.parent):
        for temporary in leftovers_of(journal_of(final)):
            temporary.unlink()
        try:
            notes = os.open(journal_of(final), os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            if try_lock(notes) is not False:
                _put_in_order(final)
        finally:
            os.close(notes)


def _put_in_order(final: Path) -> None:
    if is_empty_claim(final):
        final.unlink()
    if was_just_finished(final):
        partial_of(final).unlink(missing_ok=True)
        _keep_record(final)


def is_empty_claim(final: Path) -> bool:
    """Whether ``final`` is but a name that was claimed for the ``.partial`` file, as
    :func:`datamodels.files.publish` does where there are no hard links."""
    waiting = partial_of(final).is_file() and journal_of(final).is_file()
    return waiting and final.is_file() and not final.stat().st_size


def _keep_record(final: Path) -> None:
    """Let the journal be the record, in the place of one of a file that was there before."""
    with suppress(FileNotFoundError):  # another download of the same files put it in order
        journal_of(final).replace(record_of(final))
    sync_folder(final.parent)


def present_file(final: Path) -> Path | None:
    """Where the bytes of ``final`` are: there, in its ``.partial`` file, or nowhere (None)."""
    if final.is_file() and not is_empty_claim(final):
        return final
    if partial_of(final).is_file() and journal_of(final).is_file():
        return partial_of(final)
    return None


def complete_rows(path: Path) -> NDArray[np.bool_]:
    """Which rows of a ``.npy`` file or of a ``.npy.partial`` file are there whole, bool (n_rows,).

    All of a file that has its final name are.
    """
    header = local_header(path)
    n_rows = header.shape[0] if header.shape else 0
    if not path.name.endswith(PARTIAL) or not header.row_bytes:
        return np.ones(n_rows, bool)
    journal = read_journal(final_of(path))
    if journal is None:
        raise MissingFileError(
            f"{path} has no journal {journal_of(final_of(path))}, so that nothing is known of its "
            "rows; download it again"
        )
    complete = np.zeros(n_rows, bool)
    for start, stop in journal.ranges.ranges:
        first = max(0, -(-(start - header.offset) // header.row_bytes))  # rounded up
        last = max(0, (stop - header.offset) // header.row_bytes)
        complete[first:last] = True
    return complete


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
