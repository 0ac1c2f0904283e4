"""Stores of known rows, launches on them under a time limit, and figures of what was tried."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from datamodels.training.store import Store
from tests.conftest import ROOT, requires, unavailable
from tests.faults.rows import assert_sound, spec_of

MODULE = "tests.faults.misbehaving"
LIMIT = 90  # seconds that one command may take: what takes longer hangs
FIGURES: Counter[str] = Counter()
BEGAN = time.monotonic()
on_linux = requires("faults", sys.platform == "linux", "needs /proc and signals of Linux")


def pytest_terminal_summary(terminalreporter):
    """The figures that docs/reliability.md quotes; DATAMODELS_FIGURES=FILE gets them as JSON."""
    if not FIGURES:
        return
    FIGURES["kills"] = sum(n for name, n in FIGURES.items() if name.startswith("kills: "))
    FIGURES["looks at a store that found wrong rows"] += 0
    FIGURES["seconds"] = round(time.monotonic() - BEGAN)
    figures = dict(sorted(FIGURES.items()))
    terminalreporter.section("faults")
    for name, count in figures.items():
        terminalreporter.line(f"{count:>8,} {name}")
    if os.environ.get("DATAMODELS_FIGURES"):
        Path(os.environ["DATAMODELS_FIGURES"]).write_text(json.dumps(figures, indent=2) + "\n")


class Faults:
    """Commands on one store, everything they start marked, so that nothing left behind hides."""

    def __init__(self, folder, num_models, **options):
        self.store = Store.create(folder, spec_of(num_models), **options)
        self.mark = f"fault-{uuid.uuid4().hex}"
        self._started = []

    def words(self, command, *arguments):
        section = command.rpartition(".")[2]
        options = [f"--{section}.logdir={self.store.path}"]
        if section in ("launch", "worker"):
            options.append(f"--{section}.main_import={MODULE}")
        return [sys.executable, "-m", f"datamodels.{command}", *options, *map(str, arguments)]

    def environment(self, **more):
        hidden = ("CUDA_VISIBLE_DEVICES",)
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        own = {"PYTHONPATH": str(ROOT), "FAULT_MARK": self.mark, "OPENBLAS_NUM_THREADS": "1"}
        return {**kept, **own, **more}

    def run(self, command, *arguments, env=None, timeout=LIMIT, mode="training."):
        """What a command said; pytest fails where it takes longer than the limit."""
        process = self.start(command, *arguments, env=env, mode=mode)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            pytest.fail(f"{command} hangs\n{out}\n{err}")
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start(self, command, *arguments, env=None, mode="training."):
        process = subprocess.Popen(
            self.words(f"{mode}{command}", *arguments), cwd=self.store.path.parent, text=True,
            env=self.environment(**(env or {})), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._started.append(process)
        return process

    def launch(self, *arguments, workers=2, **settings):
        return self.run("launch", f"--launch.workers={workers}", *arguments, **settings)

    def processes(self):
        """Pids of whatever was started by these commands, directly or not, and lives."""
        return [pid for pid in all_pids() if self.mark.encode() in environment_of(pid)]

    def assert_nothing_left(self, seconds=10):
        deadline = time.monotonic() + seconds
        while left := self.processes():
            assert time.monotonic() < deadline, [command_of(pid) for pid in left]
            time.sleep(0.02)

    def assert_sound(self):
        """No row that is marked complete is wrong; how many are marked."""
        try:
            self.store, checked = assert_sound(self.store.path)
        except AssertionError:
            FIGURES["looks at a store that found wrong rows"] += 1
            raise
        FIGURES["complete rows checked"] += checked
        return checked

    def assert_rows(self, rows):
        """Just these rows are complete, and right."""
        self.assert_sound()
        assert self.store.completed.nonzero()[0].tolist() == sorted(rows)

    def finish(self, *arguments, **settings):
        """The launcher, started again, finishes the rest."""
        self.assert_sound()
        result = self.launch(*arguments, **settings)
        assert result.returncode == 0, result.stdout + result.stderr
        self.assert_nothing_left()
        assert self.assert_sound() == self.store.num_models
        FIGURES["stores finished by starting again"] += 1

    def end(self):
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._started:
            if process.returncode is None:
                process.kill()
                process.communicate()


def all_pids():
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def environment_of(pid):
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()  # empty of one that has ended
    except OSError:
        return b""


def command_of(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


@pytest.fixture
def faults(tmp_path):
    """``faults(num_models)`` makes a store and gives the commands on it."""
    made = []

    def make(num_models=12, folder=tmp_path, name="store", **options):
        made.append(Faults(folder / name, num_models, **options))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def in_memory(tmp_path):
    """A folder in memory where there is such a place: for what writes to the disk thousands of
    times."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def small_disk(tmp_path):
    """``small_disk("size=1m")`` mounts a file system in memory; ``remount`` changes it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = []

    def mount(options):
        words = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        if os.geteuid() != 0 or shutil.which("mount") is None:
            unavailable("faults", "only root can mount a small file system")
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            unavailable("faults", f"no file system can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for each in mounted:
        subprocess.run(["umount", "-l", each], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
