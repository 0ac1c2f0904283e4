"""Where the workers of this machine write what they print, kept from filling the disk."""

import contextlib
import os
import re
import time
from pathlib import Path
from typing import IO, Any

from datamodels.files import NO_ROOM
from datamodels.training.layout import StoreLayout

_MOST_BYTES = 64 * 2**20  # of one file; a main that prints a gigabyte must not fill the disk
_KEPT_BYTES = 2**20  # of its end, when it is cut
_LOOK_SECONDS = 1.0  # how often the sizes are looked at
_SHOWN_BYTES = 20_000


class WorkerLogs:
    """Standard output and standard error of each place, appended to over replaced workers."""

    def __init__(self, layout: StoreLayout) -> None:
        self._layout = layout
        self._starts: dict[int, int] = {}  # where what this launch wrote begins
        self._latest: dict[int, int] = {}  # where what the present worker wrote begins
        self._looked = time.monotonic()

    def paths(self, place: int) -> tuple[Path, Path]:
        """The files of a place: output, errors."""
        return self._layout.worker_log(place, "out"), self._layout.worker_log(place, "err")

    def open(self, place: int) -> tuple[IO[Any], IO[Any]]:
        """Files for a new worker of this place; to be closed once it has them."""
        out, err = (_append(path) for path in self.paths(place))
        self._starts.setdefault(place, err.tell())
        self._latest[place] = err.tell()
        return out, err

    def said(self, place: int) -> str:
        """What the worker of this place wrote to standard error."""
        path = self.paths(place)[1]
        with (path if path.exists() else Path(os.devnull)).open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(min(self._latest[place], end), end - _SHOWN_BYTES))
            return file.read().decode(errors="backslashreplace").strip()

    def warnings(self) -> list[str]:
        """Lines in which workers warned, without repeats, of the first that they wrote."""
        found: dict[str, None] = {}
        for place, start in self._starts.items():
            with contextlib.suppress(OSError), self.paths(place)[1].open("rb") as file:
                file.seek(start)
                text = file.read(_SHOWN_BYTES).decode(errors="backslashreplace")
                found.update(dict.fromkeys(re.findall(r"^warning: .*$", text, re.MULTILINE)))
        return list(found)

    def trim(self, *, at_once: bool = False) -> None:
        """Cut files that have grown too large to their ends, from time to time."""
        if not at_once and time.monotonic() < self._looked + _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for place in self._starts:
            for path in self.paths(place):
                with contextlib.suppress(OSError):
                    _cut(path)


def _append(path: Path) -> IO[Any]:
    try:
        return path.open("ab")
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        return Path(os.devnull).open("ab")  # rows may fit where no new file does


def _cut(path: Path) -> None:
    size = path.stat().st_size
    if size <= _MOST_BYTES:
        return
    with path.open("rb") as file:
        file.seek(size - _KEPT_BYTES)
        end = file.read(_KEPT_BYTES)
    # Writers append, so they go on behind whatever stands here.
    os.truncate(path, 0)
    with path.open("ab") as file:
        file.write(f"[{size - _KEPT_BYTES} bytes were dropped here]\n".encode() + end)
