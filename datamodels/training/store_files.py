"""Making the files of a store: all of them or none, their space reserved, nothing overwritten."""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

from datamodels.errors import DatamodelsError, ExistsError
from datamodels.files import publish, sync_folder
from datamodels.npy_file import header_bytes
from datamodels.training.layout import StoreLayout
from datamodels.training.spec import COMPLETED, Field, Spec

_NO_RESERVATION = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


class CreateError(DatamodelsError):
    """The store could not be made; nothing was left behind."""


def create_files(layout: StoreLayout, spec: Spec, *, reserve: bool) -> None:
    """Make every file of a new store, the flags of complete rows last.

    The store exists once its flags do. A run that is killed before leaves a note of the names it
    was making, and the next run removes just those before it begins anew. Raises ExistsError where
    a file of one of our names stands already, CreateError when the disk is full.
    """
    made_folder = not layout.root.exists()
    try:
        layout.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CreateError(f"cannot make the folder {layout.root}: {error.strerror}") from error
    try:
        with _only_maker(layout):
            _refuse_existing(layout, spec)
            _make_all(layout, spec, reserve)
    except BaseException:
        if made_folder:
            with contextlib.suppress(OSError):
                layout.root.rmdir()  # only where it is empty
        raise


def _make_all(layout: StoreLayout, spec: Spec, reserve: bool) -> None:
    fields = [(layout.array(key), field) for key, field in spec.schema.items()]
    flags = (layout.completed, spec.fields()[COMPLETED])
    names = [layout.spec, *(path for path, _ in fields), layout.completed]
    _note(layout, names)
    try:
        _write_new(layout.spec, json.dumps(spec.to_json(), indent=2).encode() + b"\n")
        for path, field in (*fields, flags):
            _make_array(path, spec.num_models, field, reserve)
        sync_folder(layout.root)
    except OSError as error:
        _remove(names)
        size = spec.num_models * sum(field.row_bytes for field in spec.fields().values())
        free = _free_bytes(layout.root)
        raise CreateError(
            f"cannot make the store {layout.root}: {error.strerror} ({error.filename}). It needs "
            f"{size:,} bytes and {free:,} are free: make room, lower num_models, or leave the "
            "space unreserved with --logging.reserve=false"
        ) from error
    except BaseException:
        _remove(names)
        raise


def _make_array(path: Path, num_models: int, field: Field, reserve: bool) -> None:
    """One zero-filled ``.npy`` file, complete under a temporary name before it has its own."""
    partial = _partial(path)
    header = header_bytes((num_models, *field.shape), field.dtype)
    size = len(header) + num_models * field.row_bytes
    try:
        with partial.open("xb") as file:
            file.write(header)
            file.flush()
            _reserve(file.fileno(), size, reserve)
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    publish(partial, path)


def _reserve(descriptor: int, size: int, reserve: bool) -> None:
    """Give the file its size; with its blocks, where the system can and ``reserve`` asks for it."""
    if reserve and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in _NO_RESERVATION:
                raise
    os.truncate(descriptor, size)


def _refuse_existing(layout: StoreLayout, spec: Spec) -> None:
    paths = [layout.array(key) for key in spec.fields()] + [layout.spec]
    taken = [path.name for path in paths if path.exists()]
    if taken:
        raise ExistsError(
            f"{layout.root} already holds {', '.join(taken)}, but no complete store; "
            "nothing was changed: choose another folder, or move these files away"
        )


def clear_remains(layout: StoreLayout) -> None:
    """Remove temporary names that a maker killed at its very end left beside a finished store."""
    if layout.initializing.exists():
        with _only_maker(layout):
            pass


@contextlib.contextmanager
def _only_maker(layout: StoreLayout) -> Iterator[None]:
    """Be the only process that makes this store, and clear up after one that was killed."""
    try:
        descriptor = os.open(layout.initializing, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise CreateError(f"cannot write in {layout.root}: {error.strerror}") from error
    try:
        _lock_as_maker(descriptor, layout)
        try:
            _clear_up(layout, os.pread(descriptor, 1 << 20, 0))
            yield
        finally:
            layout.initializing.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock_as_maker(descriptor: int, layout: StoreLayout) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CreateError(
            f"another process is making the store {layout.root}; wait for it to end"
        ) from None
    except OSError:
        return  # a file system without locks
    if not layout.initializing.exists() or not os.path.samestat(
        os.fstat(descriptor), layout.initializing.stat()
    ):
        raise CreateError(f"another process has just made the store {layout.root}; run again")


def _note(layout: StoreLayout, names: list[Path]) -> None:
    layout.initializing.write_text(json.dumps([path.name for path in names]))


def _clear_up(layout: StoreLayout, note: bytes) -> None:
    """Remove what a killed run was making; a store whose flags exist was finished and stays."""
    try:
        names = [layout.root / str(name) for name in json.loads(note)]
    except ValueError:
        return  # no note, or killed while it wrote the note, before it made any file
    if layout.completed.exists():
        for path in names:
            _partial(path).unlink(missing_ok=True)
    else:
        _remove(names)


def _remove(names: list[Path]) -> None:
    for path in reversed(names):  # the flags first: without them there is no store
        path.unlink(missing_ok=True)
        _partial(path).unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _write_new(path: Path, content: bytes) -> None:
    partial = _partial(path)
    with partial.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    publish(partial, path)


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
