"""Some images of FMoW as a map-style data set."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from operator import index as as_index
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, MissingFileError
from datamodels.optional import import_optional


@dataclass(frozen=True, eq=False)
class FMoWSubset:
    """Some images in the order of the table, as a map-style data set for PyTorch's DataLoader.

    Example i is ``(image, label)``: the image in RGB by Pillow, or what ``transform`` makes of it,
    and an int, the place of its class in ``class_names``.
    """

    name: str
    rows: NDArray[np.int64]  # (n,) rows of the table, ``seq`` rows counted
    labels: NDArray[np.int64]  # (n,)
    years: NDArray[np.int64]  # (n,) in UTC
    class_names: tuple[str, ...]
    image_folder: Path
    transform: Callable[[Any], Any] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Example ``index``, from the end where negative.

        MissingFileError where its image does not exist, InputError where it cannot be read.
        """
        path = self.image_path(index)
        image = _read_image(path)
        return (
            image if self.transform is None else self.transform(image),
            int(self.labels[as_index(index)]),
        )

    def image_path(self, index: int) -> Path:
        """The file of example ``index``; IndexError where there is no such example."""
        number = as_index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(
                f"example {number} of the FMoW subset {self.name}: it has {len(self)} examples"
            )
        return self.image_folder / _image_name(self.rows[number])

    def missing_images(self) -> list[Path]:
        """Files of examples that do not exist, in order. The folder is listed once."""
        try:
            with os.scandir(self.image_folder) as entries:
                there = {entry.name for entry in entries if entry.is_file()}
        except (FileNotFoundError, NotADirectoryError):
            there = set()
        names = map(_image_name, self.rows)
        return [self.image_folder / name for name in names if name not in there]


def _image_name(row: np.int64) -> str:
    return f"rgb_img_{row}.png"


def _read_image(path: Path) -> Any:
    """The picture in ``path`` in RGB, loaded: no file stays open."""
    pillow = import_optional("PIL.Image", "pillow", "images of FMoW", extra="published")
    try:
        with pillow.open(path) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise MissingFileError(
            f"there is no image {path}; missing_images() lists all that this subset lacks"
        ) from None
    except (OSError, SyntaxError, ValueError) as error:  # all of them Pillow's, of broken files
        if getattr(error, "errno", None) is not None:
            raise  # the system's: no permission, say
        raise InputError(f"{path} cannot be read as an image: {error}; copy it anew") from None
