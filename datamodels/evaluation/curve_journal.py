"""The folder of a learning curve under way, so that it can go on after it was stopped.

It stands beside the results' place as ``<out>.unfinished``: ``asked.json`` says what was asked for
and of which rows, ``steps/`` holds what is done. Once the results stand at ``out`` it goes away.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from datamodels.errors import DatamodelsError, InputError
from datamodels.files import disk_errors, new_file, refuse_existing, try_lock
from datamodels.regression.blocks import Int64s
from datamodels.regression.journal import FolderJournal
from datamodels.regression.row_hashes import hashes_of
from datamodels.regression.row_source import RowSource

_N_HASHED = 64


@contextmanager
def open_steps(out: Path, asked: dict[str, Any]) -> Iterator[FolderJournal]:
    """The journal of a curve that is to stand at ``out``: a new one, or that of a stopped run of
    the same options.

    ExistsError where ``out`` exists; InputError where the stopped run was asked for something else.
    """
    refuse_existing(out)
    folder = out.with_name(out.name + ".unfinished")
    with disk_errors(folder):
        (folder / "steps").mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        _begin(folder, asked)
        yield FolderJournal(folder / "steps")
        shutil.rmtree(folder, ignore_errors=True)


def some_hashes(source: RowSource, rows: Int64s) -> list[int]:
    """Hashes of some rows, evenly spaced, which tell whether the data are still the same."""
    chosen = np.linspace(0, len(rows) - 1, _N_HASHED).round().astype(np.int64)
    return [int(h) for h in hashes_of(*source.read(rows[np.unique(chosen)]))]


def _begin(folder: Path, asked: dict[str, Any]) -> None:
    path = folder / "asked.json"
    asked = json.loads(json.dumps(asked))
    if not path.exists():
        with new_file(path) as partial:
            partial.write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}. Remove {folder} and start anew") from None
    before, asked = _flat(before), _flat(asked)
    differing = [name for name in asked if before.get(name) != asked[name]]
    if differing:
        what = ", ".join(
            "rows or data that are no longer the same"
            if isinstance(asked[name], list) and name != "sizes"
            else f"{name}={before.get(name)}, not {asked[name]}"
            for name in differing
        )
        raise InputError(
            f"{folder} holds an unfinished curve of {what}; give the same options to go on with "
            "it, or remove that folder"
        )


def _flat(asked: dict[str, Any]) -> dict[str, Any]:
    """The options of the fit beside the others."""
    fit = asked.get("fit")
    rest = {name: value for name, value in asked.items() if name != "fit"}
    return rest | (fit if isinstance(fit, dict) else {})


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        if try_lock(file.fileno()) is False:
            raise DatamodelsError(
                f"another process is at work in {folder}; wait for it, or name another out"
            )
        yield
