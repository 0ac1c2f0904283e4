"""Images in .beton files are read as they were written, and damaged files are told."""

import struct
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamodels.errors import InputError, MissingFileError, MissingPackageError
from datamodels.regression.beton_format import ALLOCATION, HEADER, map_file, parse_header
from datamodels.regression.beton_writer import write_beton
from examples.cifar10.beton_images import BetonImages
from examples.cifar10.images import read_images
from tests.examples.image_files import PAGE, smooth_images, some_images, write_beton_images

few = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@few
@given(
    n=st.integers(1, 30),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    names=st.permutations(["x", "sixteen_letters_"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_raw_images_come_back(tmp_path_factory, n, height, width, names, seed):
    path = tmp_path_factory.mktemp("beton") / "x.beton"
    rng = np.random.default_rng(seed)
    images, labels = some_images(n, height, width, seed=seed)
    write_beton_images(
        path, images, labels, names=names, image=names[seed % 2], order=rng.permutation(n)
    )
    beton = BetonImages.open(path)
    np.testing.assert_array_equal(beton.labels, labels)
    rows = rng.integers(0, n, rng.integers(0, 2 * n))
    np.testing.assert_array_equal(beton.read(rows), images[rows])
    got = read_images(path)
    np.testing.assert_array_equal(got.images, images)
    np.testing.assert_array_equal(got.labels, labels)
    assert got.classes == ()


def test_images_on_several_pages(tmp_path):
    images, labels = some_images(9, 500, 600)  # two of 900,000 bytes on a page of 2 MiB
    write_beton_images(tmp_path / "x.beton", images, labels, order=[8, 0, 7, 1, 6, 2, 5, 3, 4])
    np.testing.assert_array_equal(read_images(tmp_path / "x.beton").images, images)


@few
@given(n=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_jpeg_and_raw_images_may_be_mixed(tmp_path_factory, n, seed):
    path = tmp_path_factory.mktemp("beton") / "x.beton"
    rng = np.random.default_rng(seed)
    images, labels = smooth_images(n, seed=seed), np.arange(n)
    jpegs = np.flatnonzero(rng.integers(0, 2, n))
    write_beton_images(path, images, labels, jpegs=jpegs, order=rng.permutation(n))
    beton, done = BetonImages.open(path), []
    rows = rng.permutation(n)
    got = beton.read(rows, done.append)
    off = abs(got.astype(int) - images[rows]).mean(axis=(1, 2, 3))
    is_jpeg = np.isin(rows, jpegs)
    assert (off[~is_jpeg] == 0).all()
    assert (off[is_jpeg] < 3).all()
    assert done[-1] == n


def test_the_layout_byte_by_byte(tmp_path):
    """A file put together by hand, with nothing that the reader also uses."""
    descriptor = "<B16s1024s"
    header = struct.pack("<HHIQQ", 2, 2, PAGE, 2, 2 * PAGE)
    header += struct.pack(descriptor, 1, b"label", b"") + struct.pack(descriptor, 2, b"pic", b"")
    # a sample: label, then mode (1: raw), width, height, pointer, and 3 bytes that align the next
    header += struct.pack("<qBHHQ3x", 5, 1, 2, 1, PAGE + 6) + struct.pack(
        "<qBHHQ3x", 7, 1, 2, 1, PAGE
    )
    pages = bytes(range(12)) + bytes(PAGE - 12)
    table = struct.pack("<QQQ", 1, PAGE, 6) + struct.pack("<QQQ", 0, PAGE + 6, 6)
    (tmp_path / "x.beton").write_bytes(header + bytes(PAGE - len(header)) + pages + table)
    got = read_images(tmp_path / "x.beton")
    assert got.labels.tolist() == [5, 7]
    assert got.images.tolist() == [[[[6, 7, 8], [9, 10, 11]]], [[[0, 1, 2], [3, 4, 5]]]]


def test_jpeg_images_need_pillow_and_raw_ones_do_not(tmp_path, monkeypatch):
    images, labels = some_images(4)
    write_beton_images(tmp_path / "x.beton", images, labels, jpegs=[2])
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    beton = BetonImages.open(tmp_path / "x.beton")
    np.testing.assert_array_equal(beton.read(np.array([3, 0, 1])), images[[3, 0, 1]])
    with pytest.raises(MissingPackageError, match="need pillow: pip install"):
        beton.read(np.arange(4))


# ---- what is refused ----


@pytest.fixture
def good(tmp_path):
    """A small good file, three of its images JPEG."""
    images = smooth_images(7)
    write_beton_images(tmp_path / "x.beton", images, np.arange(7), jpegs=[1, 3, 6])
    return tmp_path / "x.beton"


def metadata_of(path):
    """The metadata and the allocation table of a file, as maps that write to it."""
    data = map_file(path)
    header = parse_header(data, path)
    metadata = np.memmap(path, header.metadata_dtype, "r+", header.metadata_ptr, (7,))
    return metadata, np.memmap(path, ALLOCATION, "r+", header.alloc_table_ptr, (7,))


def test_a_file_cut_short_anywhere_is_told(good):
    content = good.read_bytes()
    ends = [1, HEADER.itemsize - 1, HEADER.itemsize + 5, 2200, 2300, PAGE, PAGE + 9, 2 * PAGE]
    for end in [*ends, len(content) - 1]:
        good.write_bytes(content[:end])
        with pytest.raises(InputError, match=r"cut short|not a \.beton file"):
            BetonImages.open(good)
    good.write_bytes(content + b"x")
    with pytest.raises(InputError, match="damaged or not a"):
        BetonImages.open(good)


@pytest.mark.parametrize(
    ("row", "member", "value", "said"),
    [
        (2, "mode", 7, "image 2 is of mode 7"),
        (2, "height", 31, "image 2 of .* is 32 x 31 pixels, image 0 is 32 x 32: all images must"),
        (2, "data_ptr", 3, "outside the pages"),
        (2, "data_ptr", 2**63, "outside the pages"),
        (1, "data_ptr", PAGE + 1, "1 of 3 JPEG images are not where"),
        (1, "data_ptr", 2**64 - 1, "1 of 3 JPEG images are not where"),
        (2, "mode", 0, "image 2 of .* cannot be decoded"),
        (slice(None), "width", 16, "image 1 has 32 x 32 pixels, its metadata say 16 x 32"),
        (slice(None), "width", 0, "its images are 0 x 32 pixels"),
    ],
)
def test_wrong_metadata_are_told(good, row, member, value, said):
    metadata, _ = metadata_of(good)
    metadata["image"][member][row] = value
    metadata.flush()
    with pytest.raises(InputError, match=said):
        read_images(good)


@pytest.mark.parametrize("size", [0, 2 * PAGE, 2**64 - 1])
def test_a_wrong_allocation_of_a_jpeg_is_told(good, size):
    _, table = metadata_of(good)
    table["size"][3] = size
    table.flush()
    with pytest.raises(InputError, match="1 of 3 JPEG images are not where its allocation table"):
        read_images(good)


def test_negative_labels_are_told(good):
    metadata, _ = metadata_of(good)
    metadata["label"][4] = -1
    metadata.flush()
    with pytest.raises(InputError, match="labels are -1 to 6, but labels are numbered from 0"):
        read_images(good)


def test_a_damaged_jpeg_is_told(good):
    _, table = metadata_of(good)
    start = int(table["ptr"][3])
    content = bytearray(good.read_bytes())
    content[start : start + 4] = b"oops"
    good.write_bytes(content)
    with pytest.raises(InputError, match=r"image 3 of .*x\.beton cannot be decoded as an image"):
        read_images(good)


@settings(max_examples=100, deadline=None)
@given(in_table=st.booleans(), place=st.integers(0, 7 * 24 - 1), byte=st.integers(0, 255))
def test_any_wrong_byte_is_an_error_or_an_image(tmp_path_factory, in_table, place, byte):
    """Never another exception, and never memory that is not the file's."""
    folder = tmp_path_factory.getbasetemp()
    path = folder / "wrong.beton"
    if not path.exists():
        write_beton_images(path, smooth_images(7), np.arange(7), jpegs=[1, 3, 6])
    parts = metadata_of(path)
    part = parts[in_table].view(np.uint8).reshape(-1)
    before = part[place]
    part[place] = byte
    part.flush()
    try:
        assert read_images(path).images.shape == (7, 32, 32, 3)
    except InputError as error:
        assert "wrong.beton" in str(error)  # noqa: PT017
    finally:
        part[place] = before
        part.flush()


def test_masks_are_refused_as_images(tmp_path):
    masks, targets = np.ones((3, 5), bool), np.zeros((3, 2), np.float32)
    write_beton(
        tmp_path / "x.beton",
        [(masks, targets, np.arange(3))],
        num_samples=3,
        n_features=5,
        n_targets=2,
        mask_dtype=bool,
    )
    with pytest.raises(InputError, match=r"targets \(float32 array .*a regression data set"):
        read_images(tmp_path / "x.beton")


@pytest.mark.parametrize("names", [("image",), ("image", "label", "index")])
def test_one_image_and_one_int_are_needed(tmp_path, names):
    images, labels = some_images(3)
    path = tmp_path / "x.beton"
    write_beton_images(path, images, labels)
    content = path.read_bytes()
    if len(names) == 1:
        content = content[:2] + b"\1" + content[3:]
    else:
        content = content[:2] + b"\3" + content[3 : 24 + 2 * 1041]
        content += b"\1index".ljust(1041, b"\0")
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"image \(RGB image\).*Needed: one RGB image and one int"):
        read_images(path)


def test_no_file_and_no_images_are_told(tmp_path):
    with pytest.raises(MissingFileError):
        BetonImages.open(tmp_path / "x.beton")
    images, labels = some_images(1)
    path = tmp_path / "x.beton"
    write_beton_images(path, images, labels)
    content = bytearray(path.read_bytes()[: -ALLOCATION.itemsize])
    content[8:16] = bytes(8)  # no samples, and no allocation table
    path.write_bytes(content)
    with pytest.raises(InputError, match="holds no images"):
        BetonImages.open(path)
