"""The layout of FFCV's ``.beton`` files, version 2 (everything little-endian).

======================  =====================================================================
header                  24 bytes: version, number of fields, page size, samples, table pointer
field descriptors       1,041 bytes a field: type, name, arguments of the type
metadata                a struct a sample, one member a field: the value itself (int, float) or
                        where its bytes lie in the file
zeros                   up to a multiple of the page size
pages                   the samples' bytes; those of one sample never straddle a page
allocation table        (sample, pointer, size) of every stretch in the pages; ends the file
======================  =====================================================================

This module knows the fields of every type that FFCV defines and nothing of what a file is for;
:mod:`~datamodels.regression.beton_reader` and :mod:`~datamodels.regression.beton_writer` handle
the one kind of file that holds a regression data set.
"""

import json
import math
import mmap
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, MissingFileError

VERSION = 2
MIN_PAGE_SIZE = 1 << 21  # bytes; FFCV's own bounds and default
DEFAULT_PAGE_SIZE = 1 << 23
MAX_PAGE_SIZE = 1 << 31  # the largest power of two that the header's u4 holds

HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("num_fields", "<u2"),
        ("page_size", "<u4"),
        ("num_samples", "<u8"),
        ("alloc_table_ptr", "<u8"),
    ]
)
DESCRIPTOR = np.dtype([("type_id", "u1"), ("name", "u1", 16), ("arguments", "u1", 1024)])
NDARRAY_ARGUMENTS = np.dtype([("shape", "<u8", 32), ("type_length", "<u8")])
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])


class FieldType(NamedTuple):
    """One of FFCV's field types: how it is called, its metadata, whether it has bytes in pages."""

    name: str
    metadata: np.dtype[Any]
    in_pages: bool


FLOAT, INT, RGB_IMAGE, BYTES, NDARRAY, JSON, TENSOR = range(7)
_POINTER = np.dtype("<u8")
_BLOB = np.dtype([("ptr", "<u8"), ("size", "<u8")])
_IMAGE = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8")])
FIELD_TYPES = {
    FLOAT: FieldType("float", np.dtype("<f8"), in_pages=False),
    INT: FieldType("int", np.dtype("<i8"), in_pages=False),
    RGB_IMAGE: FieldType("RGB image", _IMAGE, in_pages=True),
    BYTES: FieldType("bytes", _BLOB, in_pages=True),
    NDARRAY: FieldType("array", _POINTER, in_pages=True),
    JSON: FieldType("JSON", _BLOB, in_pages=True),
    TENSOR: FieldType("tensor", _POINTER, in_pages=True),
}


class Array(NamedTuple):
    """What a sample holds in a field of type ``NDARRAY`` or ``TENSOR``."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Field:
    """A field of every sample; ``array`` is None for types that hold none."""

    name: str
    type_id: int
    array: Array | None = None

    def __str__(self) -> str:
        if self.type_id not in FIELD_TYPES:
            return f"{self.name} (custom type {self.type_id})"
        kind = FIELD_TYPES[self.type_id].name
        if self.array is None:
            return f"{self.name} ({kind})"
        return f"{self.name} ({self.array.dtype} {kind} of shape {self.array.shape})"


@dataclass(frozen=True)
class Header:
    """What stands before the metadata. Pointers and sizes are in bytes from the file's start."""

    fields: tuple[Field, ...]
    num_samples: int
    page_size: int
    alloc_table_ptr: int

    @property
    def metadata_ptr(self) -> int:
        return HEADER.itemsize + len(self.fields) * DESCRIPTOR.itemsize

    @property
    def metadata_end(self) -> int:
        return self.metadata_ptr + self.num_samples * self.metadata_dtype.itemsize

    @property
    def metadata_dtype(self) -> np.dtype[Any]:
        """The struct of one sample. All types must be known (:func:`read_metadata` checks)."""
        members = [(field.name, FIELD_TYPES[field.type_id].metadata) for field in self.fields]
        return np.dtype(members, align=True)

    @property
    def alloc_table_size(self) -> int:
        in_pages = sum(FIELD_TYPES[field.type_id].in_pages for field in self.fields)
        return in_pages * self.num_samples * ALLOCATION.itemsize

    def to_bytes(self) -> bytes:
        """The header and the field descriptors as they stand in the file."""
        header = np.zeros((), HEADER)
        header["version"] = VERSION
        header["num_fields"] = len(self.fields)
        header["page_size"] = self.page_size
        header["num_samples"] = self.num_samples
        header["alloc_table_ptr"] = self.alloc_table_ptr
        return header.tobytes() + b"".join(_descriptor(field) for field in self.fields)


def listing(fields: tuple[Field, ...]) -> str:
    """The fields on one line, for messages."""
    return ", ".join(str(field) for field in fields)


def map_file(path: str | Path) -> NDArray[np.uint8]:
    """The bytes of a file as a read-only memory map: nothing is read before it is used.

    Raises :class:`MissingFileError`, and :class:`InputError` for what cannot be mapped.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:  # pipes and devices as well, which opening would wait for
            raise InputError(f"{path} is empty, not a .beton file")
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, np.uint8)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path} does not exist") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def parse_header(data: NDArray[np.uint8], path: str | Path) -> Header:
    """The header and the fields of a mapped ``.beton`` file, whatever the file is for.

    ``path`` is for messages. Raises :class:`InputError` (not a beton of version 2, cut short
    before the end of the field descriptors, descriptors that make no sense).
    """
    if data.size < HEADER.itemsize:
        raise InputError(
            f"{path} is not a .beton file: it has {data.size} bytes, a header alone has "
            f"{HEADER.itemsize}"
        )
    raw = data[: HEADER.itemsize].view(HEADER)[0]
    page_size, num_fields = int(raw["page_size"]), int(raw["num_fields"])
    if raw["version"] != VERSION:
        raise InputError(
            f"{path} is {_looks_like(data)}: its first two bytes give version {raw['version']}, "
            f"those of a .beton file that can be read here give {VERSION}"
        )
    if num_fields == 0 or page_size == 0 or page_size & (page_size - 1):
        raise InputError(
            f"{path} is not a .beton file: its header gives {num_fields} fields and pages of "
            f"{page_size} bytes (at least one field and a power of two are needed)"
        )
    fields_end = HEADER.itemsize + num_fields * DESCRIPTOR.itemsize
    if data.size < fields_end:
        raise InputError(
            f"{path} is cut short or not a .beton file: {num_fields} field descriptors end at "
            f"byte {fields_end}, the file at byte {data.size}"
        )
    descriptors = data[HEADER.itemsize : fields_end].view(DESCRIPTOR)
    fields = tuple(_parse_descriptor(descriptor, path) for descriptor in descriptors)
    names = {field.name for field in fields}
    if "" in names or len(names) < num_fields:
        raise InputError(f"{path} is damaged: its fields are {listing(fields)}")
    return Header(fields, int(raw["num_samples"]), page_size, int(raw["alloc_table_ptr"]))


def read_metadata(data: NDArray[np.uint8], header: Header, path: str | Path) -> NDArray[np.void]:
    """The metadata of all samples: (num_samples,) structs, one member a field, in memory.

    Checks that the file goes on to the end of its allocation table and not further: a file cut
    short anywhere is an :class:`InputError`, and so are fields of types that FFCV does not define.
    """
    for field in header.fields:
        if field.type_id not in FIELD_TYPES:
            raise InputError(f"{path}: field {field} is of a type unknown here")
    if header.alloc_table_ptr == 0:
        raise InputError(f"{path} was never finished: whatever wrote it stopped on the way")
    if header.alloc_table_ptr < header.metadata_end:
        raise InputError(
            f"{path} is damaged: the metadata of {header.num_samples} samples end at byte "
            f"{header.metadata_end}, the allocation table starts at byte {header.alloc_table_ptr}"
        )
    end = header.alloc_table_ptr + header.alloc_table_size
    if data.size != end:
        what = "cut short" if data.size < end else "damaged or not a .beton file"
        raise InputError(
            f"{path} is {what}: it has {data.size} bytes, {header.num_samples} samples with the "
            f"fields {listing(header.fields)} need {end}; copy or write it again"
        )
    return data[header.metadata_ptr : header.metadata_end].view(header.metadata_dtype).copy()


def check_pointers(
    pointers: NDArray[np.uint64], nbytes: int, header: Header, field: str, path: str | Path
) -> None:
    """Raise :class:`InputError` unless ``nbytes`` from each of ``pointers`` lie in the pages."""
    if pointers.size == 0:
        return
    first, last = int(pointers.min()), int(pointers.max())
    if first < header.metadata_end or last + nbytes > header.alloc_table_ptr:
        raise InputError(
            f"{path} is damaged: samples of field {field!r} lie at bytes {first} to "
            f"{last + nbytes}, outside the pages ({header.metadata_end} to "
            f"{header.alloc_table_ptr}); copy or write it again"
        )


def gather(data: NDArray[np.uint8], pointers: NDArray[np.uint64], nbytes: int) -> NDArray[np.uint8]:
    """A copy of ``nbytes`` from each of ``pointers``: (len(pointers), nbytes).

    Samples may lie anywhere, in any order. The windows of ``nbytes`` that start at every single
    byte are a view, from which numpy copies those asked for without a loop in Python.
    """
    if nbytes < 1 << 16:
        windows = np.lib.stride_tricks.as_strided(
            data, (data.size - nbytes + 1, nbytes), (1, 1), writeable=False
        )
        gathered = windows[pointers.astype(np.intp)]
    else:  # a loop costs nothing here, and numpy caps a view at 8 EiB
        gathered = np.empty((len(pointers), nbytes), np.uint8)
        for row, pointer in zip(gathered, pointers.tolist(), strict=True):
            row[:] = data[pointer : pointer + nbytes]
    return gathered


def _descriptor(field: Field) -> bytes:
    descriptor = np.zeros((), DESCRIPTOR)
    descriptor["type_id"] = field.type_id
    name = np.frombuffer(field.name.encode("ascii"), np.uint8)
    descriptor["name"][: name.size] = name
    if field.array is not None:
        arguments = np.zeros((), NDARRAY_ARGUMENTS)
        arguments["shape"][: len(field.array.shape)] = field.array.shape
        dtype = json.dumps(field.array.dtype.descr).encode("ascii")
        arguments["type_length"] = len(dtype)
        encoded = np.frombuffer(arguments.tobytes() + dtype, np.uint8)
        descriptor["arguments"][: encoded.size] = encoded
    return descriptor.tobytes()


def _parse_descriptor(descriptor: np.void, path: str | Path) -> Field:
    name = descriptor["name"].tobytes().split(b"\0")[0].decode("ascii", errors="replace")
    type_id = int(descriptor["type_id"])
    if type_id not in (NDARRAY, TENSOR):
        return Field(name, type_id)
    encoded = descriptor["arguments"].tobytes()
    arguments = np.frombuffer(encoded, NDARRAY_ARGUMENTS, count=1)[0]
    shape = arguments["shape"].tolist()
    while shape and shape[-1] == 0:
        shape.pop()
    start = NDARRAY_ARGUMENTS.itemsize
    dtype = _parse_dtype(encoded[start : start + int(arguments["type_length"])])
    if dtype is None:
        raise InputError(f"{path} is damaged: the dtype of its field {name!r} cannot be read")
    return Field(name, type_id, Array(tuple(shape), dtype))


def _parse_dtype(encoded: bytes) -> np.dtype[Any] | None:
    """The dtype whose JSON ``dtype.descr`` this is, None if it is none of a plain number."""
    match = re.fullmatch(rb'\[\["", "([<>|][biufc]\d+)"\]\]', encoded)
    try:
        return np.dtype(match[1].decode("ascii")) if match else None
    except TypeError:  # a size that numpy does not have, such as <f3
        return None


def _looks_like(data: NDArray[np.uint8]) -> str:
    """What a file is that is no beton, for the usual mix-ups."""
    start = data[:6].tobytes()
    if start == b"\x93NUMPY":
        return "a .npy array, not a .beton file"
    if start.startswith(b"PK\x03\x04"):
        return "a zip archive (perhaps .pt or .npz), not a .beton file"
    return "not a .beton file of a known version"
