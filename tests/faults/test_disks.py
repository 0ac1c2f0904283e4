"""Disks that fill up, files cut short, storage that cannot be written."""

import contextlib
import json
import os

import numpy as np
import pytest

from datamodels.training.store import Store
from tests.conftest import assert_fails
from tests.faults.conftest import FIGURES, on_linux, remount
from tests.faults.rows import ROW_BYTES

pytestmark = on_linux


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fill_up(folder):
    """Take every byte that is left."""
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_rows_that_do_not_fit_the_disk_stay_incomplete_and_say_so(faults, small_disk):
    folder = small_disk("size=1m")
    fault = faults(60, folder, reserve=False)
    assert 60 * ROW_BYTES > 1.5 * 2**20
    result = fault.launch("--launch.retries=1", "--fault.seconds=0.02", workers=4)
    assert_fails(result, 1, "No space left on device", "WriteError", "the row stays incomplete")
    assert 0 < fault.assert_sound() < 60
    FIGURES["rows refused by a full disk"] += 60 - int(fault.store.completed.sum())
    fault.assert_nothing_left()
    remount(folder, "size=64m")
    fault.finish(workers=4)


@pytest.mark.parametrize("batch", [[], ["--worker.batch=4"]])
def test_rows_that_fit_are_written_though_nothing_else_does(faults, small_disk, batch):
    """Logs, records, the lines of commands and the launcher's own note have no byte of room."""
    folder = small_disk("size=4m")
    fault = faults(24, folder)
    fill_up(folder)
    result = fault.launch("--fault.loud=100000", *batch, workers=4)
    assert result.returncode == 0, result.stderr
    fault.assert_rows(range(24))


def test_rows_that_fail_on_a_full_disk_are_named(faults, small_disk):
    folder = small_disk("size=4m")
    fault = faults(12, folder)
    fill_up(folder)
    result = fault.launch("--fault.how=3:raise,5:segfault", "--launch.retries=2")
    assert_fails(result, 1, "row 3 is set aside", "row 5 is set aside", "10 of 12 rows")
    fault.assert_rows(set(range(12)) - {3, 5})
    (folder / "filler").unlink()
    fault.finish()


def test_rows_are_written_where_no_file_can_be_made(faults, small_disk):
    """As on a disk whose inodes are used up, or whose folders take no more names."""
    folder = small_disk("size=4m,nr_inodes=40")
    fault = faults(12, folder)
    assert fault.launch("--launch.indices=0-1").returncode == 0
    with contextlib.suppress(OSError):
        for number in range(40):
            (folder / str(number)).touch()
    result = fault.launch("--fault.loud=100000")
    assert result.returncode == 0, result.stderr
    fault.assert_rows(range(12))


@pytest.mark.parametrize("key", ["wide", "row", "_completed"])
def test_a_store_with_a_truncated_file_is_refused_and_not_changed(faults, key):
    fault = faults(12)
    assert fault.launch("--launch.indices=0-5").returncode == 0
    path = fault.store.layout.array(key)
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 5)
    before = contents(fault.store.path)
    for command in ("launch", "worker", "status", "verify"):
        rows = ["--worker.index=7"] if command == "worker" else []
        assert_fails(fault.run(command, *rows), 1, f"{key}.npy", "truncated")
    assert contents(fault.store.path) == before
    path.write_bytes(whole)
    fault.finish()


def test_a_store_on_read_only_storage_is_read_and_not_written(faults, small_disk):
    folder = small_disk("size=8m")
    fault = faults(12, folder)
    assert fault.launch("--launch.indices=0-5").returncode == 0
    remount(folder, "ro")
    before = contents(fault.store.path)
    for command, rows in (("launch", []), ("worker", ["--worker.index=7"])):
        result = fault.run(command, *rows)
        assert_fails(result, 1, "Read-only file system")
        if command == "launch":
            assert len(result.stderr.splitlines()) == 1
    status = fault.run("status", "--status.json")
    assert json.loads(status.stdout)["complete"] == 6
    assert fault.run("verify").returncode == 0
    with Store.open(fault.store.path) as store:
        assert np.flatnonzero(store.completed).tolist() == list(range(6))
    assert contents(fault.store.path) == before
    remount(folder, "rw")
    fault.finish()
