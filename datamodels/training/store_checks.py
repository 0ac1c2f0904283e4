"""Reading a whole store to find rows that are marked complete and cannot be what ``main`` made."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels.training.row_blocks import Progress, RowBlocks, block_bounds, in_words
from datamodels.training.spec import Field
from datamodels.training.store import Store

ALL_ZERO = "all zero"
NOT_FINITE = "NaN or infinite"
ODD_FLAG = "flag neither 0 nor 1"
EVERY_ARRAY = "every array"


@dataclass(frozen=True, eq=False)
class Finding:
    """Complete rows with one fault."""

    key: str  # of the array, or EVERY_ARRAY
    fault: str  # ALL_ZERO, NOT_FINITE or ODD_FLAG
    rows: NDArray[np.int64]  # ascending


def verify_store(logdir: str | Path, progress: Progress | None = None) -> list[Finding]:
    """Read every complete row of a store and say which ones look damaged; empty where none do.

    Found are: an array of more than one item a row that is all zero bytes in it, as where a row was
    marked complete and never written; rows where every array is; NaN and infinity where the spec
    does not allow them; flags that are neither 0 nor 1. ``progress`` is called with (key, done,
    total rows).

    Raises MissingFileError where there is no store, InputError where a header, a size or the spec
    is wrong.
    """
    store = Store.open(logdir)
    done = store.completed
    findings = _odd_flags(store)
    zero: dict[str, NDArray[np.bool_]] = {}
    for key, field in store.spec.schema.items():
        zero[key] = np.zeros(len(done), bool)
        nonfinite = np.zeros(len(done), bool)
        for first, rows, block in _complete_blocks(store, key, done, progress):
            zero[key][first + rows] = (in_words(block).max(axis=1, initial=0) == 0)[rows]
            if _must_be_finite(field):
                nonfinite[first + rows] = ~_finite(field, block)[rows]
        findings += _finding(key, NOT_FINITE, nonfinite)
    everywhere = done.copy()
    for zeros in zero.values():
        everywhere &= zeros
    for key, zeros in zero.items():
        if math.prod(store.spec.schema[key].shape) > 1:
            findings += _finding(key, ALL_ZERO, zeros & ~everywhere)
    if any(field.row_bytes for field in store.spec.schema.values()):
        findings += _finding(EVERY_ARRAY, ALL_ZERO, everywhere)
    return findings


def _complete_blocks(
    store: Store, key: str, done: NDArray[np.bool_], progress: Progress | None
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.uint8]]]:
    """Blocks of one array: first row, which rows of the block are complete, and its bytes."""
    with RowBlocks(store.layout.array(key)) as array:
        for first, end in block_bounds(array.header, done):
            yield first, np.flatnonzero(done[first:end]), array.read(first, end)
            if progress is not None:
                progress(key, end, len(done))


def _must_be_finite(field: Field) -> bool:
    return field.dtype.kind in "fc" and field.row_bytes > 0 and not field.allow_nonfinite


def _finite(field: Field, block: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which rows (n,) hold finite numbers only."""
    finite: NDArray[np.bool_] = np.isfinite(block.view(field.dtype)).all(axis=1)
    return finite


def _finding(key: str, fault: str, rows: NDArray[np.bool_]) -> list[Finding]:
    return [Finding(key, fault, np.flatnonzero(rows))] if rows.any() else []


def _odd_flags(store: Store) -> list[Finding]:
    path = store.layout.completed
    with RowBlocks(path) as flags:
        if flags.header.dtype != bool:
            return []
        values = flags.read(0, store.num_models)[:, 0]
    return _finding(path.stem, ODD_FLAG, values > 1)
