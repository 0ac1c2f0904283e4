import json
import os
import socket
import subprocess
import time

import numpy as np
import pytest

from datamodels.training.records import RecordWriter
from datamodels.training.spec import Spec
from datamodels.training.store import Store
from datamodels.training.store_status import status_of
from tests.conftest import assert_fails

ROW = {"masks": 1, "margins": 2, "epochs": 3}


def record(store, host, rows, started):
    """A record of ``rows``: (row, outcome, ended, seconds)."""
    store.layout.records.mkdir(exist_ok=True)
    path = store.layout.record(host, os.getpid(), int(started * 1e9))
    head = {"kind": "worker", "started": started, "host": host, "pid": 1, "command": ["python"],
            "folder": "/", "main": "m", "options": {}, "versions": {}}  # fmt: skip
    lines = [head] + [
        {"kind": "row", "row": r, "outcome": o, "ended": e, "seconds": s, "error": "E: " + o}
        for r, o, e, s in rows
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def fail(store, index, text="Traceback\nValueError: it diverged\n"):
    store.layout.worker(index).mkdir(parents=True, exist_ok=True)
    store.layout.error(index).write_text(text)


def test_counts_of_complete_failed_and_missing_rows(store):
    store.write(0, ROW)
    store.write(2, ROW)
    fail(store, 2)  # an old failure of a row that is complete by now
    fail(store, 5)
    record(store, "h", [(6, "failed", time.time(), 1.0), (0, "failed", time.time(), 1.0)],
           time.time() - 5)  # fmt: skip
    status = status_of(store.path)
    assert (status.num_models, status.complete, status.missing, status.failed) == (7, 2, 5, 2)
    assert (status.missing_rows, status.failed_rows) == ("1,3-6", "5-6")
    assert {(e.row, e.error) for e in status.last_errors} == {
        (5, "ValueError: it diverged"), (6, "E: failed")}  # fmt: skip
    paths = {e.row: e.path for e in status.last_errors}
    assert paths[5] == str(store.layout.error(5))
    assert paths[6].startswith(str(store.layout.records))


def test_last_errors_are_the_latest(store):
    now = time.time()
    record(store, "h", [(i, "failed", now - 100 + i, 1.0) for i in range(7)], now - 200)
    fail(store, 3)
    os.utime(store.layout.error(3), (now - 97, now - 97))  # written with its record
    status = status_of(store.path)
    assert [error.row for error in status.last_errors] == [6, 5, 4, 3, 2]
    assert status.last_errors[3].path == str(store.layout.error(3))
    assert status.last_errors[3].error == "E: failed"


def test_a_killed_row_shows_why_and_not_its_error_before(store):
    now = time.time()
    record(store, "a", [(3, "failed", now - 100, 1.0)], now - 200)
    fail(store, 3, "timeout: main ran longer than 5 seconds\n")  # of a process that kept no record
    (error,) = status_of(store.path).last_errors
    assert error.error == "timeout: main ran longer than 5 seconds"


def test_the_rate_is_the_sum_of_all_workers_over_the_window(store):
    now = time.time()
    for host, every in (("a", 2.0), ("b", 5.0)):
        ends = np.arange(now - 3000, now, every)
        record(store, host, [(0, "written", end, every) for end in ends], now - 3000)
    status = status_of(store.path)
    assert status.rows_per_second == pytest.approx(1 / 2 + 1 / 5, rel=0.05)
    assert status.seconds_left == pytest.approx(7 / 0.7, rel=0.05)
    assert status.estimated_end == pytest.approx(time.time() + 10, abs=2)
    assert status.hosts_running == {"a": 1, "b": 1}


def test_a_young_store_has_the_rate_of_its_own_time(store):
    now = time.time()
    record(store, "a", [(0, "written", now - i, 1.0) for i in range(9, -1, -1)], now - 10)
    assert status_of(store.path).rows_per_second == pytest.approx(1, rel=0.1)


def test_rows_that_take_hours_have_a_rate_too(store):
    now = time.time()
    ends = [now - 3600 * k for k in (9, 7, 5, 3, 1)]
    record(store, "a", [(0, "written", end, 7200.0) for end in ends], now - 11 * 3600)
    status = status_of(store.path)
    assert status.rows_per_second == pytest.approx(1 / 7200, rel=0.3)
    assert status.workers_running == 1


def test_failed_rows_are_no_progress(store):
    now = time.time()
    record(store, "a", [(0, "failed", now - i, 1.0) for i in range(50)], now - 60)
    status = status_of(store.path)
    assert status.rows_per_second == 0
    assert status.seconds_left is None
    assert status.estimated_end is None
    assert status.workers_running == 1


@pytest.mark.parametrize("jump", [-1e9, -4000.0, -400.0, -5.0, 5.0, 400.0, 4000.0, 1e9])
def test_clocks_that_jump_give_no_negative_rate(store, jump):
    now = time.time()
    ends = [now - 20, now - 15 + jump, now - 10, now - 5 + jump]
    record(store, "a", [(0, "written", end, 1.0) for end in ends], now + jump)
    status = status_of(store.path)
    assert 0 <= status.rows_per_second <= 4
    assert status.seconds_left is None or status.seconds_left > 0


def test_a_real_worker_counts_as_running(store):
    writer = RecordWriter(store.layout)
    store.write(0, ROW)
    writer.row(0, "written", 0.1)
    status = status_of(store.path)
    assert status.workers_running == 1
    assert status.rows_per_second > 0


def test_workers_of_this_host_that_are_gone_are_not_running(store):
    now = time.time()
    path = record(store, socket.gethostname(), [(3, "written", now - 1, 1.0)], now - 20)
    gone = subprocess.Popen(["true"])
    gone.wait()
    path.write_text(path.read_text().replace('"pid": 1', f'"pid": {gone.pid}'))
    status = status_of(store.path)
    assert status.workers_running == 0
    assert status.seconds_left is None
    path.write_text(path.read_text().replace(f'"pid": {gone.pid}', f'"pid": {os.getpid()}'))
    assert status_of(store.path).workers_running == 1


def test_disk_use_tells_reserved_from_sparse(tmp_path):
    spec = Spec.parse({"num_models": 100, "schema": {"a": {"shape": [10**5], "dtype": "uint8"}}})
    Store.create(tmp_path / "r", spec)
    Store.create(tmp_path / "s", spec, reserve=False)
    reserved, sparse = status_of(tmp_path / "r"), status_of(tmp_path / "s")
    assert reserved.disk_bytes_size == sparse.disk_bytes_size > 10**7
    assert reserved.disk_bytes_reserved >= 10**7 > 10**6 > sparse.disk_bytes_reserved
    assert reserved.disk_bytes_complete == 0


def test_command_and_exit_status(run, store):
    fail(store, 5)
    for arguments in ([store.path], [f"--status.logdir={store.path}"]):
        said = run("training.status", *arguments)
        assert said.returncode == 1
        assert said.stderr == ""
        assert "0 of 7 rows complete" in said.stdout
        assert "missing      7 rows: 0-6" in said.stdout
        assert "ValueError: it diverged" in said.stdout
    for arguments in ([store.path, "--json"], ["--json", store.path],
                      [store.path, "--status.json=true"]):  # fmt: skip
        said = run("training.status", *arguments)
        content = json.loads(said.stdout)
        assert said.returncode == 1
        assert content["missing"] == 7
        assert content["last_errors"][0]["row"] == 5
    for index in range(7):
        store.write(index, ROW)
    said = run("training.status", store.path, "--json")
    assert said.returncode == 0
    content = json.loads(said.stdout)
    assert content["seconds_left"] == 0
    assert sorted(content) == [
        "complete", "disk_bytes_complete", "disk_bytes_free", "disk_bytes_reserved",
        "disk_bytes_size", "estimated_end", "failed", "failed_rows", "growing_to",
        "hosts_running", "last_errors", "missing", "missing_rows", "num_models", "path",
        "read_only", "rows_per_second", "seconds_left", "window_seconds", "workers_running"]  # fmt: skip
    assert run("training.status", store.path).stdout.startswith(
        f"{store.path}: 7 of 7 rows complete (100.0%)"
    )


def test_no_store_is_a_failure(run, tmp_path):
    assert_fails(run("training.status", tmp_path / "nowhere"), 1, "no store")
    assert_fails(run("training.status", "a", "b"), 2, "one word at most")


def test_odd_folders_and_files_are_passed_over(store):
    (store.layout.workers / "x").mkdir(parents=True)
    (store.layout.workers / "99999").mkdir()
    (store.layout.workers / "99999" / "error.txt").write_text("of a bigger store")
    (store.layout.workers / "3").write_text("a file")
    fail(store, 4, "")
    record(store, "h", [(70, "failed", time.time(), 1.0), (-1, "failed", 0.0, 1.0)], 1.0)
    status = status_of(store.path)
    assert status.failed_rows == "4"
    assert status.last_errors[0].error == ""


def test_a_large_store_is_read_in_seconds(tmp_path):
    spec = Spec.parse({"num_models": 10**6, "schema": {"a": {"shape": [], "dtype": "uint8"}}})
    store = Store.create(tmp_path / "s", spec)
    for index in range(2000):
        store.layout.worker(index).mkdir(parents=True)
    now = time.time()
    line = '{"kind": "row", "row": %d, "outcome": "written", "ended": %f, "seconds": 0.5}\n'
    path = record(store, "h", [], now - 10**5)
    with path.open("a") as file:
        file.writelines(line % (i, now - (10**6 - i) / 10) for i in range(10**6))
    began = time.perf_counter()
    status = status_of(store.path)
    assert time.perf_counter() - began < 5
    assert status.rows_per_second == pytest.approx(10, rel=0.05)
    assert status.missing == 10**6
