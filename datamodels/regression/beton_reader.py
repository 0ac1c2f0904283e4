"""Regression data sets in FFCV's ``.beton`` files: masks and targets of the rows asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.regression.beton_format import (
    INT,
    RGB_IMAGE,
    Array,
    Field,
    Header,
    check_pointers,
    gather,
    listing,
    map_file,
    parse_header,
    read_metadata,
)

NEEDED = "mask (1-D array of bool or real numbers), targets (1-D float32 array), idx (int)"


@dataclass(frozen=True, eq=False)
class BetonFile:
    """An open ``.beton`` file of ``n_rows`` masks over training examples with their targets.

    Reads what :func:`~datamodels.regression.beton_writer.write_beton` and FFCV's own writer
    write: samples may lie in any order, on any page. The file stays mapped while this object
    lives; nothing but the metadata is in memory.
    """

    path: Path
    mask_dtype: np.dtype[Any]
    n_features: int
    n_targets: int
    idx: NDArray[np.int64]  # (n_rows,): rows of the store that the samples come from
    mask_ptr: NDArray[np.uint64]  # (n_rows,): where a mask starts, in bytes
    targets_ptr: NDArray[np.uint64]  # (n_rows,)
    data: NDArray[np.uint8]  # (bytes of the file,)

    @property
    def n_rows(self) -> int:
        return len(self.idx)

    @classmethod
    def open(cls, path: str | Path) -> "BetonFile":
        """Map a file and check all of it but the masks and targets, which are not read.

        Raises :class:`MissingFileError`, or :class:`InputError` when the file is no beton, is cut
        short or damaged, or holds other fields than ``mask``, ``targets`` and ``idx``.
        """
        path = Path(path)
        data = map_file(path)
        header = parse_header(data, path)
        mask, targets = _arrays(header, path)
        metadata = read_metadata(data, header, path)
        if header.num_samples == 0:
            raise InputError(f"{path} holds no samples")
        idx = _row_numbers(metadata["idx"], path)
        check_pointers(metadata["mask"], mask.nbytes, header, "mask", path)
        check_pointers(metadata["targets"], targets.nbytes, header, "targets", path)
        return cls(
            path=path,
            mask_dtype=mask.dtype,
            n_features=mask.shape[0],
            n_targets=targets.shape[0],
            idx=idx,
            mask_ptr=metadata["mask"].copy(),  # apart, so that the structs need not be kept
            targets_ptr=metadata["targets"].copy(),
            data=data,
        )

    def read(
        self, rows: slice | NDArray[np.integer[Any]]
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Masks (b, n_features) of ``mask_dtype`` and targets (b, n_targets) float32 of ``rows``.

        ``rows`` indexes the samples as numpy does: a slice or a 1-D array of b integers. Only
        the bytes of these samples are read. ``IndexError`` for a row that does not exist.
        """
        mask_nbytes = self.n_features * self.mask_dtype.itemsize
        masks = gather(self.data, self.mask_ptr[rows], mask_nbytes)
        targets = gather(self.data, self.targets_ptr[rows], self.n_targets * 4)
        outputs = targets.view("<f4").astype(np.float32, copy=False)
        return _cleaned(masks, self.mask_dtype), outputs


def _row_numbers(idx: NDArray[Any], path: Path) -> NDArray[np.int64]:
    numbers = idx.astype(np.int64)
    if (numbers < 0).any():
        raise InputError(
            f"{path} has idx {numbers.min()}; they are rows of a store, numbered from 0: write the "
            "file anew"
        )
    return numbers


def _cleaned(masks: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
    """What ``row_source.clean_masks`` makes of the bytes (b, bytes of a mask), in place.

    A second array of this size would cost more than the reading: memory fresh from the system.
    """
    values = masks.view(dtype)
    if dtype == np.bool_:
        np.not_equal(masks, 0, out=values)
    return values


def _arrays(header: Header, path: Path) -> tuple[Array, Array]:
    """What masks and targets are; :class:`InputError` unless all three fields are as needed."""
    fields = {field.name: field for field in header.fields}
    mask, targets = _vector(fields.get("mask")), _vector(fields.get("targets"))
    idx = fields.get("idx")
    if (
        (mask and mask.dtype.kind in "biuf")
        and (targets and targets.dtype == np.dtype("<f4"))
        and (idx and idx.type_id == INT)
    ):
        return mask, targets
    seems = ""
    if any(field.type_id == RGB_IMAGE for field in header.fields):
        seems = " It seems to be a data set of images, such as models are trained on."
    raise InputError(
        f"{path} holds no regression data set. Its fields: {listing(header.fields)}. "
        f"Needed: {NEEDED}.{seems} datamodels.regression.write_dataset makes such a file from a "
        "store"
    )


def _vector(field: Field | None) -> Array | None:
    """The field's array if it is 1-D."""
    if field is None or field.array is None or len(field.array.shape) != 1:
        return None
    return field.array
