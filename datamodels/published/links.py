"""The files of a view, each replaced at once; and links that follow the file they lead to."""

import errno
from contextlib import suppress
from pathlib import Path

from datamodels.errors import DatamodelsError
from datamodels.files import locked_folder, sync_file, temporary_name
from datamodels.published.layout import partial_of
from datamodels.training.layout import StoreLayout

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems such as exFAT


class NoLinksError(DatamodelsError):
    """The file system has no symbolic links, of which views are made."""


def put(path: Path, content: bytes) -> None:
    """Bring a small file to this content, whole or not at all."""
    try:
        if path.read_bytes() == content:
            return  # on a disk that may not be written, too, a view that is right stays so
    except FileNotFoundError:
        pass
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(content)
        sync_file(temporary)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def link(path: Path, target: str) -> None:
    """Let ``path`` lead to ``target``, in the place of a link that led elsewhere."""
    if path.is_symlink() and str(path.readlink()) == target:
        return
    temporary = temporary_name(path)
    try:
        temporary.symlink_to(target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise NoLinksError(
            f"no view can be made in {path.parent.parent}: its file system has no symbolic links. "
            "Open the files with datamodels.published.load, or move them to a disk that has links"
        ) from None
    temporary.replace(path)  # a link over the link before


def follow_name(final: Path) -> None:
    """Let the links of views to what was ``final``'s ``.partial`` file lead to ``final``: a view is
    read while other files of it are still coming. A refresh does what this cannot."""
    partial = partial_of(final).name
    with suppress(OSError), locked_folder(final.parent):
        for note in final.parent.parent.glob(f"*/{StoreLayout(Path()).read_only.name}"):
            for found in note.parent.glob("*.npy"):
                if found.is_symlink() and found.readlink().name == partial:
                    link(found, str(found.readlink().with_name(final.name)))
