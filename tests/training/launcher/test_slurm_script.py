"""The script of a submission, run by bash as a cluster would."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodels.errors import ExistsError, UsageError
from datamodels.training.indices import parse_indices
from datamodels.training.launcher.slurm_options import SlurmOptions, wall_seconds
from datamodels.training.launcher.slurm_script import (
    SlurmFiles,
    sbatch_options,
    script_text,
    split_rows,
    write_files,
)
from datamodels.training.spec import Spec
from datamodels.training.store import Store
from tests.conftest import ROOT

ODD = 'it\'s $HOME; `100%` "here"'  # every character that somebody may take for their own


@given(
    rows=st.lists(st.integers(0, 10**6), unique=True, max_size=300).map(sorted),
    most=st.integers(1, 40),
    chunk_rows=st.none() | st.integers(1, 50),
    max_tasks=st.none() | st.integers(1, 10),
)
def test_chunks_hold_every_row_once_and_stay_within_the_limit(rows, most, chunk_rows, max_tasks):
    chunks = split_rows(rows, most, chunk_rows=chunk_rows, max_tasks=max_tasks)
    assert [row for chunk in chunks for row in chunk] == rows
    assert len(chunks) <= most
    sizes = {len(chunk) for chunk in chunks}
    assert not sizes or (min(sizes) >= 1 and max(sizes) - min(sizes) <= 1)
    if chunk_rows is not None and len(chunks) < most:
        assert all(size <= chunk_rows for size in sizes)


def test_no_list_of_rows_is_longer_than_an_argument_may_be(tmp_path):
    every_other = range(0, 200_000_000, 20_000)
    (chunk,) = split_rows(every_other, 1, chunk_rows=None, max_tasks=None)
    assert len(chunk) == 8000
    files = SlurmFiles(tmp_path, 1)
    write_files(files, tmp_path, [chunk], ["python"], [], 60)
    assert len(files.todo.read_text()) < 128 * 1024
    chunks = split_rows(every_other, 1001, chunk_rows=10**6, max_tasks=None)
    assert max(map(len, chunks)) <= 8000


def test_an_array_says_what_was_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = SlurmOptions(
        partition="gpu", account="lab", time="2:00:00", gpus="a100:2", memory="16G", cpus=4,
        max_tasks=7, sbatch="--constraint='a b' -w n1",
    )  # fmt: skip
    assert sbatch_options(Path("/store/100%/_launch"), 12, options) == [
        "--array=0-11%7",
        f"--chdir={tmp_path}",
        "--output=/store/100%%/_launch/slurm-%A_%a.out",
        "--error=/store/100%%/_launch/slurm-%A_%a.err",
        "--open-mode=append",
        "--requeue",
        "--signal=B:USR1@60",
        "--export=ALL",
        "--partition=gpu",
        "--account=lab",
        "--time=2:00:00",
        "--gres=gpu:a100:2",
        "--mem=16G",
        "--cpus-per-task=4",
        "--constraint=a b",
        "-w",
        "n1",
    ]


def test_options_stand_in_the_script_as_sbatch_reads_them(tmp_path):
    words = ['--chdir=/a b/"c"', "--mem=1G", "-w", "n1"]
    text = script_text(SlurmFiles(tmp_path, 1), tmp_path, ["python"], words, 60)
    lines = text.splitlines()
    assert lines[:4] == [
        "#!/usr/bin/env bash",
        r'#SBATCH "--chdir=/a b/\"c\""',
        "#SBATCH --mem=1G",
        "#SBATCH -w n1",
    ]


@pytest.mark.parametrize(
    ("options", "needle"),
    [
        ({"partition": "a b"}, "one word"),
        ({"memory": ""}, "one word"),
        ({"cpus": 0}, "at least 1"),
        ({"chunk_rows": 0}, "at least 1"),
        ({"time": "1"}, "is 60 seconds, but a worker is told to end 60 seconds before"),
        ({"sbatch": "a100"}, "options of sbatch"),
        ({"sbatch": "--x='"}, "No closing quotation"),
        ({"sbatch": "--nice=1 --array=0-3"}, "'--array=0-3' is for the launcher to set"),
        ({"sbatch": "-a0-3"}, "is for the launcher to set"),
        ({"sbatch": "--x='a\nb'"}, "line break"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, needle):
    with pytest.raises(UsageError, match=needle):
        SlurmOptions(**options)


def test_sbatch_options_that_only_look_like_ours_are_taken():
    assert SlurmOptions(sbatch="--array-like=1 --account=x -A x -C a").extra[1:] == [
        "--account=x", "-A", "x", "-C", "a",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("30", 1800), ("1:30", 90), ("2:00:00", 7200), ("1-12", 129600), ("1-0:30", 88200),
     ("0", 0), ("UNLIMITED", None)],
)  # fmt: skip
def test_wall_times_are_read_as_sbatch_reads_them(time, seconds):
    assert wall_seconds(time) == seconds


def test_wrong_folders_and_taken_names_are_refused(tmp_path):
    with pytest.raises(UsageError, match="backslash"):
        sbatch_options(tmp_path / "a\\b", 1, SlurmOptions())
    files = SlurmFiles(tmp_path, 1)
    files.script.touch()
    with pytest.raises(ExistsError):
        write_files(files, tmp_path, [[0]], ["python"], [], 60)
    assert not files.todo.exists()


# A worker that notes how it was called, then does as it is told; USR1 ends it as it ends ours.
WORKER = """
import json, os, signal, sys, time
from pathlib import Path
from datamodels.training.indices import parse_indices
from datamodels.training.store import Store
way, store, note, rows = sys.argv[1], Store.open(sys.argv[2]), sys.argv[3], sys.argv[-1]
told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append(1))
Path(note).write_text(json.dumps([sys.argv[4:], os.getcwd(), dict(os.environ)]))
for row in parse_indices(rows.removeprefix("--worker.indices="), store.num_models, ""):
    if told:
        break
    if way == "dies" and row == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    while way == "waits" and row == 1 and not told:
        time.sleep(0.01)
    if way == "hangs" and row == 1 or way == "stuck":
        time.sleep(600)
    store.write(row, {"x": row})
"""


class Task:
    """A store of four rows and the script of an array of two tasks, all in odd folders."""

    def __init__(self, folder, signal_seconds=60):
        self.folder = folder / ODD
        (self.folder / "bin").mkdir(parents=True)
        spec = Spec.parse({"num_models": 4, "schema": {"x": {"shape": [], "dtype": "int64"}}})
        self.store = Store.create(self.folder / "store", spec)
        self.launch = self.store.layout.launch
        self.launch.mkdir()
        stub = self.folder / "bin" / "scontrol"
        stub.write_text(f'#!/bin/sh\necho "$@" >>{shlex.quote(str(self.requeues))}\n')
        stub.chmod(0o755)
        self.worker = self.folder / "worker.py"
        self.worker.write_text(WORKER)
        self.signal_seconds = signal_seconds

    @property
    def requeues(self):
        return self.folder / "requeues"

    @property
    def note(self):
        return self.folder / "note.json"

    def write(self, way, *users):
        argv = [sys.executable, str(self.worker), way, str(self.store.path), str(self.note), *users]
        self.files = SlurmFiles(self.launch, 1)
        write_files(self.files, self.store.path, [[3], [0, 1, 2]], argv, [], self.signal_seconds)

    def start(self, way, *users, task=1, env=None):
        self.write(way, *users)
        variables = {
            **os.environ, "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": str(task), **(env or {}),
        }  # fmt: skip
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(["bash", self.files.script], cwd="/", env=variables, **pipes)

    def wait_for_rows(self, count):
        deadline = time.monotonic() + 20
        while not self.note.exists() or self.store.completed.sum() < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.2)


@pytest.fixture
def task(tmp_path, monkeypatch):
    made = Task(tmp_path)
    monkeypatch.chdir(made.folder)  # where the user is when the script is written
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{made.folder}")
    return made


def ended(process, status, timeout=30):
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == status, err
    return out + err


def test_a_task_runs_its_line_of_rows_as_the_command_would_here(task):
    odd = {"worker.index": "0", "worker.indices": "0", "worker.logdir": "/x", "mine.too": "1"}
    words = ["--worker.logdir=y", f"--play.text={ODD}", "--play.lines=a\nb", "--play.empty="]
    ended(task.start("fine", *words, env={**odd, "PYTHONPATH": "/gone"}), 0)
    assert task.store.completed.tolist() == [True, True, True, False]
    arguments, folder, variables = json.loads(task.note.read_text())
    assert arguments == [*words, "--worker.indices=0-2"]
    assert folder == str(task.folder)
    assert variables["PYTHONPATH"] == os.environ["PYTHONPATH"]
    assert variables["mine.too"] == "1"
    assert not any(name.startswith("worker.") for name in variables)
    assert not task.requeues.exists()


def test_complete_chunks_start_no_worker(task):
    task.store.write(3, {"x": 3})
    ended(task.start("fine", task=0), 0)
    assert not task.note.exists()


def test_a_task_without_a_line_and_a_store_that_is_gone_fail(task):
    assert "has no line" in ended(task.start("fine", task=2), 1)
    task.files.script.unlink()
    task.files.todo.unlink()
    task.store.layout.completed.unlink()
    assert "is no store" in ended(task.start("fine"), 1)


def test_the_status_is_the_workers(task):
    ended(task.start("dies"), 128 + signal.SIGKILL)
    assert not task.requeues.exists()


def test_near_the_wall_time_a_task_ends_after_its_row_and_starts_again(task):
    process = task.start("waits")
    task.wait_for_rows(1)
    process.send_signal(signal.SIGUSR1)
    assert "1 rows are left at the wall time" in ended(process, 0)
    assert task.store.completed.tolist() == [True, True, False, False]
    assert task.requeues.read_text() == "requeue 77_1\n"


def test_a_chunk_that_is_complete_by_the_wall_time_does_not_start_again(task):
    task.store.write(2, {"x": 2})
    process = task.start("waits")
    task.wait_for_rows(2)
    process.send_signal(signal.SIGUSR1)
    ended(process, 0)
    assert task.store.completed.tolist() == [True, True, True, False]
    assert not task.requeues.exists()


def test_a_row_longer_than_what_is_left_is_abandoned(task):
    task.signal_seconds = 5  # two of them are kept for starting again
    process = task.start("hangs")
    task.wait_for_rows(1)
    began = time.monotonic()
    process.send_signal(signal.SIGUSR1)
    ended(process, 0)
    assert 2 < time.monotonic() - began < 5
    assert task.store.completed.tolist() == [True, False, False, False]
    assert task.requeues.exists()


@pytest.mark.parametrize(("restarts", "again"), [("2", True), ("3", False)])
def test_a_task_that_completes_no_row_is_not_started_again_for_ever(task, restarts, again):
    task.signal_seconds = 2
    process = task.start("stuck", env={"SLURM_RESTART_COUNT": restarts})
    task.wait_for_rows(0)
    process.send_signal(signal.SIGUSR1)
    said = ended(process, 0 if again else 1)
    assert task.requeues.exists() == again
    assert ("no row was completed within the wall time" in said) != again


def test_sigterm_ends_the_worker_at_once_and_starts_nothing_again(task):
    process = task.start("hangs")
    task.wait_for_rows(1)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    ended(process, 143)
    assert time.monotonic() - began < 2
    assert not task.requeues.exists()
    assert task.store.completed.tolist() == [True, False, False, False]


def test_a_signal_before_the_worker_runs_is_not_lost(task):
    for sent, status in ((signal.SIGUSR1, 0), (signal.SIGTERM, 143)):
        process = task.start("hangs")
        time.sleep(0.05)  # the script is counting what is missing
        process.send_signal(sent)
        out = ended(process, status)
        assert not task.note.exists(), out
        task.files.script.unlink()
        task.files.todo.unlink()
    assert task.requeues.read_text() == "requeue 77_1\n"


def test_the_todo_file_reads_back(tmp_path):
    files = SlurmFiles(tmp_path, 3)
    chunks = [[0, 1, 2, 7], [9], [10, 12]]
    write_files(files, tmp_path, chunks, ["python"], [], 60)
    assert files.todo.name == "slurm-3.todo"
    lines = files.todo.read_text().splitlines()
    assert [parse_indices(line, 20, tmp_path) for line in lines] == chunks
