import os

import numpy as np
import pytest

from datamodels.errors import ExistsError, InputError, MissingFileError, UsageError
from datamodels.training import row_blocks
from datamodels.training.records import RecordWriter, read_rows, record_files
from datamodels.training.spec import Spec
from datamodels.training.store import Store
from datamodels.training.store_growth import grow_store
from datamodels.training.store_merge import OverlapError, merge_stores
from datamodels.training.store_status import status_of
from tests.conftest import assert_fails


def row(index):
    return {"masks": np.arange(5) % (index + 2) == 0, "margins": np.arange(3) + index,
            "epochs": index}  # fmt: skip


@pytest.fixture
def make(tmp_path, spec):
    """``make("a", [0, 2])``: a store with these rows complete."""

    def store_with(name, rows):
        store = Store.create(tmp_path / name, spec)
        for index in rows:
            store.write(index, row(index))
        return store

    return store_with


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.glob("*.npy")}


@pytest.mark.parametrize("block", [1, 7, 20, 1 << 20])
@pytest.mark.parametrize(
    "parts",
    [
        [[0, 2, 4, 6], [1, 3, 5]],
        [[0, 1, 2], [3, 4], [5, 6]],
        [[6], [0], [3]],
        [[1, 2, 3], [2, 3, 4], [0, 3]],
        [[], [2]],
        [[], []],
        [list(range(7)), list(range(7))],
    ],
)
def test_merged_stores_equal_one_store(make, tmp_path, monkeypatch, parts, block):
    monkeypatch.setattr(row_blocks, "_BLOCK_BYTES", block)
    inputs = [make(f"part{i}", rows) for i, rows in enumerate(parts)]
    before = [contents(store.path) for store in inputs]
    given = merge_stores([store.path for store in inputs], tmp_path / "out")
    whole = make("whole", sorted(set().union(*parts)))
    assert contents(tmp_path / "out") == contents(whole.path)
    assert (tmp_path / "out" / "_spec.json").read_bytes() == whole.layout.spec.read_bytes()
    assert [contents(store.path) for store in inputs] == before
    assert sum(g.taken for g in given) == len(set().union(*parts))
    assert [g.taken + g.same for g in given] == [len(rows) for rows in parts]


def test_merged_random_stores_equal_one_store(tmp_path, monkeypatch):
    monkeypatch.setattr(row_blocks, "_BLOCK_BYTES", 500)
    rng = np.random.default_rng(0)
    schema = {"a": {"shape": [11], "dtype": "uint8"}, "empty": {"shape": [0], "dtype": "int64"}}
    spec = Spec.parse({"num_models": 300, "schema": schema})
    values = rng.integers(0, 255, (300, 11), dtype=np.uint8)
    done = rng.random((3, 300)) < 0.4
    for i in range(3):
        with Store.create(tmp_path / str(i), spec, reserve=False) as store:
            np.load(store.layout.array("a"), mmap_mode="r+")[:] = rng.integers(0, 255)  # left over
            for index in np.flatnonzero(done[i]):
                store.write(index, {"a": values[index], "empty": []})
    merge_stores([tmp_path / str(i) for i in range(3)], tmp_path / "out")
    merged = Store.open(tmp_path / "out")
    assert (merged.completed == done.any(axis=0)).all()
    assert (merged["a"] == np.where(done.any(axis=0)[:, None], values, 0)).all()


def test_rows_that_differ_are_refused_and_nothing_is_left(make, tmp_path):
    a, b, c = make("a", [0, 1, 2, 3]), make("b", [1, 2, 3, 4]), make("c", [4, 5])
    b.write(1, {"margins": 9}, overwrite=True)
    b.write(3, {"margins": 9, "epochs": 9}, overwrite=True)
    c.write(4, {"masks": 1}, overwrite=True)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OverlapError) as caught:
        merge_stores([a.path, b.path, c.path], tmp_path / "out")
    assert "'margins' of 2 rows" in str(caught.value)
    assert "rows 1,3" in str(caught.value)
    assert "'epochs' of 1 rows" in str(caught.value)
    assert f"both {b.path} and {c.path}, differs: rows 4" in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_rows_that_no_store_has_complete_stay_empty(make, tmp_path):
    a, b = make("a", [0]), make("b", [1])
    a.write_value(5, "epochs", 7)  # half a row
    merge_stores([a.path, b.path], tmp_path / "out")
    assert Store.open(tmp_path / "out")["epochs"][5] == 0


def test_records_commands_and_errors_come_along(make, tmp_path):
    a, b = make("a", [0]), make("b", [1])
    for store, index in ((a, 0), (b, 1)):
        RecordWriter(store.layout).row(index, "written", 0.1)
        store.layout.commands.write_text(f"command {index}\n")
        for failed in (0, 1, 5):
            store.layout.worker(failed).mkdir(parents=True)
            store.layout.error(failed).write_text(f"of {store.path.name}")
    b.layout.worker(6).mkdir()
    b.layout.error(6).write_text("of b")
    merge_stores([a.path, b.path], tmp_path / "out")
    out = Store.open(tmp_path / "out").layout
    assert sorted(r.row for p in record_files(out) for r in read_rows(p)) == [0, 1]
    assert out.commands.read_text() == "command 0\ncommand 1\n"
    assert out.error(5).read_text() == "of a"
    assert out.error(6).read_text() == "of b"
    assert not out.error(0).exists()
    assert not out.error(1).exists()
    assert status_of(tmp_path / "out").failed_rows == "5-6"


def test_stores_without_a_spec_and_half_grown_ones_merge(make, tmp_path):
    a, b = make("a", [0, 2]), make("b", [1])
    a.layout.spec.unlink()
    grow_store(b.path, 9)
    with pytest.raises(InputError, match=r"training\.grow"):
        merge_stores([a.path, b.path], tmp_path / "out")
    grow_store(a.path, 9)
    merge_stores([a.path, b.path], tmp_path / "out")
    assert np.flatnonzero(Store.open(tmp_path / "out").completed).tolist() == [0, 1, 2]
    np.save(a.path / "more.npy", np.zeros(9))
    with pytest.raises(InputError, match="one spec"):
        merge_stores([a.path, b.path], tmp_path / "out2")


def test_wrong_inputs_are_refused(make, tmp_path):
    a, b = make("a", [0]), make("b", [1])
    other = Spec.parse({"num_models": 7, "schema": {"masks": {"shape": [4], "dtype": "bool_"}}})
    Store.create(tmp_path / "other", other)
    out = tmp_path / "out"
    with pytest.raises(InputError, match="one spec"):
        merge_stores([a.path, tmp_path / "other"], out)
    with pytest.raises(UsageError, match="at least 2"):
        merge_stores([a.path], out)
    with pytest.raises(UsageError, match="twice"):
        merge_stores([a.path, tmp_path / "b" / ".." / "a"], out)
    with pytest.raises(MissingFileError, match="no store"):
        merge_stores([a.path, tmp_path / "nowhere"], out)
    with pytest.raises(ExistsError):
        merge_stores([a.path, b.path], a.path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "other"]


def test_a_merged_store_is_a_store_to_go_on_with(make, tmp_path):
    a, b = make("a", [0]), make("b", [1])
    merge_stores([a.path, b.path], tmp_path / "deep" / "er" / "out")
    store = Store.open(tmp_path / "deep" / "er" / "out")
    store.write(4, row(4))
    grow_store(store.path, 20)
    assert np.flatnonzero(Store.open(store.path).completed).tolist() == [0, 1, 4]
    assert not os.listdir(tmp_path / "deep" / "er")[1:]  # noqa: PTH208


def test_command(run, make, tmp_path):
    make("a", [0, 1])
    b = make("b", [1, 2, 3])
    said = run("training.merge", "--merge.inputs=a,b", "--merge.out=c")
    assert said.returncode == 0, said.stderr
    assert "wrote c: 4 of 7 rows complete" in said.stdout
    assert "2 rows from a\n" in said.stdout
    assert "2 rows from b, and 1 that others before it had alike" in said.stdout
    assert_fails(run("training.merge", "--merge.inputs=a,b", "--merge.out=c"), 1, "exists already")
    b.write(1, {"epochs": 7}, overwrite=True)
    assert_fails(run("training.merge", "--merge.inputs=a,b", "--merge.out=d"), 1, "'epochs'",
                 "rows 1")  # fmt: skip
    assert not (tmp_path / "d").exists()
    assert_fails(run("training.merge", "--merge.inputs=a", "--merge.out=d"), 2, "at least 2")
