"""A ``main`` that hangs, leaks, forks, exits or prints a gigabyte harms no row but its own."""

import time

import pytest

from tests.conftest import assert_fails
from tests.faults.conftest import FIGURES, on_linux, wait_for
from tests.faults.misbehaving import STEP

pytestmark = on_linux
ENDS = ("raise", "exit", "exit_now", "segfault", "abort", "kill", "burst")


@pytest.fixture
def once(tmp_path):
    folder = tmp_path / "once"
    folder.mkdir()
    return f"--fault.once={folder}"


def test_rows_that_end_badly_once_are_run_again(faults, once):
    fault = faults(40)
    how = ",".join(f"{5 * place}:{way}" for place, way in enumerate(ENDS))
    result = fault.launch(f"--fault.how={how}", once, f"--fault.memory={4 * STEP}", workers=3)
    assert result.returncode == 0, result.stderr
    fault.assert_rows(range(40))
    fault.assert_nothing_left()
    FIGURES["rows whose main ended badly"] += len(ENDS)


def test_rows_that_always_end_badly_are_set_aside_and_the_others_filled(faults):
    fault = faults(40)
    bad = [5 * place for place in range(len(ENDS))]
    how = ",".join(f"{row}:{way}" for row, way in zip(bad, ENDS, strict=True))
    memory = f"--fault.memory={4 * STEP}"
    result = fault.launch(f"--fault.how={how}", memory, "--launch.retries=2", workers=3)
    assert_fails(result, 1, "7 rows failed and are set aside", "ZeroDivisionError", "SIGSEGV",
                 "SIGABRT", "SIGKILL", "status 0", "MemoryError", "33 of 40 rows")  # fmt: skip
    fault.assert_rows(set(range(40)) - set(bad))
    fault.finish()


@pytest.mark.parametrize("way", ["python_loop", "native", "deaf"])
def test_a_row_that_hangs_costs_its_time_limit_and_no_more(faults, once, way):
    fault = faults(30)
    began = time.monotonic()
    result = fault.launch(f"--fault.how=7-8:{way}", once, "--worker.job_timeout=1", timeout=40)
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - began < 30
    fault.assert_rows(range(30))
    fault.assert_nothing_left()
    FIGURES["rows that hung and were given up"] += 2


def test_a_hang_without_a_limit_ends_with_its_launcher(faults):
    fault = faults(6)
    process = fault.start("launch", "--launch.workers=2", "--fault.how=2:native,3:python_loop")
    wait_for(lambda: all(fault.store.layout.worker(row).exists() for row in (2, 3)))
    process.terminate()
    process.communicate(timeout=20)
    fault.assert_nothing_left()
    fault.finish()


@pytest.mark.parametrize("batch", [[], ["--worker.batch=2"]])
def test_a_main_that_leaks_fills_the_store_by_new_workers(faults, batch):
    """Each worker has memory for some rows, and none for more until it is replaced."""
    fault = faults(30)
    result = fault.launch(
        "--fault.how=0-29:leak", f"--fault.memory={6 * STEP}", *batch, workers=2, timeout=60
    )
    fault.assert_nothing_left()
    assert result.returncode == 0, result.stderr
    fault.assert_rows(range(30))


def test_children_that_main_leaves_behind_end_with_the_launcher(faults):
    fault = faults(12)
    result = fault.launch("--fault.how=0-11:fork", timeout=40)
    assert result.returncode == 0, result.stderr
    fault.assert_rows(range(12))
    fault.assert_nothing_left()


@pytest.mark.parametrize("sent", ["terminate", "kill"])
def test_children_that_main_leaves_behind_end_with_a_killed_launcher(faults, sent):
    fault = faults(100)
    process = fault.start(
        "launch", "--launch.workers=2", "--fault.how=0-5:fork", "--fault.seconds=0.1"
    )
    wait_for(lambda: fault.store.completed.sum() > 8)
    getattr(process, sent)()
    process.wait(20)
    fault.assert_nothing_left()
    fault.finish()


def test_forks_that_return_from_main_write_nothing(faults):
    fault = faults(12)
    result = fault.launch("--fault.how=0-11:fork_and_return", timeout=40)
    assert result.returncode == 0, result.stderr
    fault.assert_rows(range(12))
    fault.assert_nothing_left()


@pytest.mark.parametrize("way", ["print", "print_native"])
def test_a_gigabyte_of_print_neither_fills_the_disk_nor_stops_the_rest(faults, way):
    fault = faults(12)
    result = fault.launch(f"--fault.how=4:{way}", timeout=60)
    assert result.returncode == 0, result.stderr
    fault.assert_rows(range(12))
    assert len(result.stdout) + len(result.stderr) < 10_000
    logs = fault.store.layout.launch.glob("worker-*")
    assert sum(path.stat().st_blocks * 512 for path in logs) < 200 * 10**6
    FIGURES["bytes printed by main"] += 10**9


def test_a_main_that_closes_every_descriptor_costs_its_row_at_most(faults, once):
    fault = faults(12)
    result = fault.launch("--fault.how=4:close_all", once, timeout=40)
    assert result.returncode == 0, result.stderr
    fault.assert_rows(range(12))
