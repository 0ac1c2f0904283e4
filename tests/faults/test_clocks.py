"""Clocks that jump, for the processes of a launch alone (libfaketime): the host's is never set."""

import json
import os
import random
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, assert_fails, requires
from tests.faults.conftest import FIGURES, LIMIT, on_linux

FOUND = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
pytestmark = [on_linux, requires("faults", FOUND, "libfaketime is not installed")]
JUMPS = ("+0", "+400d", "-400d", "+3600", "-3600", "-20y", "+20y", "+7", "-7")  # libfaketime's


# libfaketime shifts the deadlines of clock_nanosleep, which Python sleeps by, also where it is told
# to leave the monotonic clock alone; those of select it leaves.
SLEEP = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds)
"""


class Clock(threading.Thread):
    """Sets the time that some processes see, from one jump to the next."""

    def __init__(self, file, seed):
        super().__init__(daemon=True)
        self.file, self.random = file, random.Random(seed)
        self.ended = threading.Event()
        self.jumps = 0
        file.write_text("+0\n")

    def run(self):
        while not self.ended.wait(0.15):
            other = self.file.with_suffix(".new")
            other.write_text(f"{self.random.choice(JUMPS)}\n")
            other.replace(self.file)
            self.jumps += 1


@pytest.fixture
def jumping(tmp_path):
    """``jumping(monotonic)`` starts the jumps and gives the environment that shows them."""
    clocks = []

    def start(monotonic):
        clocks.append(Clock(tmp_path / "clock", int(monotonic)))
        clocks[-1].start()
        if not monotonic:
            (tmp_path / "early").mkdir()
            (tmp_path / "early" / "sitecustomize.py").write_text(SLEEP)
        return {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path / 'early'}",
            "LD_PRELOAD": str(FOUND[0]),
            "FAKETIME_TIMESTAMP_FILE": str(clocks[-1].file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "0" if monotonic else "1",
            "FAKETIME_DONT_RESET": "1",
        }

    yield start
    for clock in clocks:
        clock.ended.set()
        clock.join()
        FIGURES["jumps of the clock"] += clock.jumps


@pytest.mark.parametrize("monotonic", [False, True])
def test_rows_are_filled_while_the_clock_jumps(faults, jumping, monotonic):
    fault = faults(60)
    env = jumping(monotonic)
    process = fault.start("launch", "--launch.workers=2", "--fault.seconds=0.1", env=env)
    looks = 0
    while process.poll() is None:
        status = json.loads(fault.run("status", "--status.json", env=env).stdout)
        assert status["rows_per_second"] >= 0
        assert status["seconds_left"] is None or status["seconds_left"] >= 0
        assert status["workers_running"] >= 0
        assert 0 <= status["complete"] <= 60
        assert fault.run("status", env=env).returncode in (0, 1)
        looks += 1
    out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, out + err
    assert looks >= 1
    fault.assert_rows(range(60))
    fault.assert_nothing_left()


def test_time_limits_hold_while_the_clock_of_the_day_jumps(faults, jumping):
    fault = faults(20)
    env = jumping(monotonic=False)
    began = time.monotonic()
    result = fault.launch("--fault.how=3:python_loop", "--fault.seconds=0.3", "--launch.retries=1",
                          "--worker.job_timeout=3", env=env, timeout=60)  # fmt: skip
    assert_fails(result, 1, "job_timeout=3", "19 of 20 rows")
    assert time.monotonic() - began > 3
    fault.assert_rows(set(range(20)) - {3})


def test_no_clock_at_all_keeps_a_launch_from_its_end(faults, jumping):
    """Also the clock that never jumps does: limits may come too soon or late, and rows fail by
    them; a launch ends, and the next, with a clock, finishes."""
    fault = faults(20)
    env = jumping(monotonic=True)
    result = fault.launch("--worker.job_timeout=2", "--fault.seconds=0.1", env=env, timeout=60)
    assert result.returncode in (0, 1), result.stderr
    assert "Traceback" not in result.stderr
    fault.finish()
