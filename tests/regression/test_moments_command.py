"""Moments of stores: kept by one command, merged by another."""

import numpy as np
import pytest

from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.moments_file import MomentsFile, load, save
from datamodels.regression.row_moments import Collector
from datamodels.regression.write_dataset import write_dataset
from tests.conftest import assert_fails
from tests.regression.problems import outputs_of, random_masks
from tests.regression.test_moments_file import assert_same

N, P, T = 130, 21, 4
INCOMPLETE = [5, 60]


@pytest.fixture
def folder(tmp_path):
    """A store of 130 models of which two are not complete."""
    masks = random_masks(N, P)
    flags = np.ones(N, bool)
    flags[INCOMPLETE] = False
    (tmp_path / "store").mkdir()
    arrays = {"masks": masks, "margins": outputs_of(masks, T), "_completed": flags,
              "block": np.arange(N, dtype=np.int16) // 20, "scores": np.zeros(N),
              "short": np.arange(5)}  # fmt: skip
    for key, array in arrays.items():
        np.save(tmp_path / "store" / f"{key}.npy", array)
    return tmp_path / "store"


@pytest.fixture
def make(run, folder, tmp_path):
    """``make("--moments.rows=0-9", out="a.npz")`` with the store's path."""

    def run_moments(*options, out="m.npz", data_path=folder):
        return run("regression.moments", f"--moments.data_path={data_path}",
                   f"--moments.out={tmp_path / out}", *options)  # fmt: skip

    return run_moments


@pytest.fixture
def merge(run, tmp_path):
    """``merge("a.npz", "b.npz")``."""

    def run_merge(*inputs, out="all.npz"):
        return run("regression.merge", f"--merge.inputs={','.join(inputs)}", f"--merge.out={out}")

    return run_merge


def expected(folder, **options):
    """Moments of all complete rows of the store, or of some."""
    dataset = RegressionDataset(folder, "margins")
    options = {"positions": np.arange(dataset.n_rows), "names": ("masks", "margins"), **options}
    return Collector(dataset, **options).collect()


def test_complete_rows_are_kept(make, folder, tmp_path):
    result = make()
    assert result.returncode == 0, result.stderr
    kept = load(tmp_path / "m.npz")
    assert_same(expected(folder), kept)
    assert set(range(N)) - set(kept.rows.tolist()) == set(INCOMPLETE)
    for shown in ("128 rows (0 to 129)", "21", "4 (0 to 3 of 4)", kept.fingerprint, "m.npz"):
        assert shown in result.stdout
    kept.matches(RegressionDataset(folder, "margins"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.npz", "store"]


def test_merged_shards_equal_one_pass(make, merge, folder, tmp_path):
    options = ("--moments.folds=3", "--moments.seed=5", "--moments.groups=block",
               "--moments.target_start_ind=1", "--moments.threads=1",
               "--moments.memory_gb=0.001")  # fmt: skip
    for out, rows in {"a.npz": "100-129,0-9", "b.npz": "10-65", "c.npz": "66-99"}.items():
        result = make(f"--moments.rows={rows}", *options, out=out)
        assert result.returncode == 0, result.stderr
        assert ("1 of the 56 rows" in result.stderr) == (out == "b.npz")
    result = merge("b.npz", "c.npz", "a.npz")
    assert result.returncode == 0, result.stderr
    labels = np.load(folder / "block.npy")[RegressionDataset(folder, "margins").idx]
    whole = expected(folder, folds=3, seed=5, groups=labels.astype(np.int64), groups_key="block",
                     targets=slice(1, None))  # fmt: skip
    assert_same(whole, load(tmp_path / "all.npz"), 1e-12)
    assert whole.fingerprint in result.stdout
    assert "from 3 files" in result.stdout


def test_a_beton_is_the_same_data(make, folder, tmp_path):
    write_dataset(folder, tmp_path / "a.beton", "margins")
    save(expected(folder), tmp_path / "store.npz")
    assert make("--moments.rows=0-20", data_path=tmp_path / "a.beton").returncode == 0
    with MomentsFile(tmp_path / "m.npz") as beton, MomentsFile(tmp_path / "store.npz") as store:
        np.testing.assert_array_equal(beton.known.hashes, store.known.hashes[:20])
        assert (beton.known.y_name, store.known.y_name) == (None, "margins")
    assert_fails(make("--moments.groups=block", data_path=tmp_path / "a.beton", out="g.npz"),
                 2, ".beton", "holds no groups")  # fmt: skip


@pytest.mark.parametrize(
    ("option", "status", "said"),
    [
        ("rows=5,60", 1, "none of them is complete"),
        ("rows=0-130", 2, "row 130 is not in the store"),
        ("rows=0..9", 2, "is no row or range"),
        ("target_end_ind=5", 2, "has 4 targets, 0 to 3"),
        ("target_start_ind=-1", 2, "0 <= start < end"),
        ("folds=1", 2, "folds=1; it must be at least 2"),
        ("seed=-1", 2, "seed=-1; it must be at least 0"),
        ("threads=0", 2, "threads=0; it must be at least 1"),
        ("memory_gb=0", 2, "memory_gb=0; it must be above 0"),
        ("memory_gb=inf", 2, "memory_gb=inf; it must be above 0, and finite"),
        ("memory_gb=1e-6", 1, "GiB are allowed"),
        ("groups=blok", 1, "did you mean 'block'?"),
        ("groups=scores", 1, "dtype float64"),
        ("groups=short", 1, "one integer for each of the 130 rows"),
        ("y_name=margin", 1, "did you mean 'margins'?"),
        ("data_path=nowhere", 1, "there is no nowhere"),
        ("out=m.pt", 2, "end the name in .npz"),
        ("out=no/folder/m.npz", 1, "does not exist; make it first"),
        ("fold=3", 2, "did you mean --moments.folds?"),
    ],
)
def test_wrong_options_are_told(make, tmp_path, option, status, said):
    assert_fails(make(f"--moments.{option}"), status, said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


@pytest.fixture
def saved(folder, tmp_path):
    """Moments of all rows in m.npz, and of the last in b.npz."""
    save(expected(folder), tmp_path / "m.npz")
    save(expected(folder, positions=np.array([127])), tmp_path / "b.npz")


def test_nothing_is_overwritten(make, merge, saved, tmp_path):
    before = (tmp_path / "m.npz").read_bytes()
    assert_fails(make(), 1, "exists already")
    assert_fails(merge("m.npz", "b.npz", out="m.npz"), 1, "exists already")
    assert (tmp_path / "m.npz").read_bytes() == before


def test_what_does_not_merge_is_told(merge, run, saved, tmp_path):
    (tmp_path / "link.npz").symlink_to("m.npz")
    (tmp_path / "text.npz").write_text("text")
    assert_fails(merge("m.npz"), 2, "names 1 of at least 2")
    assert_fails(merge("m.npz", "link.npz"), 2, "is named twice")
    assert_fails(merge("m.npz", "gone.npz"), 1, "there is no gone.npz")
    assert_fails(merge("m.npz", "store"), 2, "m.npz is a file and store a folder")
    assert_fails(merge("m.npz", "b.npz"), 1, "b.npz does not merge with m.npz: 1 row is in both")
    assert_fails(merge("m.npz", "text.npz"), 1, "text.npz is no .npz file")
    assert_fails(merge("m.npz", "b.npz", out="all"), 2, "end the name in .npz")
    assert_fails(run("regression.merge", "--merge.out=c.npz"), 2, "--merge.inputs is required")
    assert not (tmp_path / "all.npz").exists()
