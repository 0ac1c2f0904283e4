"""What a fit has done so far, kept so that it can go on after it was stopped."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.files import new_file

T = TypeVar("T")
Arrays = dict[str, NDArray[Any]]


class Journal(Protocol):
    """Finished steps by name. A step is there as a whole or not at all."""

    def get(self, step: str) -> Arrays | None:
        """What ``step`` left, if it is done."""

    def put(self, step: str, arrays: Arrays) -> None:
        """Keep what ``step`` left."""


def recall(journal: Journal, step: str, build: Callable[[Arrays], T]) -> T | None:
    """What ``step`` left, as ``build`` makes it of its arrays; None if it is not done."""
    arrays = journal.get(step)
    if arrays is None:
        return None
    try:
        return build(arrays)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"steps/{step}.npz of the unfinished run is damaged, or of another version: {error}. "
            "Remove it and resume again"
        ) from None


class NoJournal:
    """For a fit that is not going to be resumed."""

    def get(self, step: str) -> Arrays | None:  # noqa: ARG002
        """Nothing is kept."""
        return None

    def put(self, step: str, arrays: Arrays) -> None:
        """Keep nothing."""


class FolderJournal:
    """One ``.npz`` a step, in an existing folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, step: str) -> Arrays | None:
        """See :class:`Journal`."""
        path = self._path(step)
        if not path.exists():
            return None
        try:
            with np.load(path) as file:
                return dict(file)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is damaged: {error}. Remove it and resume again") from None

    def put(self, step: str, arrays: Arrays) -> None:
        """See :class:`Journal`."""
        with new_file(self._path(step), overwrite=True) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def _path(self, step: str) -> Path:
        return self._folder / f"{step}.npz"
