"""The real FFCV and this package read each other's files and write the same bytes.

FFCV's side runs in two processes of its own, this file run as a script (``python
test_beton_ffcv.py write|read folder``): FFCV's writer forks workers and waits for them forever
when one dies, and its loader starts numba's threads, after which a process must not fork.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from datamodels.errors import InputError
from datamodels.regression.beton_format import (
    ALLOCATION,
    check_pointers,
    gather,
    map_file,
    parse_header,
    read_metadata,
)
from datamodels.regression.beton_reader import BetonFile
from datamodels.regression.beton_writer import write_beton
from tests.ffcv_script import run_script, skip_without_ffcv

skip_without_ffcv()

MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    """A data set and how FFCV writes it."""

    dtype: str
    n: int
    n_features: int
    n_targets: int
    page_size: int = 2 * MIB
    workers: int = 1

    def samples(self):
        rng = np.random.default_rng(0)
        masks = rng.integers(0, 2, (self.n, self.n_features)).astype(self.dtype)
        if np.dtype(self.dtype).kind == "f":
            masks += rng.integers(-8, 8, masks.shape).astype(self.dtype) / 8
        targets = rng.standard_normal((self.n, self.n_targets), np.float32)
        return masks, targets, rng.permutation(10 * self.n)[: self.n].astype(np.int64)


CASES = {
    "bool": Case("bool", 300, 1437, 360),
    "bool, pages not filled": Case("bool", 7, 700_001, 3),
    "bool, only the mask fits at the end of a page": Case("bool", 7, 290_000, 150_000),
    "bool, a row a page": Case("bool", 3, 2 * MIB - 4, 1),
    "uint8, one sample": Case("uint8", 1, 1, 1),
    "float16, default pages": Case("float16", 40, 200_001, 7, page_size=8 * MIB),
    "float32, rows larger than a default page": Case(
        "float32", 2, 2_200_000, 2, page_size=16 * MIB
    ),
}
SEVERAL_WORKERS = {
    "bool, 3 workers": Case("bool", 1000, 20_003, 11, workers=3),
    "float32, 2 workers": Case("float32", 333, 9_999, 1, workers=2),
}
ALL = CASES | SEVERAL_WORKERS


def images():
    """Images (20, 32, 32, 3) and labels (20,), such as users have for CIFAR-10."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (20, 32, 32, 3)).astype(np.uint8), rng.integers(0, 10, 20)


def names(cases):
    return pytest.mark.parametrize("name", list(cases))


# ---- FFCV's side ----


def ffcv_writes(folder):
    from ffcv.fields import IntField, NDArrayField, RGBImageField
    from ffcv.writer import DatasetWriter

    class Rows(list):
        """Samples for FFCV's writer, slow enough that each of its workers gets some."""

        def __getitem__(self, index):
            time.sleep(0.001)
            return super().__getitem__(index)

    for name, case in ALL.items():
        fields = {
            "mask": NDArrayField(dtype=np.dtype(case.dtype), shape=(case.n_features,)),
            "targets": NDArrayField(dtype=np.dtype("float32"), shape=(case.n_targets,)),
            "idx": IntField(),
        }
        path = str(folder / f"{name}.ffcv.beton")
        writer = DatasetWriter(path, fields, page_size=case.page_size, num_workers=case.workers)
        writer.from_indexed_dataset(Rows(zip(*case.samples(), strict=True)), chunksize=10)
    fields = {"image": RGBImageField(), "label": IntField()}
    writer = DatasetWriter(str(folder / "images.beton"), fields, num_workers=1)
    writer.from_indexed_dataset(Rows(zip(*images(), strict=True)))


def ffcv_reads(folder):
    """Save what ``Reader`` and ``Loader`` make of our files."""
    from ffcv.loader import Loader, OrderOption
    from ffcv.pipeline.compiler import Compiler
    from ffcv.reader import Reader

    for name, case in CASES.items():
        path = str(folder / f"{name}.beton")
        reader = Reader(path)
        assert reader.field_names == ["mask", "targets", "idx"]
        assert (reader.num_samples, reader.page_size) == (case.n, case.page_size)
        assert reader.handlers["mask"].dtype == np.dtype(case.dtype)
        # Numba has no float16 arrays: compiled, FFCV's Loader reads no float16 field of any file.
        Compiler.set_enabled(case.dtype != "float16")
        for os_cache in (True, False):
            loader = Loader(
                path,
                batch_size=max(1, case.n // 2),
                num_workers=1,
                order=OrderOption.SEQUENTIAL,
                os_cache=os_cache,
                drop_last=False,
            )
            batches = [[part.numpy().copy() for part in batch] for batch in loader]
            masks, targets, idx = (np.concatenate(parts) for parts in zip(*batches, strict=True))
            np.savez(
                folder / f"{name}.{os_cache}.npz",
                masks=masks,
                targets=targets,
                idx=idx[:, 0],
                metadata_idx=reader.metadata["f2"],
            )


# ---- the tests ----


@pytest.fixture(scope="module")
def ffcv_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ffcv")
    run_script(__file__, "write", folder)
    return folder


@pytest.fixture(scope="module")
def our_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    for name, case in CASES.items():
        masks, targets, idx = case.samples()
        write_beton(
            folder / f"{name}.beton",
            [(masks[:2], targets[:2], idx[:2]), (masks[2:], targets[2:], idx[2:])],
            num_samples=case.n,
            n_features=case.n_features,
            n_targets=case.n_targets,
            mask_dtype=case.dtype,
            # Two sizes are those that we choose ourselves.
            page_size=None if case.page_size > 2 * MIB else case.page_size,
        )
    return folder


@pytest.fixture(scope="module")
def read_by_ffcv(our_files):
    run_script(__file__, "read", our_files)
    return our_files


@names(CASES)
@pytest.mark.parametrize("os_cache", [True, False])
def test_ffcv_reads_our_files(read_by_ffcv, name, os_cache):
    case = CASES[name]
    masks, targets, idx = case.samples()
    with np.load(read_by_ffcv / f"{name}.{os_cache}.npz") as loaded:
        assert loaded["masks"].dtype == np.dtype(case.dtype)
        np.testing.assert_array_equal(loaded["masks"], masks)
        np.testing.assert_array_equal(loaded["targets"], targets)
        np.testing.assert_array_equal(loaded["idx"], idx)
        np.testing.assert_array_equal(loaded["metadata_idx"], idx)


@names(ALL)
def test_we_read_the_files_of_ffcv(ffcv_files, name):
    case = ALL[name]
    masks, targets, idx = case.samples()
    file = BetonFile.open(ffcv_files / f"{name}.ffcv.beton")
    assert file.mask_dtype == np.dtype(case.dtype)
    np.testing.assert_array_equal(file.idx, idx)
    some = np.random.default_rng(1).permutation(case.n)[:50]
    for rows in (slice(None), some):
        got_masks, got_targets = file.read(rows)
        np.testing.assert_array_equal(got_masks, masks[rows])
        np.testing.assert_array_equal(got_targets, targets[rows])


@names(CASES)
def test_live_bytes_agree(ffcv_files, our_files, name):
    """All but what FFCV leaves at the end of a page when a sample's targets no longer fit."""
    ours = np.fromfile(our_files / f"{name}.beton", np.uint8)
    theirs = np.fromfile(ffcv_files / f"{name}.ffcv.beton", np.uint8)
    assert ours.size == theirs.size
    header = parse_header(ours, name)
    table = ours[header.alloc_table_ptr :].view(ALLOCATION)
    assert len(table) == 2 * CASES[name].n
    live = np.zeros(ours.size, bool)
    live[: header.metadata_end] = True
    live[header.alloc_table_ptr :] = True
    for _, start, size in table.tolist():
        live[start : start + size] = True
    np.testing.assert_array_equal(ours[live], theirs[live])
    assert not ours[~live].any()


def test_samples_of_several_workers_are_out_of_order(ffcv_files):
    """Else the test above would not show that we read samples wherever they lie."""
    path = ffcv_files / "bool, 3 workers.ffcv.beton"
    assert (np.diff(BetonFile.open(path).mask_ptr.astype(np.int64)) < 0).any()


def test_images_of_ffcv_are_read_by_the_format_and_refused_as_masks(ffcv_files):
    path = ffcv_files / "images.beton"
    data = map_file(path)
    header = parse_header(data, path)
    metadata = read_metadata(data, header, path)
    pixels, labels = images()
    np.testing.assert_array_equal(metadata["label"], labels)
    image = metadata["image"]
    assert set(image["height"]) == set(image["width"]) == {32}
    check_pointers(image["data_ptr"], 3072, header, "image", path)
    got = gather(data, image["data_ptr"], 3072).reshape(20, 32, 32, 3)
    np.testing.assert_array_equal(got, pixels)
    with pytest.raises(InputError, match=r"image \(RGB image\), label \(int\).*of images"):
        BetonFile.open(path)


if __name__ == "__main__":
    {"write": ffcv_writes, "read": ffcv_reads}[sys.argv[1]](Path(sys.argv[2]))
