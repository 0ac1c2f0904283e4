"""Filling stores by GNU parallel: our own lines, and those that users of the public code have."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datamodels.training.indices import parse_indices
from datamodels.training.launcher.chunks import even_chunks
from datamodels.training.spec import Spec
from datamodels.training.store import Store
from tests.conftest import ROOT
from tests.training.launcher.conftest import environment, needs_parallel
from tests.training.test_worker import wait_for

MINIMAL = ROOT / "examples" / "minimal"


@pytest.mark.parametrize("n_rows", [1, 2, 10, 97])
@pytest.mark.parametrize("n_chunks", [1, 2, 16, 97, 1_000])
def test_chunks_hold_every_row_once_and_differ_by_one(n_rows, n_chunks):
    chunks = even_chunks(range(n_rows), n_chunks)
    assert [row for chunk in chunks for row in chunk] == list(range(n_rows))
    sizes = {len(chunk) for chunk in chunks}
    assert len(chunks) == min(n_chunks, n_rows)
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n_chunks", [1, 3, 16, 1_000])
def test_chunks_hold_whole_batches(n_chunks):
    chunks = even_chunks(range(1_000), n_chunks, batch=64)
    assert [row for chunk in chunks for row in chunk] == list(range(1_000))
    assert all(len(chunk) % 64 == 0 for chunk in chunks[:-1])
    assert len(chunks) == min(n_chunks, 16)


def in_shell(line, folder, **more):
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment(**more), capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


def printed(launch, store, *arguments, **settings):
    result = launch(store, "--launch.engine=parallel", "--launch.workers=2", *arguments, **settings)
    assert result.returncode == 0, result.stderr
    assert not store.completed.any()
    return result.stdout.strip()


def test_the_line_names_chunks_that_hold_the_missing_rows(launch, filled):
    store = filled(30)
    line = printed(launch, store, "--launch.indices=3-20", "--launch.chunk=4")
    todo = Path(shlex.split(line)[-1])
    chunks = [parse_indices(text, 30, "") for text in todo.read_text().splitlines()]
    assert [row for chunk in chunks for row in chunk] == list(range(3, 21))
    assert max(map(len, chunks)) == 4
    assert printed(launch, store) != line  # an earlier line goes on with its own chunks


@needs_parallel
def test_the_line_fills_the_store(launch, filled, tmp_path):
    store = filled(30, "a store's folder")
    line = printed(launch, store, "--reports.seconds= 0.01", env={"CUDA_VISIBLE_DEVICES": "3,5"})
    done = in_shell(line, tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(store["row"], np.arange(30))
    assert set(store["gpu"]) <= {3, 5}
    assert store.completed.all()


@needs_parallel
def test_a_main_that_ends_its_process_with_status_0_is_a_failure(launch, filled, tmp_path):
    (tmp_path / "leaving.py").write_text(
        "import os\n"
        "from tests.training.launcher.reports import main as right\n"
        "def main(*_, index, logdir):\n"
        "    return os._exit(0) if index == 2 else right(index=index, logdir=logdir)\n"
    )
    store = filled(6)
    line = printed(launch, store, "--launch.chunk=6", "--launch.retries=1", module="leaving")
    assert in_shell(line, tmp_path).returncode == 1
    assert store.missing().tolist() == [2]


@needs_parallel
def test_the_same_line_goes_on_after_a_kill(launch, filled, tmp_path):
    store = filled(40)
    line = printed(launch, store, "--reports.seconds=0.1", "--launch.chunk=4")
    process = subprocess.Popen(
        ["bash", "-c", line], cwd=tmp_path, env=environment(), start_new_session=True
    )
    wait_for(lambda: store.completed.sum() > 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not store.completed.all()
    done = in_shell(line, tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(store["row"], np.arange(40))


@needs_parallel
@pytest.mark.parametrize(
    "line",
    [
        """parallel -j 8 CUDA_VISIBLE_DEVICES='{=1 $_=$arg[1] % 8 =}' \\
                python -m datamodels.training.worker \\
                --worker.index={} \\
                --worker.main_import=examples.minimal.train_minimal \\
                --worker.logdir=$LOG_DIR ::: {0..7}""",
        """seq 0 7 | parallel -k --lb -j8 python -m datamodels.training.worker --worker.index={} \\
                --worker.main_import=examples.minimal.train_minimal --worker.logdir=$LOG_DIR""",
    ],
)
def test_lines_of_the_public_code_fill_a_store(tmp_path, line):
    spec = Spec.read(MINIMAL / "spec.json")
    store = Store.create(tmp_path / "store", Spec(8, spec.schema))
    on_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = in_shell(line, ROOT, LOG_DIR=str(store.path), PATH=on_path)
    assert done.returncode == 0, done.stderr
    assert store.completed.all()
    assert len((store.path / "cmds.txt").read_text().splitlines()) == 8
