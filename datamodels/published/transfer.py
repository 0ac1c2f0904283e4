"""Fetching what a plan lists: pieces in parallel, each tried again where a connection breaks.

Whatever arrived is kept, be it part of a piece: a download that was stopped in any way goes on
where it was.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from datamodels.errors import DatamodelsError
from datamodels.npy_file import read_header
from datamodels.published.byte_ranges import Range
from datamodels.published.layout import journal_of
from datamodels.published.links import follow_name
from datamodels.published.partial_file import PartialFile, Source, is_empty_claim
from datamodels.published.plan import Item, Plan, missing_bytes
from datamodels.published.remote_header import header_from, whole_header
from datamodels.published.retries import pause_after
from datamodels.published.s3 import Bucket
from datamodels.published.s3_errors import TemporaryError, changed

_PROGRESS = 64 * 1024  # bytes: a connection that gave so many before it broke was a good one
_HELD = 8 * 2**20  # bytes of a request that wait in memory until they are written
_LOOK_SECONDS = 0.1
_FAREWELL_SECONDS = 5.0  # for threads to save what they hold, once they are stopped


@dataclass
class _OpenFile:
    """A file under way; it is closed, and gets its name if it is whole, after its last piece."""

    partial: PartialFile
    pieces: deque[Range]
    under_way: int = 0


class Transfer:
    """One run over a plan.

    ``received`` counts bytes as they come, retries and headers included; ``kept`` those that are
    safe on the disk.
    """

    def __init__(
        self, bucket: Bucket, plan: Plan, *, workers: int, chunk: int, retries: int
    ) -> None:
        """``workers`` requests of ``chunk`` bytes at a time, each of which may fail ``retries``
        times in a row."""
        self.received = self.kept = 0
        self._bucket = bucket
        self._workers, self._chunk, self._retries = workers, chunk, retries
        self._stopping = threading.Event()
        self._counting = threading.Lock()
        self._choosing = threading.Lock()  # of all that follows
        self._waiting = deque(plan.items)
        self._open: list[_OpenFile] = []
        self._error: BaseException | None = None

    def run(self, look: Callable[[int], object]) -> None:
        """Fetch everything; ``look`` is told the bytes that came, now and then, by this thread.

        An error or Ctrl-C stops all threads, which first write what they hold. One that is stuck
        in the network is left behind: nothing of what it holds is noted, so nothing is wrong.
        """
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._workers)]
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads) and self._error is None:
                time.sleep(_LOOK_SECONDS)
                look(self.received)
        finally:
            self._stopping.set()
            end = time.monotonic() + _FAREWELL_SECONDS
            for thread in threads:
                if thread.ident is not None:  # it was started
                    thread.join(max(0.0, end - time.monotonic()))
            if not any(thread.is_alive() for thread in threads):
                for file in self._open:
                    file.partial.close()
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        """A thread: piece after piece."""
        try:
            while (task := self._next()) is not None:
                file, (start, stop) = task
                self._fetch(file.partial, start, stop)
                with self._choosing:
                    file.under_way -= 1
                    self._settle(file)
        except BaseException as error:
            self._error = self._error or error  # the first one says why the others stopped
            self._stopping.set()

    def _next(self) -> tuple[_OpenFile, Range] | None:
        with self._choosing:
            while not self._stopping.is_set():
                for file in self._open:
                    if file.pieces:
                        file.under_way += 1
                        return file, file.pieces.popleft()
                if not self._waiting:
                    return None
                item = self._waiting.popleft()
                if item.final.exists() and not is_empty_claim(item.final):
                    continue  # another download finished it meanwhile
                file = self._begin(item)
                self._open.append(file)
                self._settle(file)  # nothing may be missing but its name
        return None

    def _settle(self, file: _OpenFile) -> None:
        if file.pieces or file.under_way or self._stopping.is_set():
            return
        if not file.partial.missing():
            file.partial.finish()
            follow_name(file.partial.final)
        file.partial.close()
        self._open.remove(file)

    def _begin(self, item: Item) -> _OpenFile:
        """Open or make the file; its header comes before all else, and is checked."""
        header = None
        if journal_of(item.final).exists():
            partial = PartialFile(item.final)
            if partial.source != item.source:
                raise changed(item.source.key)
            if item.published.is_array:
                header = read_header(partial.path)
        elif item.published.is_array:
            raw = whole_header(item.source, self._read)
            header = header_from(raw, item.source)
            partial = PartialFile.create(item.final, item.source, raw)
            self._count(kept=len(raw))
        else:
            partial = PartialFile.create(item.final, item.source)
        if item.header is not None and item.header != header:
            partial.close()
            raise DatamodelsError(
                f"{item.source.key} has another shape than its size told: {header}. Run the same "
                "command again, which now knows what these rows cost"
            )
        missing = missing_bytes(item, header, partial.ranges)
        return _OpenFile(partial, deque(pieces_of(missing, self._chunk)))

    def _fetch(self, partial: PartialFile, start: int, stop: int) -> None:
        """Bytes ``start`` to ``stop - 1`` to the disk, as they come: a large piece waits for
        nothing, and takes no more memory than a small one."""
        held = bytearray()
        try:
            for part in self._parts(partial.source, start, stop):
                held += part
                if len(held) >= _HELD:
                    start = self._keep(partial, start, held)
        finally:  # stopped, refused or cut off: what came was paid for
            self._keep(partial, start, held)

    def _keep(self, partial: PartialFile, start: int, held: bytearray) -> int:
        """Empty ``held`` to the disk, at ``start``; where the next bytes go."""
        partial.write(start, held)
        start += len(held)
        self._count(kept=len(held))
        held.clear()
        return start

    def _read(self, source: Source, start: int, stop: int) -> bytes:
        got = b"".join(self._parts(source, start, stop))
        if len(got) < stop - start:
            raise DatamodelsError("stopped")  # nobody sees it: what stopped the threads is shown
        return got

    def _count(self, *, received: int = 0, kept: int = 0) -> None:
        with self._counting:
            self.received += received
            self.kept += kept

    def _parts(self, source: Source, start: int, stop: int) -> Iterator[bytes]:
        """Bytes ``start`` to ``stop - 1`` of the object, in order; fewer once stopped."""
        failures = 0
        while start < stop and not self._stopping.is_set():
            before = start
            try:
                for part in self._bucket.read(source, start, stop):
                    start += len(part)
                    self._count(received=len(part))
                    yield part
                    if self._stopping.is_set():
                        return
            except TemporaryError:
                failures = 1 if start - before >= _PROGRESS else failures + 1
                if failures > self._retries:
                    raise
                self._stopping.wait(pause_after(failures))


def pieces_of(ranges: Iterable[Range], chunk: int) -> Iterator[Range]:
    """``ranges`` cut at multiples of ``chunk``."""
    for start, stop in ranges:
        while start < stop:
            end = min(stop, (start // chunk + 1) * chunk)
            yield start, end
            start = end  # noqa: PLW2901
