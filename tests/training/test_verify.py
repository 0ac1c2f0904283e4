import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamodels.errors import InputError, MissingFileError
from datamodels.training import row_blocks
from datamodels.training.records import RecordWriter
from datamodels.training.row_blocks import RowBlocks, block_bounds
from datamodels.training.spec import Spec
from datamodels.training.store import Store
from datamodels.training.store_checks import (
    ALL_ZERO,
    EVERY_ARRAY,
    NOT_FINITE,
    ODD_FLAG,
    verify_store,
)
from datamodels.training.store_growth import grow_store
from tests.conftest import assert_fails


def row(index):
    return {"masks": np.arange(5) % 2 == 0, "margins": np.arange(3) + index, "epochs": index}


@pytest.fixture
def full(store):
    for index in range(6):
        store.write(index, row(index))
    return store


def damage(store, key, index, value):
    array = np.load(store.layout.array(key), mmap_mode="r+")
    array[index] = value
    array.flush()


def found(store):
    return {(f.key, f.fault): f.rows.tolist() for f in verify_store(store.path)}


def test_a_sound_store_has_no_findings(full):
    assert verify_store(full.path) == []
    assert full["epochs"][0] == 0  # a single zero is a value as good as any


def test_rows_marked_complete_and_never_written_are_found(full):
    damage(full, "_completed", 6, True)
    damage(full, "masks", 2, False)
    damage(full, "masks", 4, False)
    assert found(full) == {(EVERY_ARRAY, ALL_ZERO): [6], ("masks", ALL_ZERO): [2, 4]}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_found(full, value):
    damage(full, "margins", (3, 1), value)
    damage(full, "margins", 6, value)  # of a row that is not complete
    assert found(full) == {("margins", NOT_FINITE): [3]}


def test_values_that_the_spec_allows_are_not_found(tmp_path):
    field = {"shape": [2], "dtype": "float32"}
    spec = {"num_models": 2, "schema": {"a": field | {"allow_nonfinite": True}, "b": field}}
    store = Store.create(tmp_path / "s", Spec.parse(spec))
    store.write(0, {"a": np.nan, "b": 1})
    assert verify_store(store.path) == []


def test_flags_that_are_no_flags_are_found(full):
    with full.layout.completed.open("r+b") as file:
        file.seek(-6, os.SEEK_END)
        file.write(b"\x07")
    assert found(full) == {("_completed", ODD_FLAG): [1]}


def test_what_cannot_be_opened_is_an_error(full, tmp_path):
    with pytest.raises(MissingFileError):
        verify_store(tmp_path / "nowhere")
    os.truncate(full.layout.array("masks"), 140)
    with pytest.raises(InputError, match=r"masks\.npy is truncated"):
        verify_store(full.path)


def test_stores_without_a_spec_and_grown_ones_are_read(full):
    full.layout.spec.unlink()
    grow_store(full.path, 100)
    damage(full, "margins", 1, 0)
    assert found(full) == {("margins", ALL_ZERO): [1]}


@given(done=st.lists(st.booleans(), min_size=1, max_size=40), bytes_a_row=st.integers(1, 9),
       block=st.integers(1, 50))  # fmt: skip
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_hold_every_flagged_row_once(tmp_path, done, bytes_a_row, block):
    path = tmp_path / "a.npy"
    values = np.arange(len(done) * bytes_a_row, dtype=np.uint8).reshape(len(done), bytes_a_row)
    np.save(path, values)
    with pytest.MonkeyPatch.context() as patch, RowBlocks(path) as array:
        patch.setattr(row_blocks, "_BLOCK_BYTES", block)
        seen = np.zeros(len(done), int)
        for first, end in block_bounds(array.header, np.array(done)):
            assert done[first]
            assert done[end - 1]
            seen[first:end] += 1
            assert (array.read(first, end) == values[first:end]).all()
    assert (seen[done] == 1).all()
    assert seen.max(initial=0) <= 1


def test_findings_do_not_depend_on_the_size_of_blocks(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    field = {"shape": [9], "dtype": "float16"}
    spec = {"num_models": 50, "schema": {"a": field, "b": field | {"dtype": "uint8"}}}
    store = Store.create(tmp_path / "s", Spec.parse(spec))
    for key, dtype in (("a", np.float16), ("b", np.uint8)):
        values = rng.integers(0, 2, (50, 9)) * rng.integers(0, 2, (50, 1))
        damage(store, key, slice(None), values.astype(dtype))
    damage(store, "a", (slice(0, 50, 7), 3), np.inf)
    done = rng.random(50) < 0.7
    damage(store, "_completed", slice(None), done)
    a, b = np.array(store["a"]), np.array(store["b"])
    zero_a, zero_b = done & ~a.any(axis=1), done & ~b.any(axis=1)
    expected = {
        ("a", NOT_FINITE): done & ~np.isfinite(a).all(axis=1),
        ("a", ALL_ZERO): zero_a & ~zero_b,
        ("b", ALL_ZERO): zero_b & ~zero_a,
        (EVERY_ARRAY, ALL_ZERO): zero_a & zero_b,
    }
    expected = {k: np.flatnonzero(v).tolist() for k, v in expected.items()}
    assert all(expected.values())
    for size in (1, 20, 100, 1 << 20):
        monkeypatch.setattr(row_blocks, "_BLOCK_BYTES", size)
        assert found(store) == expected


def test_command(run, full):
    sound = run("training.verify", full.path)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert "6 complete rows of 7 read" in sound.stdout
    damage(full, "_completed", 6, True)
    damage(full, "margins", (3, 1), np.nan)
    RecordWriter(full.layout, main="my.module").row(3, "written", 0.1)
    result = run("training.verify", full.path)
    assert_fails(result, 1, "2 of them look damaged", "every array", "NaN or infinite",
                 "--worker.main_import=my.module --worker.do_if_complete "
                 "--worker.indices=3,6")  # fmt: skip
    assert result.stderr == ""
    assert_fails(run("training.verify", full.path / "nowhere"), 1, "no store")
