"""Sets of byte positions as sorted ranges ``(start, stop)`` that neither touch nor overlap."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

Range = tuple[int, int]


class ByteRanges:
    """A set of positions that grows by ranges."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        for start, stop in ranges:
            self.add(start, stop)

    def add(self, start: int, stop: int) -> None:
        """Include ``start`` to ``stop - 1``."""
        if start >= stop:
            return
        first = bisect_left(self._stops, start)  # the first range that touches
        last = bisect_right(self._starts, stop)  # behind the last one that does
        if first < last:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[last - 1])
        self._starts[first:last] = [start]
        self._stops[first:last] = [stop]

    def missing(self, start: int, stop: int) -> list[Range]:
        """What of ``start`` to ``stop - 1`` is not in the set, in order."""
        gaps = []
        place = bisect_right(self._stops, start)
        while start < stop and place < len(self._starts) and self._starts[place] < stop:
            if start < self._starts[place]:
                gaps.append((start, self._starts[place]))
            start = self._stops[place]
            place += 1
        if start < stop:
            gaps.append((start, stop))
        return gaps

    @property
    def ranges(self) -> list[Range]:
        """The whole set."""
        return list(zip(self._starts, self._stops, strict=True))

    def __len__(self) -> int:
        """How many positions there are."""
        return sum(self._stops) - sum(self._starts)


def length_of(ranges: Iterable[Range]) -> int:
    """Positions in ranges that do not overlap."""
    return sum(stop - start for start, stop in ranges)
