"""``.beton`` files that we write: what goes in comes out, and nothing else passes for one."""

import errno
import os
import resource
import stat
import struct
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamodels.errors import DatamodelsError, ExistsError, InputError, MissingFileError
from datamodels.regression import beton_writer
from datamodels.regression.beton_format import (
    DESCRIPTOR,
    FIELD_TYPES,
    HEADER,
    INT,
    MIN_PAGE_SIZE,
    NDARRAY,
    RGB_IMAGE,
    TENSOR,
    Array,
    Field,
    Header,
    map_file,
    parse_header,
)
from datamodels.regression.beton_reader import BetonFile
from datamodels.regression.beton_writer import write_beton

DTYPES = ["bool", "uint8", "int64", "float16", "float32", "float64"]
few = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def samples(n, n_features, n_targets, dtype="bool", seed=0):
    """Masks (n, n_features), targets (n, n_targets) and idx (n,) for one file."""
    rng = np.random.default_rng(seed)
    masks = rng.integers(0, 2, (n, n_features)).astype(dtype)
    if np.dtype(dtype).kind == "f":
        masks = rng.standard_normal((n, n_features)).astype(dtype)
    targets = rng.standard_normal((n, n_targets), np.float32)
    return masks, targets, rng.permutation(10 * n)[:n].astype(np.int64)


def write(path, masks, targets, idx, *, cuts=(), **options):
    """Write in blocks that end at the rows ``cuts``."""
    ends = sorted({0, len(idx), *(cut for cut in cuts if cut < len(idx))})
    blocks = [(masks[a:b], targets[a:b], idx[a:b]) for a, b in pairwise(ends)]
    write_beton(
        path,
        blocks,
        num_samples=len(idx),
        n_features=masks.shape[1],
        n_targets=targets.shape[1],
        **{"mask_dtype": masks.dtype, "page_size": MIN_PAGE_SIZE, **options},
    )
    return path


@pytest.fixture
def beton(tmp_path):
    """A small good file: 9 samples, 4 of them a page."""
    return write(tmp_path / "good.beton", *samples(9, 500_000, 3))


# ---- what goes in comes out ----


@few
@given(
    dtype=st.sampled_from(DTYPES),
    n=st.integers(1, 40),
    n_features=st.one_of(st.integers(1, 200), st.integers(50_000, 150_000)),
    n_targets=st.one_of(st.integers(1, 40), st.just(100_000)),
    page_size=st.sampled_from([None, MIN_PAGE_SIZE, 2 * MIN_PAGE_SIZE]),
    cuts=st.lists(st.integers(1, 40)),
    data=st.data(),
)
def test_samples_come_back(tmp_path, dtype, n, n_features, n_targets, page_size, cuts, data):
    masks, targets, idx = samples(n, n_features, n_targets, dtype)
    path = tmp_path / "a.beton"
    path.unlink(missing_ok=True)
    write(path, masks, targets, idx, cuts=cuts, page_size=page_size)
    file = BetonFile.open(path)
    assert (file.n_rows, file.n_features, file.n_targets) == (n, n_features, n_targets)
    assert file.mask_dtype == dtype
    assert file.idx.dtype == np.int64
    np.testing.assert_array_equal(file.idx, idx)
    rows = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=20)), np.int64)
    for chosen in (slice(None), slice(n // 3, n - n // 4, 2), rows):
        got_masks, got_targets = file.read(chosen)
        assert (got_masks.dtype, got_targets.dtype) == (np.dtype(dtype), np.float32)
        np.testing.assert_array_equal(got_masks, masks[chosen])
        np.testing.assert_array_equal(got_targets, targets[chosen])


@few
@given(n=st.integers(1, 12), cuts=st.lists(st.integers(0, 12), max_size=6))
def test_file_is_invariant_to_the_partition_into_blocks(tmp_path, n, cuts):
    masks, targets, idx = samples(n, 300_000, 1_000)
    one, many = tmp_path / "one.beton", tmp_path / "many.beton"
    for path in (one, many):
        path.unlink(missing_ok=True)
    write(one, masks, targets, idx)
    write(many, masks, targets, idx, cuts=cuts)
    assert one.read_bytes() == many.read_bytes()


def test_empty_blocks_and_strided_arrays_change_nothing(tmp_path, beton):
    masks, targets, idx = samples(9, 500_000, 3)
    wide = np.repeat(masks, 2, axis=1)[:, ::2]
    blocks = [
        (wide[:0], targets[:0], idx[:0]),
        (wide[:5], targets[:5], idx[:5].tolist()),
        (wide[5:5], targets[5:5], idx[5:5]),
        (wide[5:], np.asfortranarray(targets[5:]), idx[5:].astype(np.int32)),
    ]
    other = tmp_path / "other.beton"
    write_beton(
        other,
        iter(blocks),
        num_samples=9,
        n_features=500_000,
        n_targets=3,
        mask_dtype=bool,
        page_size=MIN_PAGE_SIZE,
    )
    assert other.read_bytes() == beton.read_bytes()


def test_read_copies_and_leaves_the_file_alone(beton):
    before = beton.read_bytes()
    file = BetonFile.open(beton)
    masks, targets = file.read(slice(0, 2))
    masks[:] = False
    targets[:] = np.nan
    assert beton.read_bytes() == before
    assert np.isfinite(file.read(slice(0, 2))[1]).all()


def test_a_row_that_does_not_exist_is_an_index_error(beton):
    with pytest.raises(IndexError):
        BetonFile.open(beton).read(np.array([0, 9]))


def test_progress_counts_every_row(tmp_path):
    seen = []
    write(tmp_path / "a.beton", *samples(10, 7, 2), cuts=(3, 4), progress=seen.append)
    assert seen == [3, 1, 6]


# ---- the layout ----


@few
@given(
    row=st.integers(1, 3 * MIN_PAGE_SIZE), n=st.integers(1, 7), n_targets=st.integers(1, 100_000)
)
def test_no_sample_straddles_a_page(row, n, n_targets):
    layout = beton_writer._plan(n, row, n_targets, np.dtype(np.uint8), None)
    page_size = layout.header.page_size
    first = layout.pointers()
    last = first + np.uint64(row + 4 * n_targets - 1)
    assert (first // page_size == last // page_size).all()
    assert (first >= layout.header.metadata_end).all()
    assert (last < layout.header.alloc_table_ptr).all()
    assert (np.diff(first.astype(np.int64)) >= row + 4 * n_targets).all()
    assert layout.header.alloc_table_ptr % page_size == 0


@pytest.mark.parametrize(
    ("row_nbytes", "page_size"),
    [(1, 1 << 23), (1 << 23, 1 << 23), ((1 << 23) + 1, 1 << 24), (1 << 30, 1 << 30)],
)
def test_a_page_holds_at_least_one_row(row_nbytes, page_size):
    assert beton_writer._page_size(row_nbytes, None) == page_size


def test_header_round_trips():
    header = Header(
        (
            Field("image", RGB_IMAGE),
            Field("a name of 16 chr", NDARRAY, Array((3, 1, 2), np.dtype(">f8"))),
            Field("label", INT),
        ),
        num_samples=0,
        page_size=MIN_PAGE_SIZE,
        alloc_table_ptr=12345,
    )
    assert parse_header(np.frombuffer(header.to_bytes(), np.uint8), "memory") == header


def test_bytes_of_a_small_file(tmp_path):
    path = write(
        tmp_path / "a.beton",
        np.array([[True, False, True], [False, True, True]]),
        np.array([[0.5], [-2.0]], np.float32),
        np.array([7, 3]),
    )
    data = path.read_bytes()
    page = MIN_PAGE_SIZE
    assert data[:24] == struct.pack("<HHIQQ", 2, 3, page, 2, 2 * page)
    mask = data[24 : 24 + 1041]
    assert mask[:17] == b"\x04mask" + bytes(12)
    assert mask[17:25] == struct.pack("<Q", 3)
    assert mask[25 : 17 + 256] == bytes(248)
    assert mask[17 + 256 :].rstrip(b"\0") == struct.pack("<Q", 13) + b'[["", "|b1"]]'
    assert data[24 + 1041 : 24 + 1041 + 17] == b"\x04targets" + bytes(9)
    assert data[24 + 2 * 1041 : 24 + 3 * 1041] == b"\x01idx" + bytes(1037)
    metadata_end = 24 + 3 * 1041 + 2 * 24
    assert data[24 + 3 * 1041 : metadata_end] == struct.pack(
        "<QQqQQq", page, page + 3, 7, page + 7, page + 10, 3
    )
    assert data[metadata_end:page] == bytes(page - metadata_end)
    used = struct.pack("<3?f3?f", 1, 0, 1, 0.5, 0, 1, 1, -2.0)
    assert data[page : 2 * page] == used + bytes(page - len(used))
    assert data[2 * page :] == struct.pack(
        "<12Q", 0, page, 3, 0, page + 3, 4, 1, page + 7, 3, 1, page + 10, 4
    )


# ---- what cannot be written ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 8}, "at least 9 rows, num_samples=8"),
        ({"num_samples": 10}, "hold 9 rows, num_samples=10"),
        ({"num_samples": 0}, "num_samples=0"),
        ({"n_features": 4}, r"masks of block 0: bool of shape \(9, 5\)"),
        ({"n_targets": 1}, "targets of block 0: float32"),
        ({"mask_dtype": "O"}, "object"),
        ({"mask_dtype": "complex64"}, "complex64"),
        ({"page_size": 3 << 20}, "page_size=3145728.*power of two from 2097152"),
        ({"page_size": 1 << 20}, "page_size=1048576"),
        ({"page_size": 1 << 32}, "page_size=4294967296"),
        ({"n_features": 1 << 31}, "too long"),
    ],
)
def test_wrong_arguments_are_refused_and_leave_nothing(tmp_path, options, message):
    masks, targets, idx = samples(9, 5, 2)
    given_options = {"num_samples": 9, "n_features": 5, "n_targets": 2, "mask_dtype": bool}
    with pytest.raises(InputError, match=message):
        write_beton(tmp_path / "a.beton", [(masks, targets, idx)], **{**given_options, **options})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("masks", "targets", "idx"),
    [
        (np.zeros((2, 5), np.float32), np.zeros((2, 1), np.float32), [0, 1]),  # bool is asked
        (np.zeros((2, 5), bool), np.zeros((2, 1)), [0, 1]),  # float64 would be rounded
        (np.zeros((2, 5), bool), np.zeros(2, np.float32), [0, 1]),
        (np.zeros((2, 5), bool), np.zeros((2, 1), np.float32), [0.0, 1.0]),
        (np.zeros((2, 5), bool), np.zeros((2, 1), np.float32), [0]),
        (np.zeros((1, 5), bool), np.zeros((2, 1), np.float32), [0, 1]),
        (np.zeros(5, bool), np.zeros((2, 1), np.float32), [0, 1]),
        (np.bool_(True), np.zeros((2, 1), np.float32), [0, 1]),
    ],
)
def test_blocks_of_other_shapes_or_dtypes_are_refused(tmp_path, masks, targets, idx):
    options = {"num_samples": 2, "n_features": 5, "n_targets": 1, "mask_dtype": bool}
    with pytest.raises(InputError, match="of block 0"):
        write_beton(tmp_path / "a.beton", [(masks, targets, idx)], **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["file", "folder", "dangling link"])
def test_what_exists_is_never_overwritten(tmp_path, what):
    path = tmp_path / "a.beton"
    if what == "file":
        path.write_bytes(b"precious")
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ExistsError, match=r"a\.beton exists"):
        write(path, *samples(3, 4, 2))
    assert list(tmp_path.iterdir()) == [path]
    assert what != "file" or path.read_bytes() == b"precious"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "a.beton"
    with pytest.raises(ExistsError, match="appeared meanwhile"):
        write(path, *samples(3, 4, 2), progress=lambda _: path.write_bytes(b"precious"))
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def no_links(*_):
    raise OSError(errno.EPERM, "Operation not permitted")


def test_a_file_system_without_hard_links_will_do(tmp_path, monkeypatch, beton):
    monkeypatch.setattr(os, "link", no_links)
    path = write(tmp_path / "a.beton", *samples(9, 500_000, 3))
    assert path.read_bytes() == beton.read_bytes()
    assert sorted(tmp_path.iterdir()) == [path, beton]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_blocks_that_fail_leave_nothing_and_keep_their_error(tmp_path, error):
    masks, targets, idx = samples(9, 500_000, 3)

    def blocks():
        yield masks[:6], targets[:6], idx[:6]
        assert len(list(tmp_path.iterdir())) == 1  # the temporary file, with a page in it
        raise error("stop")

    options = {"num_samples": 9, "n_features": 500_000, "n_targets": 3, "mask_dtype": bool}
    with pytest.raises(error, match="stop"):
        write_beton(tmp_path / "a.beton", blocks(), page_size=MIN_PAGE_SIZE, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_clear_error(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIN_PAGE_SIZE, hard))
    try:
        with pytest.raises(DatamodelsError, match=r"needs 8 MiB, more than .* has room for"):
            write(tmp_path / "a.beton", *samples(9, 500_000, 3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_at_the_end_is_a_clear_error(tmp_path, monkeypatch):
    def fsync(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DatamodelsError, match=r"a\.beton needs 4 MiB.*No space left"):
        write(tmp_path / "a.beton", *samples(3, 4, 2))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere does not exist"):
        write(tmp_path / "nowhere" / "a.beton", *samples(3, 4, 2))


def test_the_file_has_the_permissions_of_any_new_file(tmp_path, beton):
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(beton.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_name_as_long_as_the_file_system_takes(tmp_path):
    path = write(tmp_path / ("é" * 124 + ".beton"), *samples(3, 4, 2))
    assert BetonFile.open(path).n_rows == 3


# ---- what cannot be read ----


def offsets_worth_cutting_at(path):
    header = parse_header(map_file(path), path)
    size = path.stat().st_size
    edges = {0, HEADER.itemsize, header.metadata_ptr, header.metadata_end, size}
    edges |= {HEADER.itemsize + field * DESCRIPTOR.itemsize for field in (1, 2)}
    edges |= {MIN_PAGE_SIZE * page for page in range(1, size // MIN_PAGE_SIZE + 1)}
    edges |= {header.alloc_table_ptr + 24 * entry for entry in (0, 1, 17)}
    return sorted({edge + d for edge in edges for d in (-1, 0, 1) if 0 <= edge + d < size})


def test_a_file_cut_short_anywhere_is_refused(beton):
    for size in reversed(offsets_worth_cutting_at(beton)):
        os.truncate(beton, size)
        with pytest.raises(InputError, match=r"good\.beton is (cut short|empty|not a \.beton)"):
            BetonFile.open(beton)


def test_a_file_that_goes_on_is_refused(beton):
    with beton.open("ab") as file:
        file.write(bytes(24))
    with pytest.raises(InputError, match="damaged"):
        BetonFile.open(beton)


@settings(few, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 24 + 3 * 1041 + 9 * 24 - 1), st.integers(0, 255))))
def test_a_damaged_head_is_read_or_refused_and_nothing_else(tmp_path, beton, changes):
    good = beton.read_bytes()[: MIN_PAGE_SIZE // 8]
    with beton.open("r+b") as file:
        for offset, value in changes:
            file.seek(offset)
            file.write(bytes([value]))
    try:
        opened = BetonFile.open(beton)
        opened.read(slice(None))
    except InputError:
        pass
    finally:
        with beton.open("r+b") as file:
            file.write(good)


@pytest.mark.parametrize("field", [0, 1])
@pytest.mark.parametrize("pointer", [0, 100, 8 << 20, 2**63, 2**64 - 1])
def test_a_pointer_out_of_the_pages_is_refused(beton, field, pointer):
    with beton.open("r+b") as file:
        header = parse_header(map_file(beton), beton)
        file.seek(header.metadata_ptr + 4 * 24 + 8 * field)
        file.write(struct.pack("<Q", pointer))
    with pytest.raises(InputError, match=r"damaged: samples of field '(mask|targets)'"):
        BetonFile.open(beton)


def test_a_negative_row_number_is_refused(tmp_path):
    path = tmp_path / "negative.beton"
    masks, targets, _ = samples(2, 5, 1)
    write(path, masks, targets, np.array([3, -2]))
    with pytest.raises(InputError, match="has idx -2"):
        BetonFile.open(path)


def test_a_file_whose_writing_stopped_says_so(beton):
    with beton.open("r+b") as file:  # FFCV's writer sets the pointer last
        file.seek(16)
        file.write(bytes(8))
    with pytest.raises(InputError, match="never finished"):
        BetonFile.open(beton)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\x02", "has 1 bytes, a header alone has 24"),
        (b"\x93NUMPY\x01\x00" + bytes(100), r"a \.npy array.*version 20115"),
        (b"PK\x03\x04" + bytes(100), "a zip archive"),
        (struct.pack("<HHIQQ", 1, 3, 1 << 23, 5, 0), "version 1,.* give 2"),
        (struct.pack("<HHIQQ", 2, 0, 1 << 23, 5, 0), "0 fields"),
        (struct.pack("<HHIQQ", 2, 3, 1000, 5, 0), "pages of 1000 bytes"),
        (b"\x02\x00" * 12, "not a .beton file"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "other.beton"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        BetonFile.open(path)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match="nothing does not exist"):
        BetonFile.open(tmp_path / "nothing")
    with pytest.raises(InputError, match="directory"):
        BetonFile.open(tmp_path)


def file_with(path, *fields):
    """A beton without samples: opening stops at the fields."""
    header = Header(fields, 0, MIN_PAGE_SIZE, 1)
    header = Header(fields, 0, MIN_PAGE_SIZE, header.metadata_ptr)
    path.write_bytes(header.to_bytes())
    return path


MASK = Field("mask", NDARRAY, Array((5,), np.dtype(bool)))
TARGETS = Field("targets", NDARRAY, Array((2,), np.dtype("<f4")))
IDX = Field("idx", INT)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            [Field("image", RGB_IMAGE), Field("label", INT)],
            r"image \(RGB image\), label \(int\)\. Needed: mask .*targets .*idx .*images",
        ),
        ([MASK, TARGETS], "float32 array"),
        ([MASK, IDX], "Needed"),
        ([Field("masks", NDARRAY, MASK.array), TARGETS, IDX], r"masks \(bool array"),
        ([Field("mask", INT), TARGETS, IDX], r"mask \(int\)"),
        ([Field("mask", NDARRAY, Array((5, 2), np.dtype(bool))), TARGETS, IDX], r"\(5, 2\)"),
        ([Field("mask", NDARRAY, Array((5,), np.dtype("c8"))), TARGETS, IDX], "complex64"),
        ([MASK, Field("targets", NDARRAY, Array((2,), np.dtype("<f8"))), IDX], "float64"),
        ([MASK, TARGETS, Field("idx", NDARRAY, Array((1,), np.dtype("<i8")))], "int64 array"),
        ([MASK, TARGETS, Field("idx", 255)], r"idx \(custom type 255\)"),
    ],
)
def test_foreign_fields_are_named(tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        BetonFile.open(file_with(tmp_path / "foreign.beton", *fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([MASK, TARGETS, IDX], "holds no samples"),
        (
            [MASK, TARGETS, IDX, Field("more", 255)],
            r"more \(custom type 255\) is of a type unknown",
        ),
        ([MASK, TARGETS, IDX, IDX], "damaged: its fields are"),
        ([MASK, TARGETS, IDX, Field("", INT)], "damaged: its fields are"),
    ],
)
def test_fields_beside_the_needed_ones(tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        BetonFile.open(file_with(tmp_path / "more.beton", *fields))


def test_headers_of_any_data_set_can_be_read(tmp_path):
    plain = [type_id for type_id in FIELD_TYPES if type_id not in (NDARRAY, TENSOR)]
    fields = (*(Field(f"field {n}", n) for n in plain), MASK, Field("own", 255))
    path = file_with(tmp_path / "any.beton", *fields)
    header = parse_header(map_file(path), path)
    assert header.fields == fields


def test_opening_reads_no_samples(tmp_path):
    """64 GiB, nearly all of it a hole, open as quickly as any file, and a row can be read."""
    layout = beton_writer._plan(128, 1 << 28, 1, np.dtype(bool), None)
    path = tmp_path / "large.beton"
    metadata = beton_writer._metadata(layout, np.arange(128))
    path.write_bytes(layout.header.to_bytes() + metadata.tobytes())
    os.truncate(path, layout.file_size)
    assert layout.file_size > 64 << 30
    start = time.perf_counter()
    file = BetonFile.open(path)
    assert time.perf_counter() - start < 1
    assert (file.n_rows, file.n_features) == (128, 1 << 28)
    assert not file.read(slice(127, 128))[0].any()


def test_a_header_far_larger_than_memory_is_refused_at_once(beton):
    with beton.open("r+b") as file:
        file.seek(8)
        file.write(struct.pack("<Q", 2**60))
    with pytest.raises(InputError, match="damaged"):
        BetonFile.open(beton)
