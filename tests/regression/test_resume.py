"""Runs that are stopped, and go on: the results are those of a run that was not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from datamodels.regression import compute_datamodels, memory, run_folder
from datamodels.regression import plan as planning
from datamodels.regression.journal import FolderJournal
from tests.conftest import ROOT, assert_fails
from tests.regression.problems import outputs_of, random_masks

N, P, T = 120, 20, 5
HELD_OUT = ("--data.num_train=80", "--data.num_val=20")
FOLDS = ("--data.num_train=100", "--cfg.folds=2")


def make_store(folder, x, y):
    flags = np.ones(len(x), bool)
    flags[[5, 60]] = False
    folder.mkdir()
    groups = np.arange(len(x)) % 3
    for key, array in (("masks", x), ("margins", y), ("_completed", flags), ("init", groups)):
        np.save(folder / f"{key}.npy", array)
    return folder


@pytest.fixture
def store(tmp_path):
    x = random_masks(N, P)
    return make_store(tmp_path / "store", x, outputs_of(x, T))


@pytest.fixture
def compute(run_here, store, tmp_path, monkeypatch):
    """Run the command in blocks of 2 targets, so that there are several steps."""
    monkeypatch.setattr(planning, "_MAX_BLOCK", 2)

    def run(*options, out="out", how=HELD_OUT):
        return run_here(
            compute_datamodels.main, f"--data.data_path={store}", "--cfg.k=15", "--cfg.eps=0.01",
            f"--cfg.out_dir={tmp_path / out}", *how, *options,
        )  # fmt: skip

    return run


@pytest.fixture
def interrupt(monkeypatch):
    """``interrupt(n)``: Ctrl-C once n more steps are kept."""
    put = FolderJournal.put

    def after(steps):
        left = [steps]

        def counted(journal, step, arrays):
            if not left[0]:
                raise KeyboardInterrupt
            put(journal, step, arrays)
            left[0] -= 1

        monkeypatch.setattr(FolderJournal, "put", counted)

    yield after
    monkeypatch.setattr(FolderJournal, "put", put)


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def assert_same_files(one, other):
    a, b = files_of(one), files_of(other)
    assert a.keys() == b.keys()
    assert [name for name in a if a[name] != b[name]] == []


@pytest.mark.parametrize(
    "how",
    [
        HELD_OUT,
        FOLDS,
        (*FOLDS, "--cfg.rule=1se", "--cfg.groups=init"),
        (*HELD_OUT, "--cfg.engine=few_rows"),
        (*FOLDS, "--cfg.engine=screened"),
        (*HELD_OUT, "--cfg.estimator=ridge"),
        (*FOLDS, "--cfg.moments=kept.npz"),
        (*HELD_OUT, "--cfg.moments=kept.npz"),
        ("--data.num_train=100", "--cfg.lam=0.1"),
    ],
    ids=lambda how: " ".join(option.partition(".")[2] for option in how),
)
def test_a_run_that_is_stopped_again_and_again_leaves_the_same_bytes(
    compute, interrupt, tmp_path, how
):
    assert compute(out="whole", how=how).returncode == 0
    (tmp_path / "kept.npz").unlink(missing_ok=True)
    for attempt in range(20):  # noqa: B007
        interrupt(2)
        result = compute("--cfg.resume", how=how)
        if result.returncode == 0:
            break
        assert result.returncode == 130
        assert "out.unfinished keeps what is done; go on by --cfg.resume" in result.stderr
        assert not (tmp_path / "out").exists()
    assert 2 <= attempt < 19
    assert_same_files(tmp_path / "whole", tmp_path / "out")
    left = {path.name for path in tmp_path.iterdir()} - {"kept.npz"}
    assert left == {"store", "out", "whole"}


def test_free_memory_and_rows_trained_since_change_nothing(
    compute, interrupt, store, tmp_path, monkeypatch
):
    compute(out="whole")
    interrupt(3)
    assert compute().returncode == 130
    monkeypatch.setattr(memory, "available_bytes", lambda: 50 * 2**20)
    monkeypatch.setattr(planning, "_MAX_BLOCK", 64)
    np.save(store / "_completed.npy", np.ones(N, bool))
    interrupt(100)
    result = compute("--cfg.resume")
    assert result.returncode == 0, result.stderr
    assert "resuming" in result.stderr
    assert_same_files(tmp_path / "whole", tmp_path / "out")


def test_without_resume_an_unfinished_run_is_left_alone(compute, interrupt, tmp_path):
    interrupt(1)
    compute()
    before = files_of(tmp_path / "out.unfinished")
    assert_fails(compute(), 1, "out.unfinished holds an unfinished run", "--cfg.resume")
    assert files_of(tmp_path / "out.unfinished") == before


@pytest.mark.parametrize(
    ("option", "needles"),
    [
        ("--cfg.k=16", ["k=15", "k=16"]),
        ("--data.seed=1", ["seed=0", "seed=1"]),
        ("--data.seed=-1", ["seed=0", "seed=-1"]),
        ("--data.num_train=81", ["num_train=80", "num_train=81"]),
        ("--data.target_end_ind=3", ["target_end_ind=None", "target_end_ind=3"]),
        ("--cfg.groups=init", ["groups=None", "groups=init"]),
    ],
)
def test_other_options_are_refused_by_name(compute, interrupt, tmp_path, option, needles):
    interrupt(2)
    compute()
    before = files_of(tmp_path / "out.unfinished")
    assert_fails(compute("--cfg.resume", option), 1, *needles, "give the same options")
    assert files_of(tmp_path / "out.unfinished") == before
    interrupt(100)
    assert compute("--cfg.resume").returncode == 0


@pytest.mark.parametrize("key", ["masks", "margins", "_completed"])
@pytest.mark.parametrize("engine", ["cpu", "few_rows"])
def test_changed_data_are_refused(compute, interrupt, store, tmp_path, key, engine):
    how = (*HELD_OUT, f"--cfg.engine={engine}")
    interrupt(2)
    compute(how=how)
    before = files_of(tmp_path / "out.unfinished")
    array = np.load(store / f"{key}.npy")
    array[50:] = array[50:] * 2 if key == "margins" else ~array[50:]
    np.save(store / f"{key}.npy", array)
    assert_fails(compute("--cfg.resume", how=how), 1, "have changed", "start anew")
    assert files_of(tmp_path / "out.unfinished") == before


def test_a_complete_run_has_nothing_left_to_do(compute, tmp_path):
    compute()
    before = files_of(tmp_path / "out")
    (tmp_path / "out.unfinished" / "steps").mkdir(parents=True)  # killed in its last moment
    result = compute("--cfg.resume")
    assert result.returncode == 0, result.stderr
    assert "out is complete" in result.stdout
    assert_fails(compute("--cfg.resume", "--cfg.k=9"), 1, "k=15", "k=9", "name another out_dir")
    assert_fails(compute(), 1, "exists already")
    assert files_of(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "store"]


def test_a_run_that_was_not_solved_says_so_again(compute):
    again = ("--cfg.lam=1e-7", "--cfg.final_tol=1e-15", "--cfg.resume")
    how = ("--data.num_train=100",)
    first, second = compute(*again, how=how), compute(*again, how=how)
    assert first.returncode == second.returncode


def test_resume_begins_a_run_that_is_not_there(compute, tmp_path):
    compute(out="whole")
    assert compute("--cfg.resume").returncode == 0
    assert_same_files(tmp_path / "whole", tmp_path / "out")


def test_a_step_that_is_damaged_is_named(compute, interrupt, tmp_path):
    interrupt(2)
    compute()
    step = tmp_path / "out.unfinished" / "steps" / "path_0.npz"
    step.write_bytes(step.read_bytes()[:100])
    interrupt(100)
    assert_fails(compute("--cfg.resume"), 1, "path_0.npz is damaged", "Remove it and resume")
    step.unlink()
    assert compute("--cfg.resume").returncode == 0


def test_a_step_without_an_array_is_named(compute, interrupt, tmp_path):
    interrupt(2)
    compute()
    step = tmp_path / "out.unfinished" / "steps" / "path_0.npz"
    np.savez(step, lam=np.zeros((2, 2)))
    assert_fails(compute("--cfg.resume"), 1, "steps/path_0.npz", "damaged", "Remove it and resume")


@pytest.mark.parametrize("name", ["plan.json", "hashes.npy"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\x93NUMPY\x01\x00", None])
def test_a_damaged_file_of_a_run_is_named(compute, interrupt, tmp_path, name, content):
    interrupt(1)
    compute()
    path = tmp_path / "out.unfinished" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert_fails(compute("--cfg.resume"), 1, f"out.unfinished/{name} is damaged", "start anew")


def test_a_usage_error_leaves_no_folder(compute, tmp_path):
    for option in ("--data.target_start_ind=9", "--cfg.k=0", "--data.num_train=900"):
        assert compute(option).returncode in (1, 2)
        assert compute("--cfg.resume", option).returncode in (1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_another_live_process_is_refused(compute, interrupt, tmp_path):
    interrupt(1)
    compute()
    with run_folder.open_run(tmp_path / "out", resume=True):
        assert_fails(compute("--cfg.resume"), 1, "another process is at work")


# --- real processes ------------------------------------------------------------------------------


@pytest.fixture
def process(tmp_path):
    """Start the command on a problem of several slow blocks of targets."""
    x = random_masks(260, 150)
    store = make_store(tmp_path / "store", x, outputs_of(x, 400))
    running = []

    def start(*options, out="out"):
        command = [
            sys.executable, "-m", "datamodels.regression.compute_datamodels",
            f"--data.data_path={store}", "--data.num_train=200", "--data.num_val=50",
            "--cfg.k=60", "--cfg.eps=1e-3", "--cfg.threads=1", "--cfg.tol=1e-6",
            f"--cfg.out_dir={tmp_path / out}", *options,
        ]  # fmt: skip
        running.append(
            subprocess.Popen(
                command, env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        return running[-1]

    yield start
    for child in running:
        child.kill()
        child.communicate()


def wait_for(path, child):
    """Whether ``path`` appeared before the child ended."""
    while child.poll() is None:
        if path.exists():
            return True
        time.sleep(0.002)
    return False


def test_killed_and_interrupted_processes_are_resumed(process, tmp_path):
    whole = process(out="whole")
    assert whole.wait(timeout=300) == 0
    unfinished = tmp_path / "out.unfinished"
    stopped = 0
    for name, how in (
        ("asked.json", signal.SIGKILL),
        ("moments.npz", signal.SIGKILL),
        ("steps/path_64.npz", signal.SIGINT),
        ("steps/final_128.npz", signal.SIGKILL),
    ):
        child = process("--cfg.resume")
        if wait_for(unfinished / name, child):
            if name == "steps/path_64.npz":
                second = process("--cfg.resume")
                assert second.wait(timeout=300) == 1
                assert "another process is at work" in second.communicate()[1]
            child.send_signal(how)
            said = child.communicate(timeout=300)[1]
            stopped += child.returncode != 0
            was_under_way = unfinished.exists()  # or it had all done, and was about to end
            if how == signal.SIGINT and child.returncode and was_under_way:
                assert child.returncode == 130
                assert "go on by --cfg.resume" in said
                assert "Traceback" not in said
    assert stopped >= 2
    if not (tmp_path / "out").exists():
        child = process("--cfg.resume")
        assert child.wait(timeout=300) == 0, child.communicate()[1]
    assert_same_files(tmp_path / "whole", tmp_path / "out")
    assert not unfinished.exists()
