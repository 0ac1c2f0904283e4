"""SIGUSR1: end after the row under way."""

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence


class StopSignal:
    """Takes SIGUSR1 while it is entered; a handler that the user's module has set stays.

    Attributes:
        asked: whether the signal came.
    """

    def __init__(self, when_asked: Callable[[], None] = lambda: None) -> None:
        self.asked = False
        self._when_asked = when_asked
        self._waiting = False
        self._ours = False

    def __enter__(self) -> "StopSignal":
        with contextlib.suppress(ValueError):  # not in the main thread, where no handler can be set
            if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
                signal.signal(signal.SIGUSR1, self._ask)
                self._ours = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)

    def _ask(self, *_: object) -> None:
        self.asked = True
        self._when_asked()
        if self._waiting:
            raise _StopWaitingError  # reading would go on after the handler

    def until_asked(self, chunks: Iterable[Sequence[int]]) -> Iterator[Sequence[int]]:
        """``chunks``, as long as nobody asks for an end; also one that waits for the next ends."""
        source = iter(chunks)
        while not self.asked:
            try:
                self._waiting = True
                chunk = next(source, None)
                self._waiting = False
            except _StopWaitingError:
                return
            if chunk is None:
                return
            yield chunk


class _StopWaitingError(Exception):
    pass
