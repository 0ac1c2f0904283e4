"""Moments in files: what is saved is loaded, merges as if read at once, and damage is told."""

import json
import resource
import signal
import zipfile

import numpy as np
import pytest

from datamodels.errors import DatamodelsError, ExistsError, InputError, MissingFileError
from datamodels.regression import moments_file
from datamodels.regression.moment_pass import moments_of
from datamodels.regression.moments_file import MomentsFile, load, new_moments_file, save
from datamodels.regression.moments_merge import merge_moments
from datamodels.regression.row_moments import Collector, RowMoments
from datamodels.regression.row_source import ArraySource
from datamodels.regression.row_split import fold_of
from tests.regression.problems import outputs_of, random_masks

N, P, T = 333, 53, 5
SMALL_BLOCK = 64 * (P + 8 * T)  # 64 rows
ROWS = np.arange(N)
GROUPS = ROWS // 40 - 3


class Store(ArraySource):
    """Rows whose numbers in the store have gaps."""

    @property
    def idx(self):
        return 2 * np.arange(self.n_rows) + 1


def float_masks():
    return np.random.default_rng(8).standard_normal((N, P)) + np.linspace(0, 1e3, P)


def mixed_masks():
    """Zeros and ones in the first rows, so that some shards are counted and some are not."""
    x = random_masks(N, P).astype(np.float64)
    x[200:] += 0.5
    return x


MASKS = {"counts": lambda: random_masks(N, P), "floats": float_masks, "mixed": mixed_masks}
OPTIONS = {
    "plain": {},
    "folds": {"folds": 4, "seed": 7},
    "groups": {"groups": GROUPS, "groups_key": "block"},
    "folds_and_groups": {"folds": 3, "groups": GROUPS, "groups_key": "block"},
    "no_table": {"table": False},
    "targets": {"targets": slice(1, 4), "names": ("masks", "margins")},
}


def source(kind="counts"):
    x = MASKS[kind]()
    return Store(x, outputs_of(random_masks(N, P), T))


def collect(rows=ROWS, kind="counts", block_bytes=SMALL_BLOCK, **options) -> RowMoments:
    return Collector(source(kind), rows, block_bytes=block_bytes, **options).collect()


def assert_same_moments(a, b, rtol=0.0):
    """Counts equal to the bit, and everything else to ``rtol`` of the largest of its kind."""
    assert (a.n, a.counted, a.xx is None) == (b.n, b.counted, b.xx is None)
    exact = ("sum_x", "squares_x", "xx") if a.counted else ()
    if a.xx is not None:
        assert a.xx.dtype == b.xx.dtype
    b = b if rtol == 0 else b.shifted(a.shift).shifted_x(a.shift_x)
    for name in ("sum_x", "squares_x", "xx", "xy", "sum_y", "sum_yy", "shift", "shift_x"):
        mine, theirs = getattr(a, name), getattr(b, name)
        if mine is None or name in exact or rtol == 0:
            np.testing.assert_array_equal(mine, theirs, err_msg=name)
        else:
            np.testing.assert_allclose(mine, theirs, rtol, rtol * np.abs(mine).max(initial=1))
    assert (a.groups is None) == (b.groups is None)
    if a.groups is not None:
        for name in ("labels", "n", "sum_x", "sum_y"):
            mine, theirs = getattr(a.groups, name), getattr(b.groups, name)
            np.testing.assert_allclose(mine, theirs, rtol, rtol * np.abs(mine).max())


def assert_same(a: RowMoments, b: RowMoments, rtol=0.0):
    np.testing.assert_array_equal(a.rows, b.rows)
    np.testing.assert_array_equal(a.hashes, b.hashes)
    for name in moments_file._WORDS:
        assert getattr(a, name) == getattr(b, name), name
    for mine, theirs in zip(a.parts, b.parts, strict=True):
        assert_same_moments(mine, theirs, rtol)


@pytest.fixture(params=[1, 700, 8 * 2**20])
def chunk(request, monkeypatch):
    """Bytes at a time: rows one by one, a few, and all."""
    monkeypatch.setattr(moments_file, "_CHUNK", request.param)


# --- collecting -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MASKS)
def test_folds_are_the_moments_of_their_rows(kind):
    kept = collect(kind=kind, folds=4, seed=7)
    fold = fold_of(kept.rows, 4, 7)
    for f, part in enumerate(kept.parts):
        assert_same_moments(moments_of(source(kind), ROWS[fold == f]), part, 1e-12)
    assert_same_moments(moments_of(source(kind), ROWS), kept.total(), 1e-12)


def test_neither_blocks_nor_the_order_of_rows_matter():
    shuffled = np.random.default_rng(0).permutation(N)
    assert_same(collect(), collect(shuffled, block_bytes=2**20), 1e-12)
    assert collect().fingerprint == collect(shuffled).fingerprint


def test_zeros_and_ones_of_any_dtype_are_the_same_data():
    x, y = random_masks(N, P), outputs_of(random_masks(N, P), T)
    kept = [Collector(ArraySource(x.astype(dtype), y), ROWS).collect()
            for dtype in (bool, np.uint8, np.float32)]  # fmt: skip
    assert len({moments.fingerprint for moments in kept}) == 1


def test_rows_know_all_outputs_also_those_that_were_not_taken():
    assert collect(targets=slice(0, 1)).fingerprint == collect().fingerprint
    changed = source()
    changed._outputs[3, T - 1] += 1
    other = Collector(changed, ROWS, targets=slice(0, 1)).collect()
    assert np.flatnonzero(other.hashes != collect().hashes).tolist() == [3]
    assert other.fingerprint != collect().fingerprint


def test_a_row_twice_or_no_row_is_refused():
    with pytest.raises(InputError, match="row 15 is there twice"):
        collect(np.array([3, 7, 9, 7]))
    with pytest.raises(InputError, match="no rows"):
        collect(ROWS[:0])


# --- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_what_is_saved_is_loaded(kind, options, tmp_path):
    kept = collect(kind=kind, **options)
    save(kept, tmp_path / "m.npz")
    assert_same(kept, load(tmp_path / "m.npz"))


@pytest.mark.parametrize("options", [{}, {"folds": 4}])
def test_chunks_do_not_matter(chunk, options, tmp_path):
    kept = collect(**options)
    save(kept, tmp_path / "m.npz")
    assert_same(kept, load(tmp_path / "m.npz"))
    some = load(tmp_path / "m.npz", targets=slice(1, 3))
    for mine, theirs in zip(kept.parts, some.parts, strict=True):
        assert_same_moments(mine.targets(slice(1, 3)), theirs)


def test_a_slice_of_the_targets_is_that_slice_of_all(tmp_path):
    save(collect(targets=slice(1, 5), groups=GROUPS), tmp_path / "m.npz")
    loaded = load(tmp_path / "m.npz", table=False, targets=slice(1, 3))
    assert (loaded.first_target, loaded.n_targets, loaded.n_targets_all) == (2, 2, T)
    expected = collect(groups=GROUPS, table=False).parts[0].targets(slice(2, 4))
    assert_same_moments(expected, loaded.parts[0], 1e-12)


@pytest.mark.parametrize("kind", MASKS)
def test_a_part_and_the_total_can_be_loaded_alone(kind, tmp_path):
    kept = collect(kind=kind, folds=4, groups=GROUPS)
    save(kept, tmp_path / "m.npz")
    with MomentsFile(tmp_path / "m.npz") as file:
        assert file.known.fingerprint == kept.fingerprint
        assert_same_moments(kept.parts[2], file.part(2))
        assert file.part(2, table=False).xx is None
        assert_same_moments(kept.total(), file.total(), 1e-15)
        assert_same_moments(kept.total().without_table(), file.total(table=False))


def test_numpy_alone_reads_it(tmp_path):
    kept = collect(folds=2)
    save(kept, tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["rows"], kept.rows)
        np.testing.assert_array_equal(file["xy_1"], kept.parts[1].xy)
        np.testing.assert_array_equal(file["xx_1"], kept.parts[1].xx[np.triu_indices(P)])
        about = json.loads(str(file["about"]))
    assert (about["version"], about["folds"], sum(about["n"])) == (1, 2, N)


def test_equal_moments_are_equal_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        save(collect(folds=3), tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_empty_folds_are_kept_and_merge(tmp_path):
    few, rest = (collect(rows, folds=4, groups=GROUPS) for rows in (ROWS[:2], ROWS[2:]))
    assert min(part.n for part in few.parts) == 0
    save(few, tmp_path / "few.npz")
    merged = rest + load(tmp_path / "few.npz")
    assert_same(collect(folds=4, groups=GROUPS), merged, 1e-12)


# --- merging ----------------------------------------------------------------------------------

SHARDS = {"ranges": np.split(ROWS, [1, 100, 250]), "interleaved": [ROWS[i::3] for i in range(3)]}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("shards", SHARDS.values(), ids=SHARDS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_merged_shards_equal_one_pass(kind, shards, options, tmp_path):
    one_pass = collect(kind=kind, **options)
    pieces = [collect(rows, kind, **options) for rows in shards]
    assert_same(one_pass, sum(pieces[1:], start=pieces[0]), 1e-12)
    paths = [tmp_path / f"{i}.npz" for i in range(len(pieces))]
    for piece, path in zip(pieces, paths, strict=True):
        save(piece, path)
    merge_moments(paths, tmp_path / "all.npz")
    assert_same(one_pass, load(tmp_path / "all.npz"), 1e-12)
    merge_moments(paths[::-1], tmp_path / "reversed.npz")
    assert_same(one_pass, load(tmp_path / "reversed.npz"), 1e-12)


def test_merged_files_are_the_sum_in_memory(tmp_path):
    a, b = collect(ROWS[::2]), collect(ROWS[1::2])
    save(a, tmp_path / "a.npz")
    save(b, tmp_path / "b.npz")
    merge_moments([tmp_path / "a.npz", tmp_path / "b.npz"], tmp_path / "c.npz")
    assert_same(a + b, load(tmp_path / "c.npz"))


def test_shared_rows_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"10 rows are in both \(the first is row 181\)"):
        collect(ROWS[:100]) + collect(ROWS[90:])
    for name, rows in {"a": ROWS[:9], "b": ROWS[20:30], "c": ROWS[8:12]}.items():
        save(collect(rows), tmp_path / f"{name}.npz")
    with pytest.raises(InputError, match=r"c\.npz does not merge with the 2 before it: 1 row is"):
        merge_moments([tmp_path / f"{name}.npz" for name in "abc"], tmp_path / "all.npz")
    assert not (tmp_path / "all.npz").exists()


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ({}, {"folds": 2}, "folds=none and with folds=2"),
        ({"folds": 2}, {"folds": 2, "seed": 1}, "seed=0 and with seed=1"),
        ({}, {"groups": GROUPS, "groups_key": "block"}, "groups_key=none and with groups_key=bl"),
        ({}, {"targets": slice(1, 4)}, "n_targets=5 and with n_targets=3"),
        ({"targets": slice(0, 3)}, {"targets": slice(1, 4)}, "first_target=0 and with"),
        ({"names": ("masks", "a")}, {"names": ("masks", "b")}, "y_name=a and with y_name=b"),
    ],
)
def test_other_problems_do_not_merge(first, second, what):
    with pytest.raises(InputError, match=what):
        collect(ROWS[:100], **first) + collect(ROWS[100:], **second)


def test_a_beton_merges_with_its_store():
    merged = collect(ROWS[:50]) + collect(ROWS[50:], names=("masks", "margins"))
    assert (merged.x_name, merged.y_name) == ("masks", "margins")


# --- the data they belong to ------------------------------------------------------------------


def test_moments_match_their_own_data_also_with_later_rows():
    collect(ROWS[:100]).matches(source())
    collect(ROWS[5:6]).matches(source())
    collect(targets=slice(1, 2)).matches(source())


@pytest.mark.parametrize("what", ["masks", "outputs"])
@pytest.mark.parametrize("row", [0, N - 1])
def test_other_data_are_refused(what, row):
    other = source()
    changed = other._masks if what == "masks" else other._outputs
    changed[row, 2] = not changed[row, 2]
    with pytest.raises(InputError, match=f"row {2 * row + 1} of the data holds another"):
        collect().matches(other)


def test_data_of_another_shape_are_refused():
    x, y = random_masks(N, P), outputs_of(random_masks(N, P), T)
    for other, what in (
        (Store(x[:, :9], y), "53 features, and the data have 9"),
        (Store(x, y[:, :2]), "5 targets, and the data have 2"),
        (ArraySource(x, y), r"row 3\d\d is not among"),
        (Store(x[:100], y[:100]), r"row 2\d\d is not among"),
    ):
        with pytest.raises(InputError, match=what):
            collect().matches(other)


# --- files that are not what they should be ---------------------------------------------------


@pytest.fixture
def small(tmp_path):
    """A small file of moments."""
    x = random_masks(70, 5)
    moments = Collector(ArraySource(x, outputs_of(x, 2)), np.arange(70), folds=2).collect()
    save(moments, tmp_path / "m.npz")
    return tmp_path / "m.npz"


def test_a_truncated_file_is_told(small, tmp_path):
    content = small.read_bytes()
    for size in [0, 1, 100, *range(1000, len(content), 997), len(content) - 1]:
        (tmp_path / "cut.npz").write_bytes(content[:size])
        with pytest.raises(InputError, match=r"cut\.npz is no .npz file, is cut short or damaged"):
            load(tmp_path / "cut.npz")


def test_damage_anywhere_is_told_or_does_no_harm(small, tmp_path):
    content, whole = bytearray(small.read_bytes()), load(small)
    for place in np.random.default_rng(0).choice(len(content), 400, replace=False):
        damaged = content.copy()
        damaged[place] ^= 0x55
        (tmp_path / "bad.npz").write_bytes(damaged)
        try:
            loaded = load(tmp_path / "bad.npz")
        except InputError:
            continue
        assert_same(whole, loaded)  # a date, or permissions


def test_a_damaged_sum_is_not_merged(small, tmp_path):
    content = bytearray(small.read_bytes())
    with zipfile.ZipFile(small) as archive:
        info = archive.getinfo("xx_1.npy")
        at = content.index(b"xx_1.npy") + info.file_size
    content[at] ^= 1
    (tmp_path / "bad.npz").write_bytes(content)
    x = random_masks(70, 5, seed=3)
    with_gap = ArraySource(np.vstack([x, x]), outputs_of(np.vstack([x, x]), 2))
    save(Collector(with_gap, np.arange(70, 140), folds=2).collect(), tmp_path / "other.npz")
    with pytest.raises(InputError, match=r"bad\.npz is no .npz file, is cut short or damaged"):
        merge_moments([tmp_path / "bad.npz", tmp_path / "other.npz"], tmp_path / "all.npz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.npz", "m.npz", "other.npz"]


def test_other_files_are_told(tmp_path):
    np.savez(tmp_path / "foreign.npz", a=np.arange(3), b=np.arange(2))
    with pytest.raises(InputError, match=r"holds no moments \(its arrays: a, b\)"):
        load(tmp_path / "foreign.npz")
    np.savez(tmp_path / "about.npz", about=np.array('{"format": "something else"}'))
    np.savez(tmp_path / "number.npz", about=np.array(3))
    np.savez(tmp_path / "pickle.npz", about=np.array([{}], object))
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "folder.npz").mkdir()
    for name in ("about", "number", "pickle", "text", "folder"):
        with pytest.raises(InputError, match=f"{name}.npz"):
            load(tmp_path / f"{name}.npz")
    with pytest.raises(MissingFileError, match=r"there is no .*gone\.npz"):
        load(tmp_path / "gone.npz")


def test_another_version_is_told(small, tmp_path):
    with np.load(small) as file:
        arrays = dict(file)
    about = json.loads(str(arrays["about"]))
    arrays["about"] = np.array(json.dumps({**about, "version": 2}))
    np.savez(tmp_path / "later.npz", **arrays)
    with pytest.raises(InputError, match="is of version 2 of this format"):
        load(tmp_path / "later.npz")


def test_arrays_that_do_not_fit_one_another_are_told(small, tmp_path):
    with np.load(small) as file:
        arrays = dict(file)
    for name in ("rows", "xx_0", "xy_1", "sum_x_0", "shift_1"):
        np.savez(tmp_path / f"{name}.npz", **{**arrays, name: arrays[name][1:]})
        with pytest.raises(InputError, match=f"array {name} does not fit"):
            load(tmp_path / f"{name}.npz")


# --- whole or not at all ----------------------------------------------------------------------


def test_nothing_is_overwritten(small):
    with pytest.raises(ExistsError):
        save(collect(), small)


def test_an_interrupted_file_never_appears(tmp_path):
    def interrupted():
        with new_moments_file(tmp_path / "m.npz") as file:
            file.add(collect(folds=2).parts[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path):
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = collect()
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(DatamodelsError, match="has room for"):
            save(kept, tmp_path / "m.npz")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []
