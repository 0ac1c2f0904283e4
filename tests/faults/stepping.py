"""Kill a row's run between every two of its system calls.

``python -m tests.faults.stepping STORE`` runs rows in forked children that are stopped, by
``ptrace``, on the way into and out of every system call, and killed at the first stop, then the
second, and so on until a child gets through. After every kill the parent, which has the store open
as another worker would, reads the rows, and in the end completes them. Prints JSON.
"""

import ctypes
import itertools
import json
import os
import signal
import sys

import numpy as np

from datamodels.training.store import Store
from datamodels.training.worker_loop import RowRunner, UserModule
from tests.faults.rows import content, wrong_rows

TRACEME, CONT, SYSCALL, SETOPTIONS = 0, 7, 24, 0x4200  # sys/ptrace.h of Linux
SYSGOOD, EXITKILL = 1, 1 << 20
AT_CALL = signal.SIGTRAP | 0x80
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
KINDS = {"row": 1, "block": 3, "rewrite": 1}  # what is written, and how many rows it is

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class NotTraceableError(Exception):
    """This system lets no process trace its children."""


def ptrace(request, pid, data=0):
    if libc.ptrace(request, pid, None, data) == -1:
        raise NotTraceableError(os.strerror(ctypes.get_errno()))


def main_of(*_, index, logdir):
    return {key: array[0] for key, array in content([index]).items()}


def main_batch_of(*_, indices, logdir):
    return content(indices)


def runner_of(store, kind):
    return RowRunner(
        store, UserModule(main_of, main_batch_of), logdir=str(store.path), argv=["python"],
        do_if_complete=kind == "rewrite", batch=None if KINDS[kind] == 1 else KINDS[kind],
    )  # fmt: skip


def child(store, kind, rows):
    """What a worker does; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as in a worker
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    runner = runner_of(store, kind)
    try:
        ptrace(TRACEME, 0)
    except NotTraceableError:
        os._exit(77)
    os.kill(os.getpid(), signal.SIGSTOP)
    outcomes = runner.run(rows)
    os._exit(0 if outcomes and all(each.value == "written" for each in outcomes) else 3)


def killed_at(stop, sent, store, kind, rows):
    """Whether a child was killed at its ``stop``-th stop; False where it got through before."""
    pid = os.fork()
    if pid == 0:
        try:
            child(store, kind, rows)
        finally:
            os._exit(4)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        raise NotTraceableError("ptrace is not permitted")
    ptrace(SETOPTIONS, pid, SYSGOOD | EXITKILL)
    for _ in range(stop):
        ptrace(SYSCALL, pid)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, f"a row failed: {status}"
            return False
        assert os.WSTOPSIG(status) == AT_CALL, status
    os.kill(pid, sent)
    while not os.WIFSIGNALED(status):
        if sent != signal.SIGKILL:
            ptrace(CONT, pid, sent if os.WSTOPSIG(status) == sent else 0)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):  # it was on its way out
            return False
    assert os.WTERMSIG(status) == sent
    return True


def assert_whole(store, kind, rows):
    """Rows that are marked complete are right: as they are now, or as they were before."""
    done = [row for row in rows if store.completed[row]]
    wrong = wrong_rows(store, done)
    if wrong and kind == "rewrite":
        wrong = wrong_rows(store, done, generation=1)
    assert wrong == [], f"rows {wrong} are marked complete and wrong"
    return len(done)


def step_through(store, kind, sent, figures):
    """One kind of write, killed by one signal at every place; on rows of its own each time."""
    size = KINDS[kind]
    rows = list(range(size))
    runner = runner_of(store, kind)
    for stop in itertools.count(1):
        clear(store, rows)
        if kind == "rewrite":
            store.write(rows[0], {k: a[0] for k, a in content(rows, generation=1).items()})
        was_killed = killed_at(stop, sent, store, kind, rows)
        figures["complete rows checked"] += assert_whole(store, kind, rows)
        if not was_killed:
            break
        figures["kills"] += 1
        runner.run(rows)
        assert store.completed[rows].all(), f"not finished after a kill at {stop}"
        assert wrong_rows(store, rows) == []
        figures["complete rows checked"] += size
    return stop - 1


def clear(store, rows):
    for key in ("_completed", *store.spec.schema):
        array = np.load(store.layout.array(key), mmap_mode="r+")
        array[rows] = 0


def main():
    figures = {"kills": 0, "complete rows checked": 0}
    try:
        with Store.open(sys.argv[1]) as store:
            for kind, sent in itertools.product(KINDS, SIGNALS):
                figures[f"{kind} {sent.name}"] = step_through(store, kind, sent, figures)
    except NotTraceableError as error:
        print(json.dumps({"impossible": str(error)}))
        return
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
