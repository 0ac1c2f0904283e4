"""Giving a store more rows, while workers write and readers read the rows it has.

Every step leaves a store that opens, with the old number of rows or the new one:

1. a note says from and to how many rows (``_growing.json``, locked): from here on files longer than
   their headers are no error;
2. the files are made longer, their space reserved; on a full disk they are cut back;
3. the headers are rewritten in place, one write each: the arrays, then the flags;
4. the spec is replaced: the store has the new size (one without a saved spec has it with 3);
5. the note is removed.

The next grow finishes one that was killed. Rows are never moved, so their offsets stay.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datamodels.errors import DatamodelsError, UsageError
from datamodels.files import NO_ROOM, is_file_of, sync_folder, try_lock, write_all
from datamodels.npy_file import longer_header, read_header
from datamodels.training.layout import StoreLayout
from datamodels.training.spec import COMPLETED, Spec
from datamodels.training.store import Store, saved_spec
from datamodels.training.store_files import reserve_space

_WRITE = os.O_WRONLY | getattr(os, "O_CLOEXEC", 0)
_WRITE_THROUGH = _WRITE | getattr(os, "O_DSYNC", os.O_SYNC)
_PAGE = 1 << 16  # bytes: the largest page of the systems we know
_NOTE_BEGIN = b'{"from": '


class GrowError(DatamodelsError):
    """The store was not made longer; it is as it was, or the next grow finishes the work."""


def grow_store(logdir: str | Path, num_models: int, *, reserve: bool = True) -> Store:
    """Give the store in ``logdir`` ``num_models`` rows and open it; the new rows are incomplete.

    Safe against a kill at any moment: the store stays valid, and the next call finishes what was
    begun. Open readers and writers go on with the rows they know. ``reserve`` takes the disk space
    of the new rows now.

    Raises UsageError where the store has more rows than that, or is half way to more; GrowError
    when the disk is full (nothing is changed then) or another process is growing the store;
    InputError where an array's header has no room for the number; ReadOnlyError where the store is
    only to be read.
    """
    store = Store.open(logdir)
    store.layout.refuse_writing()
    if store.layout.plan.is_dir():
        raise UsageError(
            f"{logdir} holds a plan of masks for its {store.num_models} rows, and none for more; "
            "prepare another store"
        )
    if num_models == store.num_models and not store.layout.growing.exists():
        return store
    with _only_grower(store.layout) as note:
        begun = note.read()
        if begun is not None:
            if num_models < begun.end:
                raise UsageError(
                    f"num_models={num_models}: a grow of {logdir} to {begun.end} rows was begun "
                    f"and stopped; give {begun.end} or more to finish it"
                )
            _grow(store.layout, note, begun, reserve)
        store = Store.open(logdir)
        if num_models < store.num_models:
            raise UsageError(
                f"num_models={num_models}: the store {logdir} has {store.num_models} rows, and is "
                "never made shorter"
            )
        if num_models > store.num_models:
            _grow(store.layout, note, _plan(store, num_models), reserve)
    return Store.open(logdir)


@dataclass(frozen=True)
class _Plan:
    begin: int  # rows
    end: int
    keys: list[str]  # the flags last

    def headers(self, layout: StoreLayout) -> dict[Path, bytes]:
        """What the headers of all arrays will be."""
        return {layout.array(key): longer_header(layout.array(key), self.end) for key in self.keys}


def _plan(store: Store, num_models: int) -> _Plan:
    Spec.parse({**store.spec.to_json(), "num_models": num_models})  # too many for one file?
    return _Plan(store.num_models, num_models, [*store.spec.schema, COMPLETED])


def _grow(layout: StoreLayout, note: "_Note", plan: _Plan, reserve: bool) -> None:
    headers = plan.headers(layout)  # refused before anything is changed
    try:
        if note.read() != plan:
            note.write(plan)
        if all(read_header(path).shape[0] == plan.begin for path in headers):
            _lengthen_all(layout, note, plan, reserve)
        for path, content in headers.items():
            _write_header(path, content)
        _replace_spec(layout, plan)
        note.clear()
    except OSError as error:
        if isinstance(error, DatamodelsError):
            raise
        raise GrowError(_reason(layout, plan, error)) from error


def _lengthen_all(layout: StoreLayout, note: "_Note", plan: _Plan, reserve: bool) -> None:
    """Make all files longer, or none: what fails half way is undone."""
    try:
        for key in plan.keys:
            _lengthen(layout.array(key), plan, reserve)
    except BaseException:
        for key in plan.keys:
            path = layout.array(key)
            size = read_header(path).row_offset(plan.begin)
            if path.stat().st_size > size:
                os.truncate(path, size)
        note.clear()
        raise


def _lengthen(path: Path, plan: _Plan, reserve: bool) -> None:
    header = read_header(path)
    begin, end = header.row_offset(plan.begin), header.row_offset(plan.end)
    if reserve and begin < end:
        # Up to the next page by exact bytes: what else writes there, on a network file system,
        # may write back this host's stale copy of the last rows (see row_writer).
        page = min(-(-begin // _PAGE) * _PAGE, end)
        with _opened(path, _WRITE_THROUGH) as descriptor:
            write_all(descriptor, begin, bytes(page - begin))
        with _opened(path, _WRITE) as descriptor:
            reserve_space(descriptor, page, end)
            os.fsync(descriptor)
    if path.stat().st_size < end:
        os.truncate(path, end)
    with _opened(path, _WRITE) as descriptor:
        os.fsync(descriptor)


def _write_header(path: Path, content: bytes) -> None:
    with _opened(path, _WRITE_THROUGH) as descriptor:
        write_all(descriptor, 0, content)


def _replace_spec(layout: StoreLayout, plan: _Plan) -> None:
    spec = saved_spec(layout)
    if spec is None:
        return
    content = {**spec.to_json(), "num_models": plan.end}
    flags = _WRITE_THROUGH | os.O_CREAT | os.O_TRUNC
    with _opened(layout.next_spec, flags) as descriptor:
        write_all(descriptor, 0, json.dumps(content, indent=2).encode() + b"\n")
    os.replace(layout.next_spec, layout.spec)  # noqa: PTH105
    sync_folder(layout.root)


def _reason(layout: StoreLayout, plan: _Plan, error: OSError) -> str:
    begun = layout.growing.exists() and layout.growing.stat().st_size > 0
    state = "run the same command again to finish it" if begun else "nothing was changed"
    if error.errno not in NO_ROOM:
        named = f" ({error.filename})" if error.filename else ""
        return f"cannot grow the store {layout.root}: {error.strerror}{named}; {state}"
    rows = sum(read_header(layout.array(key)).row_bytes for key in plan.keys)
    return (
        f"cannot grow the store {layout.root} to {plan.end} rows: {error.strerror}. The new rows "
        f"need {(plan.end - plan.begin) * rows:,} bytes: make room, lower num_models, or leave the "
        f"space unreserved with --grow.reserve=false; {state}"
    )


class _Note:
    """The note in the store that a grow has begun; empty before and after."""

    def __init__(self, layout: StoreLayout, descriptor: int) -> None:
        self._layout = layout
        self._descriptor = descriptor

    def read(self) -> _Plan | None:
        """The grow that was begun; GrowError where the file is somebody else's."""
        content = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0)
        if not content or _NOTE_BEGIN.startswith(content):
            return None
        try:
            note = json.loads(content)
            return _Plan(int(note["from"]), int(note["to"]), [str(key) for key in note["arrays"]])
        except (ValueError, TypeError, KeyError):
            if content.startswith(_NOTE_BEGIN):  # cut short: nothing had begun
                return None
            raise GrowError(
                f"{self._layout.growing} is in the way, and no note of ours; move it away"
            ) from None

    def write(self, plan: _Plan) -> None:
        """From here on readers know that files may be longer than their headers say."""
        note = {"from": plan.begin, "to": plan.end, "arrays": plan.keys}
        try:
            os.ftruncate(self._descriptor, 0)
            write_all(self._descriptor, 0, json.dumps(note).encode())
            os.fsync(self._descriptor)
        except BaseException:  # nothing has been changed yet
            self.clear()
            raise
        sync_folder(self._layout.root)

    def clear(self) -> None:
        """Nothing is under way any more."""
        os.ftruncate(self._descriptor, 0)
        os.fsync(self._descriptor)

    def is_empty(self) -> bool:
        return os.fstat(self._descriptor).st_size == 0


@contextlib.contextmanager
def _only_grower(layout: StoreLayout) -> Iterator[_Note]:
    """Be the only process that makes this store longer."""
    try:
        descriptor = os.open(layout.growing, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise GrowError(f"cannot write in the store {layout.root}: {error.strerror}") from error
    try:
        _lock(descriptor, layout)
        note = _Note(layout, descriptor)
        try:
            yield note
        finally:
            if note.is_empty():
                layout.growing.unlink(missing_ok=True)
                sync_folder(layout.root)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, layout: StoreLayout) -> None:
    locked = try_lock(descriptor)
    # It may have ended between our open and our lock, and taken its note away.
    if locked is False or (locked and not is_file_of(descriptor, layout.growing)):
        raise GrowError(f"another process is growing the store {layout.root}; wait for it to end")


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
