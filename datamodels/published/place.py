"""Whether files can be written below a folder, to know it before they are paid for."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from datamodels.cli.amounts import bytes_text
from datamodels.errors import DatamodelsError, UsageError
from datamodels.files import missing_folders, remove_empty
from datamodels.published.catalogue import PublishedFile
from datamodels.published.layout import PublishedLayout


def refuse_file(root: Path) -> None:
    """UsageError where ``root`` is no folder, and cannot be one."""
    above = (missing_folders(root) or [root / "x"])[-1].parent
    if not above.is_dir():
        raise UsageError(
            f"{root} cannot be a folder: {above} is a file. Name another --download.root"
        )


def check_writable(root: Path, files: Iterable[PublishedFile]) -> None:
    """DatamodelsError unless ``files`` can be written below ``root``: to know it once they come
    would be late, as they are paid for."""
    for folder in {PublishedLayout(root).file(file.key).parent for file in files}:
        made = missing_folders(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise DatamodelsError(
                f"{folder} cannot be written ({error.strerror}), and nothing was fetched. Let "
                "yourself write there, or name another --download.root"
            ) from None
        finally:
            remove_empty(made)


def check_space(size: int, root: Path) -> None:
    """DatamodelsError unless the disk of ``root`` has room for ``size`` more bytes."""
    folder = (missing_folders(root) or [root / "x"])[-1].parent
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DatamodelsError(
            f"{bytes_text(size)} are to be fetched, and {folder} has {bytes_text(free)} free. Free "
            "some, name a place on another disk, or fetch fewer files or rows (--download.rows)"
        )
