"""Pictures of what datamodels say: test images and the training images behind them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.analysis.canvas import DPI, GREY, INK, Canvas
from datamodels.analysis.image_values import value_range
from datamodels.analysis.ruler import Ruler
from datamodels.errors import InputError, UsageError
from datamodels.files import new_file
from datamodels.optional import require_matplotlib
from datamodels.regression.result import top_examples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_ROWS: Final = 200  # a picture may not be higher than 2^16 pixels

# Lengths in inches.
_TILE: Final = 0.94
_INSET: Final = 0.045  # white between a frame and its image, so that busy images keep their frame
_BETWEEN_TILES: Final = 0.16
_BETWEEN_GROUPS: Final = 0.42
_BETWEEN_ROWS: Final = 0.24
_MARGIN: Final = 0.32
_HEADING: Final = 0.36
_MIN_WIDTH: Final = 5.6  # of the picture, so that its explanation stays readable at k = 1

# Sizes in points, colours from Okabe and Ito's palette, which colour-blind readers can tell
# apart; the line style says the same once more.
_TITLE, _TEXT, _CAPTION = 13.0, 9.0, 8.5
_LINE: Final = 1.35  # height of a line of text, in its size
_SAME: Final = ("#0072B2", "solid")
_OTHER: Final = ("#D55E00", (0, (2.2, 1.4)))


def plot_top_examples(
    weight: ArrayLike,
    train_images: NDArray[Any],
    train_labels: Sequence[Any] | NDArray[Any],
    test_images: NDArray[Any],
    test_labels: Sequence[Any] | NDArray[Any],
    targets: Sequence[int],
    *,
    path: str | Path,
    k: int = 5,
    notes: Sequence[str] | None = None,
    title: str | None = None,
    output: str = "output",
    cmap: str = "gray",
    overwrite: bool = False,
) -> Path:
    """Draw, for each target, its test image and the training images that help and hurt it most.

    One row a target: the test image with its label and note, the k training images of the largest
    positive weights, and the k of the most negative ones, with labels and weights. Fewer than k
    are drawn where fewer have a weight of that sign. A solid blue frame marks training images of
    the test image's label, a dashed orange one the others.

    Args:
        weight: shape (n_train, n_targets), in units of the output; target t is test image t.
        train_images: shape (n_train, h, w) or (n_train, h, w, 1) in grey, (n_train, h, w, 3) in
            colour. Only those drawn are read. uint8 colours run from 0 to 255; other values are
            brought to the range of the images drawn, except colours within 0 to 1.
        train_labels: n_train ints or strings.
        test_images: as ``train_images``, shape (n_targets, ...).
        test_labels: n_targets ints or strings.
        targets: which targets to draw, in this order.
        path: the .png to write.
        k: number of helpful and of harmful training images, at least 1.
        notes: a short line under each drawn test image, such as ``"LDS 0.43"``.
        title: a line above the picture.
        output: what the weights predict, for the explanation, such as ``"margin"``.
        cmap: matplotlib's name of the grey scale; ``"gray_r"`` draws large values dark.
        overwrite: replace a file that stands at ``path``.

    Returns:
        The path of the picture.

    Raises:
        MissingPackageError: matplotlib is not installed.
        ExistsError: there is a file at ``path`` and ``overwrite`` is False.
        MissingFileError: the folder of ``path`` does not exist.
        InputError, UsageError: arrays that do not fit together, or arguments out of range.
    """
    path = _checked_path(path)
    weight = np.asarray(weight)
    _check_sizes(weight, train_images, train_labels, test_images, test_labels)
    _check_choice(weight, targets, k, notes)
    rows = []
    for i, t in enumerate(targets):
        test = _Tile(test_images[t], _one_line(test_labels[t]), notes[i] if notes else "")
        top = top_examples(weight[:, t], k)
        helps, hurts = (
            _tiles(ranked.examples, weight[:, t], train_images, train_labels) for ranked in top
        )
        rows.append(_Row(test, helps, hurts))
    with new_file(path, overwrite=overwrite) as partial:
        _Picture(rows, k, title, output, cmap).draw().savefig(partial, format="png", dpi=DPI)
    return path


@dataclass(frozen=True)
class _Tile:
    """An image with a caption of two parts."""

    image: NDArray[Any]
    label: str
    note: str


@dataclass(frozen=True)
class _Row:
    test: _Tile
    helps: list[_Tile]
    hurts: list[_Tile]

    @property
    def tiles(self) -> list[_Tile]:
        return [self.test, *self.helps, *self.hurts]


def _tiles(
    examples: NDArray[np.intp],
    weight: NDArray[Any],
    images: NDArray[Any],
    labels: Sequence[Any] | NDArray[Any],
) -> list[_Tile]:
    # Three significant digits of the largest weight, and as many decimals for the smaller ones.
    largest = float(np.abs(weight).max(initial=0))
    decimals = max(0, 2 - int(np.floor(np.log10(largest)))) if largest > 0 else 0
    style = f"+,.{decimals}f" if decimals <= 5 else "+.1e"
    return [
        _Tile(
            images[j],
            _one_line(labels[j]),
            format(float(weight[j]), style).replace("-", "\N{MINUS SIGN}"),
        )
        for j in examples
    ]


class _Picture:
    """Places everything in inches from the top left corner, and draws it."""

    def __init__(self, rows: list[_Row], k: int, title: str | None, output: str, cmap: str) -> None:
        self.rows, self.k, self.cmap = rows, k, cmap
        self.ruler = Ruler()
        self.scale = value_range([tile.image for row in rows for tile in row.tiles])
        height, width = rows[0].test.image.shape[:2]
        pixel = (_TILE - 2 * _INSET) / max(height, width)
        self.tile_width = width * pixel + 2 * _INSET
        self.tile_height = height * pixel + 2 * _INSET
        # A caption may be a little wider than its tile, but must not touch its neighbour.
        self.caption_width = max(self.tile_width, 0.75) + _BETWEEN_TILES * 0.6
        self.pitch = self.caption_width + _BETWEEN_TILES * 0.4
        self.group_width = k * self.pitch
        self.helps_x = _MARGIN + self.pitch + _BETWEEN_GROUPS
        self.hurts_x = self.helps_x + self.group_width + _BETWEEN_GROUPS
        right = self.hurts_x + self.group_width - (self.pitch - self.tile_width)
        self.width = max(right + _MARGIN, _MIN_WIDTH)

        text_width = self.width - 2 * _MARGIN
        explanation = (
            f"The number under a training image is its weight: how much the {output} for the test "
            "image is predicted to change when this image joins the training set."
        )
        self.title = self.ruler.wrap(title, text_width, _TITLE, bold=True) if title else []
        self.explanation = self.ruler.wrap(explanation, text_width, _TEXT)
        self.labels = {
            label: self.ruler.wrap(label, self.caption_width, _CAPTION, bold=True, max_lines=2)
            for label in {tile.label for row in rows for tile in row.tiles}
        }
        label_lines = max(len(lines) for lines in self.labels.values())
        note_lines = 1 if any(tile.note for row in rows for tile in row.tiles) else 0
        self.caption_height = 0.06 + (label_lines + note_lines) * _inches(_CAPTION)
        self.row_height = self.tile_height + self.caption_height + _BETWEEN_ROWS
        self.rows_y = (
            _MARGIN
            + (len(self.title) * _inches(_TITLE) + 0.1 if self.title else 0.0)
            + len(self.explanation) * _inches(_TEXT)
            + 0.42  # the key to the frames
            + _HEADING
        )
        self.height = self.rows_y + len(rows) * self.row_height - _BETWEEN_ROWS + _MARGIN

    def draw(self) -> "Figure":
        self.canvas = Canvas(self.width, self.height)
        self._draw_head()
        for number, row in enumerate(self.rows):
            top = self.rows_y + number * self.row_height
            if number > 0:
                self.canvas.rule(_MARGIN, self.width - _MARGIN, top - _BETWEEN_ROWS / 2)
            self._draw_row(row, top)
        return self.canvas.figure

    def _draw_head(self) -> None:
        y = _MARGIN
        for line in self.title:
            self.canvas.text(_MARGIN, y, line, size=_TITLE, bold=True)
            y += _inches(_TITLE)
        y += 0.1 if self.title else 0.0
        for line in self.explanation:
            self.canvas.text(_MARGIN, y, line, size=_TEXT, color=GREY)
            y += _inches(_TEXT)
        self._draw_key(y + 0.1)
        heading_y = self.rows_y - _HEADING + 0.02
        self._heading(_MARGIN, self.pitch, heading_y, ["test image", "test"])
        for x, word in ((self.helps_x, "help"), (self.hurts_x, "hurt")):
            wordings = [f"training images that {word} most", f"{word} most", word]
            self._heading(x, self.group_width, heading_y, wordings)

    def _draw_key(self, y: float) -> None:
        x = _MARGIN
        for style, words in ((_SAME, "same label as the test image"), (_OTHER, "another label")):
            self.canvas.frame(x + 0.02, y + 0.01, 0.13, 0.13, style, 1.6)
            self.canvas.text(x + 0.24, y, words, size=_TEXT, color=GREY)
            x += 0.24 + self.ruler.width(words, _TEXT) + 0.3

    def _heading(self, x: float, width: float, y: float, wordings: list[str]) -> None:
        """The longest of the wordings that fits, over a rule that spans its group."""
        fitting = [w for w in wordings if self.ruler.width(w, _TEXT, bold=True) <= width]
        self.canvas.text(x, y, (fitting or wordings[-1:])[0], size=_TEXT, bold=True)
        right = x + width - (self.pitch - self.tile_width)
        self.canvas.rule(x, max(right, x + self.tile_width), y + 0.23, color=INK)

    def _draw_row(self, row: _Row, top: float) -> None:
        self._draw_tile(row.test, _MARGIN, top, (GREY, "solid"), line=1.0)
        for left, tiles in ((self.helps_x, row.helps), (self.hurts_x, row.hurts)):
            for place, tile in enumerate(tiles):
                style = _SAME if tile.label == row.test.label else _OTHER
                self._draw_tile(tile, left + place * self.pitch, top, style, line=2.0)
            if not tiles:
                middle = top + self.tile_height / 2 - _inches(_CAPTION) / 2
                self.canvas.text(left, middle, "none", size=_CAPTION, color=GREY)

    def _draw_tile(
        self, tile: _Tile, x: float, y: float, style: tuple[str, Any], *, line: float
    ) -> None:
        self.canvas.frame(x, y, self.tile_width, self.tile_height, style, line)
        size = (self.tile_width - 2 * _INSET, self.tile_height - 2 * _INSET)
        axes = self.canvas.image(
            tile.image, x + _INSET, y + _INSET, *size, values=self.scale, cmap=self.cmap
        )
        axes.set_axis_off()
        middle, y = x + self.tile_width / 2, y + self.tile_height + 0.06
        for words in self.labels[tile.label]:
            self.canvas.text(middle, y, words, size=_CAPTION, bold=True, align="center")
            y += _inches(_CAPTION)
        note = self.ruler.shorten(tile.note, self.caption_width, _CAPTION)
        self.canvas.text(middle, y, note, size=_CAPTION, color=GREY, align="center")


def _inches(size: float) -> float:
    """Height of a line of text of this size in points."""
    return size * _LINE / 72


def _one_line(label: object) -> str:
    return " ".join(str(label).split())


def _checked_path(path: str | Path) -> Path:
    require_matplotlib()
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: a picture is written as PNG, so its name must end in .png")
    return path


def _check_sizes(
    weight: NDArray[Any],
    train_images: NDArray[Any],
    train_labels: Sequence[Any] | NDArray[Any],
    test_images: NDArray[Any],
    test_labels: Sequence[Any] | NDArray[Any],
) -> None:
    if weight.ndim != 2:
        raise InputError(f"weight of shape {weight.shape}: expected (n_train, n_targets)")
    for name, images, labels, n in (
        ("train", train_images, train_labels, weight.shape[0]),
        ("test", test_images, test_labels, weight.shape[1]),
    ):
        if not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] in (1, 3))):
            raise InputError(
                f"{name}_images of shape {images.shape}: expected (n, h, w), (n, h, w, 1) in grey "
                "or (n, h, w, 3) in colour"
            )
        if len(images) != n or len(labels) != n:
            raise InputError(
                f"weight of shape {weight.shape} needs {n} {name} images and labels, "
                f"got {len(images)} images and {len(labels)} labels"
            )
    if train_images.shape[1:] != test_images.shape[1:]:
        raise InputError(
            f"training images of shape {train_images.shape[1:]} and test images of shape "
            f"{test_images.shape[1:]}: both must be alike"
        )


def _check_choice(
    weight: NDArray[Any], targets: Sequence[int], k: int, notes: Sequence[str] | None
) -> None:
    if k < 1:
        raise UsageError(f"k={k} is out of range: it must be at least 1")
    if not 1 <= len(targets) <= _MAX_ROWS:
        raise UsageError(f"{len(targets)} targets: a picture shows 1 to {_MAX_ROWS}")
    if notes is not None and len(notes) != len(targets):
        raise UsageError(f"{len(notes)} notes for {len(targets)} targets: give one for each")
    for target in targets:
        if not 0 <= target < weight.shape[1]:
            raise UsageError(f"target {target} is out of range: there are {weight.shape[1]}")
        if not np.isfinite(weight[:, target]).all():
            raise InputError(f"a weight of target {target} is not finite")
