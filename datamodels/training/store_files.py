"""Making the files of a store: all of them or none, their space reserved, nothing overwritten."""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from datamodels.errors import DatamodelsError, ExistsError
from datamodels.files import (
    NO_ROOM,
    is_file_of,
    missing_folders,
    publish,
    remove_empty,
    sync_folder,
    try_lock,
)
from datamodels.npy_file import header_bytes
from datamodels.read_only import refuse_inside_read_only
from datamodels.training.layout import StoreLayout
from datamodels.training.spec import Field, Spec

# EBADF: where glibc emulates it, it would read, which our descriptors may not
_NO_RESERVATION = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF)


class CreateError(DatamodelsError):
    """The store could not be made; nothing was left behind."""


def create_files(layout: StoreLayout, spec: Spec, *, reserve: bool) -> None:
    """Make every file of a new store, the flags of complete rows last.

    The store exists once its flags do. A run that is killed before leaves a note of the files it
    made, and the next run removes just those before it begins anew. Raises ExistsError where
    a file of one of our names stands already, CreateError when the disk is full, ReadOnlyError in
    a folder that is only to be read.
    """
    refuse_inside_read_only(layout.root)
    made = missing_folders(layout.root)
    try:
        layout.root.mkdir(parents=True, exist_ok=True)
        with _only_maker(layout) as note:
            _refuse_existing(layout, spec)
            _make_all(layout, spec, reserve, note)
    except BaseException as error:
        remove_empty(made)
        if isinstance(error, OSError) and not isinstance(error, DatamodelsError):
            raise CreateError(_reason(layout, spec, error)) from error
        raise


def clear_remains(layout: StoreLayout) -> None:
    """Remove temporary names that a maker killed at its very end left beside a finished store."""
    if layout.initializing.exists():
        with _only_maker(layout):
            pass


def _make_all(layout: StoreLayout, spec: Spec, reserve: bool, note: "_Note") -> None:
    content = json.dumps(spec.to_json(), indent=2).encode() + b"\n"
    # fields() lists the flags last
    arrays = {layout.array(key): field for key, field in spec.fields().items()}
    note.plan([layout.spec, *arrays])
    try:
        _make(layout.spec, note, lambda file: file.write(content))
        for path, field in arrays.items():
            _make(path, note, lambda file, field=field: _fill(file, spec, field, reserve))  # type: ignore[misc]
        sync_folder(layout.root)
    except BaseException:
        note.undo()
        raise


def _make(path: Path, note: "_Note", fill: Callable[[BinaryIO], object]) -> None:
    """One file, complete and on the disk under a temporary name before it has its own."""
    partial = _partial(path)
    with partial.open("xb") as file:
        note.add(path, os.fstat(file.fileno()).st_ino)
        fill(file)
        file.flush()
        os.fsync(file.fileno())
    try:
        publish(partial, path)
    except FileExistsError:
        raise ExistsError(f"{path} appeared meanwhile; nothing was changed") from None


def _fill(file: BinaryIO, spec: Spec, field: Field, reserve: bool) -> None:
    """A ``.npy`` file of zeros; with its blocks where ``reserve`` asks and the system can."""
    header = header_bytes((spec.num_models, *field.shape), field.dtype)
    file.write(header)
    file.flush()
    size = len(header) + spec.num_models * field.row_bytes
    if reserve:
        reserve_space(file.fileno(), 0, size)
    os.truncate(file.fileno(), size)


def reserve_space(descriptor: int, begin: int, end: int) -> None:
    """Take the blocks of these bytes of a file, where the system can; OSError on a full disk."""
    if begin >= end or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, begin, end - begin)
    except OSError as error:
        if error.errno not in _NO_RESERVATION:
            raise


def _refuse_existing(layout: StoreLayout, spec: Spec) -> None:
    paths = [layout.array(key) for key in spec.fields()] + [layout.spec]
    taken = [path.name for path in paths if os.path.lexists(path)]
    if taken:
        raise ExistsError(
            f"{layout.root} already holds {', '.join(taken)}, but no complete store; "
            "nothing was changed: choose another folder, or move these files away"
        )


def _reason(layout: StoreLayout, spec: Spec, error: OSError) -> str:
    if error.errno not in NO_ROOM:
        named = f" ({error.filename})" if error.filename else ""
        return f"cannot make the store {layout.root}: {error.strerror}{named}"
    needed = spec.num_models * sum(field.row_bytes for field in spec.fields().values())
    return (
        f"cannot make the store {layout.root}: {error.strerror}. It needs {needed:,} bytes: make "
        "room, lower num_models, or leave the space unreserved with --logging.reserve=false"
    )


class _Note:
    """Which files this maker makes, kept in a file, so that no others are ever removed.

    A file is known by its inode: under a name that it planned a maker may meet somebody else's.
    """

    def __init__(self, layout: StoreLayout, descriptor: int) -> None:
        self._layout = layout
        self._descriptor = descriptor

    def plan(self, paths: list[Path]) -> None:
        """These files will be made: their temporary names are ours."""
        self._append([[path.name, 0] for path in paths])

    def add(self, path: Path, inode: int) -> None:
        """This file is being made."""
        self._append([[path.name, inode]])

    def undo(self) -> None:
        """Remove what was made, the flags first: without them there is no store."""
        for path, inode in reversed(self._entries()):
            _partial(path).unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                if inode and os.lstat(path).st_ino == inode:
                    path.unlink()

    def clear_up(self) -> None:
        """Remove what a killed maker left; a store whose flags exist was finished and stays."""
        if not self._layout.completed.exists():
            self.undo()
        for path, _ in self._entries():
            _partial(path).unlink(missing_ok=True)
        os.ftruncate(self._descriptor, 0)

    def _append(self, entries: list[list[object]]) -> None:
        line = json.dumps(entries) + "\n"
        os.pwrite(self._descriptor, line.encode(), os.fstat(self._descriptor).st_size)

    def _entries(self) -> list[tuple[Path, int]]:
        text = os.pread(self._descriptor, os.fstat(self._descriptor).st_size, 0).decode()
        *whole, _ = text.split("\n")  # the rest: a maker was killed while it wrote the line
        return [
            (self._layout.root / name, inode) for line in whole for name, inode in json.loads(line)
        ]

    def check(self) -> None:
        """CreateError where the file is somebody else's; it is left as it is then."""
        try:
            for path, inode in self._entries():
                _partial(path)
                int(inode)
        except (ValueError, TypeError):
            raise CreateError(
                f"{self._layout.initializing} is in the way, and no note of ours; move it away"
            ) from None


@contextlib.contextmanager
def _only_maker(layout: StoreLayout) -> Iterator[_Note]:
    """Be the only process that makes this store, and clear up after one that was killed."""
    descriptor = os.open(layout.initializing, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock_as_maker(descriptor, layout)
        note = _Note(layout, descriptor)
        note.check()
        try:
            note.clear_up()
            yield note
        finally:
            layout.initializing.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock_as_maker(descriptor: int, layout: StoreLayout) -> None:
    locked = try_lock(descriptor)
    if locked is False:
        raise CreateError(f"another process is making the store {layout.root}; wait for it to end")
    if locked and not is_file_of(descriptor, layout.initializing):
        raise CreateError(f"another process has just made the store {layout.root}; run again")


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
