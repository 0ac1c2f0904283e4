"""Whether a store's rows were made with other options than those that a launch is about to use."""

from collections.abc import Sequence
from typing import Any

from datamodels.cli import catalogue
from datamodels.cli.command_line import scan
from datamodels.training.layout import StoreLayout
from datamodels.training.records import WorkerRecord, read_worker, record_files


def what_differs(layout: StoreLayout, main_import: str, words: Sequence[str]) -> list[str]:
    """What the worker that was last at the store was told otherwise, as ``--training.c=1 (now 2)``.

    Only of what stands on the two command lines: ``words`` are options of the user's module, and of
    files that they name nothing is known. Nothing where no worker has left a record.
    """
    last = _last_worker(layout)
    if last is None:
        return []
    found = []
    if last.main is not None and last.main != main_import:
        found.append(f"main of {last.main} (now {main_import})")
    now, before = _users(words), _users(last.command)
    for name in sorted(now.keys() | before.keys()):
        there = last.options.get(name, before.get(name))
        shown = f"--{name}" if there is None else f"--{name}={there}"
        if name not in now:
            found.append(f"{shown} (now not given)")
        elif name in last.options and not _same(there, now[name]):
            found.append(f"{shown} (now {now[name]})")
    return found


def _last_worker(layout: StoreLayout) -> WorkerRecord | None:
    files = record_files(layout)
    return read_worker(max(files, key=lambda path: path.stat().st_mtime)) if files else None


def _users(words: Sequence[str]) -> dict[str, Any]:
    """Options of a command line that are none of ours."""
    options = scan(list(words), flags=catalogue.WORKER.flags()).options
    return {name: value for name, value in options.items() if name not in catalogue.known_names()}


def _same(resolved: Any, written: Any) -> bool:
    """Whether a value is the one that was written on a command line."""
    if str(resolved) == str(written):
        return True
    try:
        return float(resolved) == float(written)
    except (TypeError, ValueError):
        return str(resolved).lower() == str(written).lower()
