"""A ``main`` whose rows are known from their index, and that misbehaves as it is told.

``--fault.how=<rows>:<way>,...`` says which rows do what, e.g. ``3:exit,7-9:python_loop``; with
``--fault.once=FOLDER`` each of them does so the first time only.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
from fastargs import Param, Section

from datamodels.training import row_writer
from datamodels.training.indices import parse_indices
from datamodels.training.utils import make_config
from tests.faults.rows import content

Section("fault", "what this module does").params(
    how=Param(str, "rows:way, separated by commas", default=""),
    once=Param(str, "folder: each row misbehaves only once", default=""),
    seconds=Param(float, "a row takes", default=0.0),
    loud=Param(int, "bytes that every row prints", default=0),
    memory=Param(int, "bytes of address space that this process may add to what it has", default=0),
    patience=Param(float, "seconds to wait for a row that another process holds", default=60.0),
)
LEAKED = []
STEP = 64 * 2**20  # bytes


def _python_loop():
    while True:
        pass


def _leak():
    LEAKED.append(np.ones(STEP, np.uint8))


def _burst():
    """Takes all memory there is, within one row."""
    held = []
    while True:
        held.append(np.ones(STEP, np.uint8))


def _fork():
    """Leaves a child behind that would live on."""
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
    subprocess.Popen(["sleep", "600"])


def _fork_and_return():
    os.fork()  # the child returns from main as well


def _print():
    line = "x" * 1_000_000 + "\n"
    for _ in range(1_000):
        sys.stdout.write(line)


def _stop_holding_the_row():
    """Stops this process between the arrays of the row and its flag."""
    pwrite = row_writer.RowWriter._pwrite

    def stopping(self, key, index, data):
        if key == "_completed":
            os.kill(os.getpid(), signal.SIGSTOP)
        pwrite(self, key, index, data)

    row_writer.RowWriter._pwrite = stopping


WAYS = {
    "raise": lambda: 1 / 0,
    "exit": lambda: sys.exit(0),
    "exit_now": lambda: os._exit(0),
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "python_loop": _python_loop,
    # a call into C that holds the interpreter's lock: no Python code can run meanwhile
    "native": lambda: ctypes.PyDLL(None).sleep(600),
    "deaf": lambda: (signal.signal(signal.SIGTERM, signal.SIG_IGN),
                     signal.signal(signal.SIGINT, signal.SIG_IGN), time.sleep(600)),
    "leak": _leak,
    "burst": _burst,
    "fork": _fork,
    "fork_and_return": _fork_and_return,
    "print": _print,
    "print_native": lambda: subprocess.run(["head", "-c", "1000000000", "/dev/zero"], check=True),
    "close_all": lambda: os.closerange(3, 100),
    "stop": _stop_holding_the_row,
}  # fmt: skip


def _limit_memory(more):
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more, resource.RLIM_INFINITY))


def _misbehave(indices):
    told = make_config(quiet=True).get().fault
    row_writer._LOCK_PATIENCE = told.patience
    if told.memory and resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        _limit_memory(told.memory)
    time.sleep(told.seconds)
    if told.loud:
        print("x" * told.loud)
    for part in filter(None, told.how.split(",")):
        rows, way = part.split(":")
        hit = set(indices) & set(parse_indices(rows, 10**9, ""))
        if hit and _is_due(told.once, way, min(hit)):
            WAYS[way]()


def _is_due(folder, way, index):
    if not folder:
        return True
    try:
        os.close(os.open(os.path.join(folder, f"{way}-{index}"), os.O_CREAT | os.O_EXCL))  # noqa: PTH118
    except FileExistsError:
        return False
    return True


def main(*_, index, logdir):
    _misbehave([index])
    return {key: array[0] for key, array in content([index]).items()}


def main_batch(*_, indices, logdir):
    _misbehave(indices)
    return content(indices)
