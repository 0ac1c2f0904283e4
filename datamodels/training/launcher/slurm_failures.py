"""How often each row has failed since a launch began, told from its ``error.txt``."""

import os
import time
from collections import Counter
from collections.abc import Iterable

from datamodels.training.layout import StoreLayout

_SHARE = 0.05  # of the time: looking at thousands of files on a network file system takes seconds


class RowFailures:
    """Counts the changes of each row's ``error.txt`` from now on.

    Failures between two looks count as one.
    """

    def __init__(self, layout: StoreLayout, rows: Iterable[int]) -> None:
        self._layout = layout
        self._seen = self._stamps(rows)
        self._counts: Counter[int] = Counter()
        self._next_look = 0.0

    def look(self, rows: Iterable[int], *, now: bool = False) -> None:
        """See which of ``rows`` failed again; without ``now`` only where the last look was cheap
        or long ago."""
        began = time.monotonic()
        if not now and began < self._next_look:
            return
        for row, stamp in self._stamps(rows).items():
            if self._seen.get(row) != stamp:
                self._counts[row] += 1
                self._seen[row] = stamp
        ended = time.monotonic()
        self._next_look = ended + (ended - began) / _SHARE

    def of(self, row: int) -> int:
        """How often ``row`` failed."""
        return self._counts[row]

    @property
    def total(self) -> int:
        """Failures of all rows."""
        return self._counts.total()

    def _stamps(self, rows: Iterable[int]) -> dict[int, tuple[int, int, int]]:
        """What tells one ``error.txt`` from the next, for each row that has one."""
        workers = self._layout.worker(0).parent
        try:
            begun = set(os.listdir(workers))  # noqa: PTH208 (a row that nobody began has none)
        except FileNotFoundError:
            return {}
        stamps = {}
        for row in rows:
            if str(row) not in begun:
                continue
            try:
                stat = self._layout.error(row).stat()
            except OSError:
                continue
            if stat.st_size:  # empty: it is being written
                stamps[row] = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        return stamps
