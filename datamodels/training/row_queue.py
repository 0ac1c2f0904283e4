"""The rows still to run, handed out in chunks that suit how long a row takes."""

import math
from collections import deque
from collections.abc import Iterable, Sequence

from datamodels.training.worker_report import Outcome

_CHUNK_SECONDS = 1.0  # a worker asks for rows about so often: what that costs is lost in it
_NEWEST = 0.2  # weight of the newest row in the mean time of a row
_SHARE = 0.5  # of what each worker would get if all that is left were handed out now


class RowQueue:
    """Rows of a store that are to be run, by several workers, each some times if it fails.

    Args:
        rows: those to run, in order.
        workers: how many take rows from here.
        retries: how often a row may fail before it is set aside.
        batch: rows that a worker runs together; chunks hold whole batches while there are many.
        most: rows a chunk holds at most.
    """

    def __init__(
        self,
        rows: Iterable[int],
        *,
        workers: int = 1,
        retries: int = 1,
        batch: int = 1,
        most: int = 4_000,
    ) -> None:
        self._rows = deque(rows)
        self._alone: deque[int] = deque()  # to be run one by one
        self._workers, self._retries, self._batch, self._most = workers, retries, batch, most
        self._failures: dict[int, int] = {}
        self._row_seconds: float | None = None  # not known yet
        self.set_aside: list[int] = []

    def __len__(self) -> int:
        """Rows that nobody has taken."""
        return len(self._rows) + len(self._alone)

    def take(self) -> list[int]:
        """The next chunk, empty where none is left.

        About a second of work, the first one a single batch; fewer rows as they run out, so that
        no worker is left with many while the others have none.
        """
        if not self._rows:
            return [self._alone.popleft()] if self._alone else []
        size = min(self._size(), len(self._rows))
        return [self._rows.popleft() for _ in range(size)]

    def _size(self) -> int:
        left = len(self._rows)
        if self._row_seconds is None:
            return min(self._batch, math.ceil(left / self._workers))
        wanted = _CHUNK_SECONDS / max(self._row_seconds, 1e-6)
        fair = math.ceil(_SHARE * left / self._workers)
        batches = int(min(wanted, fair, self._most)) // self._batch
        return max(1, batches * self._batch or min(self._batch, math.ceil(left / self._workers)))

    def ended(self, index: int, outcome: Outcome, seconds: float) -> bool:
        """A row ended; True where it failed for the last time, and is set aside."""
        if outcome is Outcome.WRITTEN:
            before = seconds if self._row_seconds is None else self._row_seconds
            self._row_seconds = before + _NEWEST * (seconds - before)
        if outcome is not Outcome.FAILED:
            return False
        self._failures[index] = self._failures.get(index, 0) + 1
        if self._failures[index] >= self._retries:
            self.set_aside.append(index)
            return True
        self._alone.append(index)
        return False

    def put_back(self, rows: Sequence[int]) -> None:
        """Rows that a worker had taken and did not begin: the next to be taken."""
        self._rows.extendleft(reversed(rows))

    def put_back_alone(self, rows: Sequence[int]) -> None:
        """Rows whose batch ended its worker: each is run by itself, to find the one."""
        self._alone.extend(rows)
