"""Our reader gives the pixels that FFCV's own Loader gives, of files that FFCV wrote.

FFCV's side runs in two processes of its own, this file run as a script (``python
test_beton_images_ffcv.py write|read folder``): its writer forks workers, and its loader starts
numba's threads, after which a process must not fork.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from datamodels.regression.beton_format import map_file, parse_header
from examples.cifar10.beton_images import JPEG, BetonImages
from tests.examples.image_files import smooth_images, some_images, write_beton_images
from tests.ffcv_script import run_script, skip_without_ffcv

skip_without_ffcv()

N = 60
# FFCV decodes JPEG files by libjpeg-turbo's fast DCT, Pillow by its exact one: with that flag, the
# very same library gives the pixels of either. Levels (of 255) that they may be apart:
APART, APART_ON_AVERAGE = 10, 2

# name: options of RGBImageField, workers, whether the label comes first, images
CASES = {
    "raw": ({}, 1, False, some_images(N)[0]),
    "raw, 2 workers": ({}, 2, True, some_images(N, 223, 301)[0]),
    "jpg": ({"write_mode": "jpg"}, 1, False, smooth_images(N)),
    "jpg, noise": ({"write_mode": "jpg", "jpeg_quality": 95}, 2, True, some_images(N, 40, 24)[0]),
    "proportion": ({"write_mode": "proportion"}, 1, False, smooth_images(N)),
    "smart": ({"write_mode": "smart", "smart_threshold": 4000}, 1, False, smooth_images(N, 64, 64)),
}
OURS = {"ours, mixed": range(0, N, 3)}  # which images are JPEG files
LABELS = np.random.default_rng(3).integers(0, 10, N)


# ---- FFCV's side ----


def ffcv_writes(folder):
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    for name, (options, workers, label_first, images) in CASES.items():
        fields = {"image": RGBImageField(**options), "label": IntField()}
        samples = list(zip(images, LABELS.tolist(), strict=True))
        if label_first:
            fields = dict(reversed(fields.items()))
            samples = [sample[::-1] for sample in samples]
        path = str(folder / f"{name}.beton")
        writer = DatasetWriter(path, fields, page_size=1 << 22, num_workers=workers)
        writer.from_indexed_dataset(samples, chunksize=7)
    for name, jpegs in OURS.items():
        write_beton_images(folder / f"{name}.beton", smooth_images(N), LABELS, jpegs=jpegs)


def ffcv_reads(folder):
    from ffcv.loader import Loader, OrderOption
    from ffcv.pipeline.compiler import Compiler

    Compiler.set_enabled(False)  # compiling takes seconds a file

    for name in [*CASES, *OURS]:
        loader = Loader(
            str(folder / f"{name}.beton"),
            batch_size=17,
            num_workers=1,
            order=OrderOption.SEQUENTIAL,
            os_cache=True,
            drop_last=False,
        )
        first = "label" if name in CASES and CASES[name][2] else "image"
        batches = [[part.numpy().copy() for part in batch] for batch in loader]
        parts = [np.concatenate(part) for part in zip(*batches, strict=True)]
        images, labels = parts if first == "image" else parts[::-1]
        np.savez(folder / f"{name}.npz", images=images, labels=labels[:, 0])


# ---- the tests ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ffcv")
    run_script(__file__, "write", folder)
    run_script(__file__, "read", folder)
    return folder


@pytest.mark.parametrize("name", [*CASES, *OURS])
def test_our_reader_agrees_with_ffcvs(folder, name):
    beton = BetonImages.open(folder / f"{name}.beton")
    rows = np.random.default_rng(1).permutation(N)
    images = beton.read(rows).astype(int)
    with np.load(folder / f"{name}.npz") as theirs:
        np.testing.assert_array_equal(beton.labels, theirs["labels"])
        apart = abs(images - theirs["images"][rows])
    assert (apart[beton.modes[rows] != JPEG] == 0).all()
    assert apart.max() <= APART
    assert apart.mean() <= APART_ON_AVERAGE


@pytest.mark.parametrize("name", CASES)
def test_what_ffcv_wrote_is_what_it_was_given(folder, name):
    beton = BetonImages.open(folder / f"{name}.beton")
    images, is_jpeg = CASES[name][3], beton.modes == JPEG
    np.testing.assert_array_equal(beton.labels, LABELS)
    got = beton.read(np.arange(N)).astype(int)
    np.testing.assert_array_equal(got[~is_jpeg], images[~is_jpeg])
    off = abs(got - images).mean(axis=(1, 2, 3))
    assert (off[is_jpeg] < (60 if "noise" in name else 5)).all()


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("raw", 0, 0), ("jpg", N, N), ("proportion", 1, N - 1), ("smart", N, N)],
)
def test_files_hold_what_the_tests_above_are_about(folder, name, least, most):
    """Else they would not show that JPEG files and mixtures are read, ..."""
    modes = BetonImages.open(folder / f"{name}.beton").modes
    assert least <= (modes == JPEG).sum() <= most


def test_samples_of_several_workers_are_out_of_order(folder):
    """... nor that images are read wherever they lie, ..."""
    names = ("raw, 2 workers", "jpg, noise")
    pointers = [BetonImages.open(folder / f"{name}.beton").pointers for name in names]
    assert any((np.diff(places.astype(np.int64)) < 0).any() for places in pointers)


def test_fields_come_in_both_orders(folder):
    """... and whichever field comes first."""
    for name, (_, _, label_first, _) in CASES.items():
        path = folder / f"{name}.beton"
        first, _ = parse_header(map_file(path), path).fields
        assert first.name == ("label" if label_first else "image")


if __name__ == "__main__":
    {"write": ffcv_writes, "read": ffcv_reads}[sys.argv[1]](Path(sys.argv[2]))
