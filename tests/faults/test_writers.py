"""Several processes write the same rows of one store at once."""

import os
import signal
import subprocess
import sys
import time

from datamodels.training.store_growth import grow_store
from tests.conftest import ROOT, assert_fails
from tests.faults.conftest import FIGURES, LIMIT, on_linux, wait_for

pytestmark = on_linux
WRITERS = 8

# Writes rows in an order of its own, complete ones anew with the same content, for a while.
WRITE = """
import sys, time
import numpy as np
from datamodels.training.store import Store
from tests.faults.rows import content
folder, seed, seconds, overwrite = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
random = np.random.default_rng(seed)
end, count = time.monotonic() + seconds, 0
while time.monotonic() < end:
    store = Store.open(folder)  # it may have grown
    for row in random.permutation(store.num_models):
        written = store.write(row, {k: a[0] for k, a in content([row]).items()},
                              overwrite=overwrite == "yes")
        count += written
    block = np.sort(random.choice(store.num_models, 7, replace=False))
    count += store.write_block(block, content(block), overwrite=overwrite == "yes").sum()
print(count)
"""


def writers(folder, seconds, overwrite):
    return [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, str(folder), str(seed), str(seconds), overwrite],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
        )
        for seed in range(WRITERS)
    ]  # fmt: skip


def ended(processes):
    """How many rows they wrote together."""
    said = [process.communicate(timeout=LIMIT)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return sum(map(int, said))


def test_eight_writers_that_rewrite_the_same_rows_never_show_a_wrong_one(faults, in_memory):
    fault = faults(20, in_memory)
    processes = writers(fault.store.path, 4, "yes")
    while any(process.poll() is None for process in processes):
        fault.assert_sound()  # a row is rewritten with what it holds
        time.sleep(0.05)
    FIGURES["rows written by 8 writers at once"] += ended(processes)
    assert fault.assert_sound() == 20


def test_eight_writers_write_each_row_once_while_the_store_grows(faults, in_memory):
    fault = faults(20, in_memory)
    processes = writers(fault.store.path, 4, "no")
    sizes = range(40, 420, 20)
    for size in sizes:
        time.sleep(0.12)
        grow_store(fault.store.path, size)
        fault.assert_sound()
    written = ended(processes)
    FIGURES["rows written by 8 writers at once"] += written
    FIGURES["growths beside writers"] += len(sizes)
    assert written == fault.assert_sound() > 20
    assert fault.store.num_models == sizes[-1]
    fault.finish()


def test_eight_workers_on_the_same_rows_leave_each_right(faults):
    fault = faults(24)
    processes = [fault.start("worker", "--worker.indices=0-23") for _ in range(WRITERS)]
    for process in processes:
        out, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, out + err
    assert fault.assert_sound() == 24


def test_two_workers_that_rewrite_one_row_beside_a_launcher_leave_it_right(faults):
    fault = faults(24)
    again = ["--worker.do_if_complete", "--worker.index=5"]
    processes = [fault.start("worker", *again) for _ in range(2)]
    result = fault.launch("--fault.seconds=0.02")
    assert result.returncode == 0, result.stderr
    for process in processes:
        assert process.wait(LIMIT) == 0
    assert fault.assert_sound() == 24


def test_a_row_held_by_a_stopped_process_fails_and_comes_back(faults):
    """A worker is stopped (SIGSTOP) between the arrays of a row and its flag, holding its lock."""
    fault = faults(12)
    holder = fault.start("worker", "--worker.index=3", "--fault.how=3:stop")
    wait_for(lambda: state_of(holder.pid) == "T")
    result = fault.launch("--fault.patience=0.5", "--launch.retries=2", timeout=40)
    assert_fails(result, 1, "row 3 has been held by another process", "11 of 12 rows")
    fault.assert_rows(set(range(12)) - {3})
    holder.send_signal(signal.SIGCONT)
    assert holder.wait(20) == 0
    fault.assert_rows(range(12))


def test_a_stopped_worker_is_given_up_after_its_time_limit(faults):
    fault = faults(30)
    process = fault.start(
        "launch", "--launch.workers=2", "--worker.job_timeout=2", "--fault.seconds=0.1"
    )
    wait_for(lambda: fault.store.completed.sum() > 2)
    stopped = next(pid for pid in fault.processes() if pid != process.pid)
    os.kill(stopped, signal.SIGSTOP)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    fault.assert_rows(range(30))
    fault.assert_nothing_left()


def state_of(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""
