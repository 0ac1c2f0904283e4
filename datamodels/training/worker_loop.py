"""Running the user's ``main`` for row after row of a store, in this process."""

import contextlib
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from datamodels.cli.shared_config import current_config
from datamodels.errors import DatamodelsError, UsageError
from datamodels.files import NO_ROOM
from datamodels.training.indices import format_indices
from datamodels.training.layout import StoreLayout
from datamodels.training.planned_masks import PlannedMasks
from datamodels.training.process_faults import spoils_process
from datamodels.training.records import RecordWriter
from datamodels.training.row_values import RowError
from datamodels.training.stop_signal import StopSignal
from datamodels.training.store import Store
from datamodels.training.worker_events import Reports
from datamodels.training.worker_report import Outcome, describe, log_command, save_failure, say

Main = Callable[..., Any]

# The store and the row that this process is at, while main runs: one item, or none.
CURRENT_ROW: list[tuple[str, int]] = []


class ImportFailure(DatamodelsError):
    """The user's module raised while it was imported; the message holds the traceback."""


class UserModule(NamedTuple):
    """What the user's module offers: one row a call, many, or both."""

    main: Main | None
    main_batch: Main | None


def import_main(name: str, batch: int | None = None) -> UserModule:
    """``main`` and ``main_batch`` of module ``name``, looked up from the current folder first, as
    with ``python -m``.

    UsageError when there is no such module or it has neither, or no main_batch though ``batch``
    asks for it; ImportFailure when it raises.
    """
    module = _imported(name)
    found = (getattr(module, part, None) for part in UserModule._fields)
    user = UserModule(*(part if callable(part) else None for part in found))
    where = f"--worker.main_import={name}: {getattr(module, '__file__', name)} defines no"
    if user.main is None and user.main_batch is None:
        raise UsageError(f"{where} main(*_, index, logdir)")
    if batch is not None and user.main_batch is None:
        raise UsageError(
            f"{where} main_batch(*_, indices, logdir), which --worker.batch={batch} calls; leave "
            "it out to call main for each row"
        )
    return user


def _imported(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"--worker.main_import={name} is no module name: write it as in an import statement, "
            f"e.g. {_as_module(name) or 'package.module'}"
        )
    if "" not in sys.path and "." not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            hint = f": write {_as_module(name)}" if _as_module(name) != name else ""
            raise UsageError(
                f"--worker.main_import={name}: there is no module {error.name!r}; name it as in an "
                f"import statement, from the folder the command is run in{hint}"
            ) from None
        raise ImportFailure(f"importing {name} failed\n{describe(error)[1]}") from error
    except (Exception, SystemExit) as error:
        raise ImportFailure(f"importing {name} failed\n{describe(error)[1]}") from error


def _as_module(name: str) -> str:
    """What a path such as examples/minimal/train.py is called in an import statement."""
    return name.removesuffix(".py").strip("./").replace("/", ".")


class RowRunner:
    """Runs ``main`` for rows of ``store``, one or a batch at a time, and writes what it returns.

    Args:
        batch: rows that one call of ``main_batch`` makes; None: one call of ``main`` a row.
        on_failure: told which row failed, and why.
        is_replaced: whoever started this process starts another when it ends, for the rows left.

    Attributes:
        is_spent: memory has run out or the accelerator has failed, and another process is to go
            on: this one may not recover.
    """

    def __init__(
        self,
        store: Store,
        user: UserModule,
        *,
        logdir: str,
        do_if_complete: bool,
        argv: Sequence[str],
        rows_option: str = "index",
        batch: int | None = None,
        main_import: str | None = None,
        on_failure: Callable[[int, str], None] | None = None,
        is_replaced: bool = False,
    ) -> None:
        store.layout.refuse_writing()
        self._store = store
        self._logdir = StoreLayout(Path(logdir))  # as the user wrote it: main is told no other path
        self._user = user
        self._do_if_complete = do_if_complete
        self._argv = argv
        self._rows_option = rows_option
        self._batch = batch
        self._on_failure = on_failure
        self._is_replaced = is_replaced
        self.is_spent = False
        self._records = RecordWriter(store.layout, command=argv, main=main_import)
        self._plan = PlannedMasks.read(store.layout)
        self._warned_of: set[str] = set()
        self._process = os.getpid()
        self._folder = Path.cwd()

    @property
    def batch(self) -> int:
        """Rows of one call."""
        return self._batch or 1

    def run(self, rows: Sequence[int]) -> list[Outcome] | None:
        """Fill ``rows`` by one call. Whatever ``main`` raises, but for Ctrl-C, is their failure.

        None where a batch of several failed: which of them is at fault is not known.
        """
        began = time.monotonic()
        try:
            return self._run(rows, began)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too: main must return, not end the worker
            self._end_fork(error)
            self.is_spent = self._is_replaced and spoils_process(error, len(rows))
            summary, detail = describe(error)
            if isinstance(error, RowError):
                summary = str(error)
            if len(rows) > 1:
                say(f"rows {format_indices(list(rows))} failed together, and are run one by one: "
                    f"{summary.splitlines()[0] if summary else ''}")  # fmt: skip
                return None
            if self._on_failure is not None:
                self._on_failure(rows[0], summary)
            save_failure(self._store.layout, rows[0], summary, detail)
            self._records.row(rows[0], "failed", time.monotonic() - began, error=summary)
            return [Outcome.FAILED]

    def _run(self, rows: Sequence[int], began: float) -> list[Outcome]:
        outcomes = dict.fromkeys(rows, Outcome.SKIPPED)
        if not self._do_if_complete:
            rows = [row for row in rows if not self._store.is_complete(row)]
        if not rows:
            return list(outcomes.values())
        with contextlib.suppress(OSError):  # it may be gone
            os.chdir(self._folder)  # the last row's main may have changed it
        # For modules that ask their configuration which row they are at, and for kv_log.
        current_config().content["worker", "index"] = rows[0]
        CURRENT_ROW[:] = [(str(self._store.path), rows[0])] if len(rows) == 1 else []
        _make_folder(self._store.layout.worker(rows[0]))
        row = self._call(rows)
        self._end_fork(None)
        if self._plan is not None:
            self._plan.check(rows, row)
        written = self._written(rows, row)
        self._warn_of_absent_keys(row)
        seconds = (time.monotonic() - began) / len(rows)
        for index, was_written in zip(rows, written, strict=True):
            if was_written:
                outcomes[index] = Outcome.WRITTEN
                self._records.row(index, "written", seconds, batch=len(rows))
                self._clear_up(index)
            else:
                say(f"row {index} was completed by another process meanwhile; kept as it is")
        return list(outcomes.values())

    def _call(self, rows: Sequence[int]) -> Any:
        logdir = str(self._logdir.worker(rows[0]))
        if self._user.main is not None and self._batch is None:
            return self._user.main(index=rows[0], logdir=logdir)
        assert self._user.main_batch is not None
        return self._user.main_batch(indices=list(rows), logdir=logdir)

    def _written(self, rows: Sequence[int], row: Any) -> Sequence[bool]:
        if self._user.main is not None and self._batch is None:
            return [self._store.write(rows[0], row, overwrite=self._do_if_complete)]
        written = self._store.write_block(rows, row, overwrite=self._do_if_complete)
        return [bool(one) for one in written]

    def _clear_up(self, index: int) -> None:
        with contextlib.suppress(OSError):  # the row is complete, whatever becomes of these
            self._store.layout.error(index).unlink(missing_ok=True)
        log_command(self._store.layout, self._argv, self._rows_option, index)

    def _end_fork(self, error: BaseException | None) -> None:
        """End a process that ``main`` forked and that came back here: the rows are its parent's."""
        if os.getpid() == self._process:
            return
        status = 0
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            traceback.print_exception(error)
            status = 1
        sys.stdout.flush()
        os._exit(status)

    def _warn_of_absent_keys(self, row: Mapping[str, Any]) -> None:
        absent = set(self._store.spec.schema) - set(row)
        if absent - self._warned_of:
            self._warned_of |= absent
            say(
                f"warning: main returned no {', '.join(sorted(absent))}: that part of the row "
                "stays as it is"
            )


def _make_folder(folder: Path) -> None:
    """The folder that ``main`` is told; left out on a full disk, where the row itself may fit."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise


def run_rows(
    runner: RowRunner, chunks: Iterable[Sequence[int]], reports: Sequence[Reports]
) -> bool:
    """Run every row in turn, telling ``reports`` how each began and ended; whether all were tried.

    Ctrl-C and SIGTERM end at once, SIGUSR1 after the call of ``main`` that is under way, as does
    the end of the memory, or of the accelerator, where ``runner`` is replaced.
    """
    with _interrupts_end_at_once(), StopSignal() as stop:
        for chunk in stop.until_asked(chunks):
            for at in range(0, len(chunk), runner.batch):
                if stop.asked:
                    return False
                _run_together(runner, chunk[at : at + runner.batch], reports)
                if runner.is_spent:
                    return False
        return not stop.asked


def _run_together(runner: RowRunner, rows: Sequence[int], reports: Sequence[Reports]) -> None:
    for report in reports:
        report.start(rows)
    began = time.monotonic()
    outcomes = runner.run(rows)
    seconds = (time.monotonic() - began) / len(rows)
    if outcomes is None:
        for index in rows:
            if not runner.is_spent:
                _run_together(runner, [index], reports)
        return
    for index, outcome in zip(rows, outcomes, strict=True):
        for report in reports:
            report.done(index, outcome, seconds)


@contextlib.contextmanager
def _interrupts_end_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process as SIGTERM does, also from within native code.

    Python's own handler waits for the next bytecode, which a stuck native call never reaches, and
    a bare ``except`` in ``main`` would swallow it. Nothing of ours needs to be cleaned up: a row is
    complete once its flag is written, and not before. A handler that the user's module set stays.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if ours:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    except ValueError:  # not in the main thread, where no handler can be set
        ours = False
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
