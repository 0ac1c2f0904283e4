"""From image files to arrays of pixels."""

import io
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.optional import import_optional

Progress = Callable[[int], object]  # told how many images are done
# Pillow's modes whose pixels become RGB without loss of range: 16-bit and float images are not
# among them.
_EIGHT_BITS = ("RGB", "L", "P", "1", "RGBA", "LA", "PA", "CMYK", "YCbCr")


def quiet(done: int) -> None:
    """Tell nobody."""


def decode(encoded: bytes, where: str) -> NDArray[np.uint8]:
    """RGB pixels (h, w, 3) of an image file's bytes, JPEG, PNG or whatever Pillow knows.

    Grey and palette images become RGB; transparency is dropped, EXIF rotation not applied. Raises
    :class:`InputError`, ``where`` the file is being for its message.
    """
    pillow = import_optional("PIL.Image", "pillow", "JPEG and PNG images")
    try:
        with pillow.open(io.BytesIO(encoded)) as image:
            mode = image.mode
            pixels = np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow raises SyntaxError, struct.error and more on bad files
        raise InputError(f"{where} cannot be decoded as an image: {error}") from error
    if mode not in _EIGHT_BITS:
        raise InputError(f"{where} has pixels of mode {mode}; 8 bits a channel are needed")
    return pixels


def stack(
    images: Iterable[tuple[str, NDArray[np.uint8]]], count: int, progress: Progress = quiet
) -> NDArray[np.uint8]:
    """``count`` images (h, w, 3), each with its name, as one array (count, h, w, 3).

    Raises :class:`InputError` naming the first whose size is not that of the first of all.
    """
    stacked = np.empty((0, 0, 0, 3), np.uint8)
    first = ""
    for place, (where, pixels) in enumerate(images):
        if place == 0:
            first = where
            stacked = np.empty((count, *pixels.shape), np.uint8)
        if pixels.shape != stacked.shape[1:]:
            (h, w), (height, width) = pixels.shape[:2], stacked.shape[1:3]
            raise InputError(
                f"{where} is {w} x {h} pixels, {first} is {width} x {height}: all images must be "
                "of one size. Scale or crop them first"
            )
        stacked[place] = pixels
        progress(place + 1)
    return stacked
