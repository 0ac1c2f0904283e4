"""Images come out of every kind of source as they went in, and a wrong source is told clearly."""

import os
import subprocess
import sys
from types import SimpleNamespace

import fastargs.state
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamodels.errors import InputError, MissingFileError, UsageError
from examples.cifar10 import prepare_data
from examples.cifar10.images import LabelledImages, read_images, save_images
from examples.cifar10.selection import select
from examples.cifar10.sources import KINDS, Source, batches, choose_kind, open_source
from tests.conftest import ROOT, assert_fails
from tests.examples.image_files import (
    CLASSES,
    encoded,
    smooth_images,
    some_images,
    write_beton_images,
    write_binary,
    write_folders,
    write_jpeg_npz,
    write_python,
)

few = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def prepare(monkeypatch, capsys, tmp_path):
    """``prepare(source=..., split=...)``: the command in this process; it writes out.npz."""

    def run(*words, **options):
        monkeypatch.setitem(fastargs.state.STATE, "config", None)  # as in a new process
        options = {"out": tmp_path / "out.npz", **options}
        words = [*words, *(f"--prepare.{name}={value}" for name, value in options.items())]
        monkeypatch.setattr(sys, "argv", ["prepare_data", *words])
        capsys.readouterr()
        status = prepare_data.main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, status, said.out, said.err)

    return run


def write_torchvision(folder, images, labels, split):
    write_python(folder / "cifar-10-batches-py", images, labels, split=split)
    (folder / "cifar-10-python.tar.gz").write_bytes(b"as it was downloaded")


def write_one_folder(folder, images, labels, split):
    write_folders(folder / split, images, labels)
    (folder / split / "README.txt").write_text("no class")


def write_prepared(folder, images, labels, split):
    folder.mkdir(exist_ok=True)
    save_images(folder / f"{split}.npz", LabelledImages(images, labels, CLASSES))


def write_png_npz(folder, images, labels, split):
    folder.mkdir(exist_ok=True)
    write_jpeg_npz(folder / f"{split}.npz", images, labels, suffix="png")


def write_beton(folder, images, labels, split):
    folder.mkdir(exist_ok=True)
    write_beton_images(folder / f"{split}.beton", images, labels)


# How each kind keeps images without loss, with a train and a test part.
WRITERS = {
    "torchvision": write_torchvision,
    "python": lambda folder, images, labels, split: write_python(
        folder, images, labels, split=split
    ),
    "binary": lambda folder, images, labels, split: write_binary(
        folder, images, labels, split=split
    ),
    "folders": write_one_folder,
    "npz": write_prepared,
    "npz of files": write_png_npz,
    "beton": write_beton,
}


def write_both(kind, folder):
    train, test = some_images(20, seed=1), some_images(7, seed=2)
    WRITERS[kind](folder, *train, "train")
    WRITERS[kind](folder, *test, "test")
    return {"train": train, "test": test}


def in_order_of(kind, images, labels):
    """Folders put the images of a class together; all other kinds keep the order."""
    rows = np.argsort(labels, kind="stable") if kind == "folders" else slice(None)
    return images[rows], labels[rows]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_lossless_kind_gives_the_images_back(prepare, tmp_path, kind, split):
    written = write_both(kind, tmp_path / "source")
    said = prepare(source=tmp_path / "source", split=split)
    assert said.returncode == 0, said.stderr
    images, labels = in_order_of(kind, *written[split])
    got = read_images(tmp_path / "out.npz")
    np.testing.assert_array_equal(got.images, images)
    np.testing.assert_array_equal(got.labels, labels)
    assert got.labels.dtype == np.int64
    assert got.classes == (() if kind == "beton" else CLASSES)
    assert f"({kind.split()[0]}): {len(labels)} images of 32 x 32 pixels in 3 classes" in (
        said.stdout
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_a_part_of_every_kind(prepare, tmp_path, kind):
    """Chosen before decoding: the same as chosen from everything."""
    written = write_both(kind, tmp_path / "source")
    names = ["2", "0"] if kind == "beton" else ["cow", "ant"]
    said = prepare(source=tmp_path / "source", split="train", classes=",".join(names), per_class=4)
    assert said.returncode == 0, said.stderr
    images, labels = in_order_of(kind, *written["train"])
    got = read_images(tmp_path / "out.npz")
    assert got.classes == tuple(names)
    for new, old in enumerate([2, 0]):
        np.testing.assert_array_equal(got.images[got.labels == new], images[labels == old][:4])


@few
@given(
    n=st.integers(1, 12),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["folders", "npz", "npz of files", "beton"]),
)
def test_any_size_of_images_comes_back(tmp_path_factory, n, height, width, seed, kind):
    folder = tmp_path_factory.mktemp("images") / "source"
    images, labels = some_images(n, height, width, n_classes=min(n, 3), seed=seed)
    WRITERS[kind](folder, images, labels, "train")
    source = open_source(folder, choose_kind(folder), "train")
    images, labels = in_order_of(kind, images, labels)
    rows = np.random.default_rng(seed).permutation(n)[: (n + 1) // 2]
    done = []
    np.testing.assert_array_equal(source.load(rows, done.append), images[rows])
    np.testing.assert_array_equal(source.labels, labels)
    assert done == sorted(done)
    assert not done or done[-1] == len(rows)


@pytest.mark.parametrize("protocol", range(6))
def test_pickled_batches_of_every_protocol(tmp_path, protocol):
    images, labels = some_images(10)
    write_python(tmp_path, images, labels, protocol=protocol)
    source = open_source(tmp_path, KINDS["python"], None)
    np.testing.assert_array_equal(source.load(np.arange(10), lambda _: None), images)
    assert source.classes == CLASSES


def test_jpeg_files_come_close(tmp_path):
    images, labels = smooth_images(9), np.arange(9) % 3
    write_folders(tmp_path / "folders", images, labels, suffix="jpg")
    write_jpeg_npz(tmp_path / "files.npz", images, labels)
    folders = open_source(tmp_path / "folders", KINDS["folders"], None)
    files = open_source(tmp_path / "files.npz", KINDS["npz"], None)
    in_folders = np.argsort(labels, kind="stable")
    for source, expected in ((folders, images[in_folders]), (files, images)):
        got = source.load(np.arange(9), lambda _: None)
        assert abs(got.astype(int) - expected).mean() < 3


def test_grey_and_palette_images_become_rgb_and_deep_ones_are_refused(tmp_path):
    from PIL import Image

    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    (tmp_path / "A").mkdir()
    Image.fromarray(grey).save(tmp_path / "A" / "1.png")
    Image.fromarray(grey).convert("RGB").quantize(64).save(tmp_path / "A" / "2.PNG")
    source = open_source(tmp_path, KINDS["folders"], None)
    got = source.load(np.arange(2), lambda _: None)
    np.testing.assert_array_equal(got, np.broadcast_to(grey[..., None], (2, 8, 8, 3)))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "A" / "3.png")
    source = open_source(tmp_path, KINDS["folders"], None)
    with pytest.raises(InputError, match=r"3\.png has pixels of mode I;16; 8 bits"):
        source.load(np.arange(3), lambda _: None)


# ---- what is chosen ----


@few
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=30),
    named=st.booleans(),
    data=st.data(),
)
def test_selection_keeps_order_and_renumbers(labels, named, data):
    labels = np.array(labels)
    classes = ("a", "b", "c", "d", "e") if named else ()
    source = Source(labels, classes, None)
    present = sorted(set(labels.tolist()))
    chosen = data.draw(st.lists(st.sampled_from(present), min_size=1, unique=True))
    per_class = data.draw(st.integers(1, int(np.bincount(labels)[chosen].min())))
    names = [classes[label] if named else str(label) for label in chosen]
    rows, new, kept = select(source, names, per_class)
    assert kept == tuple(names)
    expected = [  # the slow way
        row
        for row, label in enumerate(labels)
        if label in chosen and (labels[:row] == label).sum() < per_class
    ]
    assert rows.tolist() == expected
    assert new.tolist() == [chosen.index(labels[row]) for row in expected]


def test_all_is_kept_where_nothing_is_chosen():
    labels = np.array([3, 1, 1])
    rows, new, kept = select(Source(labels, ("a", "b", "c", "d"), None))
    assert (rows.tolist(), new.tolist(), kept) == ([0, 1, 2], [3, 1, 1], ("a", "b", "c", "d"))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"names": ["a", "x"]}, UsageError, "there is no x. The classes are a, b, c"),
        ({"names": ["a", "a"]}, UsageError, "one is named twice"),
        ({"names": ["a", "b"], "per_class": 3}, InputError, "b has 1: lower"),
        ({"names": ["c"]}, InputError, "1 of each class are wanted, but c has 0"),
        ({"per_class": 1}, InputError, "c has 0"),
    ],
)
def test_what_cannot_be_chosen_is_refused(options, error, said):
    source = Source(np.array([0, 0, 0, 1]), ("a", "b", "c"), None)
    with pytest.raises(error, match=said):
        select(source, **options)


# ---- the command ----


def test_the_command_as_users_type_it(tmp_path):
    images, labels = some_images(6)
    write_folders(tmp_path / "images", images, labels)
    command = [sys.executable, "-m", "examples.cifar10.prepare_data", "--prepare.source=images"]
    first, again = (
        subprocess.run(
            [*command, "--prepare.out=out.npz"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        for _ in range(2)
    )
    assert (first.returncode, first.stderr) == (0, "")  # no progress line where no terminal is
    assert "images (folders): 6 images" in first.stdout
    assert_fails(again, 1, "out.npz exists already, and nothing is overwritten")
    assert len(read_images(tmp_path / "out.npz").labels) == 6


def test_nothing_is_left_of_what_fails(prepare, tmp_path):
    images, labels = some_images(6)
    write_folders(tmp_path / "images", images, labels)
    (tmp_path / "images" / "cow" / "zebra.png").write_bytes(encoded(images[0, :, :16], "png"))
    said = prepare(source=tmp_path / "images")
    assert_fails(said, 1, "cow/zebra.png is 16 x 32 pixels", "is 32 x 32: all images must be")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_prepared_file_prepares_to_itself(prepare, tmp_path):
    images, labels = some_images(9)
    save_images(tmp_path / "in.npz", LabelledImages(images, labels, CLASSES))
    assert prepare(source=tmp_path / "in.npz").returncode == 0
    assert (tmp_path / "in.npz").read_bytes() == (tmp_path / "out.npz").read_bytes()


def test_a_split_is_asked_for_exactly_where_there_are_several(prepare, tmp_path):
    images, labels = some_images(6)
    write_python(tmp_path / "both", images, labels)
    write_python(tmp_path / "both", images, labels, split="test")
    write_folders(tmp_path / "one", images, labels)
    assert_fails(prepare(source=tmp_path / "both"), 2, "has train, test: choose one by --prepare.s")
    assert_fails(prepare(source=tmp_path / "both", split="val"), 2, "val is none of those of")
    assert_fails(prepare(source=tmp_path / "one", split="train"), 2, "leave that out")
    write_binary(tmp_path / "test", images, labels, split="test")
    assert prepare(source=tmp_path / "test").returncode == 0  # one part only needs no name


def test_wrong_options_are_told(prepare, tmp_path):
    images, labels = some_images(6)
    write_folders(tmp_path / "one", images, labels)
    source = tmp_path / "one"
    assert_fails(prepare(source=source, clases="ant"), 2, "did you mean --prepare.classes?")
    assert_fails(prepare(source=source, kind="jpeg"), 2, "jpeg is none of torchvision, python")
    assert_fails(prepare(source=source, per_class=0), 2, "per_class=0 must be at least 1")
    assert_fails(prepare(source=source, out=tmp_path / "x"), 2, "must end in .npz")
    assert_fails(prepare(source=source, out=tmp_path / "no" / "x.npz"), 1, "does not exist")
    assert_fails(prepare(), 2, "--prepare.source is required")
    assert_fails(prepare(source=source, kind="npz"), 1, "Looked for", "- npz: FILE.npz")


def test_an_unknown_source_lists_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("no images")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(InputError, match="no source of images") as told:
            choose_kind(path)
        for kind in KINDS:
            assert f"- {kind}: " in str(told.value)
    with pytest.raises(MissingFileError, match=r"--prepare\.download"):
        choose_kind(tmp_path / "nowhere")


def test_an_ambiguous_source_is_refused_until_its_kind_is_named(tmp_path):
    images, labels = some_images(6)
    write_python(tmp_path, images, labels)
    write_binary(tmp_path, images, labels)
    write_folders(tmp_path, images, labels)
    with pytest.raises(InputError, match=r"any of python, binary, folders: .*--prepare\.kind"):
        choose_kind(tmp_path)
    assert choose_kind(tmp_path, "binary").name == "binary"


# ---- torchvision ----


def test_without_torchvision_download_says_what_to_do(prepare, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    said = prepare("--prepare.download", source=tmp_path / "cifar", split="train")
    assert_fails(said, 1, "pip install torchvision", "cifar-10-python.tar.gz")
    said = prepare("--prepare.download", source=tmp_path, kind="npz")
    assert_fails(said, 2, "--prepare.download is not for --prepare.kind=npz")


def test_torchvision_downloads_to_the_folder_of_the_source(prepare, tmp_path, monkeypatch):
    images, labels = some_images(6)

    def downloading(root, *, train, download):
        assert (root, train, download) == (str(tmp_path / "cifar"), True, True)
        write_torchvision(tmp_path / "cifar", images, labels, "train")

    torchvision = SimpleNamespace(CIFAR10=downloading)
    monkeypatch.setattr(batches, "import_module", {"torchvision.datasets": torchvision}.get)
    said = prepare("--prepare.download", source=tmp_path / "cifar")
    assert said.returncode == 0, said.stderr
    np.testing.assert_array_equal(read_images(tmp_path / "out.npz").images, images)


def test_a_download_that_fails_is_no_traceback(prepare, tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise RuntimeError("File not found or corrupted.")

    torchvision = SimpleNamespace(CIFAR10=no_network)
    monkeypatch.setattr(batches, "import_module", {"torchvision.datasets": torchvision}.get)
    said = prepare("--prepare.download", source=tmp_path / "cifar")
    assert_fails(said, 1, "torchvision could not download", "corrupted")


# ---- damaged sources ----


def shorten(path, by=10):
    path.write_bytes(path.read_bytes()[:-by])


@pytest.mark.parametrize(
    ("kind", "harm", "said"),
    [
        ("python", lambda s: shorten(s / "data_batch_2"), "data_batch_2 is no pickled batch"),
        ("python", lambda s: (s / "data_batch_3").unlink(), "lacks data_batch_3; unpack"),
        ("python", lambda s: (s / "batches.meta").write_bytes(b"N."), "holds a NoneType, no dict"),
        ("python", lambda s: (s / "data_batch_1").write_bytes(b"}."), "this one has nothing"),
        ("binary", lambda s: shorten(s / "data_batch_5.bin"), "cut short: it has 12282 bytes"),
        ("binary", lambda s: (s / "data_batch_5.bin").unlink(), "lacks data_batch_5.bin"),
        (
            "folders",
            lambda s: shorten(s / "train/ant/0003.png", 40),
            "cannot be decoded as an image",
        ),
        ("npz", lambda s: shorten(s / "train.npz"), "no .npz file, or was cut short"),
        ("npz of files", lambda s: shorten(s / "train.npz"), "no .npz file, or was cut short"),
        ("beton", lambda s: shorten(s / "train.beton"), "is cut short"),
    ],
)
def test_damaged_sources_are_told(prepare, tmp_path, kind, harm, said):
    images, labels = some_images(20)
    images[labels == 0] = 0  # so that PNG files end soon after their start
    WRITERS[kind](tmp_path / "source", images, np.sort(labels), "train")
    harm(tmp_path / "source")
    assert_fails(prepare(source=tmp_path / "source"), 1, said)
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": np.array([0, 5, 5, 9])},
        {"offsets": np.array([0, 5, 9])},
        {"offsets": np.array([0, 5, 7, 10])},
        {"jpeg": np.zeros(9, np.int16)},
        {"labels": np.zeros(3)},
        {"labels": np.array([0, 1, 3])},
        {"classes": np.array("abc")},
    ],
)
def test_files_end_to_end_must_fit(tmp_path, change):
    arrays = {
        "jpeg": np.zeros(9, np.uint8),
        "offsets": np.array([0, 3, 6, 9]),
        "labels": np.array([0, 1, 2]),
        "classes": np.array(CLASSES),
    }
    np.savez(tmp_path / "x.npz", **arrays)
    assert len(open_source(tmp_path / "x.npz", KINDS["npz"], None).labels) == 3
    np.savez(tmp_path / "x.npz", **arrays | change)
    with pytest.raises(InputError, match=r"x\.npz"):
        open_source(tmp_path / "x.npz", KINDS["npz"], None)


@pytest.mark.parametrize(
    "change",
    [
        {"images": np.zeros((3, 4, 4), np.uint8)},
        {"images": np.zeros((3, 4, 4, 3), np.float32)},
        {"images": np.zeros((0, 4, 4, 3), np.uint8), "labels": np.zeros(0, int)},
        {"labels": np.zeros(2, int)},
        {"labels": np.array([-1, 0, 0])},
        {"labels": np.array([0, 0, 3])},
        {"classes": np.array([1, 2, 3])},
        {"classes": np.array(["a", None, "c"], object)},
    ],
)
def test_prepared_files_are_checked_when_read(tmp_path, change):
    arrays = {
        "images": np.zeros((3, 4, 4, 3), np.uint8),
        "labels": np.array([0, 1, 2]),
        "classes": np.array(CLASSES),
    }
    np.savez(tmp_path / "x.npz", **arrays)
    assert read_images(tmp_path / "x.npz").classes == CLASSES
    np.savez(tmp_path / "x.npz", **arrays | change)
    with pytest.raises(InputError, match=r"x\.npz"):
        read_images(tmp_path / "x.npz")


def test_reading_other_files_says_what_they_are(tmp_path):
    images, labels = some_images(3)
    write_jpeg_npz(tmp_path / "files.npz", images, labels)
    with pytest.raises(InputError, match=r"JPEG files, which .*prepare_data decodes"):
        read_images(tmp_path / "files.npz")
    np.save(tmp_path / "array.npy", images)
    with pytest.raises(InputError, match=r"a \.npy array, not a \.beton file"):
        read_images(tmp_path / "array.npy")
    with pytest.raises(MissingFileError, match="prepare_data makes one"):
        read_images(tmp_path / "none.npz")


def test_without_pillow_only_image_files_are_out_of_reach(prepare, tmp_path, monkeypatch):
    images, labels = some_images(6)
    write_folders(tmp_path / "png", images, labels)
    write_binary(tmp_path / "binary", images, labels)
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert_fails(prepare(source=tmp_path / "png"), 1, "need pillow: pip install")
    assert prepare(source=tmp_path / "binary").returncode == 0
