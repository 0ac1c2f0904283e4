"""One launcher a store at a time: a lock that ends with the process that holds it."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

from datamodels.errors import DatamodelsError
from datamodels.files import try_lock
from datamodels.training.layout import StoreLayout


class AlreadyLaunchedError(DatamodelsError):
    """Another launcher is at work on the store."""


@contextlib.contextmanager
def launch_lock(layout: StoreLayout) -> Iterator[None]:
    """Be the only launcher of this store; AlreadyLaunchedError names the one that is.

    The lock is the kernel's, on the descriptor: whatever ends this process gives it back. Where the
    file system has no locks, a launcher on this host whose process lives is still found.
    """
    layout.refuse_writing()
    layout.launch.mkdir(exist_ok=True)
    descriptor = os.open(layout.launch_lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _take(descriptor, layout)
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
        os.ftruncate(descriptor, 0)
        with contextlib.suppress(OSError):  # a full disk; the lock holds without the note
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _take(descriptor: int, layout: StoreLayout) -> None:
    locked = try_lock(descriptor)
    if locked:
        return
    holder = _holder(descriptor)
    here = holder.get("host") == socket.gethostname() and _is_alive(holder.get("pid"))
    if locked is False or here:
        raise _taken(layout, holder)


def _holder(descriptor: int) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        holder = json.loads(os.pread(descriptor, 4096, 0))
        if isinstance(holder, dict):
            return holder
    return {}


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _taken(layout: StoreLayout, holder: dict[str, Any]) -> AlreadyLaunchedError:
    who = f"process {holder['pid']} on {holder['host']}" if "pid" in holder else "another process"
    return AlreadyLaunchedError(
        f"{who} is launching {layout.root} already; wait for it, or end it, and run this again"
    )
