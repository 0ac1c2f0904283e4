"""Running the user's ``main`` for row after row of a store, in this process."""

import contextlib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datamodels.cli.shared_config import current_config
from datamodels.errors import DatamodelsError, UsageError
from datamodels.training.layout import StoreLayout
from datamodels.training.row_values import RowError
from datamodels.training.store import Store
from datamodels.training.worker_report import Outcome, describe, log_command, save_failure, say

Main = Callable[..., Any]

# The store and the row that this process is at, while main runs: one item, or none.
CURRENT_ROW: list[tuple[str, int]] = []


class ImportFailure(DatamodelsError):
    """The user's module raised while it was imported; the message holds the traceback."""


def import_main(name: str) -> Main:
    """``main`` of module ``name``, looked up from the current folder first, as with ``python -m``.

    UsageError when there is no such module or it has no ``main``; ImportFailure when it raises.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"--worker.main_import={name} is no module name: write it as in an import statement, "
            f"e.g. {_as_module(name) or 'package.module'}"
        )
    if "" not in sys.path and "." not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(name)
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
    main = getattr(module, "main", None)
    if not callable(main):
        raise UsageError(
            f"--worker.main_import={name}: {getattr(module, '__file__', name)} defines no "
            "main(*_, index, logdir)"
        )
    return main  # type: ignore[no-any-return]


def _as_module(name: str) -> str:
    """What a path such as examples/minimal/train.py is called in an import statement."""
    return name.removesuffix(".py").strip("./").replace("/", ".")


class RowRunner:
    """Runs ``main`` for one row of ``store`` at a time and writes what it returns."""

    def __init__(
        self,
        store: Store,
        main: Main,
        *,
        logdir: str,
        do_if_complete: bool,
        argv: Sequence[str],
        rows_option: str = "index",
    ) -> None:
        self._store = store
        self._logdir = StoreLayout(Path(logdir))  # as the user wrote it: main is told no other path
        self._main = main
        self._do_if_complete = do_if_complete
        self._argv = argv
        self._rows_option = rows_option
        self._warned_of: set[str] = set()
        self._process = os.getpid()
        self._folder = Path.cwd()

    def run(self, index: int) -> Outcome:
        """Fill row ``index``. Whatever ``main`` raises, but for Ctrl-C, is this row's failure."""
        try:
            return self._run(index)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too: main must return, not end the worker
            self._end_fork(error)
            summary, detail = describe(error)
            if isinstance(error, RowError):
                summary = str(error)
            save_failure(self._store.layout, index, summary, detail)
            return Outcome.FAILED

    def _run(self, index: int) -> Outcome:
        if not self._do_if_complete and self._store.is_complete(index):
            return Outcome.SKIPPED
        with contextlib.suppress(OSError):  # it may be gone
            os.chdir(self._folder)  # the last row's main may have changed it
        # For modules that ask their configuration which row they are at, and for kv_log.
        current_config().content["worker", "index"] = index
        CURRENT_ROW[:] = [(str(self._store.path), index)]
        self._store.layout.worker(index).mkdir(parents=True, exist_ok=True)
        row = self._main(index=index, logdir=str(self._logdir.worker(index)))
        self._end_fork(None)
        written = self._store.write(index, row, overwrite=self._do_if_complete)
        self._warn_of_absent_keys(row)
        if not written:
            say(f"row {index} was completed by another process meanwhile; kept as it is")
            return Outcome.SKIPPED
        with contextlib.suppress(OSError):  # the row is complete, whatever becomes of these
            self._store.layout.error(index).unlink(missing_ok=True)
        log_command(self._store.layout, self._argv, self._rows_option, index)
        return Outcome.WRITTEN

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


def run_rows(
    runner: RowRunner, indices: Sequence[int], report: Callable[[int, Outcome], None]
) -> None:
    """Run every row in turn, telling ``report`` how each ended; Ctrl-C and SIGTERM end at once."""
    with _interrupts_end_at_once():
        for index in indices:
            report(index, runner.run(index))


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
