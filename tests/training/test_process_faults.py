"""What fails in a process for good must not fail the rows of all others."""

import numpy as np
import pytest
import torch

from datamodels.training import Store
from datamodels.training.process_faults import spoils_process
from tests.training.broken_device import ERRORS
from tests.training.mains import row


@pytest.fixture
def words(store, tmp_path):
    return [
        "--worker.logdir=store", "--worker.main_import=tests.training.broken_device",
        f"--device.once={tmp_path / 'once'}",
    ]  # fmt: skip


def assert_complete(store, expected=7):
    store = Store.open(store.path)
    assert store.completed.sum() == expected
    for index in np.flatnonzero(store.completed):
        np.testing.assert_array_equal(store["margins"][index], row(index)["margins"])


@pytest.mark.parametrize("error", ERRORS)
def test_a_launch_goes_on_in_a_new_worker(run, store, tmp_path, error):
    result = run("training.launch", "--launch.logdir=store", "--launch.workers=1",
                 "--launch.main_import=tests.training.broken_device", "--launch.retries=2",
                 f"--device.error={error}", f"--device.once={tmp_path / 'once'}")  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert_complete(store)


def test_so_does_one_of_batches(run, store, tmp_path):
    result = run("training.launch", "--launch.logdir=store", "--launch.workers=1",
                 "--launch.main_import=tests.training.broken_device", "--launch.retries=1",
                 "--worker.batch=4", f"--device.once={tmp_path / 'once'}")  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert_complete(store)


def test_a_batch_that_does_not_fit_is_run_one_by_one_where_it_is(run, store, tmp_path):
    (tmp_path / "once").touch()
    result = run("training.launch", "--launch.logdir=store", "--launch.workers=1",
                 "--launch.main_import=tests.training.broken_device", "--launch.retries=1",
                 "--worker.batch=4", "--device.most=1",
                 f"--device.once={tmp_path / 'once'}")  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert_complete(store)
    assert len({path.name for path in store.layout.workers.glob("*/process-*")}) == 1


def test_a_watched_worker_loses_the_one_row(run, store, words):
    result = run("training.worker", *words, "--worker.indices=0-6", "--worker.watch")
    assert result.returncode == 1
    assert "1 of 7 rows failed: 2" in result.stderr
    assert_complete(store, 6)
    again = run("training.worker", *words, "--worker.indices=0-6", "--worker.watch")
    assert again.returncode == 0, again.stderr
    assert_complete(store)


def test_a_worker_that_nobody_replaces_says_which_rows_failed_and_loses_none(run, store, words):
    result = run("training.worker", *words, "--worker.indices=0-6")
    assert result.returncode == 1
    assert "5 of 7 rows failed: 2, 3, 4, 5, 6" in result.stderr
    assert_complete(store, 2)
    again = run("training.worker", *words, "--worker.indices=0-6")
    assert again.returncode == 0, again.stderr
    assert_complete(store)


@pytest.mark.parametrize("name", ["AcceleratorError", "OutOfMemoryError"])
def test_torchs_own_errors_are_known(name):
    if not hasattr(torch, name):
        pytest.skip(f"torch {torch.__version__} has no {name}")
    assert spoils_process(getattr(torch, name)("no kernel image is available"))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: device-side assert triggered",
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "HIP error: an illegal memory access was encountered",
    ],
)
def test_the_words_of_older_versions_are_known(text):
    assert spoils_process(RuntimeError(text))


def test_what_only_one_row_suffers_from_spoils_nothing():
    looped = ValueError("a")
    looped.__context__ = KeyError("b")
    looped.__context__.__context__ = looped
    for error in (RuntimeError("the training diverged"), looped, SystemExit(1),
                  ValueError("CUDA error: this is my own"), OSError("CUDA")):  # fmt: skip
        assert not spoils_process(error)
    assert spoils_process(MemoryError())
