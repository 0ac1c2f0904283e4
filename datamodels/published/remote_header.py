"""Headers of ``.npy`` objects, read before the rest."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from datamodels.errors import InputError
from datamodels.npy_file import NpyHeader, parse_header
from datamodels.published.catalogue import PublishedFile
from datamodels.published.partial_file import Source

_USUAL_BYTES = 128  # of the headers that numpy writes
_MOST_BYTES = 2**20

Read = Callable[[Source, int, int], bytes]  # bytes start to stop - 1 of an object


def whole_header(source: Source, read: Read) -> bytes:
    """The header of a ``.npy`` object and nothing else, in one request unless it is a long one."""
    raw = read(source, 0, min(_USUAL_BYTES, source.size))
    length = min(header_length(raw), source.size)
    if length > _MOST_BYTES:
        raise InputError(f"{source.key} has a header of {length} bytes: it is no .npy file of ours")
    if length > len(raw):
        raw += read(source, len(raw), length)
    return raw[:length] if length else raw


def header_length(raw: bytes) -> int:
    """Bytes of the header of a ``.npy`` file that begins with ``raw``; 0 where it is none."""
    if raw[:6] != b"\x93NUMPY" or len(raw) < 12:
        return 0
    end = 10 if raw[6] == 1 else 12  # version 1.0 has two bytes for the length, later ones four
    return end + int.from_bytes(raw[8:end], "little")


def header_from(raw: bytes, source: Source) -> NpyHeader:
    """The header of an object that begins with ``raw``; InputError where the object is not as long
    as that says."""
    header = parse_header(BytesIO(raw), Path(source.key))
    if header.file_bytes != source.size:
        raise InputError(
            f"s3://{source.bucket}/{source.key} has {source.size} bytes, and its own header says "
            f"{header.file_bytes}: shape {header.shape}, dtype {header.dtype}. It is damaged there"
        )
    return header


def catalogue_difference(published: PublishedFile, header: NpyHeader) -> str | None:
    """What a ``.npy`` file has otherwise than the catalogue, for a warning."""
    if header.shape == published.shape and header.dtype == published.dtype:
        return None
    return (
        f"{published.key} has shape {header.shape} and dtype {header.dtype}, and was expected to "
        f"have {published.shape} and {published.dtype}; what is found rules"
    )
