"""Results that appear whole or not at all, and replace nothing unless told to.

Files and folders are made under a temporary name beside their place, brought to the disk, and only
then given their name, which must be free.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from datamodels.errors import DatamodelsError, ExistsError, MissingFileError
from datamodels.read_only import refuse_inside_read_only

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def new_file(
    path: str | Path, *, overwrite: bool = False, size: int | None = None
) -> Iterator[Path]:
    """A temporary file to fill, which stands at ``path`` once the block ends without an error.

    ExistsError when the name is taken and ``overwrite`` is not set; MissingFileError when there is
    no such folder; DatamodelsError when the disk is full (``size``, in bytes, is for its message)
    or refuses.
    """
    path = Path(path)
    check_new_file(path, overwrite=overwrite)
    temporary = temporary_name(path)
    try:
        with disk_errors(path, size):
            temporary.open("xb").close()  # by open, not mkstemp, whose files only the owner reads
        yield temporary
        with disk_errors(path, size):
            sync_file(temporary)
            if overwrite:
                temporary.replace(path)
            else:
                publish(temporary, path)
            sync_folder(path.parent)
    finally:
        with suppress(OSError):  # never there, or the disk is gone: the first error says it better
            temporary.unlink()


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder to fill, which stands at ``path`` once the block ends without an error.

    Folders above it are made as needed. ExistsError when the name is taken.
    """
    path = Path(path)
    refuse_existing(path)
    temporary = temporary_name(path)
    made = missing_folders(path.parent)
    try:
        with _errors_of_parents(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(path):
            temporary.mkdir()
        yield temporary
        with disk_errors(path):
            for file in sorted(temporary.rglob("*")):
                if file.is_file():
                    sync_file(file)
            refuse_existing(path)  # a rename would replace an empty folder
            temporary.rename(path)
            sync_folder(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        remove_empty(made)
        raise


def missing_folders(folder: Path) -> list[Path]:
    """``folder`` and those above it that do not exist, innermost first."""
    missing = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = folder.parent
    return missing


def remove_empty(folders: list[Path]) -> None:
    """Remove those of ``folders``, innermost first, that are empty."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def _errors_of_parents(folder: Path) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise DatamodelsError(f"{folder} cannot be a folder: a file stands in its way") from None
    except OSError as error:
        raise DatamodelsError(f"cannot make the folder {folder}: {error.strerror}") from error


def refuse_existing(path: Path) -> None:
    """ExistsError when the name is taken, ReadOnlyError in a folder that is only to be read."""
    refuse_inside_read_only(path)
    if os.path.lexists(path):
        raise ExistsError(f"{path} exists already, and nothing is overwritten; name another place")


def check_new_file(path: str | Path, *, overwrite: bool = False) -> None:
    """What :func:`new_file` refuses of ``path``, to say so before minutes of work: ExistsError when
    the name is taken, MissingFileError when there is no such folder, ReadOnlyError in a folder that
    is only to be read."""
    path = Path(path)
    if overwrite:
        refuse_inside_read_only(path)
    else:
        refuse_existing(path)
    if not path.parent.is_dir():
        raise MissingFileError(f"the folder {path.parent} does not exist; make it first")


def publish(temporary: Path, path: Path) -> None:
    """Give a finished file its name, unless that is taken: ``FileExistsError`` then."""
    try:
        os.link(temporary, path)  # unlike a rename, a link never replaces
    except FileExistsError:
        raise
    except OSError:  # no hard links here (exFAT, some network and FUSE mounts): claim the name
        path.open("xb").close()
        try:
            temporary.replace(path)
        except BaseException:
            path.unlink()
            raise
    else:
        temporary.unlink(missing_ok=True)  # tidied up by another process


def sync_folder(folder: Path) -> None:
    """Make new names in ``folder`` survive a loss of power."""
    with suppress(OSError):  # some file systems cannot, and need not
        sync_file(folder)


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file for this process alone, as long as it is open; False where another has it,
    None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_file_of(descriptor: int, path: Path) -> bool:
    """Whether ``path`` still names the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def write_all(descriptor: int, offset: int, content: Any) -> None:
    """Write the bytes of ``content`` at ``offset``: one call writes at most 2 GiB, and less when
    the disk fills up."""
    rest = memoryview(content).cast("B")
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


@contextmanager
def disk_errors(path: Path, size: int | None = None) -> Iterator[None]:
    """Turn what the operating system says about ``path`` into errors with a remedy."""
    try:
        yield
    except FileExistsError as error:
        raise ExistsError(f"{path} appeared meanwhile; nothing is overwritten") from error
    except OSError as error:
        if error.errno in NO_ROOM:
            needed = "more" if size is None else f"{size / 2**20:.0f} MiB, more"
            raise DatamodelsError(
                f"{path} needs {needed} than {path.parent} has room for ({error.strerror}). Free "
                "some, or name a place on another disk"
            ) from error
        raise DatamodelsError(f"{path} cannot be written: {error.strerror}") from error


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` for what will get that name once it is finished."""
    # 60 characters of the name leave room for the rest, whatever their encoding; the suffix stays,
    # as some writers choose their format by it.
    return path.with_name(f"{_temporary_begins(path)}{secrets.token_hex(4)}{_temporary_ends(path)}")


def leftovers_of(path: Path) -> list[Path]:
    """What lies beside ``path`` under a name of :func:`temporary_name`: a process that was killed
    left it, unless one is at work there."""
    begin, end = _temporary_begins(path), _temporary_ends(path)
    pattern = re.compile(f"{re.escape(begin)}[0-9a-f]{{8}}{re.escape(end)}")
    try:
        return sorted(file for file in path.parent.iterdir() if pattern.fullmatch(file.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _temporary_begins(path: Path) -> str:
    return f".{path.stem[:60]}."


def _temporary_ends(path: Path) -> str:
    return f".partial{path.suffix[:20]}"


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Wait until no other thread or process is in such a block of the same folder.

    Not to be nested, nor held for long. Without a folder, or where the file system has no locks,
    nothing is locked.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
