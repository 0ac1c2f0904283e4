"""Whatever kills a process, a row marked complete is complete: by trace and by kill -9."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from datamodels.npy_file import read_header
from datamodels.training.spec import Spec
from datamodels.training.store import Store
from tests.conftest import ROOT

WRITE_ONCE = """
import sys
from datamodels.training.store import Store
store = Store.open(sys.argv[1])
store.write(3, {"masks": [1, 0, 1, 0, 1], "margins": [0.5, 1.5, -2], "epochs": 9})
store.write(5, {"masks": 1, "margins": 1, "epochs": 1})
store.write(3, {"masks": 0, "margins": 0, "epochs": 0}, overwrite=True)
"""


@pytest.fixture
def traced(store):
    """The system calls that touch the store's arrays, in order: (call, file, rest of the line)."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt-get install strace")
    log = store.path.parent / "trace"
    calls = "openat,open,close,mmap,pwrite64,pread64,write,fcntl"
    traced = subprocess.run(
        ["strace", "-f", "-y", "-o", log, "-e", f"trace={calls}", sys.executable, "-c", WRITE_ONCE,
         store.path],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    if "ptrace" in traced.stderr or "Operation not permitted" in traced.stderr:
        pytest.skip(f"strace may not trace here: {traced.stderr.strip()[:200]}")
    assert traced.returncode == 0, traced.stderr
    lines = []
    for line in log.read_text().splitlines():
        match = re.match(rf"\d+ +(\w+)\((.*{re.escape(str(store.path))}/(\w+)\.npy.*)", line)
        if match:
            lines.append((match[1], match[3], match[2]))
    return lines


def test_rows_are_written_by_exact_byte_range_and_the_flag_last(traced, store):
    writes = []
    for call, key, rest in traced:
        assert call != "write", "only pwrite names its place"
        if call == "pwrite64":
            size, offset = re.search(r", (\d+), (\d+)\) += +\d+$", rest).groups()
            writes.append((key, int(size), int(offset)))

    def row(key, index):
        header = read_header(store.layout.array(key))
        return key, header.row_bytes, header.row_offset(index)

    arrays = ("masks", "margins", "epochs")
    first = [row(key, 3) for key in arrays] + [row("_completed", 3)]
    second = [row(key, 5) for key in arrays] + [row("_completed", 5)]
    anew = [row("_completed", 3), *first]  # the flag of a complete row is cleared before it changes
    assert writes == first + second + anew


def test_files_are_opened_for_writing_only_and_synchronously(traced):
    for call, key, rest in traced:
        if call in ("open", "openat") and "O_RDONLY" not in rest:
            assert "O_WRONLY" in rest, rest
            assert "O_DSYNC" in rest, rest
            assert "O_RDWR" not in rest, rest
        if call == "mmap":
            assert "MAP_SHARED" not in rest or "PROT_WRITE" not in rest, f"{key} is mapped: {rest}"


def test_the_flag_is_read_from_a_fresh_descriptor_just_before_writing(traced):
    calls = [(call, key) for call, key, _ in traced]
    first_write = next(i for i, (call, _) in enumerate(calls) if call == "pwrite64")
    read = max(i for i in range(first_write) if calls[i] == ("pread64", "_completed"))
    assert calls[read - 1] in (("openat", "_completed"), ("open", "_completed"))
    assert not any(call == "pwrite64" for call, _ in calls[read:first_write])


WRITE_FOREVER = """
import sys
import numpy as np
from datamodels.training.store import Store
store = Store.open(sys.argv[1])
generation = int(sys.argv[2])
while True:
    for index in range(store.num_models):
        value = index * 10**9 + generation
        store.write(index, {"a": value, "b": value, "c": value}, overwrite=True)
    generation += 1
"""


def test_kill_9_never_leaves_a_torn_row_marked_complete(tmp_path):
    """Two writers overwrite the same rows with contents of their own, and are killed 20 times."""
    fields = {key: {"shape": [3000], "dtype": "int64"} for key in "abc"}
    store = Store.create(tmp_path / "s", Spec.parse({"num_models": 5, "schema": fields}))
    for attempt in range(20):
        pair = [
            subprocess.Popen(
                [sys.executable, "-c", WRITE_FOREVER, store.path, str(attempt * 100 + 50 * which)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            for which in (0, 1)
        ]
        time.sleep(0.45 + 0.01 * attempt)
        for process in pair:
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = np.flatnonzero(store.completed)
        rows = np.concatenate([store[key][done] for key in "abc"], axis=1)
        assert (rows == rows[:, :1]).all(), f"a row mixes two contents after kill {attempt}"
        assert (rows[:, 0] // 10**9 == done).all()
    assert len(done) >= store.num_models - 2, "the writers hardly wrote anything"
