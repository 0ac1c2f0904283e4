"""Writing a regression data set as a ``.beton`` file that FFCV's ``Loader`` and ``Reader`` read.

With pages of the same size the file equals, in every byte that is in use, the one that FFCV's
writer makes with one worker.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from datamodels.errors import InputError
from datamodels.files import disk_errors, new_file, write_all
from datamodels.regression.beton_format import (
    ALLOCATION,
    DEFAULT_PAGE_SIZE,
    INT,
    MAX_PAGE_SIZE,
    MIN_PAGE_SIZE,
    NDARRAY,
    Array,
    Field,
    Header,
)

Block = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]  # masks (b, p), targets (b, t), idx (b,)
WriteAt = Callable[[int, Any], None]  # an offset in bytes, and an array or bytes


def write_beton(
    path: str | Path,
    blocks: Iterable[Block],
    *,
    num_samples: int,
    n_features: int,
    n_targets: int,
    mask_dtype: DTypeLike,
    page_size: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Write masks and their targets, block after block, to a new ``.beton`` file.

    ``blocks`` yields ``(masks (b, n_features), targets (b, n_targets), idx (b,))`` with
    ``num_samples`` rows in all; how they are cut into blocks does not change the file. Values are
    stored as ``mask_dtype``, float32 and int64, and must come in dtypes that numpy casts to these
    safely: rounding is the caller's to do. ``page_size`` is a power of two in bytes; left out, it
    is 8 MiB, or what a longer row needs. ``progress`` is called with the number of rows of each
    block that was taken. (FFCV's own ``Loader`` cannot decode float16 fields, whoever wrote them.)

    The file appears under ``path`` only when it is complete and on the disk. Raises
    :class:`ExistsError` when something is there already, :class:`MissingFileError` for a missing
    folder, :class:`InputError` for blocks of other shapes, dtypes or numbers of rows, and
    :class:`DatamodelsError` when the disk refuses; nothing stays behind then.
    """
    path = Path(path)
    layout = _plan(num_samples, n_features, n_targets, np.dtype(mask_dtype), page_size)
    with _new_beton(path, layout.file_size) as write_at:
        idx = _write_pages(write_at, blocks, layout, progress)
        write_at(layout.header.alloc_table_ptr, _allocation_table(layout))
        write_at(0, layout.header.to_bytes())
        write_at(layout.header.metadata_ptr, _metadata(layout, idx))


@dataclass(frozen=True)
class _Layout:
    """Where everything lies. Rows fill each page from its start, as many as fit whole."""

    header: Header
    row_dtype: np.dtype[Any]  # members mask and targets, packed: a sample's bytes in a page
    data_ptr: int  # start of the first page, in bytes

    @property
    def rows_per_page(self) -> int:
        return self.header.page_size // self.row_dtype.itemsize

    @property
    def file_size(self) -> int:
        return self.header.alloc_table_ptr + self.header.alloc_table_size

    def pointers(self) -> NDArray[np.uint64]:
        """The first byte of each sample: (num_samples,)."""
        page, slot = np.divmod(
            np.arange(self.header.num_samples, dtype=np.uint64), np.uint64(self.rows_per_page)
        )
        in_page = slot * np.uint64(self.row_dtype.itemsize)
        return np.uint64(self.data_ptr) + page * np.uint64(self.header.page_size) + in_page


def _plan(
    num_samples: int,
    n_features: int,
    n_targets: int,
    mask_dtype: np.dtype[Any],
    page_size: int | None,
) -> _Layout:
    sizes = {"num_samples": num_samples, "n_features": n_features, "n_targets": n_targets}
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"{name}={size}: a .beton file needs at least 1")
    if mask_dtype.kind not in "biuf":
        raise InputError(f"masks of dtype {mask_dtype} cannot be written: bool or real are needed")
    mask_dtype = mask_dtype.newbyteorder("<")
    row_nbytes = n_features * mask_dtype.itemsize + n_targets * 4
    page_size = _page_size(row_nbytes, page_size)
    fields = (
        Field("mask", NDARRAY, Array((n_features,), mask_dtype)),
        Field("targets", NDARRAY, Array((n_targets,), np.dtype("<f4"))),
        Field("idx", INT),
    )
    metadata_end = Header(fields, num_samples, page_size, alloc_table_ptr=0).metadata_end
    data_ptr = -(-metadata_end // page_size) * page_size
    num_pages = -(-num_samples // (page_size // row_nbytes))
    row_dtype = np.dtype([("mask", mask_dtype, (n_features,)), ("targets", "<f4", (n_targets,))])
    header = Header(fields, num_samples, page_size, data_ptr + num_pages * page_size)
    return _Layout(header, row_dtype, data_ptr)


def _page_size(row_nbytes: int, asked: int | None) -> int:
    """A page that holds at least one row: ``asked``, or the default, or the least that does."""
    if row_nbytes >= MAX_PAGE_SIZE:
        raise InputError(
            f"a row of {row_nbytes} bytes is too long: a page of a .beton file has at most "
            f"{MAX_PAGE_SIZE}. Use a smaller dtype, or fit from the store itself"
        )
    least = max(MIN_PAGE_SIZE, 1 << (row_nbytes - 1).bit_length())
    if asked is None:
        return max(DEFAULT_PAGE_SIZE, least)
    if asked & (asked - 1) or not least <= asked <= MAX_PAGE_SIZE:
        raise InputError(
            f"page_size={asked}: rows of {row_nbytes} bytes need a power of two from {least} to "
            f"{MAX_PAGE_SIZE}. Leave it out to have one chosen"
        )
    return asked


class _Pages:
    """Fills one page after another with rows, and writes each when it is full."""

    def __init__(self, write_at: WriteAt, layout: _Layout) -> None:
        self.write_at, self.layout = write_at, layout
        self.done = 0  # rows
        self.page = np.zeros(layout.header.page_size, np.uint8)
        in_rows = layout.rows_per_page * layout.row_dtype.itemsize  # the rest stays zero
        self.rows = self.page[:in_rows].view(layout.row_dtype)  # (rows_per_page,)

    def add(self, masks: NDArray[Any], targets: NDArray[Any]) -> None:
        taken = 0
        while taken < len(masks):
            slot = self.done % len(self.rows)
            count = min(len(self.rows) - slot, len(masks) - taken)
            self.rows["mask"][slot : slot + count] = masks[taken : taken + count]
            self.rows["targets"][slot : slot + count] = targets[taken : taken + count]
            taken += count
            self.done += count
            if self.done % len(self.rows) == 0:
                self._write()

    def finish(self) -> None:
        """Write the last page, if it is not full, with zeros after its rows."""
        used = self.done % len(self.rows)
        if used:
            self.page[used * self.layout.row_dtype.itemsize :] = 0  # rows of the page before
            self._write()

    def _write(self) -> None:
        number = (self.done - 1) // len(self.rows)
        self.write_at(self.layout.data_ptr + number * len(self.page), self.page)


def _write_pages(
    write_at: WriteAt,
    blocks: Iterable[Block],
    layout: _Layout,
    progress: Callable[[int], object] | None,
) -> NDArray[np.int64]:
    """Write the blocks' masks and targets; return their idx, (num_samples,)."""
    num_samples = layout.header.num_samples
    pages = _Pages(write_at, layout)
    all_idx = np.empty(num_samples, np.int64)
    for number, block in enumerate(blocks):
        masks, targets, idx = _checked(block, number, layout)
        end = pages.done + len(idx)
        if end > num_samples:
            raise InputError(f"the blocks hold at least {end} rows, num_samples={num_samples}")
        all_idx[pages.done : end] = idx
        pages.add(masks, targets)
        if progress is not None:
            progress(len(idx))
    if pages.done < num_samples:
        raise InputError(f"the blocks hold {pages.done} rows, num_samples={num_samples}")
    pages.finish()
    return all_idx


def _checked(block: Block, number: int, layout: _Layout) -> Block:
    """The block's arrays; :class:`InputError` unless their shapes and dtypes fit the file."""
    masks, targets, idx = (np.asarray(array) for array in block)
    b = len(masks) if masks.ndim else 0
    mask_array, targets_array = layout.row_dtype["mask"], layout.row_dtype["targets"]
    for name, array, shape, dtype in (
        ("masks", masks, (b, *mask_array.shape), mask_array.base),
        ("targets", targets, (b, *targets_array.shape), targets_array.base),
        ("idx", idx, (b,), np.dtype(np.int64)),
    ):
        if array.shape != shape or not np.can_cast(array.dtype, dtype):
            raise InputError(
                f"{name} of block {number}: {array.dtype} of shape {array.shape}, where the file "
                f"takes {dtype} of shape {shape}"
            )
    return masks, targets, idx


def _metadata(layout: _Layout, idx: NDArray[np.int64]) -> NDArray[np.void]:
    metadata = np.zeros(len(idx), layout.header.metadata_dtype)
    metadata["mask"] = layout.pointers()
    metadata["targets"] = metadata["mask"] + np.uint64(layout.row_dtype["mask"].itemsize)
    metadata["idx"] = idx
    return metadata


def _allocation_table(layout: _Layout) -> NDArray[np.void]:
    """Sample by sample the stretch of its mask and that of its targets: (num_samples, 2)."""
    mask_nbytes = layout.row_dtype["mask"].itemsize
    table = np.zeros((layout.header.num_samples, 2), ALLOCATION)
    table["sample_id"] = np.arange(layout.header.num_samples)[:, None]
    table["ptr"] = layout.pointers()[:, None] + np.array([0, mask_nbytes], np.uint64)
    table["size"] = [mask_nbytes, layout.row_dtype["targets"].itemsize]
    return table


@contextmanager
def _new_beton(path: Path, size: int) -> Iterator[WriteAt]:
    """Write to a file that appears as ``path``, complete, when the block ends without an error."""
    with new_file(path, size=size) as temporary, open(temporary, "r+b", buffering=0) as file:

        def write_at(offset: int, content: Any) -> None:
            with disk_errors(path, size):
                write_all(file.fileno(), offset, content)

        yield write_at
