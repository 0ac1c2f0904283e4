"""One line that says how far a launch is: rows done, failed, running, rows a second, time left."""

import sys
import time

from tqdm import tqdm

_LINE_SECONDS = 60.0  # between two lines, where there is no terminal


class LaunchLine:
    """A progress line on standard error: redrawn on a terminal, else a new one every minute."""

    def __init__(self, total: int, done: int) -> None:
        self._total, self._before = total, done
        self._began = time.monotonic()
        self._next = self._began + _LINE_SECONDS
        # disable=None: no bar when standard error is not a terminal
        self._bar = tqdm(total=total, initial=done, unit="row", disable=None, dynamic_ncols=True)
        self._state = (done, 0, 0)

    def update(self, done: int, failed: int, running: int) -> None:
        """Rows complete, rows failed for good or for now, and workers or tasks at work."""
        if (done, failed, running) != self._state:
            self._state = (done, failed, running)
            self._bar.set_postfix_str(f"{failed} failed, {running} running", refresh=False)
            self._bar.update(done - self._bar.n)
        if self._bar.disable and time.monotonic() >= self._next:
            self._next += _LINE_SECONDS
            self.say(self.text())

    def text(self) -> str:
        """The line, without a bar."""
        done, failed, running = self._state
        seconds = time.monotonic() - self._began
        rate = (done - self._before) / seconds if seconds > 0 else 0.0
        left = f", {_duration((self._total - done) / rate)} left" if rate > 0 else ""
        return (
            f"{time.strftime('%Y-%m-%d %H:%M:%S')} {done} of {self._total} rows done, {failed} "
            f"failed, {running} running, {rate:.3g} rows/s{left}"
        )

    def say(self, line: str) -> None:
        """A line above the progress line."""
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the line as it stands."""
        self._bar.close()

    def __enter__(self) -> "LaunchLine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days} d " if days else "") + f"{hours:02d}:{minutes:02d}:{seconds:02d}"
