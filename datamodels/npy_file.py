"""``.npy`` files as this package reads and makes them: C order, and exactly as long as they say.

``np.load(mmap_mode="r+")`` extends a truncated file with zeros in silence; here a file whose size
is not header + data is refused.
"""

import json
import math
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from datamodels.errors import InputError, MissingFileError

# Stands in a folder while its arrays are made longer: {"from": rows, "to": rows}.
GROWING_NOTE = "_growing.json"


class WrongSizeError(InputError):
    """A ``.npy`` file that is not as long as its header says."""

    def __init__(self, found: str, header: "NpyHeader") -> None:
        super().__init__(f"{found}. Copy it again from where it is whole")
        self.found = found  # without the remedy, which is another for what can be downloaded
        self.header = header


class NoHeaderError(InputError):
    """A file that does not begin with a header of a ``.npy`` file."""


@dataclass(frozen=True)
class NpyHeader:
    """What the header of a ``.npy`` file says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int  # bytes before the data

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, that is, one step along the first axis."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def file_bytes(self) -> int:
        """Bytes of the whole file."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize

    def row_offset(self, index: int) -> int:
        """Where row ``index`` begins, in bytes from the start of the file."""
        return self.offset + index * self.row_bytes


def header_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The header of a C-ordered ``.npy`` file."""
    buffer = BytesIO()
    described = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": described, "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def read_header(path: Path) -> NpyHeader:
    """Read and check a header; InputError when the file is damaged or not a plain array.

    A file longer than its header says is accepted where the folder's note of growth explains it.
    """
    try:
        return _read_header(path)
    except InputError:
        return _read_header(path)  # it may just have been made longer, between header and size


def _read_header(path: Path) -> NpyHeader:
    try:
        with path.open("rb") as file:
            header = parse_header(file, path)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise MissingFileError(f"no file {path}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if size == header.file_bytes or _is_growing(path, header, size):
        return header
    state = "truncated" if size < header.file_bytes else "longer than its header says"
    raise WrongSizeError(
        f"{path} is {state}: it has {size} bytes, and an array of shape {header.shape} and "
        f"dtype {header.dtype} takes {header.file_bytes}",
        header,
    )


@dataclass(frozen=True)
class Growth:
    """The arrays of a folder are being made longer along their first axis."""

    begin: int  # rows before
    end: int  # rows after

    def explains(self, *rows: int) -> bool:
        """Whether arrays of so many rows may stand side by side meanwhile."""
        return all(self.begin <= n <= self.end for n in rows)


def read_growth(folder: Path) -> Growth | None:
    """What the note of growth in ``folder`` says; None where there is none, or it is empty yet."""
    try:
        content = json.loads((folder / GROWING_NOTE).read_bytes())
        return Growth(int(content["from"]), int(content["to"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _is_growing(path: Path, header: NpyHeader, size: int) -> bool:
    if size < header.file_bytes or not header.shape:
        return False
    growth = read_growth(path.parent)
    return (
        growth is not None
        and growth.explains(header.shape[0])
        and size <= header.row_offset(growth.end)
    )


def longer_header(path: Path, rows: int) -> bytes:
    """The header of ``path``, to the byte as long as it is, for an array of ``rows``.

    numpy pads headers, so that there is room for more digits. InputError where there is not.
    """
    header = read_header(path)
    with path.open("rb") as file:
        raw = file.read(header.offset)
    start = 10 if raw[6] == 1 else 12  # magic, version, and the length as 2 or 4 bytes
    descr = np.lib.format.dtype_to_descr(header.dtype)
    shape = (rows, *header.shape[1:])
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    short = f"{{'descr':{descr!r},'fortran_order':False,'shape':{shape!r}}}".replace(", ", ",")
    encoding = "utf-8" if raw[6] >= 3 else "latin1"
    for words in (text, short):
        content = words.encode(encoding)
        if len(content) < header.offset - start:
            return raw[:start] + content.ljust(header.offset - start - 1) + b"\n"
    raise InputError(
        f"the header of {path} has no room for {rows} rows: it was written without padding. Save "
        "the array anew with numpy.save"
    )


def open_map(path: Path, *, rows: int | None = None) -> np.ndarray[Any, np.dtype[Any]]:
    """A read-only memory map of a checked ``.npy`` file; of its first ``rows``, where it has more
    because it is being made longer."""
    header = read_header(path)
    array = (
        np.memmap(path, header.dtype, "r", header.offset, header.shape)
        if math.prod(header.shape)
        else np.empty(header.shape, header.dtype)
    )
    if rows is not None and header.shape and header.shape[0] > rows:
        growth = read_growth(path.parent)
        if growth is not None and growth.explains(rows, header.shape[0]):
            return array[:rows]
    return array


def parse_header(file: BinaryIO, path: Path) -> NpyHeader:
    """The header that ``file`` begins with, whatever follows; ``path`` is for messages."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
            version, np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = read(file)
    except Exception as error:  # numpy parses headers as Python: its parser's errors come through
        raise NoHeaderError(
            f"{path} is not a .npy file, or its header is cut short: {error}"
        ) from None
    if dtype.hasobject:
        raise InputError(f"{path} holds Python objects (dtype {dtype}); these are never loaded")
    if fortran_order and len(shape) > 1:
        raise InputError(f"{path} is in Fortran order; save it with np.ascontiguousarray")
    return NpyHeader(shape, dtype, file.tell())
