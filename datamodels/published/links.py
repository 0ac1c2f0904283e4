"""The files of a view, each replaced at once; and links that follow the file they lead to."""

import secrets
from contextlib import suppress
from pathlib import Path

from datamodels.files import new_file
from datamodels.published.layout import partial_of
from datamodels.training.layout import StoreLayout


def put(path: Path, content: bytes) -> None:
    """Bring a small file to this content, whole or not at all."""
    try:
        if path.read_bytes() == content:
            return  # on a disk that may not be written, too, a view that is right stays so
    except FileNotFoundError:
        pass
    with new_file(path, overwrite=True) as temporary:
        temporary.write_bytes(content)


def link(path: Path, target: str) -> None:
    """Let ``path`` lead to ``target``, in the place of a link that led elsewhere."""
    if path.is_symlink() and str(path.readlink()) == target:
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.symlink_to(target)
    temporary.replace(path)  # a link over the link before


def follow_name(final: Path) -> None:
    """Let the links of views to what was ``final``'s ``.partial`` file lead to ``final``: a view is
    read while other files of it are still coming. A refresh does what this cannot."""
    partial = partial_of(final).name
    with suppress(OSError):
        for note in final.parent.parent.glob(f"*/{StoreLayout(Path()).read_only.name}"):
            for found in note.parent.glob("*.npy"):
                if found.is_symlink() and found.readlink().name == partial:
                    link(found, str(found.readlink().with_name(final.name)))
