"""A store for rows that say where they were made, and the launch command on it."""

import os
import shutil
import subprocess
import sys

import pytest

from datamodels.training.spec import Spec
from datamodels.training.store import Store
from tests.conftest import ROOT, requires

REPORTS = "tests.training.launcher.reports"
_SCALAR = {"shape": [], "dtype": "int64"}


@pytest.fixture
def filled(tmp_path):
    """``filled(num_models)`` makes the store."""

    def make(num_models=20, name="store"):
        schema = dict.fromkeys(("row", "pid", "gpu", "threads"), _SCALAR)
        return Store.create(
            tmp_path / name, Spec.parse({"num_models": num_models, "schema": schema})
        )

    return make


def launch_words(store, *arguments, module=REPORTS):
    return [sys.executable, "-m", "datamodels.training.launch", f"--launch.logdir={store.path}",
            f"--launch.main_import={module}", *arguments]  # fmt: skip


def environment(**more):
    hidden = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


@pytest.fixture
def launch(tmp_path):
    """``launch(store, "--launch.workers=2", ...)``; returns what came."""

    def run_launch(store, *arguments, env=None, module=REPORTS, timeout=120):
        return subprocess.run(
            launch_words(store, *arguments, module=module), cwd=tmp_path, text=True,
            env=environment(**(env or {})), capture_output=True, timeout=timeout,
        )  # fmt: skip

    return run_launch


@pytest.fixture
def started(tmp_path):
    """``started(store, ...)`` begins a launch; whatever is left of it ends with the test."""
    processes = []

    def start(store, *arguments, env=None, module=REPORTS):
        process = subprocess.Popen(
            launch_words(store, *arguments, module=module), cwd=tmp_path, text=True,
            env=environment(**(env or {})), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


needs_parallel = requires("parallel", shutil.which("parallel"), "GNU parallel is not installed")
