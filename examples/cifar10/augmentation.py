"""Random flips, translations and cutouts, of a whole batch at once on the device of the images.

What is random is drawn beforehand, by the CPU, so that it is the same on every device: five numbers
for each image of each batch. Where a pixel has nothing to show it shows the fill, a colour.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

TRANSLATION: Final = 2  # pixels, at most, in each direction
CUTOUT: Final = 4  # pixels a side of the square that is painted over
NUMBERS: Final = 5  # drawn for each image


class Draws(NamedTuple):
    """What was drawn for each image of a batch, (b,) each."""

    flip: Tensor  # 1: left and right change places
    down: Tensor  # first row shown, of the padded image
    right: Tensor  # first column shown, of the padded image
    top: Tensor  # first row of the cutout
    left: Tensor  # first column of the cutout


def draw(shape: tuple[int, ...], height: int, width: int, generator: torch.Generator) -> Tensor:
    """Numbers for images of ``height`` x ``width`` pixels: int16 (\\*shape, 5), in the order of
    :class:`Draws`. On the CPU, as ``generator`` is."""
    ends = (2, 2 * TRANSLATION + 1, 2 * TRANSLATION + 1, height - CUTOUT + 1, width - CUTOUT + 1)
    numbers = [torch.randint(end, shape, generator=generator, dtype=torch.int16) for end in ends]
    return torch.stack(numbers, dim=-1)


def pad(images: Tensor, fill: Tensor) -> Tensor:
    """Images (n, h, w, 3) with a frame of ``fill`` (3,): (n, h + 4, w + 4, 3)."""
    n, height, width, channels = images.shape
    frame = 2 * TRANSLATION
    padded = fill.to(images.dtype).expand(n, height + frame, width + frame, channels).clone()
    padded[:, TRANSLATION:-TRANSLATION, TRANSLATION:-TRANSLATION] = images
    return padded


def augment(padded: Tensor, rows: Tensor, numbers: Tensor, fill: Tensor) -> Tensor:
    """Images ``rows`` (b,) of ``padded``, flipped, moved and cut as ``numbers`` (b, 5) say.

    Args:
        padded: uint8 (n, h + 4, w + 4, 3), of :func:`pad`.
        rows: int64 (b,).
        numbers: (b, 5), of :func:`draw`.
        fill: uint8 (3,).

    Returns:
        uint8 (b, h, w, 3).
    """
    draws = Draws(*numbers.long().unbind(-1))
    height, width = (side - 2 * TRANSLATION for side in padded.shape[1:3])
    down = torch.arange(height, device=padded.device)
    right = torch.arange(width, device=padded.device)
    ys = draws.down[:, None] + down  # (b, h)
    xs = draws.right[:, None] + right  # (b, w)
    xs = torch.where(draws.flip[:, None] == 1, padded.shape[2] - 1 - xs, xs)
    images = padded[rows[:, None, None], ys[:, :, None], xs[:, None, :]]  # (b, h, w, 3)
    cut = _within(down, draws.top)[:, :, None] & _within(right, draws.left)[:, None, :]  # (b, h, w)
    return torch.where(cut[..., None], fill, images)


def _within(places: Tensor, first: Tensor) -> Tensor:
    """Which ``places`` (p,) the cutouts that begin at ``first`` (b,) cover: (b, p)."""
    since = places - first[:, None]
    return (since >= 0) & (since < CUTOUT)
