"""Whether what lies in a folder of published files is what it says it is."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import DatamodelsError, InputError, MissingFileError
from datamodels.files import leftovers_of
from datamodels.published.byte_ranges import Range
from datamodels.published.catalogue import PublishedFile, published_files
from datamodels.published.headers_on_disk import local_header
from datamodels.published.layout import PublishedLayout, journal_of, partial_of, record_of
from datamodels.published.partial_file import (
    Journal,
    complete_rows,
    is_empty_claim,
    read_journal,
    read_record,
    was_just_finished,
)
from datamodels.published.remote_header import catalogue_difference
from datamodels.published.tables import rows_text

_BLOCK = 2**22  # bytes read at a time
_PICKLE = b"\x80"  # begins a pickle
_MOST_RANGES = 4  # that a table has room for

Read = Callable[[int, int], object]  # told bytes read, and bytes to read


@dataclass(frozen=True)
class Checked:
    """What was found of one published file."""

    key: str
    there: str  # "all", "rows 0-999 of 310000", "3% of it" or "nothing"
    whole: bool  # whether it has its final name
    size: int  # bytes that are there
    faults: tuple[str, ...]  # what is wrong
    remarks: tuple[str, ...]  # what is only other than published


def check_folder(root: Path, progress: Read) -> list[Checked]:
    """Check every published file in ``root``, partial ones too; MissingFileError where none is.

    Of files with the record of their download, and of partial ones with their journal: the
    checksums of all ranges that it notes. Of other ``.npy`` files: header and length. Of other
    ``.pt`` files: the checksums that the archive has of its parts.
    """
    layout = PublishedLayout(root)
    there = [
        (published, layout.file(published.key))
        for published in published_files()
        if _traces(layout.file(published.key))
    ]
    if not there:
        raise MissingFileError(
            f"{root} holds no published file: they would be in {root / 'cifar' / 'data'} and the "
            "like. Name the folder that was --download.root"
        )
    reading = _Reading(sum(_bytes_to_read(final) for _, final in there), progress)
    return [_check(published, final, reading) for published, final in there]


@dataclass
class _Reading:
    """Bytes read so far, of all."""

    total: int
    progress: Read
    done: int = 0

    def add(self, size: int) -> None:
        self.done += size
        self.progress(min(self.done, self.total), self.total)


def _traces(final: Path) -> list[Path]:
    return [path for path in (final, partial_of(final), journal_of(final)) if path.exists()]


def _bytes_to_read(final: Path) -> int:
    with suppress(DatamodelsError):
        notes = read_record(final) if final.exists() else read_journal(final)
        if notes is not None:
            return sum(part.stop - part.start for part in notes.written)
    return final.stat().st_size if final.exists() and final.suffix == ".pt" else 0


def _check(published: PublishedFile, final: Path, reading: _Reading) -> Checked:
    found = _found(published, final, reading)
    left = [
        f"{path} was left by a process that was killed; the same download tidies up"
        for path in leftovers_of(journal_of(final))
    ]
    return replace(found, remarks=(*found.remarks, *left))


def _found(published: PublishedFile, final: Path, reading: _Reading) -> Checked:
    try:
        if final.exists() and not is_empty_claim(final):
            return _whole(published, final, reading)
        return _not_whole(published, final, reading)
    except DatamodelsError as error:
        fault = str(error)
    except OSError as error:  # one file that cannot be read is no reason to look at no other
        fault = (
            f"{error.filename or final} cannot be read ({error.strerror}): let yourself read it, "
            "or remove it and download it again"
        )
    return Checked(published.key, "nothing", whole=False, size=0, faults=(fault,), remarks=())


def _not_whole(published: PublishedFile, final: Path, reading: _Reading) -> Checked:
    partial, journal = partial_of(final), journal_of(final)
    if not journal.exists():
        raise InputError(f"{partial} has no journal, so that nothing is known of it: remove it")
    if not partial.exists():
        raise InputError(f"{journal} is there without {partial.name}: remove it")
    content = read_journal(final)
    assert content is not None  # it exists
    return _part(published, partial, content, reading)


def _whole(published: PublishedFile, final: Path, reading: _Reading) -> Checked:
    faults, remarks = _faults_of_whole(published, final, reading)
    rest = [path for path in (partial_of(final), journal_of(final)) if path.exists()]
    if rest and was_just_finished(final):
        remarks.append(
            f"a download was killed just after {final} got its name; the same command tidies up"
        )
    elif rest:
        names = " and ".join(map(str, rest))
        faults.append(f"{final} is there, and beside it {names}: remove the rest")
    size = final.stat().st_size
    return Checked(published.key, "all", True, size, tuple(faults), tuple(remarks))


def _faults_of_whole(
    published: PublishedFile, final: Path, reading: _Reading
) -> tuple[list[str], list[str]]:
    """Faults and remarks."""
    remarks = []
    try:
        record = read_record(final)
    except DatamodelsError as error:
        remarks.append(str(error))
        record = None
    if published.is_array:
        try:
            difference = catalogue_difference(published, local_header(final))
        except DatamodelsError as error:
            return [str(error)], remarks
        remarks += [difference] if difference else []
    elif not zipfile.is_zipfile(final) and _first_byte(final) != _PICKLE:
        return [
            f"{final} is no file of torch.save, or cut short. Remove it and download it again"
        ], remarks
    if record is not None:
        return list(_record_faults(final, record, reading)), remarks
    if published.is_array:
        remarks.append(f"{final} has no {_no_record(final)}: only header and length were looked at")
    elif zipfile.is_zipfile(final):
        return list(_archive_faults(final, reading)), remarks
    else:
        remarks.append(
            f"{final} has no {_no_record(final)}, and is of the kind that torch saved before 1.6, "
            "without checksums: nothing but its first byte was looked at"
        )
    return [], remarks


def _no_record(final: Path) -> str:
    return f"record of its download ({record_of(final).name})"


def _record_faults(final: Path, record: Journal, reading: _Reading) -> Iterator[str]:
    size = final.stat().st_size
    if size != record.source.size:
        yield (
            f"{final} has {size} bytes, and {record.source.size} were downloaded. Remove it and "
            "download it again"
        )
    elif bad := _other_bytes(final, record, reading):
        yield (
            f"{final} has other bytes than were downloaded at {bad}. Remove it and download it "
            f"again; if you put it there yourself, remove {record_of(final).name}, which is about "
            "another"
        )


def _first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)


def _archive_faults(path: Path, reading: _Reading) -> Iterator[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as part:
                    while block := part.read(_BLOCK):
                        reading.add(len(block))
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError) as error:
        yield f"{path} is damaged ({error}). Remove it and download it again"


def _part(published: PublishedFile, partial: Path, journal: Journal, reading: _Reading) -> Checked:
    have = len(journal.ranges)
    share = f"{100 * have / max(1, journal.source.size):.0f}% of it"
    size = partial.stat().st_size
    if size != journal.source.size:
        fault = f"{partial} has {size} bytes, and its journal is about {journal.source.size}: "
        return Checked(published.key, share, False, have, (f"{fault}remove both",), ())
    faults, remarks = [], []
    if bad := _other_bytes(partial, journal, reading):
        faults.append(
            f"{partial} has other bytes than were written at {bad}. Remove it and "
            f"{partial.name}.jsonl, and download it again"
        )
    if published.is_array:
        header = local_header(partial)
        share = _rows_there(complete_rows(partial))
        remarks.append(catalogue_difference(published, header))
    return Checked(published.key, share, False, have, tuple(faults), tuple(filter(None, remarks)))


def _other_bytes(path: Path, notes: Journal, reading: _Reading) -> str:
    """The ranges whose bytes are not those that were noted, in short; empty where all are."""
    bad = []
    with path.open("rb") as file:
        for part in notes.written:
            file.seek(part.start)
            crc, rest = 0, part.stop - part.start
            while rest and (block := file.read(min(rest, _BLOCK))):
                crc, rest = zlib.crc32(block, crc), rest - len(block)
                reading.add(len(block))
            if crc != part.crc32:
                bad.append(f"{part.start}-{part.stop - 1}")
    return ", ".join(bad[:_MOST_RANGES]) + (" and elsewhere" if len(bad) > _MOST_RANGES else "")


def _rows_there(complete: NDArray[np.bool_]) -> str:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], complete, [False]]).astype(np.int8)))
    ranges: list[Range] = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    if not ranges:
        return f"no row of {len(complete)}"
    more = ",..." if len(ranges) > _MOST_RANGES else ""
    return f"rows {rows_text(ranges[:_MOST_RANGES])}{more} of {len(complete)}"
