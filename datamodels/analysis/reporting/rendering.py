"""What examples look like: from files of images, or from a user's function."""

import importlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.analysis.reporting.content import Int32s, Pictures
from datamodels.analysis.reporting.markup import safe_html
from datamodels.analysis.reporting.sprites import (
    Pixels,
    images_to_pixels,
    make_sheets,
    read_picture,
)
from datamodels.errors import DatamodelsError, InputError, UsageError

Renderer = Callable[[str, int], Any]


@dataclass(frozen=True, eq=False)
class Appearance:
    """Where pictures of the examples of one part come from; neither: there are none."""

    part: str  # "train" or "test"
    images: NDArray[Any] | None = None
    renderer: Renderer | None = None
    cmap: str = "gray"

    def pictures(self, examples: Iterable[int]) -> Pictures:
        """Pictures of these examples, each once."""
        members = np.unique(np.fromiter(examples, np.int32))
        if self.renderer is not None:
            return _rendered(self.renderer, self.part, members, self.cmap)
        if self.images is None or not len(members):
            return Pictures()
        pixels = images_to_pixels([self.images[i] for i in members], self.cmap)
        return Pictures(make_sheets(pixels, members))


def import_renderer(name: str | None) -> Renderer | None:
    """The function of ``module:function``, looked up from the current folder first.

    It is called as ``function(part, index)``, part being "train" or "test", and returns an image
    as an array (h, w) or (h, w, 3) or as the bytes of a PNG file, text, HTML (an object with
    ``__html__`` or ``_repr_html_``, such as markupsafe.Markup), or None for nothing.
    """
    if name is None:
        return None
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name.isidentifier():
        raise UsageError(f"--report.renderer={name}: write module:function")
    if "" not in sys.path and "." not in sys.path:
        sys.path.insert(0, "")
    try:
        function = getattr(importlib.import_module(module_name), function_name, None)
    except Exception as error:  # whatever the user's module raises
        raise UsageError(
            f"--report.renderer={name}: importing {module_name} failed: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not callable(function):
        raise UsageError(f"--report.renderer={name}: {module_name} has no function {function_name}")
    renderer: Renderer = function
    return renderer


def _rendered(renderer: Renderer, part: str, members: Int32s, cmap: str) -> Pictures:
    arrays: dict[int, NDArray[Any]] = {}
    pixels: dict[int, Pixels] = {}
    texts: dict[int, str] = {}
    html: dict[int, str] = {}
    for i in members.tolist():
        shown = _call(renderer, part, i)
        if shown is None:
            continue
        if isinstance(shown, bytes):
            pixels[i] = read_picture(shown)
        elif hasattr(shown, "__html__"):
            html[i] = safe_html(str(shown.__html__()))
        elif hasattr(shown, "_repr_html_"):
            html[i] = safe_html(str(shown._repr_html_()))
        elif isinstance(shown, str):
            texts[i] = shown
        else:
            arrays[i] = _checked_image(shown, part, i)
    pixels |= dict(zip(arrays, images_to_pixels(list(arrays.values()), cmap), strict=True))
    drawn = sorted(pixels)
    sheets = make_sheets([pixels[i] for i in drawn], np.array(drawn, np.int32))
    return Pictures(sheets, texts, html)


def _call(renderer: Renderer, part: str, index: int) -> Any:
    try:
        return renderer(part, index)
    except Exception as error:  # whatever the user's function raises
        raise DatamodelsError(
            f"the renderer failed on {part} example {index}: {type(error).__name__}: {error}"
        ) from error


def _checked_image(shown: Any, part: str, index: int) -> NDArray[Any]:
    image = np.asarray(shown)
    fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))
    if not fits or image.dtype.kind not in "biuf" or not image.size:
        raise InputError(
            f"the renderer gave {type(shown).__name__} of shape {image.shape} and dtype "
            f"{image.dtype} for {part} example {index}; return an image (h, w) or (h, w, 3), the "
            "bytes of a PNG file, text, or HTML (markupsafe.Markup)"
        )
    return image
