"""Kills at every moment, of a row's run, of workers, of launchers: no complete row is wrong."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import unavailable
from tests.faults.conftest import FIGURES, LIMIT, command_of, on_linux, wait_for

pytestmark = on_linux
SENT = {
    signal.SIGKILL: -9,
    signal.SIGTERM: 143,
    signal.SIGINT: 130,
}


def test_a_kill_between_any_two_system_calls_of_a_row_leaves_it_whole_or_incomplete(
    faults, in_memory
):
    fault = faults(3, in_memory)
    words = [sys.executable, "-m", "tests.faults.stepping", str(fault.store.path)]
    done = subprocess.run(
        words, env=fault.environment(), capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    if "impossible" in figures:
        unavailable("faults", f"children cannot be traced here: {figures['impossible']}")
    FIGURES["complete rows checked"] += figures["complete rows checked"]
    FIGURES["kills: between two system calls of a row's run"] += figures["kills"]
    assert figures["kills"] >= 300
    fault.finish()


def children_of(pid):
    """Pids of a process's children that are at work."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def workers_of(process):
    return [
        pid for pid in children_of(process.pid) if "datamodels.training.worker" in command_of(pid)
    ]


def kill_workers(process, store, sent, most, pause):
    """Kill one worker of a launcher at random after the other, ``most`` of them. Every fourth may
    be one that still imports; more would make the launcher give up on the module."""
    count = 0
    while process.poll() is None and count < most:
        time.sleep(pause.random() * 0.3)
        workers = workers_of(process)
        records = " ".join(path.name for path in store.layout.records.glob("*"))
        ready = [pid for pid in workers if f"-{pid}-" in records]
        targets, signals = (ready, sent) if count % 4 else (workers, [signal.SIGKILL])
        if targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pause.choice(targets), pause.choice(signals))
                count += 1
    return count


@pytest.mark.parametrize("batch", [[], ["--worker.batch=5"]])
def test_a_launcher_goes_on_though_its_workers_are_killed_all_the_time(faults, batch):
    fault = faults(250)
    sent = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV)
    process = fault.start(
        "launch", "--launch.workers=4", "--launch.retries=1000", "--fault.seconds=0.1", *batch
    )
    kills = kill_workers(process, fault.store, sent, 40, random.Random(len(batch)))
    out, err = process.communicate(timeout=LIMIT)
    FIGURES["kills: workers of a live launcher"] += kills
    assert process.returncode == 0, out + err
    assert kills >= 10
    assert fault.assert_sound() == 250
    fault.assert_nothing_left()


@pytest.mark.parametrize("sent", SENT)
def test_a_killed_launcher_leaves_nothing_behind_and_the_next_goes_on(faults, sent):
    fault = faults(200)
    pause = random.Random(int(sent))
    for _ in range(8):
        process = fault.start("launch", "--launch.workers=2", "--fault.seconds=0.05")
        time.sleep(0.2 + pause.random())
        process.send_signal(sent)
        process.communicate(timeout=20)
        assert process.returncode in (SENT[sent], -sent)  # -sent before it has begun
        FIGURES["kills: launchers"] += 1
        fault.assert_nothing_left()
        fault.assert_sound()
    assert 0 < len(np.flatnonzero(fault.store.completed)) < 200
    fault.finish()


def test_a_launcher_killed_while_its_workers_are_killed_is_followed_by_another(faults):
    """Everything at once: two sources of kills, four workers, rows of a few milliseconds."""
    fault = faults(500)
    pause = random.Random(0)
    for _ in range(6):
        process = fault.start("launch", "--launch.workers=4", "--fault.seconds=0.01")
        wait_for(lambda p=process: len(workers_of(p)) > 1 or p.poll() is not None)
        for _ in range(4):
            time.sleep(pause.random() * 0.4)
            for pid in workers_of(process)[:1]:
                os.kill(pid, signal.SIGKILL)
                FIGURES["kills: workers of a live launcher"] += 1
        process.kill()
        process.communicate(timeout=20)
        FIGURES["kills: launchers"] += 1
        fault.assert_nothing_left()
        fault.assert_sound()
    fault.finish()
