"""Ending a process between any two of its changes to the disk, as a kill would."""

import multiprocessing
import os
from collections.abc import Callable, Iterator

_CHANGES = ("open", "ftruncate", "pwrite", "fsync", "mkdir", "link", "symlink", "unlink", "replace",
            "rename")  # fmt: skip
_MOST = 500
_KILLED = 9


def kills_at_each_step(
    action: Callable[[], object], restore: Callable[[], object]
) -> Iterator[int]:
    """Run ``action`` in a process that dies before its first change to the disk, then before its
    second, and so on; yields the number of the step after each death, and at last once it lived.

    ``restore`` comes before each: what is there shall be as it was at first.
    """
    for step in range(_MOST):
        restore()
        process = multiprocessing.get_context("fork").Process(target=_die, args=(action, step))
        process.start()
        process.join()
        assert process.exitcode in (0, _KILLED), process.exitcode
        yield step
        if process.exitcode == 0:
            return
    raise AssertionError(f"more than {_MOST} steps")


def _die(action: Callable[[], object], step: int) -> None:
    """In a process of its own, which is not cleaned up after."""
    left = [step]

    def mortal(change):
        def act(*arguments, **named):
            if not left[0]:
                os._exit(_KILLED)
            left[0] -= 1
            return change(*arguments, **named)

        return act

    for name in _CHANGES:
        setattr(os, name, mortal(getattr(os, name)))
    action()
    os._exit(0)
