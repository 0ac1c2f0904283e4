"""A file system of a few MiB, which only root may mount."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[tuple[Path, Callable[[int], object]]]:
    """``folder`` on a disk of so many MiB, and a function that makes it larger."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder)
    try:
        yield folder, lambda more: _mount("-o", f"remount,size={more}m", folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def make_read_only(folder: Path) -> None:
    """Let nobody write on a small disk any more, root included."""
    _mount("-o", "remount,ro", folder)


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, capture_output=True)


def _works() -> bool:
    if os.geteuid() != 0:
        return False
    try:
        with TemporaryDirectory() as folder, small_disk(Path(folder) / "disk", 1):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


HAS_SMALL_DISKS = _works()
