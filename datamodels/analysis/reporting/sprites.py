"""Many small pictures as a few big ones, as compact as a page wants them."""

import base64
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from datamodels.analysis.image_values import value_range
from datamodels.analysis.reporting.content import Int32s, SpriteSheets
from datamodels.errors import InputError, UsageError
from datamodels.optional import import_optional

if TYPE_CHECKING:
    from PIL.Image import Image

_COLUMNS: Final = 16
_ROWS: Final = 16
_MAX_SIDE: Final = 96  # pixels of a tile; larger pictures are made smaller
_MAX_PIXELS: Final = 24_000_000  # of all tiles; more make them smaller
_LOSSLESS_BYTES: Final = 4_000_000  # of raw pixels, up to which nothing is lost
_MAX_BYTES: Final = 15_000_000  # of the compressed sheets of one part; base64 adds a third
_QUALITIES: Final = (85, 70, 50, 30, 10)

Pixels = NDArray[np.uint8]


def images_to_pixels(images: Sequence[NDArray[Any]], cmap: str = "gray") -> list[Pixels]:
    """Images (h, w), (h, w, 1) or (h, w, 3) as uint8 (h, w) in grey or (h, w, 3) in colour.

    uint8 colours run from 0 to 255, other values over the range of all ``images``, except colours
    within 0 to 1. ``cmap`` is "gray", "gray_r" or another of matplotlib's.
    """
    if not images:
        return []
    low, high = value_range(images)
    shade = _shades(cmap)
    return [_to_pixels(image, low, high, shade) for image in images]


def make_sheets(pictures: Sequence[Pixels], members: Int32s) -> SpriteSheets | None:
    """Sheets of ``pictures``, whose i-th is of ``members[i]``; None where there are none.

    Tiles have the first picture's shape; others are fitted into it. Small amounts of pixels are
    kept exactly, larger ones are compressed with loss.

    Raises:
        MissingPackageError: pillow is not installed.
    """
    if not pictures:
        return None
    import_optional("PIL.Image", "pillow", "pictures in a report")
    width, height = _tile_size(pictures)
    per_sheet = _COLUMNS * _ROWS
    parts = [pictures[i : i + per_sheet] for i in range(0, len(pictures), per_sheet)]
    columns = min(_COLUMNS, len(pictures))
    rows = -(-min(per_sheet, len(pictures)) // columns)
    sheets = [_arranged(part, width, height, columns, rows) for part in parts]
    encoded = _encoded(sheets, raw=sum(sheet.width * sheet.height * 3 for sheet in sheets))
    return SpriteSheets(
        width, height, columns, rows, members,
        [("image/webp", base64.b64encode(content).decode("ascii")) for content in encoded],
    )  # fmt: skip


def read_picture(content: bytes) -> Pixels:
    """The pixels of a PNG, JPEG or WebP file; transparency on white."""
    image_module = import_optional("PIL.Image", "pillow", "pictures in a report")
    try:
        image = image_module.open(io.BytesIO(content)).convert("RGBA")
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"a renderer's {len(content)} bytes are no picture: {error}") from None
    white = image_module.new("RGBA", image.size, "white")
    return np.asarray(image_module.alpha_composite(white, image).convert("RGB"))


def check_colour_map(cmap: str) -> None:
    """UsageError where matplotlib has no such map; of "gray" and "gray_r" it is not asked."""
    _shades(cmap)


def _shades(cmap: str) -> Callable[[Pixels], Pixels]:
    """What becomes of grey levels."""
    if cmap == "gray":
        return lambda grey: grey
    if cmap == "gray_r":
        return lambda grey: 255 - grey
    matplotlib = import_optional("matplotlib", "matplotlib", "colour maps")
    try:
        table = matplotlib.colormaps[cmap](np.arange(256), bytes=True)[:, :3]
    except KeyError:
        raise UsageError(
            f"cmap={cmap!r} is none of matplotlib's colour maps, such as gray, gray_r, viridis"
        ) from None
    return lambda grey: table[grey]


def _to_pixels(
    image: NDArray[Any], low: float, high: float, shade: Callable[[Pixels], Pixels]
) -> Pixels:
    values = np.asarray(image)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.dtype != np.uint8 or (low, high) != (0.0, 255.0):
        share = np.clip((values.astype(np.float64) - low) / (high - low), 0.0, 1.0)
        values = np.rint(np.nan_to_num(share) * 255).astype(np.uint8)
    return shade(values) if values.ndim == 2 else values


def _tile_size(pictures: Sequence[Pixels]) -> tuple[int, int]:
    """Width and height of a tile."""
    height, width = pictures[0].shape[:2]
    most = (_MAX_PIXELS / (len(pictures) * height * width)) ** 0.5
    scale = min(1.0, _MAX_SIDE / max(height, width), most)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _arranged(part: Sequence[Pixels], width: int, height: int, columns: int, rows: int) -> "Image":
    from PIL import Image, ImageOps

    mode = "L" if all(picture.ndim == 2 for picture in part) else "RGB"
    sheet = Image.new(mode, (columns * width, rows * height), "white")
    for i, picture in enumerate(part):
        tile = Image.fromarray(np.ascontiguousarray(picture)).convert(mode)
        if tile.size != (width, height):
            tile = ImageOps.pad(tile, (width, height), Image.Resampling.LANCZOS, color="white")
        sheet.paste(tile, (i % columns * width, i // columns * height))
    return sheet


def _encoded(sheets: list["Image"], *, raw: int) -> list[bytes]:
    """The sheets as WebP, without loss if they are small, else as good as there is room for."""
    if raw <= _LOSSLESS_BYTES:
        return [_webp(sheet, lossless=True) for sheet in sheets]
    first = [_webp(sheets[0], quality=quality) for quality in _QUALITIES]
    fits = [len(content) * len(sheets) <= _MAX_BYTES for content in first]
    quality = _QUALITIES[fits.index(True)] if any(fits) else _QUALITIES[-1]
    return [_webp(sheet, quality=quality) for sheet in sheets]


def _webp(sheet: "Image", **options: Any) -> bytes:
    file = io.BytesIO()
    sheet.convert("RGB").save(file, "WEBP", method=3, **options)
    return file.getvalue()
