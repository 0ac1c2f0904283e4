"""What a download will fetch: objects, byte ranges, cost; made before anything is spent."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from datamodels.errors import DatamodelsError, InputError
from datamodels.npy_file import NpyHeader, header_bytes
from datamodels.published.byte_ranges import ByteRanges, Range, length_of
from datamodels.published.catalogue import PublishedFile, cost_of
from datamodels.published.evaluation_rows import (
    ASSUMED,
    NOTHING_TOLD,
    EvaluationRows,
    Told,
)
from datamodels.published.headers_on_disk import local_header
from datamodels.published.layout import PublishedLayout, partial_of
from datamodels.published.partial_file import (
    Source,
    read_journal,
    read_record,
    remove_leftovers,
)
from datamodels.published.remote_header import Read, header_from, whole_header
from datamodels.published.s3_errors import AccessError, NoObjectError, S3Error, changed
from datamodels.published.selection import Rows


@dataclass(frozen=True)
class Item:
    """One object of which something is missing on the disk."""

    published: PublishedFile
    final: Path
    source: Source
    header: NpyHeader | None  # of a .npy file; None where it does not matter yet
    rows: tuple[Range, ...] | None  # asked for; None: all
    missing: tuple[Range, ...]  # bytes, in order
    begun: bool  # something of it is on the disk
    at_most: bool = False  # only rows are asked for, and nobody looked which bytes these are

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return length_of(self.missing)


@dataclass(frozen=True)
class Absent:
    """A file that the bucket does not give, though others it does."""

    published: PublishedFile
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is to be fetched, what was there, and what the bucket lacks, as reported or not."""

    items: tuple[Item, ...]
    complete: tuple[PublishedFile, ...]
    not_there: tuple[Absent, ...]  # as reported
    absent: tuple[Absent, ...] = ()

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(item.size for item in self.items)

    @property
    def at_most(self) -> bool:
        """Whether less may be missing than it says."""
        return any(item.at_most for item in self.items)

    @property
    def cost(self) -> float:
        """USD for their transfer."""
        return cost_of(self.size)


@dataclass(frozen=True)
class _Wish:
    """Rows that are asked for of ``.npy`` files."""

    rows: Rows
    held_out: EvaluationRows

    def ranges(self, header: NpyHeader, published: PublishedFile) -> tuple[Range, ...]:
        n_rows = header.shape[0] if header.shape else 0
        return tuple(self.rows.of(n_rows, self.held_out, published.key))


def make_plan(
    root: Path,
    files: Iterable[PublishedFile],
    rows: Rows | None,
    *,
    head: Callable[[str], Source],
    read: Read | None,
    evaluation: Told = NOTHING_TOLD,
) -> Plan:
    """The plan for ``files``, of ``.npy`` files for ``rows`` of them (None: all).

    ``head`` asks the bucket about a key, once for each file that is not there as it should be;
    ``read`` reads the header of an object whose shape cannot be known otherwise, where rows are
    asked for; None: nothing may be read, and such an object is planned whole. ``evaluation`` is
    what is said of the rows that go by this word.
    """
    items, complete, not_there = [], [], []
    absent: list[Absent] = []
    refusal: AccessError | None = None
    layout = PublishedLayout(root)
    for published in files:
        final = layout.file(published.key)
        view = layout.view(published.dataset, published.alpha)
        wish = None if rows is None else _Wish(rows, evaluation.rows(view) or ASSUMED)
        remove_leftovers(final)
        if is_complete(published, final, wish, head):
            complete.append(published)
            continue
        try:
            source = head(published.key)
        except (NoObjectError, AccessError) as error:
            if published.reported_missing is not None:
                not_there.append(_as_reported(published, error))
                continue
            absent.append(Absent(published, str(error)))
            if isinstance(error, AccessError):
                refusal = refusal or error
            continue
        items.append(_item(published, final, source, wish, read))
    if refusal is not None and not items:  # of all that was asked for: it is no matter of one file
        raise refusal
    return Plan(tuple(items), tuple(complete), tuple(not_there), tuple(absent))


def _as_reported(published: PublishedFile, error: S3Error) -> Absent:
    found = "is not there, as reported"
    if isinstance(error, AccessError):
        found = "is refused (403), which is also what an absent file looks like; it is reported"
    return Absent(published, f"{published.key} {found}: {published.reported_missing}")


def is_complete(
    published: PublishedFile, final: Path, wish: _Wish | None, head: Callable[[str], Source]
) -> bool:
    """Whether all that is asked for is on the disk. Nobody is asked about it but, of a ``.pt`` file
    without a record, how long it should be; a warning where that cannot be asked.

    InputError where a file has its final name and another length.
    """
    if final.exists():
        if published.is_array:
            local_header(final)  # refuses a file of another length
        else:
            _refuse_other_size(published, final, head)
        return True
    journal = read_journal(final)
    if journal is None or wish is None or not published.is_array:
        return False
    if not journal.ranges.missing(0, journal.source.size):
        return False  # whole, but for its name
    header = local_header(partial_of(final))
    return not _missing(header, wish.ranges(header, published), journal.ranges)


def _refuse_other_size(
    published: PublishedFile, final: Path, head: Callable[[str], Source]
) -> None:
    record = read_record(final)
    try:
        size = head(published.key).size if record is None else record.source.size
    except (NoObjectError, AccessError):
        return  # it came in another way, and nothing tells what it should be
    except DatamodelsError as error:  # no boto3, no credentials, no network
        warnings.warn(
            f"{final} is there without a record of its download, and its size could not be "
            f"compared with that in the bucket: {error}",
            stacklevel=3,
        )
        return
    if final.stat().st_size != size:
        raise InputError(
            f"{final} has {final.stat().st_size} bytes, and should have {size}: it is damaged. "
            "Remove it and download it again"
        )


def missing_bytes(item: Item, header: NpyHeader | None, have: ByteRanges) -> list[Range]:
    """What of ``item`` is not among the bytes on the disk, given the header of the object."""
    if item.rows is None or header is None:
        return have.missing(0, item.source.size)
    return _missing(header, item.rows, have)


def _item(
    published: PublishedFile,
    final: Path,
    source: Source,
    wish: _Wish | None,
    read: Read | None,
) -> Item:
    journal = read_journal(final)
    if journal is not None and journal.source != source:
        raise changed(f"s3://{source.bucket}/{source.key}")
    have = ByteRanges() if journal is None else journal.ranges
    known = journal is not None or source.size == published.size
    if not published.is_array or wish is None or not (known or read):
        rest = tuple(have.missing(0, source.size))
        at_most = published.is_array and wish is not None
        return Item(published, final, source, None, None, rest, journal is not None, at_most)
    if journal is not None:
        header = local_header(partial_of(final))
    elif source.size == published.size:  # checked against the object's own before any row is read
        offset = len(header_bytes(published.shape, published.dtype))
        header = NpyHeader(published.shape, published.dtype, offset)
    else:
        assert read is not None  # or it is planned whole
        header = header_from(whole_header(source, read), source)
    wanted = wish.ranges(header, published)
    missing = tuple(_missing(header, wanted, have))
    return Item(published, final, source, header, wanted, missing, journal is not None)


def _missing(header: NpyHeader, rows: Iterable[Range], have: ByteRanges) -> list[Range]:
    wanted = ByteRanges([(0, header.offset)])
    for first, stop in rows:
        wanted.add(header.row_offset(first), header.row_offset(stop))
    return [gap for start, stop in wanted.ranges for gap in have.missing(start, stop)]
