"""Where the rows of a regression come from: the interface, and arrays in memory as its example.

One row is one trained model: its mask (which training examples it saw) and its outputs (one value
a target). Readers of stores and ``.beton`` files implement the same :class:`RowSource`.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.errors import InputError

Progress = Callable[[str, int, int], None]  # stage, done, of how many

Outputs = NDArray[np.float32] | NDArray[np.float64]

_REAL_KINDS = "buif"  # bool, unsigned, signed, float: numpy's one-letter names


class RowSource(Protocol):
    """Rows that can be read in any blocks, any number of times, always the same."""

    @property
    def n_rows(self) -> int:
        """Rows (trained models) that can be asked for: 0 .. n_rows - 1."""

    @property
    def idx(self) -> NDArray[np.int64]:
        """What errors call each row (n_rows,): the row of the store that it comes from."""

    @property
    def n_features(self) -> int:
        """Length of a mask: the number of training examples."""

    @property
    def n_targets(self) -> int:
        """Outputs a row."""

    @property
    def mask_dtype(self) -> "np.dtype[Any]":
        """dtype of the masks that :meth:`read` returns."""

    def read(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], Outputs]:
        """Masks (len(rows), n_features) and outputs (len(rows), n_targets) of these rows."""


class WrappedSource:
    """What a source says of itself, for those that pass its rows on in another way."""

    def __init__(self, source: RowSource) -> None:
        self._source = source

    @property
    def n_rows(self) -> int:
        """See :class:`RowSource`."""
        return self._source.n_rows

    @property
    def idx(self) -> NDArray[np.int64]:
        """See :class:`RowSource`."""
        return self._source.idx

    @property
    def n_features(self) -> int:
        """See :class:`RowSource`."""
        return self._source.n_features

    @property
    def n_targets(self) -> int:
        """See :class:`RowSource`."""
        return self._source.n_targets

    @property
    def mask_dtype(self) -> "np.dtype[Any]":
        """See :class:`RowSource`."""
        return self._source.mask_dtype


class ArraySource:
    """Rows of two arrays (or memory maps): masks (n, p), outputs (n, t) or (n,) for one target.

    ``names`` are what errors call the two arrays.
    """

    def __init__(
        self,
        masks: ArrayLike,
        outputs: ArrayLike,
        names: tuple[str, str] = ("masks", "outputs"),
    ) -> None:
        self._masks = _real(names[0], masks)
        outputs = _real(names[1], outputs)
        self._outputs = outputs[:, None] if outputs.ndim == 1 else outputs
        _check_shapes(self._masks, self._outputs, names)

    @property
    def n_rows(self) -> int:
        return int(self._masks.shape[0])

    @property
    def idx(self) -> NDArray[np.int64]:
        return np.arange(self.n_rows)

    @property
    def n_features(self) -> int:
        return int(self._masks.shape[1])

    @property
    def n_targets(self) -> int:
        return int(self._outputs.shape[1])

    @property
    def mask_dtype(self) -> "np.dtype[Any]":
        return self._masks.dtype

    def read(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], Outputs]:
        which = _slice_if_contiguous(rows)
        masks, outputs = self._masks[which], self._outputs[which]
        copied = not isinstance(which, slice)
        masks = clean_masks(masks, out=masks if copied and masks.dtype == np.bool_ else None)
        if np.can_cast(outputs.dtype, np.float32):
            return masks, outputs.astype(np.float32)
        return masks, outputs.astype(np.float64)  # float32 would lose digits


def clean_masks(masks: NDArray[Any], out: NDArray[np.bool_] | None = None) -> NDArray[Any]:
    """Masks in memory, bools as 0 and 1: a file may hold any byte where numpy reads a bool.

    Bools are written to ``out`` where that is given: a second array costs more than the reading.
    """
    masks = np.asarray(masks)
    if masks.dtype != np.bool_:
        return masks
    clean: NDArray[np.bool_] = np.not_equal(masks.view(np.uint8), 0, out=out)
    return clean


def silent(stage: str, done: int, total: int) -> None:
    """The :data:`Progress` of work that nobody watches."""


def _real(name: str, values: ArrayLike) -> NDArray[Any]:
    array = np.asanyarray(values)
    if array.dtype.kind not in _REAL_KINDS:
        raise InputError(f"{name} have dtype {array.dtype}; they must be bools, integers or floats")
    return array


def _check_shapes(masks: NDArray[Any], outputs: NDArray[Any], names: tuple[str, str]) -> None:
    x_name, y_name = names
    if masks.ndim != 2 or not masks.shape[1]:
        raise InputError(
            f"{x_name} have shape {masks.shape}; they must be (models, training examples)"
        )
    if outputs.ndim != 2 or not outputs.shape[1]:
        raise InputError(
            f"{y_name} have shape {outputs.shape}; they must be (models, targets) or (models,)"
        )
    if len(masks) != len(outputs):
        raise InputError(
            f"{x_name} have {len(masks)} rows and {y_name} {len(outputs)}; "
            "row i of both must belong to the same model"
        )


def _slice_if_contiguous(rows: NDArray[np.int64]) -> "slice | NDArray[np.int64]":
    """A slice reads a memory map in one stretch; an index array touches it row by row."""
    if len(rows) and np.all(np.diff(rows) == 1):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
