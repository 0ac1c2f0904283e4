"""Many rows in one call of ``main_batch``, rows from standard input, and what workers say."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from datamodels.training.row_values import RowError, encode_rows
from tests.conftest import ROOT, assert_fails
from tests.training.test_worker import (
    HERE,
    STARTED,
    _no_process_is_left,
    assert_rows,
    start,
    wait_for,
    work,
)

__all__ = ["_no_process_is_left", "work"]

BATCHES = "--worker.main_import=tests.training.batches"


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("watched", [(), ("--worker.job_timeout=60",)])
def test_rows_do_not_depend_on_the_batch(work, store, batch, watched):
    result = work(BATCHES, "--worker.indices=0-6", f"--worker.batch={batch}", *watched)
    assert result.returncode == 0, result.stderr
    assert "7 of 7 rows written" in result.stdout
    assert_rows(store, set(range(7)))


def test_a_module_without_main_is_called_for_one_row(work, store):
    assert work(BATCHES, "--worker.index=3").returncode == 0
    assert_rows(store, {3})


def test_complete_rows_are_not_asked_for_again(work, store, tmp_path):
    told = tmp_path / "told"
    assert work(BATCHES, "--worker.indices=1,4").returncode == 0
    result = work(BATCHES, "--worker.indices=0-6", "--worker.batch=7", env={"TOLD": str(told)})
    assert "2 were complete already" in result.stdout
    assert told.read_text() == "5 0\n"
    assert_rows(store, set(range(7)))


def test_a_failed_batch_costs_only_the_row_at_fault(work, store):
    result = work(BATCHES, "--worker.indices=0-6", "--worker.batch=7", "--batch.bad=2,5")
    assert_fails(result, 1, "rows 0-6 failed together", "2 of 7 rows failed: 2, 5")
    assert "row 2 diverged" in (store.path / "workers" / "2" / "error.txt").read_text()
    assert_rows(store, {0, 1, 3, 4, 6})


def test_a_batch_that_ends_the_process_costs_only_the_row_at_fault(work, store):
    result = work(BATCHES, "--worker.indices=0-6", "--worker.batch=3", "--batch.deadly=4",
                  "--worker.job_timeout=60")  # fmt: skip
    assert_fails(result, 1, "ended with status 3", "1 of 7 rows failed: 4")
    assert_rows(store, {0, 1, 2, 3, 5, 6})


@pytest.mark.parametrize(
    ("shape", "needle"),
    [("short", "its leading axis must be the 4 rows"), ("scalar", "'epochs'")],
)
def test_a_batch_of_another_length_is_refused(work, store, shape, needle):
    result = work(BATCHES, "--worker.indices=0-3", "--worker.batch=4", f"--batch.shape={shape}")
    assert_fails(result, 1, needle, "4 of 4 rows failed")
    assert not store.completed.any()


def test_a_batch_needs_main_batch(work, store):
    assert_fails(work("--worker.index=0", "--worker.batch=2"), 2, "main_batch", "batch=2")
    assert_fails(work("--worker.index=0", "--worker.batch=0"), 2, "batch=0", "at least 1")


def test_values_of_many_rows_broadcast_as_those_of_one(spec):
    rows = {
        "masks": np.ones((3, 1, 5)),
        "margins": np.arange(3)[:, None],
        "epochs": [[1], [2], [3]],
    }
    encoded = encode_rows(spec.schema, rows, 3)
    np.testing.assert_array_equal(encoded["masks"], np.ones((3, 5), bool))
    np.testing.assert_array_equal(encoded["margins"], np.arange(3)[:, None] * np.ones(3))
    np.testing.assert_array_equal(encoded["epochs"], [1, 2, 3])
    for wrong in (np.ones((3, 4)), np.ones((3, 2, 5)), np.ones(5), np.full((3, 5), 0.5)):
        with pytest.raises(RowError, match="'masks'"):
            encode_rows(spec.schema, {"masks": wrong}, 3)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_block_skips_rows_that_are_complete(store, n):
    def block(indices, value):
        return {"epochs": [value] * len(indices)}

    store.write(2, {"epochs": 9})
    indices = [0, 1, 2, 6, 5][:n]
    written = store.write_block(indices, block(indices, 4))
    assert written.tolist() == [index != 2 for index in indices]
    expected = np.zeros(7)
    expected[[2, *indices]] = 4
    expected[2] = 9
    np.testing.assert_array_equal(store["epochs"], expected)
    assert np.flatnonzero(store.completed).tolist() == sorted({2, *indices})
    assert store.write_block(indices, block(indices, 5), overwrite=True).all()
    np.testing.assert_array_equal(store["epochs"][indices], [5] * n)


def worker(store, *arguments, **settings):
    process = subprocess.Popen(
        [sys.executable, "-m", "datamodels.training.worker", f"--worker.logdir={store.path}",
         "--worker.main_import=mains", *arguments],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings,
    )  # fmt: skip
    STARTED.append(process)
    return process


@pytest.mark.parametrize("watched", [(), ("--worker.job_timeout=60",)])
def test_rows_come_from_standard_input(store, tmp_path, watched):
    events = tmp_path / "events"
    process = worker(store, "--worker.indices=-", f"--worker.events={events}",
                     "--play.how=4:raise", *watched)  # fmt: skip
    _, err = process.communicate("0-2\n\n4,6\n", timeout=60)
    assert process.returncode == 1, err
    assert "1 of 5 rows failed: 4" in err
    lines = [line.split() for line in events.read_text().splitlines()]
    assert [line[:2] for line in lines if line[0] != "ready"] == [
        ["start", "0"], ["written", "0"], ["start", "1"], ["written", "1"],
        ["start", "2"], ["written", "2"], ["start", "4"], ["failed", "4"],
        ["start", "6"], ["written", "6"],
    ]  # fmt: skip
    assert all(0 <= float(line[2]) < 60 for line in lines if len(line) > 2)
    assert_rows(store, {0, 1, 2, 6})


def test_a_wrong_line_of_input_is_a_usage_error(store):
    process = worker(store, "--worker.indices=-")
    _, err = process.communicate("0\n7-9\n", timeout=60)
    assert process.returncode == 2
    assert "row 9 is not in the store" in err
    assert_rows(store, {0})


def test_rows_from_an_input_that_is_closed_or_no_text_are_a_usage_error(store):
    words = [sys.executable, "-m", "datamodels.training.worker", f"--worker.logdir={store.path}",
             "--worker.main_import=mains", "--worker.indices=-"]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    closed = subprocess.run(["bash", "-c", '"$@" <&-', "-", *words], env=env, capture_output=True)
    assert closed.returncode == 2
    assert b"from standard input: it is closed" in closed.stderr
    binary = subprocess.run(words, env=env, capture_output=True, input=b"\xff\xfe\n")
    assert binary.returncode == 2
    assert b"is no row or range" in binary.stderr


def test_main_does_not_read_our_rows(run, store, tmp_path):
    (tmp_path / "reads.py").write_text(
        "import sys\n"
        "from tests.training.mains import row\n"
        "def main(*_, index, logdir):\n"
        "    assert sys.stdin.read() == ''\n"
        "    return row(index)\n"
    )
    result = subprocess.run(
        [sys.executable, "-m", "datamodels.training.worker", f"--worker.logdir={store.path}",
         "--worker.main_import=reads", "--worker.indices=-"], cwd=tmp_path, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, input="0\n1\n", capture_output=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert_rows(store, {0, 1})


@pytest.mark.parametrize("watched", [(), ("--worker.job_timeout=600",)])
def test_usr1_ends_the_worker_after_the_row_it_is_at(store, watched):
    process = start(store, "--worker.indices=0-6", "--play.how=1:sleep", *watched)
    wait_for((store.path / "workers" / "1").exists)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 128 + signal.SIGUSR1
    assert_rows(store, {0, 1})


@pytest.mark.parametrize("watched", [(), ("--worker.job_timeout=600",)])
def test_usr1_ends_a_worker_that_waits_for_rows(store, tmp_path, watched):
    events = tmp_path / "events"
    process = worker(store, "--worker.indices=-", f"--worker.events={events}", *watched)
    process.stdin.write("0\n")
    process.stdin.flush()
    wait_for(lambda: store.completed[0])
    time.sleep(0.2)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 128 + signal.SIGUSR1
    process.communicate()


def test_a_worker_ends_when_its_launcher_does(store):
    ours, theirs = os.pipe()
    process = worker(store, "--worker.indices=-", f"--worker.alive=/dev/fd/{ours}",
                     pass_fds=(ours,), start_new_session=True)  # fmt: skip
    os.close(ours)
    process.stdin.write("2\n")
    process.stdin.flush()
    wait_for(lambda: store.completed[2])
    os.close(theirs)
    assert process.wait(20) == -signal.SIGKILL
    process.communicate()
