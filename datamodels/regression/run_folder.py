"""The folder of a run that is under way: what it was asked, what it settled, what is done.

It stands beside the results' place as ``<out_dir>.unfinished`` and holds ``asked.json``,
``plan.json``, the rows that take part and hashes of some of them, the moments once they are made,
and ``steps/`` with what is solved so far. Once the results stand at ``out_dir`` it goes away.
"""

import dataclasses
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from datamodels.errors import DatamodelsError, ExistsError, InputError, UsageError
from datamodels.files import (
    disk_errors,
    missing_folders,
    new_file,
    refuse_existing,
    remove_empty,
    sync_folder,
)
from datamodels.read_only import refuse_inside_read_only
from datamodels.regression.blocks import Int64s
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.fitted_rows import FittedRows
from datamodels.regression.journal import FolderJournal
from datamodels.regression.plan import Plan
from datamodels.regression.row_hashes import Hashes, hashes_of
from datamodels.regression.row_source import RowSource
from datamodels.regression.run_config import RunConfig

_ASKED, _PLAN, _HASHES = "asked.json", "plan.json", "hashes.npy"
_N_HASHED = 64  # rows that tell whether the data are still the same


class RunFolder:
    """An unfinished run; made by :func:`open_run`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = FolderJournal(path / "steps")
        self.moments = path / "moments.npz"

    @property
    def begun(self) -> bool:
        """Whether something is done that would be lost with the folder."""
        return self.moments.exists() or any((self.path / "steps").glob("*.npz"))

    def positions(self, source: RowSource) -> Int64s:
        """Which rows of ``source`` take part: those that did when the run began."""
        fitted = FittedRows.read(self.path)
        positions = np.flatnonzero(np.isin(source.idx, fitted.rows))
        if len(positions) != len(fitted.rows) or not np.array_equal(
            _some_hashes(source, positions), self._hashes()
        ):
            raise InputError(
                f"the data behind {self.path} have changed: other masks or outputs stand in the "
                "rows that the run began with. Remove that folder and start anew"
            )
        return positions

    def plan(self) -> Plan:
        """What the run settled when it began."""
        with self._reading(_PLAN):
            content = json.loads((self.path / _PLAN).read_text(encoding="utf-8"))
            return Plan(**{**content, "config": FitConfig(**content["config"])})

    def _hashes(self) -> Hashes:
        with self._reading(_HASHES):
            hashes: Hashes = np.load(self.path / _HASHES)
            return hashes

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, EOFError, TypeError, KeyError, UsageError) as error:
            raise InputError(
                f"{self.path / name} is damaged, or of another version: {error}. Remove "
                f"{self.path} and start anew"
            ) from None

    def begin(
        self, asked: RunConfig, plan: Plan, rows: FittedRows, source: RowSource, positions: Int64s
    ) -> None:
        """Note what the run is, of which ``positions`` of ``source``; from here on it can be
        resumed."""
        with disk_errors(self.path):
            (self.path / "steps").mkdir(exist_ok=True)
            rows.save(self.path)
            np.save(self.path / _HASHES, _some_hashes(source, positions))
            text = json.dumps(dataclasses.asdict(plan), indent=2)
            (self.path / _PLAN).write_text(text + "\n", encoding="utf-8")
            _sync_files(self.path)
        with new_file(self.path / _ASKED) as temporary:  # last: it says that the rest is there
            asked.save(temporary.parent, temporary.name)

    @property
    def can_resume(self) -> bool:
        return (self.path / _ASKED).exists()

    def check_asked(self, asked: RunConfig) -> None:
        """InputError unless the run was asked for the same."""
        before = RunConfig.read(self.path, _ASKED)
        for name in asked.differences(before):
            raise InputError(
                f"{self.path} was begun with {name}={before.option(name)}, and is to be resumed "
                f"with {name}={asked.option(name)}; give the same options, or remove that folder"
            )


def check_complete(out_dir: Path, asked: RunConfig) -> None:
    """InputError unless the results in ``out_dir`` are of the run that is ``asked`` for.

    What is left of that run where it was killed in its last moment goes away.
    """
    done = RunConfig.read(out_dir)
    left_open = asked.fit.engine == "auto"  # and settled then, as the engine was
    settled = dataclasses.replace(asked.fit, engine=done.fit.engine) if left_open else asked.fit
    asked = dataclasses.replace(asked, fit=settled, engine_reason=done.engine_reason)
    for name in asked.differences(done):
        raise InputError(
            f"{out_dir} holds the results of a run with {name}={done.option(name)}, not "
            f"{name}={asked.option(name)}; name another out_dir"
        )
    rest = _path(out_dir)
    if rest.exists():
        with _locked(rest):
            shutil.rmtree(rest, ignore_errors=True)


def _path(out_dir: Path) -> Path:
    return out_dir.with_name(out_dir.name + ".unfinished")


def _sync_files(folder: Path) -> None:
    """Bring the files of a folder to the disk, before another one says that they are there."""
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def _some_hashes(source: RowSource, positions: Int64s) -> Hashes:
    chosen = np.linspace(0, len(positions) - 1, _N_HASHED).round().astype(np.int64)
    return hashes_of(*source.read(positions[np.unique(chosen)]))


@contextmanager
def open_run(out_dir: Path, *, resume: bool) -> Iterator[RunFolder]:
    """The folder of a new run, or with ``resume`` of one that was stopped.

    It is removed when the block ends without an error, and after an error when it is new and
    nothing was done yet. ExistsError when ``out_dir`` exists, or an unfinished run that is not to
    be resumed.
    """
    refuse_inside_read_only(out_dir, "cfg.out_dir")
    refuse_existing(out_dir)
    path = _path(out_dir)
    made = missing_folders(path.parent)
    run = RunFolder(path)
    found = run.can_resume
    if found and not resume:
        raise ExistsError(
            f"{path} holds an unfinished run; go on with it by --cfg.resume, or remove it"
        )
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        try:
            yield run
        except BaseException:
            if run.begun:
                print(f"{path} keeps what is done; go on by --cfg.resume", file=sys.stderr)
            elif not found:
                shutil.rmtree(path, ignore_errors=True)
                remove_empty(made)
            raise
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time works on a run; a dead one's lock is void."""
    with (path / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatamodelsError(
                f"another process is at work in {path}; wait for it, or name another out_dir"
            ) from None
        yield
