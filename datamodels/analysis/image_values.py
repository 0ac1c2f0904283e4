"""Which values of images are black and white, alike in pictures and in reports."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def value_range(images: Sequence[NDArray[Any]]) -> tuple[float, float]:
    """The values that are drawn as black and white (grey images may be drawn the other way).

    uint8 colours run from 0 to 255 and colours within 0 to 1 from 0 to 1; all else runs over the
    values that there are, NaN left out.
    """
    in_colour = images[0].shape[2:] == (3,)
    if in_colour and all(image.dtype == np.uint8 for image in images):
        return 0.0, 255.0
    low = min(float(np.nanmin(image)) for image in images)
    high = max(float(np.nanmax(image)) for image in images)
    if in_colour and low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high if high > low else low + 1.0
