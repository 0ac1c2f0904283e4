"""A picture of subpopulations: the two ends of some components, and a map of the clusters."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from datamodels.analysis.canvas import DPI, GREY, INK, RULE, Canvas
from datamodels.analysis.components import Components, Ends, ends
from datamodels.analysis.image_values import value_range
from datamodels.files import new_file
from datamodels.optional import import_optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Lengths in inches.
_MARGIN: Final = 0.3
_TILE: Final = 0.56
_PITCH: Final = 0.64  # from tile to tile
_ROW: Final = 0.98  # from component to component
_HEADS: Final = 0.6  # above the first component
_BETWEEN_ENDS: Final = 0.42
_MAP: Final = 4.6  # height of the map
_LEGEND: Final = 2.25  # width of the list of clusters beside it
_MIN_WIDTH: Final = 7.5
_TITLE_HEIGHT: Final = 0.42
_THUMBNAIL: Final = 0.36

_TEXT, _SMALL, _TITLE = 9.0, 7.5, 13.0
_LOW, _HIGH = "#0072B2", "#D55E00"  # of Okabe and Ito's palette
# Paul Tol's "muted" palette and a brown, for colour-blind readers too; shapes say the same again.
_COLOURS = ("#332288", "#CC6677", "#117733", "#DDCC77", "#88CCEE", "#882255", "#44AA99",
            "#999933", "#AA4499", "#661100")  # fmt: skip
_SHAPES = ("o", "^", "s", "D", "v")
_MAX_LISTED: Final = 18  # clusters that have a place in the list beside the map
_MANY: Final = 5_000  # members whose map gains from threads
_MAX_WORD: Final = 11  # characters of a label under a tile


@dataclass(frozen=True, eq=False)
class Subpopulations:
    """What there is to draw: n members, k components."""

    components: Components
    clusters: NDArray[np.int64]  # (n,) from 0 on, -1 for none
    places: NDArray[np.float64]  # (n, 2) of the map
    images: NDArray[Any] | None = None  # (n, h, w[, channels])
    labels: NDArray[Any] | None = None  # (n,)


def plot_subpopulations(
    found: Subpopulations,
    shown: Sequence[int],
    *,
    path: str | Path,
    k: int = 7,
    title: str | None = None,
    members: str = "training examples",
    cmap: str = "gray",
) -> Path:
    """Draw the members at both ends of the components ``shown``, and the map of all members.

    Without images there is only the map. Returns the path of the .png, which must be free.

    Raises:
        MissingPackageError: matplotlib is not installed. ExistsError: there is a file at ``path``.
    """
    import_optional("matplotlib", "matplotlib", "pictures")
    path = Path(path)
    picture = _Picture(found, list(shown), k, title, members, cmap)
    with new_file(path) as partial:
        picture.draw().savefig(partial, format="png", dpi=DPI)
    return path


def place_on_map(vectors: Any, components: Components, kind: str, seed: int) -> NDArray[Any]:
    """Places (n, 2) of all members: the first two scores (``pca``), or t-SNE of the ``vectors``'
    scores, which keeps near what is near (``tsne``; of directions, started from the scores)."""
    if kind == "pca" or components.n_components < 2:
        first = components.scores[:, :2]
        return np.pad(first, ((0, 0), (0, 2 - first.shape[1])))
    manifold = import_optional("sklearn.manifold", "scikit-learn", "maps by t-SNE")
    n = len(components.scores)
    start = components.scores[:, :2] / components.scores[:, 0].std() * 1e-4
    tsne = manifold.TSNE(
        metric="cosine", init=start, perplexity=min(30.0, (n - 1) / 3), random_state=seed
    )
    # Threads that wait for one another cost few points more than they save, most of all where
    # others use the cores: 60 s with two threads, 14 s with one, for 1,437 points.
    threads = import_optional("threadpoolctl", "scikit-learn", "maps by t-SNE")
    with threads.threadpool_limits(1 if n < _MANY else None):
        places: NDArray[Any] = tsne.fit_transform(vectors)
    return places


class _Picture:
    """Places everything in inches from the top left corner."""

    def __init__(
        self,
        found: Subpopulations,
        shown: list[int],
        k: int,
        title: str | None,
        members: str,
        cmap: str,
    ) -> None:
        self.found, self.k, self.title, self.members, self.cmap = found, k, title, members, cmap
        self.shown = shown if found.images is not None else []
        self.head = _MARGIN + (_TITLE_HEIGHT if title else 0.0)
        strip = self.k * _PITCH - (_PITCH - _TILE)
        self.low_x = _MARGIN + 0.62
        self.high_x = self.low_x + strip + _BETWEEN_ENDS
        self.width = max(self.high_x + strip + _MARGIN if self.shown else 0.0, _MIN_WIDTH)
        self.map_y = self.head + (_HEADS + len(self.shown) * _ROW + 0.1 if self.shown else 0.0)
        self.height = self.map_y + 0.32 + _MAP + _MARGIN

    def draw(self) -> "Figure":
        self.canvas = Canvas(self.width, self.height)
        if self.title:
            self.canvas.text(_MARGIN, _MARGIN, self.title, size=_TITLE, bold=True)
        if self.shown:
            self._draw_strips()
        self._draw_map()
        return self.canvas.figure

    def _draw_strips(self) -> None:
        scores = self.found.components.scores
        self.ends = [ends(scores[:, c], self.k) for c in self.shown]
        drawn = [self._image(j) for both in self.ends for part in both for j in part]
        self.range = value_range(drawn)
        heading = f"Principal components of the weights: {self.members} at the two ends"
        self.canvas.text(_MARGIN, self.head, heading, size=_TEXT, bold=True)
        y = self.head + 0.27
        for x, words, colour in (
            (self.low_x, "one end", _LOW),
            (self.high_x, "the other", _HIGH),
        ):
            self.canvas.text(x, y, words, color=colour, bold=True, size=_SMALL)
        for row, (c, both) in enumerate(zip(self.shown, self.ends, strict=True)):
            self._draw_component(c, both, self.head + _HEADS - 0.12 + row * _ROW)

    def _draw_component(self, c: int, both: Ends, y: float) -> None:
        self.canvas.text(_MARGIN, y + 0.12, f"{c}", size=_TITLE, bold=True)
        share = f"{self.found.components.explained[c]:.1%}"
        self.canvas.text(_MARGIN, y + 0.36, share, size=_SMALL, color=GREY)
        for x, part, colour in ((self.low_x, both.low, _LOW), (self.high_x, both.high, _HIGH)):
            for place, j in enumerate(part):
                self._draw_tile(int(j), x + place * _PITCH, y, colour)

    def _draw_tile(self, j: int, x: float, y: float, colour: str) -> None:
        self._draw_image(j, x, y, _TILE, colour)
        if self.found.labels is not None:
            word = _short(str(self.found.labels[j]))
            self.canvas.text(x + _TILE / 2, y + _TILE + 0.05, word, size=_SMALL, align="center")

    def _draw_image(self, j: int, x: float, y: float, size: float, colour: str) -> None:
        image = self._image(j)
        h, w = image.shape[:2]
        width, height = size * min(1.0, w / h), size * min(1.0, h / w)
        left, top = x + (size - width) / 2, y + (size - height) / 2
        axes = self.canvas.image(image, left, top, width, height, values=self.range, cmap=self.cmap)
        for spine in axes.spines.values():
            spine.set(edgecolor=colour, linewidth=1.4)

    def _image(self, j: int) -> NDArray[Any]:
        if self.found.images is None:
            raise ValueError("components are drawn with images only")
        return np.asarray(self.found.images[j])

    def _draw_map(self) -> None:
        n_clusters = int(self.found.clusters.max()) + 1
        heading = f"{len(self.found.clusters):,} {self.members} in {n_clusters} clusters"
        self.canvas.text(_MARGIN, self.map_y, heading, size=_TEXT, bold=True)
        y, width = self.map_y + 0.32, self.width - 2 * _MARGIN - _LEGEND
        axes = self.canvas.axes(_MARGIN, y, width, _MAP)
        for spine in axes.spines.values():
            spine.set(edgecolor=RULE, linewidth=0.8)
        axes.margins(0.04)
        size = float(np.clip(30_000 / len(self.found.clusters), 1.5, 16))
        for cluster in range(-1, n_clusters):
            members = self.found.clusters == cluster
            if members.any():
                colour, shape = _style(cluster)
                across, up = self.found.places[members].T
                axes.scatter(across, up, s=size, c=colour, marker=shape, linewidths=0, alpha=0.85)
        for cluster in range(min(n_clusters, _MAX_LISTED)):
            self._mark(axes, cluster)
        self._draw_list(self.width - _MARGIN - _LEGEND + 0.15, y, n_clusters)

    def _mark(self, axes: "Axes", cluster: int) -> None:
        """The number of a cluster at its middle."""
        places = self.found.places[self.found.clusters == cluster]
        x, y = places[_nearest_to_middle(places)]
        axes.text(
            x, y, str(cluster), fontsize=_TEXT, fontweight="bold", ha="center", va="center",
            color=INK, bbox={"boxstyle": "round,pad=0.2", "facecolor": "white",
                              "edgecolor": _style(cluster)[0], "linewidth": 1.4, "alpha": 0.9},
        )  # fmt: skip

    def _draw_list(self, x: float, y: float, n_clusters: int) -> None:
        """Number, an example, size and labels of the largest clusters."""
        beside = x + (0.45 + _THUMBNAIL if self.shown else 0.35)
        words = "members" if self.found.labels is None else "members, and their labels"
        self.canvas.text(beside, y, words, size=_SMALL, color=GREY)
        listed = min(n_clusters, _MAX_LISTED)
        step = min(_THUMBNAIL + 0.07, (_MAP - 0.35) / max(listed, 1))
        for cluster in range(listed):
            middle = y + 0.25 + (cluster + 0.5) * step
            top = middle - 0.065
            colour, shape = _style(cluster)
            self.canvas.dot(x + 0.05, middle, colour, shape)
            self.canvas.text(x + 0.15, top, str(cluster), size=_TEXT, bold=True)
            members = np.flatnonzero(self.found.clusters == cluster)
            self.canvas.text(beside, top, self._summary(members), size=_SMALL + 0.5)
            if self.shown:
                size = min(_THUMBNAIL, step - 0.05)
                typical = members[_nearest_to_middle(self.found.places[members])]
                self._draw_image(int(typical), x + 0.35, middle - size / 2, size, colour)
        if listed < n_clusters:
            rest = f"and {n_clusters - listed} smaller ones"
            self.canvas.text(beside, y + 0.25 + listed * step, rest, size=_SMALL, color=GREY)

    def _summary(self, members: NDArray[np.int64]) -> str:
        """``212:  97% 3``, with the two most frequent labels that a tenth have or more."""
        words = f"{len(members):,}"
        if self.found.labels is None:
            return words
        labels, counts = np.unique(self.found.labels[members], return_counts=True)
        most = np.argsort(-counts, kind="stable")[:2]
        shares = [
            f"{counts[i] / len(members):.0%} {_short(str(labels[i]))}"
            for i in most
            if counts[i] >= len(members) / 10
        ]
        return f"{words}:  " + ", ".join(shares)


def _style(cluster: int) -> tuple[str, str]:
    """Colour and shape of the members of a cluster."""
    if cluster < 0:
        return RULE, "o"
    return _COLOURS[cluster % len(_COLOURS)], _SHAPES[cluster // len(_COLOURS) % len(_SHAPES)]


def _nearest_to_middle(places: NDArray[np.float64]) -> int:
    """Which of some places is nearest to the median of all."""
    return int(((places - np.median(places, axis=0)) ** 2).sum(axis=1).argmin())


def _short(word: str) -> str:
    word = " ".join(word.split())
    return word if len(word) <= _MAX_WORD else word[: _MAX_WORD - 1] + "…"
