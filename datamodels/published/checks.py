"""Whether what lies in a folder of published files is what it says it is."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import DatamodelsError, MissingFileError
from datamodels.npy_file import read_header
from datamodels.published.byte_ranges import Range
from datamodels.published.catalogue import PublishedFile, published_files
from datamodels.published.layout import PublishedLayout, journal_of, partial_of
from datamodels.published.partial_file import Journal, complete_rows, read_journal
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
    size: int  # bytes that are there
    faults: tuple[str, ...]  # what is wrong
    remarks: tuple[str, ...]  # what is only other than published


def check_folder(root: Path, progress: Read) -> list[Checked]:
    """Check every published file in ``root``, partial ones too; MissingFileError where none is.

    Of ``.npy`` files: header and size. Of ``.pt`` files: the checksums that the archive has of its
    parts. Of partial files: the checksums of all ranges that the journal notes.
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
    if final.exists():
        return final.stat().st_size if final.suffix == ".pt" else 0
    with suppress(DatamodelsError):
        journal = read_journal(final)
        return 0 if journal is None else sum(part.stop - part.start for part in journal.written)
    return 0


def _check(published: PublishedFile, final: Path, reading: _Reading) -> Checked:
    partial, journal = partial_of(final), journal_of(final)
    if final.exists():
        checked = _whole(published, final, reading)
        if rest := [path for path in (partial, journal) if path.exists()]:
            names = " and ".join(map(str, rest))
            fault = f"{final} is there, and beside it {names}: remove the rest"
            return Checked(**{**vars(checked), "faults": (*checked.faults, fault)})
        return checked
    if not journal.exists():
        fault = f"{partial} has no journal, so that nothing is known of it: remove it"
        return Checked(published.key, "nothing", 0, (fault,), ())
    if not partial.exists():
        fault = f"{journal} is there without {partial.name}: remove it"
        return Checked(published.key, "nothing", 0, (fault,), ())
    try:
        content = read_journal(final)
        assert content is not None  # it exists
        return _part(published, partial, content, reading)
    except DatamodelsError as error:
        return Checked(published.key, "nothing", 0, (str(error),), ())


def _whole(published: PublishedFile, final: Path, reading: _Reading) -> Checked:
    size = final.stat().st_size
    faults, remarks = [], []
    if published.is_array:
        try:
            remarks.append(catalogue_difference(published, read_header(final)))
        except DatamodelsError as error:
            faults.append(str(error))
    elif zipfile.is_zipfile(final):
        faults += list(_archive_faults(final, reading))
    elif _first_byte(final) == _PICKLE:
        remarks.append(f"{final} is of the kind that torch saved before 1.6, without checksums")
    else:
        faults.append(
            f"{final} is no file of torch.save, or cut short. Remove it and download it again"
        )
    return Checked(published.key, "all", size, tuple(faults), tuple(filter(None, remarks)))


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
        return Checked(published.key, share, have, (f"{fault}remove both",), ())
    faults, remarks = list(_range_faults(partial, journal, reading)), []
    if published.is_array:
        header = read_header(partial)
        share = _rows_there(complete_rows(partial))
        remarks.append(catalogue_difference(published, header))
    return Checked(published.key, share, have, tuple(faults), tuple(filter(None, remarks)))


def _range_faults(partial: Path, journal: Journal, reading: _Reading) -> Iterator[str]:
    """A fault for the ranges whose bytes are not those that were written."""
    bad = []
    with partial.open("rb") as file:
        for part in journal.written:
            file.seek(part.start)
            crc, rest = 0, part.stop - part.start
            while rest and (block := file.read(min(rest, _BLOCK))):
                crc, rest = zlib.crc32(block, crc), rest - len(block)
                reading.add(len(block))
            if crc != part.crc32:
                bad.append(f"{part.start}-{part.stop - 1}")
    if bad:
        yield (
            f"{partial} has other bytes than were written at {', '.join(bad[:_MOST_RANGES])}"
            f"{' and elsewhere' if len(bad) > _MOST_RANGES else ''}. Remove it and "
            f"{partial.name}.jsonl, and download it again"
        )


def _rows_there(complete: NDArray[np.bool_]) -> str:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], complete, [False]]).astype(np.int8)))
    ranges: list[Range] = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    if not ranges:
        return f"no row of {len(complete)}"
    more = ",..." if len(ranges) > _MOST_RANGES else ""
    return f"rows {rows_text(ranges[:_MOST_RANGES])}{more} of {len(complete)}"
