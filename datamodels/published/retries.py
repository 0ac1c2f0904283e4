"""Trying again what a broken connection or a busy server spoiled."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from datamodels.published.s3_errors import TemporaryError, UnreachableError

Result = TypeVar("Result")

_FIRST_PAUSE = 0.2  # seconds, doubled with every failure
_LONGEST_PAUSE = 30.0
_UNREACHABLE = 2  # tries more


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row; random, so that many do not come back at
    one time."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures, 16))
    return longest * random.uniform(0.5, 1)


def persistently(action: Callable[[], Result], retries: int) -> Result:
    """What ``action`` returns, tried again up to ``retries`` times after a TemporaryError.

    Where nobody answers at all, which is more often a wrong address than a bad hour, twice at most.
    """
    for failures in range(retries):
        try:
            return action()
        except UnreachableError:
            if failures >= _UNREACHABLE:
                raise
            time.sleep(pause_after(failures))
        except TemporaryError:
            time.sleep(pause_after(failures))
    return action()
