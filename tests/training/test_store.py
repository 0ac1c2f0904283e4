import contextlib
import gc
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamodels.errors import ExistsError, InputError, MissingFileError, UsageError
from datamodels.npy_file import read_header
from datamodels.training.layout import StoreLayout
from datamodels.training.row_values import RowError
from datamodels.training.spec import Spec
from datamodels.training.store import SpecMismatchError, Store
from datamodels.training.store_files import CreateError
from tests.conftest import assert_fails

ROW = {"masks": [1, 0, 1, 0, 1], "margins": [0.5, 1.5, -2], "epochs": 9}


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_files_open_with_numpy_and_have_the_promised_shape(store, spec):
    for key, field in spec.fields().items():
        array = np.load(store.layout.array(key), mmap_mode="r")
        assert array.shape == (7, *field.shape)
        assert array.dtype == field.dtype
        assert array.flags.c_contiguous
        assert not array.any()
    assert sorted(p.name for p in store.path.iterdir()) == [
        "_completed.npy", "_spec.json", "epochs.npy", "margins.npy", "masks.npy"]  # fmt: skip


def test_a_written_row_reads_back_and_no_other_changes(store):
    assert store.write(3, ROW)
    assert store.completed.tolist() == [False] * 3 + [True] + [False] * 3
    assert store.missing().tolist() == [0, 1, 2, 4, 5, 6]
    assert store["masks"][3].tolist() == [True, False, True, False, True]
    assert store["margins"][3].tolist() == [0.5, 1.5, -2]
    assert store["epochs"][3] == 9
    for key in store.spec.schema:
        assert not np.delete(store[key], 3, axis=0).any()


def test_maps_are_read_only(store):
    with pytest.raises(ValueError, match="read-only"):
        store["masks"][0] = True


def test_a_complete_row_is_kept_unless_overwritten(store):
    store.write(0, ROW)
    assert not store.write(0, ROW | {"epochs": 10})
    assert store["epochs"][0] == 9
    assert store.write(0, {"epochs": 10}, overwrite=True)
    assert store["epochs"][0] == 10
    assert store["margins"][0].tolist() == [0.5, 1.5, -2]  # a key left out stays as it is


def test_a_refused_row_writes_nothing(store):
    before = contents(store.path)
    with pytest.raises(RowError):
        store.write(0, ROW | {"margins": 70_000})
    with pytest.raises(UsageError, match="rows 0 to 6"):
        store.write(7, ROW)
    with pytest.raises(UsageError):
        store.write(-1, ROW)
    assert contents(store.path) == before


def test_unknown_key_names_the_known_ones(store):
    with pytest.raises(KeyError, match="margins"):
        store["margin"]


def test_creating_again_changes_nothing(store, spec):
    store.write(2, ROW)
    before = contents(store.path)
    again = Store.create(store.path, spec)
    assert again.completed.sum() == 1
    other = Spec.parse({**spec.to_json(), "num_models": 8})
    with pytest.raises(SpecMismatchError, match='"num_models": 8'):
        Store.create(store.path, other)
    assert contents(store.path) == before


def test_a_folder_may_hold_other_files(tmp_path, spec):
    (tmp_path / "spec.json").write_text("mine")
    (tmp_path / "notes.npy").write_text("mine too")
    Store.create(tmp_path, spec)
    assert (tmp_path / "spec.json").read_text() == "mine"


def test_a_file_of_our_name_is_never_overwritten(tmp_path, spec):
    (tmp_path / "margins.npy").write_text("mine")
    with pytest.raises(ExistsError, match=r"margins\.npy"):
        Store.create(tmp_path, spec)
    assert contents(tmp_path) == {"margins.npy": b"mine"}


def test_a_full_disk_is_an_error_now_and_leaves_nothing_behind(tmp_path):
    petabyte = {"num_models": 10**6, "schema": {"a": {"shape": [10**7], "dtype": "uint8"},
                                                "b": {"shape": [1], "dtype": "uint8"}}}  # fmt: skip
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "new", tmp_path / "there"):
        with pytest.raises(CreateError, match=r"--logging\.reserve=false"):
            Store.create(folder, Spec.parse(petabyte))
    assert not (tmp_path / "new").exists()
    assert not list((tmp_path / "there").iterdir())


def test_unreserved_files_are_sparse(tmp_path):
    spec = Spec.parse({"num_models": 10**5, "schema": {"a": {"shape": [1000], "dtype": "uint8"}}})
    store = Store.create(tmp_path / "s", spec, reserve=False)
    assert store.layout.array("a").stat().st_blocks * 512 < 10**6
    assert store["a"].shape == (10**5, 1000)
    reserved = Store.create(tmp_path / "r", spec)
    if hasattr(os, "posix_fallocate"):
        assert reserved.layout.array("a").stat().st_blocks * 512 >= 10**8


@pytest.mark.parametrize("kill_at", range(1, 40))
def test_a_killed_initialization_is_finished_by_the_next(tmp_path, kill_at):
    """Kill -9 after ``kill_at`` file system calls of the maker; run again; all is well."""
    code = f"""
import os, signal, sys
from datamodels.training.store import Store
from datamodels.training.spec import Spec
left = {kill_at}
def count(event, args):
    global left
    if event in ("open", "os.link", "os.remove", "os.truncate", "os.rename", "os.posix_fallocate"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
content = {{"num_models": 3, "schema": {{"a": {{"shape": [2], "dtype": "uint8"}}}}}}
spec = Spec.parse(content)
sys.addaudithook(count)
Store.create(sys.argv[1], spec)
"""
    (tmp_path / "spec.json").write_text("mine")
    first = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert first.returncode in (0, -signal.SIGKILL), first.stderr
    content = {"num_models": 3, "schema": {"a": {"shape": [2], "dtype": "uint8"}}}
    store = Store.create(tmp_path, Spec.parse(content))
    assert store["a"].shape == (3, 2)
    assert not store.completed.any()
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"spec.json", "_spec.json", "a.npy", "_completed.npy"}
    assert (tmp_path / "spec.json").read_text() == "mine"


def test_two_makers_at_once_make_one_store(tmp_path, spec):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        outcomes = pool.starmap(_try_to_create, [(tmp_path / "s", spec)] * 16)
    assert True in outcomes
    assert Store.open(tmp_path / "s").spec == spec


def _try_to_create(folder, spec):
    try:
        Store.create(folder, spec)
    except (CreateError, ExistsError, MissingFileError):
        return False
    return True


@pytest.mark.parametrize("key", ["masks", "margins", "epochs", "_completed"])
@pytest.mark.parametrize("cut", [1, 20, 130])
def test_a_truncated_file_is_named_and_not_touched(store, key, cut):
    path = store.layout.array(key)
    size = path.stat().st_size - cut
    os.truncate(path, size)
    with pytest.raises(InputError, match=rf"{key}\.npy"):
        Store.open(store.path)
    assert path.stat().st_size == size


def test_foreign_files_are_named(store):
    np.save(store.layout.array("masks"), np.zeros((7, 6), bool))
    store.layout.array("margins").write_text("hello")
    with pytest.raises(InputError) as caught:
        Store.open(store.path)
    assert "(7, 6)" in str(caught.value)
    assert "margins.npy is not a .npy file" in str(caught.value)


def test_python_objects_are_never_loaded(store):
    np.save(store.layout.array("masks"), np.array([{}] * 7, object), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects"):
        Store.open(store.path)


def test_a_public_store_without_a_spec_opens(tmp_path):
    np.save(tmp_path / "_completed.npy", np.array([True, False, True]))
    np.save(tmp_path / "masks.npy", np.ones((3, 4), bool))
    np.save(tmp_path / "margins.npy", np.ones((3, 2), np.float16))
    np.save(tmp_path / "elsewhere.npy", np.ones((5, 2)))
    store = Store.open(tmp_path)
    assert set(store.spec.schema) == {"masks", "margins"}
    assert store.completed.tolist() == [True, False, True]
    assert store.write(1, {"masks": 1, "margins": 0})
    same = {"num_models": 3, "schema": {"masks": {"shape": [4], "dtype": "bool_"},
                                        "margins": {"shape": [2], "dtype": "float16"}}}  # fmt: skip
    assert Store.create(tmp_path, Spec.parse(same)).completed.all()


def test_a_damaged_copy_of_the_spec_does_not_gate_reading(store):
    store.write(1, ROW)
    store.layout.spec.write_text("{")
    with pytest.warns(UserWarning, match="headers"):
        again = Store.open(store.path)
    assert again["epochs"][1] == 9


def test_rows_written_by_other_means_count(store):
    flags = np.load(store.layout.completed, mmap_mode="r+")
    flags[4] = True
    flags.flush()
    assert store.completed[4]
    assert not store.write(4, ROW)


@pytest.mark.parametrize("missing", ["folder", "flags"])
def test_no_store_says_how_to_make_one(tmp_path, missing):
    folder = tmp_path / "x"
    if missing == "flags":
        folder.mkdir()
    with pytest.raises(MissingFileError, match="initialize_store"):
        Store.open(folder)


def test_published_scale_initializes_and_opens_within_seconds(tmp_path):
    spec = Spec.parse({"num_models": 300_000,
                       "schema": {"masks": {"shape": [50_000], "dtype": "bool_"},
                                  "margins": {"shape": [10_000], "dtype": "float16"}}})  # fmt: skip
    began = time.monotonic()
    store = Store.create(tmp_path / "s", spec, reserve=False)
    store = Store.open(tmp_path / "s")
    assert store["masks"].shape == (300_000, 50_000)
    assert not store.completed.any()
    assert time.monotonic() - began < 30  # far above what it takes; reading 21 GB takes longer


def test_initialize_command(run, tmp_path, spec_file):
    arguments = [f"--logging.logdir={tmp_path / 's'}", f"--logging.spec={spec_file}"]
    made = run("training.initialize_store", *arguments)
    assert made.returncode == 0, made.stderr
    Store.open(tmp_path / "s").write(0, ROW)
    again = run("initialize_logdir", *arguments)
    assert again.returncode == 0
    assert "1 of 7 rows are complete" in again.stdout
    spec_file.write_text(json.dumps({**json.loads(spec_file.read_text()), "num_models": 9}))
    other = run("training.initialize_store", *arguments)
    assert other.returncode == 1
    assert '"num_models": 7' in other.stderr
    assert '"num_models": 9' in other.stderr
    assert Store.open(tmp_path / "s").completed.sum() == 1


def test_layout_names_are_where_users_expect_them(tmp_path):
    layout = StoreLayout(tmp_path)
    assert layout.array("masks") == tmp_path / "masks.npy"
    assert layout.completed == tmp_path / "_completed.npy"
    assert layout.worker(5) == tmp_path / "workers" / "5"
    assert layout.commands == tmp_path / "cmds.txt"


def test_a_name_taken_by_a_dangling_link_is_left_alone(tmp_path, spec):
    (tmp_path / "margins.npy").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ExistsError, match=r"margins\.npy"):
        Store.create(tmp_path, spec)
    assert (tmp_path / "margins.npy").is_symlink()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_appears_meanwhile_is_left_alone(tmp_path, spec, monkeypatch):
    def meanwhile(*_):
        (tmp_path / "margins.npy").write_text("mine")

    monkeypatch.setattr(os, "posix_fallocate", meanwhile, raising=False)
    with pytest.raises(ExistsError, match="appeared meanwhile"):
        Store.create(tmp_path, spec)
    assert contents(tmp_path) == {"margins.npy": b"mine"}


def test_folders_made_for_a_store_that_failed_are_removed(tmp_path):
    huge = {"num_models": 10**6, "schema": {"a": {"shape": [10**9], "dtype": "uint8"}}}
    with pytest.raises(CreateError):
        Store.create(tmp_path / "x" / "y" / "s", Spec.parse(huge))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 64 kB with no byte free."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    with contextlib.suppress(OSError):
        (folder / "filler").write_bytes(bytes(1 << 20))
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_without_a_free_byte(full_disk, run, spec_file):
    before = contents(full_disk)
    result = run("training.initialize_store", f"--logging.logdir={full_disk / 'a' / 's'}",
                 f"--logging.spec={spec_file}")  # fmt: skip
    assert_fails(result, 1, "No space left")
    assert contents(full_disk) == before


@pytest.mark.parametrize("damage", ["object", "fortran", "garbage", "header"])
def test_unrelated_files_do_not_keep_a_public_store_from_opening(tmp_path, damage):
    np.save(tmp_path / "_completed.npy", np.array([True, False, True]))
    np.save(tmp_path / "masks.npy", np.ones((3, 4), bool))
    other = tmp_path / "other.npy"
    np.save(other, np.ones((5, 2)))
    match damage:
        case "object":
            np.save(other, np.array([{}] * 5, object), allow_pickle=True)
        case "fortran":
            np.save(other, np.asfortranarray(np.ones((5, 2))))
        case "garbage":
            other.write_text("hello")
        case "header":
            other.write_bytes(other.read_bytes().replace(b"(5, 2)", b"(5, 2 "))
    assert set(Store.open(tmp_path).spec.schema) == {"masks"}
    (tmp_path / "masks.npy").write_bytes((tmp_path / "masks.npy").read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated"):
        Store.open(tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Python, reading the header
@given(place=st.integers(0, 127), byte=st.integers(0, 255))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_header_is_an_input_error_or_harmless(tmp_path, place, byte):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((100, 20), np.float16))
    content = bytearray(path.read_bytes())
    content[place] = byte
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        read_header(path)


def _write_rows(store, value):
    for _ in range(30):
        for index in range(store.num_models):
            store.write(index, {"a": value, "b": value}, overwrite=True)


def _assert_not_torn(store):
    rows = np.concatenate([store["a"], store["b"]], axis=1)
    assert store.completed.all()
    assert (rows == rows[:, :1]).all()


@pytest.fixture
def wide(tmp_path):
    fields = {key: {"shape": [20_000], "dtype": "int64"} for key in "ab"}
    return Store.create(tmp_path / "wide", Spec.parse({"num_models": 4, "schema": fields}))


def test_threads_that_share_a_store_do_not_tear_rows(wide):
    threads = [threading.Thread(target=_write_rows, args=(wide, value)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _assert_not_torn(wide)


@pytest.mark.skipif(sys.platform != "linux", reason="locks of a descriptor are Linux's")
def test_forks_that_share_a_store_do_not_tear_rows(wide):
    wide.write(0, {"a": 0, "b": 0})  # opens the files that the children inherit
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_write_rows, args=(wide, value)) for value in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    _assert_not_torn(wide)


def open_files():
    return len(list(Path("/dev/fd").iterdir()))


def test_a_dropped_store_closes_its_files(store):
    before = open_files()
    for index in range(5):
        Store.open(store.path).write(index, ROW)
    gc.collect()
    assert open_files() <= before


@pytest.mark.parametrize("name", ["x" * 300, "store/masks.npy/x"])
def test_paths_the_system_refuses_are_one_line(run, store, name, spec_file):
    for command, option in (
        ("training.worker", "worker"),
        ("training.initialize_store", "logging"),
    ):
        result = run(command, f"--{option}.logdir={name}", "--worker.main_import=json",
                     "--worker.index=0", f"--logging.spec={spec_file}")  # fmt: skip
        assert_fails(result, 1)


def test_a_store_that_may_not_be_written_can_be_read(store):
    store.write(3, ROW)
    for path in store.path.glob("*.npy"):
        path.chmod(0o444)
    again = Store.open(store.path)
    assert again.is_complete(3)
    assert not again.is_complete(4)
    assert not again._writer._open  # root may open anything: what counts is that nothing was


@pytest.mark.parametrize("content", ['{"mine": 1}\n', "5\n", "hello\n", '[["a", "b"]]\n'])
def test_somebody_elses_file_of_the_notes_name_is_left_alone(tmp_path, spec, content):
    (tmp_path / "_initializing.json").write_text(content)
    with pytest.raises(CreateError, match="in the way"):
        Store.create(tmp_path, spec)
    assert contents(tmp_path) == {"_initializing.json": content.encode()}


def test_a_store_goes_to_another_process(store):
    again = pickle.loads(pickle.dumps(store))
    assert again.write(3, ROW)
    assert store.completed[3]
