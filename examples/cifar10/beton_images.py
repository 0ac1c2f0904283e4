"""Labelled images in FFCV's ``.beton`` files, read without ffcv.

A sample is an RGB image and an int, its label, under any names and in any order. Images are raw or
JPEG files, as ``RGBImageField`` of FFCV writes them, or some one and some the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.regression.beton_format import (
    ALLOCATION,
    INT,
    RGB_IMAGE,
    Field,
    Header,
    check_pointers,
    gather,
    listing,
    map_file,
    parse_header,
    read_metadata,
)
from examples.cifar10.decoding import Progress, decode, quiet, stack

JPEG, RAW = 0, 1  # what FFCV calls modes
_BLOCK = 4096  # raw images copied at a time, between two calls of progress


@dataclass(frozen=True, eq=False)
class BetonImages:
    """An open ``.beton`` of n images. The file stays mapped, nothing but the metadata is read."""

    path: Path
    labels: NDArray[np.int64]  # (n,)
    height: int
    width: int
    modes: NDArray[np.uint8]  # (n,): JPEG or RAW
    pointers: NDArray[np.uint64]  # (n,): where an image starts, in bytes
    sizes: NDArray[np.int64]  # (n,): in bytes
    data: NDArray[np.uint8]  # (bytes of the file,)

    @classmethod
    def open(cls, path: str | Path) -> "BetonImages":
        """Map a file and check all of it but the images themselves.

        Raises :class:`MissingFileError`, or :class:`InputError` when the file is no beton, is cut
        short or damaged, holds other fields than one image and one int, or images of many sizes.
        """
        path = Path(path)
        data = map_file(path)
        header = parse_header(data, path)
        image, label = _fields(header, path)
        metadata = read_metadata(data, header, path)
        if header.num_samples == 0:
            raise InputError(f"{path} holds no images")
        images = metadata[image.name]
        height, width = _size_of_all(images, path)
        modes, pointers = images["mode"].copy(), images["data_ptr"].copy()
        unknown = np.flatnonzero((modes != JPEG) & (modes != RAW))
        if unknown.size:
            raise InputError(
                f"{path} is damaged: image {unknown[0]} is of mode {modes[unknown[0]]}, FFCV "
                f"defines {JPEG} (JPEG) and {RAW} (raw)"
            )
        raw_size = 3 * height * width
        sizes = np.where(modes == RAW, raw_size, 0).astype(np.int64)
        check_pointers(pointers[modes == RAW], raw_size, header, image.name, path)
        jpegs = np.flatnonzero(modes == JPEG)
        if jpegs.size:
            sizes[jpegs] = _allocated(data, header, pointers[jpegs], path)
        # a copy, aligned and apart from the structs, which need not be kept then
        return cls(path, metadata[label.name].astype(np.int64), height, width, modes, pointers,
                   sizes, data)  # fmt: skip

    def read(self, rows: NDArray[np.int64], progress: Progress = quiet) -> NDArray[np.uint8]:
        """Pixels (len(rows), height, width, 3) of these samples; only their bytes are read.

        Raises :class:`InputError` for a damaged JPEG file, :class:`MissingPackageError` where
        there are JPEG files and no Pillow.
        """
        if (self.modes[rows] == JPEG).any():
            return stack(self._each(rows), len(rows), progress)
        images = np.empty((len(rows), self.height, self.width, 3), np.uint8)
        for start in range(0, len(rows), _BLOCK):
            block = images[start : start + _BLOCK]
            pointers = self.pointers[rows[start : start + _BLOCK]]
            block[:] = gather(self.data, pointers, 3 * self.height * self.width).reshape(
                block.shape
            )
            progress(start + len(block))
        return images

    def _each(self, rows: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        for row in rows.tolist():
            where = f"image {row} of {self.path}"
            start = int(self.pointers[row])
            stored = self.data[start : start + int(self.sizes[row])]
            if self.modes[row] == RAW:
                yield where, stored.reshape(self.height, self.width, 3)
                continue
            pixels = decode(stored.tobytes(), where)
            if pixels.shape[:2] != (self.height, self.width):
                raise InputError(
                    f"{self.path} is damaged: image {row} has {pixels.shape[1]} x "
                    f"{pixels.shape[0]} pixels, its metadata say {self.width} x {self.height}"
                )
            yield where, pixels


def _fields(header: Header, path: Path) -> tuple[Field, Field]:
    """The fields of image and label; :class:`InputError` unless there is one of each."""
    images = [field for field in header.fields if field.type_id == RGB_IMAGE]
    labels = [field for field in header.fields if field.type_id == INT]
    if len(header.fields) == 2 and images and labels:
        return images[0], labels[0]
    seems = ""
    if {field.name for field in header.fields} == {"mask", "targets", "idx"}:
        seems = " It seems to be a regression data set: masks of models and their outputs."
    raise InputError(
        f"{path} holds no labelled images. Its fields: {listing(header.fields)}. Needed: one RGB "
        f"image and one int, its label.{seems}"
    )


def _size_of_all(images: NDArray[np.void], path: Path) -> tuple[int, int]:
    """Height and width, which all share; :class:`InputError` naming the first that differs."""
    heights, widths = images["height"], images["width"]
    height, width = int(heights[0]), int(widths[0])
    other = np.flatnonzero((heights != height) | (widths != width))
    if other.size:
        i = other[0]
        raise InputError(
            f"image {i} of {path} is {widths[i]} x {heights[i]} pixels, image 0 is {width} x "
            f"{height}: all images must be of one size. Write them with a fixed size"
        )
    if height == 0 or width == 0:
        raise InputError(f"{path} is damaged: its images are {width} x {height} pixels")
    return height, width


def _allocated(
    data: NDArray[np.uint8], header: Header, pointers: NDArray[np.uint64], path: Path
) -> NDArray[np.int64]:
    """How many bytes lie at each of ``pointers``: only the allocation table knows of a JPEG."""
    table: NDArray[Any] = data[header.alloc_table_ptr :].view(ALLOCATION)
    starts, sizes = table["ptr"].copy(), table["size"].copy()
    order = np.argsort(starts, kind="stable")
    places = order[np.searchsorted(starts, pointers, sorter=order).clip(max=len(starts) - 1)]
    # compared without sums, which a damaged file could make overflow
    room = np.uint64(header.alloc_table_ptr) - np.minimum(pointers, header.alloc_table_ptr)
    wrong = (
        (starts[places] != pointers)
        | (pointers < header.metadata_end)
        | (sizes[places] > room)
        | (sizes[places] == 0)
    )
    if wrong.any():
        raise InputError(
            f"{path} is damaged: {wrong.sum()} of {len(pointers)} JPEG images are not where its "
            "allocation table says; copy or write it again"
        )
    return sizes[places].astype(np.int64)
