"""The picture of the most helpful and harmful training images."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image as matplotlib_image
from matplotlib.backends.backend_agg import FigureCanvasAgg

from datamodels.analysis import pictures
from datamodels.analysis.pictures import plot_top_examples
from datamodels.errors import (
    ExistsError,
    InputError,
    MissingFileError,
    MissingPackageError,
    UsageError,
)
from datamodels.regression.result import top_examples

LABELS = ["airplane", "great white shark, man-eater", "$cost_of_$", "x", "Donaudampfschiff" * 2]


def example(n_train: int = 40, n_targets: int = 4, shape: tuple[int, ...] = (8, 8)) -> dict:
    """Arguments for a picture of random images with string labels."""
    rng = np.random.default_rng(0)
    return {
        "weight": rng.standard_normal((n_train, n_targets)),
        "train_images": rng.integers(0, 256, (n_train, *shape), dtype=np.uint8),
        "train_labels": [LABELS[i % 5] for i in range(n_train)],
        "test_images": rng.integers(0, 256, (n_targets, *shape), dtype=np.uint8),
        "test_labels": [LABELS[i % 5] for i in range(n_targets)],
        "targets": list(range(n_targets)),
    }


def texts_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **arguments) -> list:
    """Draw, and return matplotlib's text objects together with the figure they are in."""
    drawn = []
    original = pictures._Picture.draw
    monkeypatch.setattr(
        pictures._Picture, "draw", lambda self: drawn.append(original(self)) or drawn[-1]
    )
    plot_top_examples(**arguments, path=tmp_path / "texts.png")
    (figure,) = drawn
    return figure.texts


def test_helpful_and_harmful_are_the_extremes_of_their_sign():
    weight = np.array([0.0, 3.0, -1.0, 3.0, 0.5, -2.0, 0.0])
    assert top_examples(weight, 2).helpful.examples.tolist() == [1, 3]
    assert top_examples(weight, 9).helpful.examples.tolist() == [1, 3, 4]
    assert top_examples(weight, 9).harmful.examples.tolist() == [5, 2]
    assert top_examples(np.zeros(3), 2).helpful.examples.tolist() == []


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((8, 8), np.float64),
        ((8, 8, 1), np.bool_),
        ((32, 32, 3), np.uint8),
        ((32, 32, 3), np.float16),
        ((60, 4), np.uint8),
        ((4, 60, 3), np.float32),
    ],
)
def test_draws_images_of_any_kind(tmp_path, shape, dtype):
    arguments = example(shape=shape)
    for name in ("train_images", "test_images"):
        arguments[name] = (arguments[name] / 255).astype(dtype)
    path = plot_top_examples(**arguments, path=tmp_path / "a.png", k=2)
    pixels = matplotlib_image.imread(path)
    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 800
    assert pixels.std() > 0.05


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("shape", [(8, 8), (60, 20), (20, 60)])
def test_no_text_is_clipped_or_meets_another(monkeypatch, tmp_path, k, shape):
    arguments = example(shape=shape)
    arguments["weight"][:, 2] = np.abs(arguments["weight"][:, 2])  # nothing hurts target 2
    arguments["weight"][:, 3] *= 1e-7
    texts = texts_of(
        monkeypatch,
        tmp_path,
        **arguments,
        k=k,
        title="A title that is much too long for a single line of a narrow picture " * 2,
        notes=["LDS 0.43", "", "a note that is longer than its image is wide", "x"],
    )
    figure = texts[0].figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [t.get_window_extent(renderer) for t in texts if t.get_text()]
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    for a, b in itertools.combinations(boxes, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart or min(a.y1, b.y1) - max(a.y0, b.y0) < 3  # line boxes touch


def test_captions_hold_labels_weights_and_notes(monkeypatch, tmp_path):
    arguments = example(n_targets=2)
    arguments["weight"] = np.zeros((40, 2))
    arguments["weight"][[3, 7, 9], 1] = [0.25, -1.5, 0.75]
    arguments["train_labels"] = np.arange(40)
    arguments["test_labels"] = np.array([5, 3])
    texts = texts_of(
        monkeypatch, tmp_path, **{**arguments, "targets": [1]}, notes=["LDS 0.43"], output="margin"
    )
    words = [text.get_text() for text in texts]
    start = words.index("training images that hurt most") + 1
    assert words[start:] == ["3", "LDS 0.43", "9", "+0.75", "3", "+0.25", "7", "−1.50"]
    assert "how much the margin for the test image" in " ".join(words)


def test_is_refused_where_a_file_stands(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    with pytest.raises(ExistsError, match=r"a\.png exists already"):
        plot_top_examples(**example(), path=path)
    assert path.read_bytes() == b"mine"
    plot_top_examples(**example(), path=path, overwrite=True)
    assert matplotlib_image.imread(path).ndim == 3
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_nothing_behind(monkeypatch, tmp_path):
    def interrupted(picture):
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures._Picture, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plot_top_examples(**example(), path=tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_the_same_picture_twice_is_the_same_file(tmp_path):
    a = plot_top_examples(**example(), path=tmp_path / "a.png")
    b = plot_top_examples(**example(), path=tmp_path / "b.png")
    assert a.read_bytes() == b.read_bytes()


def test_without_matplotlib_the_line_to_type_is_given(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'datamodels\[plots\]'"):
        plot_top_examples(**example(), path=tmp_path / "a.png")


def test_neither_import_nor_drawing_touches_pyplot(tmp_path):
    code = (
        "import sys, numpy as np; from datamodels.analysis.pictures import plot_top_examples as p;"
        "assert 'matplotlib' not in sys.modules;"
        "i = np.eye(4).reshape(1, 4, 4);"
        f"p(np.ones((1, 1)), i, [0], i, [0], [0], path={str(tmp_path / 'a.png')!r});"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k": 0}, UsageError, "k=0"),
        ({"targets": []}, UsageError, "0 targets"),
        ({"targets": [4]}, UsageError, "target 4 is out of range: there are 4"),
        ({"targets": [-1]}, UsageError, "target -1"),
        ({"notes": ["one"]}, UsageError, "1 notes for 4 targets"),
        ({"path": "a.jpg"}, UsageError, r"must end in \.png"),
        ({"path": "nowhere/a.png"}, MissingFileError, "nowhere does not exist"),
        ({"weight": np.ones(40)}, InputError, r"expected \(n_train, n_targets\)"),
        ({"weight": np.full((40, 4), np.nan)}, InputError, "target 0 is not finite"),
        ({"weight": np.ones((39, 4))}, InputError, "needs 39 train images and labels"),
        ({"test_labels": [1]}, InputError, "got 4 images and 1 labels"),
        ({"test_images": np.ones((4, 8, 8, 2))}, InputError, "expected .* in colour"),
        ({"test_images": np.ones((4, 9, 8))}, InputError, "both must be alike"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_written(
    monkeypatch, tmp_path, change, error, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        plot_top_examples(**{"path": "a.png", **example(), **change})
    assert list(tmp_path.iterdir()) == []
