"""Several stores of one spec, filled at different places, as one.

For sites without a shared file system: every site makes a store of the same spec, fills rows of its
own, and the stores are brought to one place and merged.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import DatamodelsError, InputError, UsageError
from datamodels.files import disk_errors, new_folder, refuse_existing, write_all
from datamodels.npy_file import read_header
from datamodels.training.indices import format_indices
from datamodels.training.layout import StoreLayout
from datamodels.training.planned_masks import common_plan
from datamodels.training.records import record_files
from datamodels.training.row_blocks import Progress, RowBlocks, block_bounds
from datamodels.training.spec import Spec
from datamodels.training.store import Store
from datamodels.training.store_status import tried_rows

_SHOWN = 200  # characters of row numbers in a message

_Flags = NDArray[np.bool_]
_Sources = NDArray[np.int64]  # (num_models,): the input that each row is taken from, or -1


class OverlapError(DatamodelsError):
    """Inputs hold different contents of one row; nothing was made."""


@dataclass(frozen=True)
class Contribution:
    """What one input gave."""

    path: Path
    taken: int  # rows
    same: int  # further complete rows, equal to the last byte to those of an input before it


def merge_stores(
    inputs: Sequence[str | Path], out: str | Path, *, progress: Progress | None = None
) -> list[Contribution]:
    """Make the store ``out`` of the complete rows of all ``inputs``; what each of them gave.

    A row comes from the first input that has it complete. Records, ``cmds.txt`` and the
    ``error.txt`` of rows that no input has come along; whatever else is in the folders of rows
    stays behind. ``out`` appears once it is finished, and only then; the inputs are not changed.

    Raises UsageError for fewer than two different inputs, InputError where their specs or plans
    differ,
    OverlapError where two of them have a row complete and it differs, ExistsError when there is
    something at ``out``.
    """
    out = Path(out)
    refuse_existing(out)
    stores = _open_all([Path(path) for path in inputs])
    spec = _common_spec(stores)
    plan = common_plan([store.layout for store in stores])
    done = [store.completed for store in stores]  # before any array is opened: see Store
    source = np.full(spec.num_models, -1, np.int64)
    for i in reversed(range(len(stores))):
        source[done[i]] = i
    _refuse_differences(stores, spec, done, source, progress)
    with disk_errors(out), new_folder(out) as folder:
        made = Store.create(folder, spec)
        for key in spec.schema:
            _copy(stores, source, key, made.layout.array(key), progress)
        _bring_along(stores, source, made.layout)
        if plan is not None:
            shutil.copytree(plan, made.layout.plan)
        _set_flags(made.layout, source)
    return [
        Contribution(store.path, int((source == i).sum()), int((done[i] & (source != i)).sum()))
        for i, store in enumerate(stores)
    ]


def _open_all(inputs: list[Path]) -> list[Store]:
    if len(inputs) < 2:
        raise UsageError(f"{len(inputs)} inputs of at least 2; name the stores to merge: A,B,...")
    places = [path.resolve() for path in inputs]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise UsageError(f"{inputs[i]} is named twice among the inputs; name each store once")
    return [Store.open(path) for path in inputs]


def _common_spec(stores: list[Store]) -> Spec:
    """The spec of all stores; those without a saved one have no more and no fewer arrays."""
    first = next((store for store in stores if store.layout.spec.exists()), stores[0])
    for store in stores:
        if store.num_models != first.num_models:
            raise InputError(
                f"{first.path} has {first.num_models} rows, and {store.path} {store.num_models}; "
                "bring both to one number with python -m datamodels.training.grow"
            )
        if not store.holds(first.spec) or store.spec.schema.keys() != first.spec.schema.keys():
            raise InputError(
                f"only stores of one spec can be merged\n{first.path}: {first.spec}\n"
                f"{store.path}: {store.spec}"
            )
    return first.spec


def _refuse_differences(
    stores: list[Store],
    spec: Spec,
    done: list[_Flags],
    source: _Sources,
    progress: Progress | None,
) -> None:
    """OverlapError, naming all rows and keys, where a row is complete twice and not the same."""
    faults = []
    for later, flags in enumerate(done):
        for earlier in range(later):
            both = flags & (source == earlier)
            for key in spec.schema if both.any() else ():
                rows = _differing(stores[earlier], stores[later], key, both, progress)
                if rows.size:
                    numbers = format_indices(rows.tolist())
                    shown = numbers if len(numbers) <= _SHOWN else numbers[:_SHOWN] + "..."
                    faults.append(
                        f"{key!r} of {rows.size} rows, complete in both {stores[earlier].path} and "
                        f"{stores[later].path}, differs: rows {shown}"
                    )
    if faults:
        raise OverlapError(
            "\n".join(faults)
            + "\nnothing was merged: find out which are right, and give the same seed to all"
        )


def _differing(
    a: Store, b: Store, key: str, both: _Flags, progress: Progress | None
) -> NDArray[np.int64]:
    """Those of the rows flagged in ``both`` whose bytes differ."""
    differ = np.zeros_like(both)
    with RowBlocks(a.layout.array(key)) as left, RowBlocks(b.layout.array(key)) as right:
        for first, end in block_bounds(left.header, both):
            differ[first:end] = (left.read(first, end) != right.read(first, end)).any(axis=1)
            if progress is not None:
                progress(f"comparing {key}", end, len(both))
    return np.flatnonzero(differ & both)


def _copy(
    stores: list[Store], source: _Sources, key: str, path: Path, progress: Progress | None
) -> None:
    """One array, block by block, each put together from all inputs that have rows of it."""
    with ExitStack() as opened:
        arrays = [opened.enter_context(RowBlocks(s.layout.array(key))) for s in stores]
        header = read_header(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        opened.callback(os.close, descriptor)
        for first, end in block_bounds(header, source >= 0):
            block = _assemble(arrays, source, first, end)
            write_all(descriptor, header.row_offset(first), block.reshape(-1))
            if progress is not None:
                progress(f"copying {key}", end, len(source))


def _assemble(arrays: list[RowBlocks], source: _Sources, first: int, end: int) -> NDArray[np.uint8]:
    """Rows ``first`` to ``end`` - 1 as bytes; zeros where no input has them."""
    here = source[first:end]
    block = np.zeros((end - first, arrays[0].header.row_bytes), np.uint8)
    for i, array in enumerate(arrays):
        rows = np.flatnonzero(here == i)
        if rows.size:
            begin, stop = int(rows[0]), int(rows[-1]) + 1
            part = array.read(first + begin, first + stop)
            if rows.size == stop - begin:
                block[begin:stop] = part
            else:
                block[rows] = part[rows - begin]
    return block


def _set_flags(layout: StoreLayout, source: _Sources) -> None:
    header = read_header(layout.completed)
    descriptor = os.open(layout.completed, os.O_WRONLY | os.O_CLOEXEC)
    try:
        write_all(descriptor, header.offset, (source >= 0).astype(np.uint8))
    finally:
        os.close(descriptor)


def _bring_along(stores: list[Store], source: _Sources, made: StoreLayout) -> None:
    """What says how the rows came about; of two files of one name the first input's."""
    for store in stores:
        for record in record_files(store.layout):
            _copy_new(record, made.records / record.name)
        for row in sorted(tried_rows(store.layout)):
            if row < len(source) and source[row] < 0:
                _copy_new(store.layout.error(row), made.error(row))
        if store.layout.commands.is_file():
            with store.layout.commands.open("rb") as lines, made.commands.open("ab") as file:
                shutil.copyfileobj(lines, file)


def _copy_new(path: Path, to: Path) -> None:
    if path.is_file() and not to.exists():
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
