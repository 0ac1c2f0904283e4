"""A store with a note that it is only to be read: no way of writing changes a byte of it."""

import json
import os

import numpy as np
import pytest

from datamodels.errors import ReadOnlyError
from datamodels.files import new_file
from datamodels.read_only import refuse_inside_read_only
from datamodels.training import fill_store, grow_store, merge_stores, status_of, verify_store
from datamodels.training.launcher.lock import launch_lock
from datamodels.training.store import Store
from datamodels.training.utils import load_memmap
from datamodels.training.worker import kv_log
from tests.conftest import assert_fails

NOTE = {"of": "published files", "remedy": "fetch them with python -m somewhere"}
MAIN = """
import numpy as np

def main(*_, index, logdir):
    return {"masks": np.ones(5, bool), "margins": np.ones(3), "epochs": 1}
"""


@pytest.fixture
def view(store):
    """A store of rows 0 to 2 of 7, which are complete, in a folder of links, read-only."""
    files = store.path.parent / "files"
    for row in range(3):
        store.write(row, {"masks": np.arange(5) % 2 == row % 2, "margins": [1, 2, 3], "epochs": 4})
    store.close()
    store.path.rename(files)
    store.path.mkdir()
    for path in files.iterdir():
        (store.path / path.name).symlink_to(f"../files/{path.name}")
    store.layout.read_only.write_text(json.dumps(NOTE))
    return Store.open(store.path)


def everything(folder):
    """Every file below a folder, by name: its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


ROW = {"masks": np.zeros(5, bool), "margins": [0, 0, 0], "epochs": 0}
WAYS = {
    "write": lambda s: s.write(5, ROW),
    "write anew": lambda s: s.write(0, ROW, overwrite=True),
    "write_block": lambda s: s.write_block([5, 6], {k: [v, v] for k, v in ROW.items()}),
    "write_value": lambda s: s.write_value(5, "epochs", 3),
    "kv_log": lambda s: kv_log("epochs", 3, logdir=str(s.path), index=5),
    "create": lambda s: Store.create(s.path, s.spec),
    "grow": lambda s: grow_store(s.path, 9),
    "grow to what it has": lambda s: grow_store(s.path, 7),
    "fill_store": lambda s: fill_store(s.path, "user_main"),
    "fill_store where all is complete": lambda s: fill_store(s.path, "user_main", indices="0-2"),
    "launch_lock": lambda s: launch_lock(s.layout).__enter__(),
    "load_memmap r+": lambda s: load_memmap(s.path, "margins", "r+"),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_writing_is_refused_and_changes_nothing(view, way):
    before = everything(view.path.parent)
    with pytest.raises(ReadOnlyError, match="read-only: it is a view of published files"):
        WAYS[way](view)
    assert everything(view.path.parent) == before


COMMANDS = {
    "worker": ["training.worker", "--worker.main_import=user_main", "--worker.indices=0-6"],
    "worker complete": ["training.worker", "--worker.main_import=user_main", "--worker.index=0"],
    "watched": [
        "training.worker",
        "--worker.main_import=user_main",
        "--worker.index=5",
        "--worker.job_timeout=60",
    ],
    "launch": ["training.launch", "--launch.main_import=user_main"],
    "parallel": ["training.launch", "--launch.main_import=user_main", "--launch.engine=parallel"],
    "slurm": ["training.launch", "--launch.main_import=user_main", "--launch.engine=slurm"],
    "grow": ["training.grow", "--grow.num_models=9"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_writes(run, view, tmp_path, name):
    (tmp_path / "user_main.py").write_text(MAIN)
    command = COMMANDS[name]
    section = command[0].rpartition(".")[2]
    before = everything(tmp_path)
    result = run(*command, f"--{section}.logdir={view.path}", env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert_fails(result, 2, "read-only", "published files", "initialize_store")
    assert everything(tmp_path) == before


def test_initializing_it_again_is_refused_though_its_spec_is_the_same(run, view, spec_file):
    result = run(
        "training.initialize_store",
        f"--logging.logdir={view.path}",
        f"--logging.spec={spec_file}",
    )
    assert_fails(result, 2, "read-only")


def test_a_note_that_cannot_be_read_still_forbids_writing(view):
    view.layout.read_only.write_text("{")
    with pytest.raises(ReadOnlyError):
        view.write(5, ROW)


def test_what_lies_where_does_not_depend_on_how_it_is_written(view, tmp_path, monkeypatch):
    (view.path / "out").symlink_to(tmp_path)
    (tmp_path / "in").symlink_to(view.path)
    (view.path / "deep").mkdir()
    monkeypatch.chdir(view.path)
    for place in ("../x.npy", "deep/../../x.npy", "out/x.npy"):
        with new_file(place) as temporary:
            temporary.write_text(place)
        assert (tmp_path / "x.npy").read_text() == place
        (tmp_path / "x.npy").unlink()
    for place in ("x.npy", "deep/x.npy", "../in/x.npy", "none/../x.npy", tmp_path / "in/deep/x"):
        with pytest.raises(ReadOnlyError, match=f"lies in {view.path}, which is read-only"):
            refuse_inside_read_only(type(tmp_path)(place))


def test_where_nobody_can_look_nothing_is_said_to_be_read_only(view, tmp_path):
    closed, nobody = tmp_path / "closed", 65534
    closed.mkdir(0)
    user = os.geteuid()
    try:
        if user == 0:  # who may look everywhere
            os.seteuid(nobody)
        with pytest.raises(PermissionError):
            (closed / "x").stat()
        refuse_inside_read_only(closed / "deep" / "x.npy")
    finally:
        os.seteuid(user)
    refuse_inside_read_only(tmp_path / ("x" * 300) / "x.npy")
    (tmp_path / "round").symlink_to("round")
    refuse_inside_read_only(tmp_path / "round" / "x.npy")


def test_a_note_that_stands_there_and_cannot_be_opened_still_forbids_writing(view):
    view.layout.read_only.unlink()
    view.layout.read_only.mkdir()
    with pytest.raises(ReadOnlyError):
        refuse_inside_read_only(view.path / "x.npy")


def test_reading_is_as_of_any_store(run, view, tmp_path):
    before = everything(tmp_path)
    assert view.completed.tolist() == [True] * 3 + [False] * 4
    assert view["margins"][2].tolist() == [1, 2, 3]
    assert not load_memmap(view.path, "epochs").flags.writeable
    assert verify_store(view.path) == []
    assert status_of(view.path).missing == 4
    result = run("training.status", view.path)
    assert result.returncode == 1
    assert "a view of published files" in result.stdout
    assert "fetch them with python -m somewhere" in result.stdout
    assert "rate" not in result.stdout
    said = json.loads(run("training.status", view.path, "--json").stdout)
    assert said["read_only"] == NOTE
    assert everything(tmp_path) == before


def test_damage_is_told_without_asking_to_train_again(run, view, tmp_path):
    margins = np.load(tmp_path / "files" / "margins.npy")
    margins[1] = np.nan
    np.save(tmp_path / "files" / "margins.npy", margins)
    result = run("training.verify", view.path)
    assert_fails(result, 1, "NaN or infinite", "a view of published files")
    assert "worker" not in result.stdout


def test_merged_with_a_store_it_gives_a_store_that_is_written(view, tmp_path):
    other = Store.create(tmp_path / "other", view.spec)
    other.write(4, ROW)
    merge_stores([view.path, other.path], tmp_path / "both")
    both = Store.open(tmp_path / "both")
    assert both.completed.tolist() == [True, True, True, False, True, False, False]
    assert both.write(6, ROW)
    assert not any(path.is_symlink() for path in both.path.iterdir())
