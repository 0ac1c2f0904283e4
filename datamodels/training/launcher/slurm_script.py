"""The files of one submission: a list of rows for each task, and the script that runs them."""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodels.errors import UsageError
from datamodels.files import new_file
from datamodels.training.indices import format_indices
from datamodels.training.launcher.chunks import even_chunks, without_variables
from datamodels.training.launcher.slurm_options import SlurmOptions

_CHUNKS = 256  # where nothing says better: enough to even out, few enough to start quickly
_CHUNKS_PER_SLOT = 4  # the last tasks of an array then leave little idle
_MOST_ROWS = 8000  # a list of them is one argument of a command: 128 KiB on Linux
_REQUEUES_WITHOUT_A_ROW = 3
_COUNT_MODULE = "datamodels.training.launcher.slurm_chunk"


@dataclass(frozen=True)
class SlurmFiles:
    """The files of submission ``number`` in the launcher's folder."""

    folder: Path
    number: int

    @property
    def todo(self) -> Path:
        """A line of row numbers for each task, the first for task 0."""
        return self.folder / f"slurm-{self.number}.todo"

    @property
    def script(self) -> Path:
        """The sbatch script."""
        return self.folder / f"slurm-{self.number}.sh"


def log_file(folder: Path, job: str, task: int | str, suffix: str) -> Path:
    """What task ``task`` of array job ``job`` printed; ``suffix`` is ``out`` or ``err``."""
    return folder / f"slurm-{job}_{task}.{suffix}"


def split_rows(
    rows: Sequence[int],
    most_chunks: int,
    *,
    chunk_rows: int | None,
    max_tasks: int | None,
    batch: int = 1,
) -> list[list[int]]:
    """``rows`` in order, as at most ``most_chunks`` chunks of whole batches, as many in each, or
    one less.

    ``chunk_rows`` asks for so many rows a chunk; they become longer where there would be too many.
    Rows beyond ``most_chunks`` of the longest possible chunks are left out.
    """
    rows = rows[: most_chunks * _MOST_ROWS]
    if chunk_rows is None:
        wanted = _CHUNKS if max_tasks is None else _CHUNKS_PER_SLOT * max_tasks
    else:
        wanted = -(-len(rows) // chunk_rows)
    needed = -(-len(rows) // _MOST_ROWS)
    return even_chunks(rows, min(max(wanted, needed), most_chunks), batch)


def write_files(
    files: SlurmFiles, store: Path, chunks: Sequence[Sequence[int]], argv: Sequence[str],
    directives: Sequence[str], signal_seconds: int,
) -> None:  # fmt: skip
    """Write the todo file and the script of a submission; ExistsError where one is there."""
    with new_file(files.todo) as path:
        path.write_text("".join(f"{format_indices(list(chunk))}\n" for chunk in chunks))
    try:
        text = script_text(files, store, argv, directives, signal_seconds)
        with new_file(files.script) as path:
            path.write_bytes(os.fsencode(text))
    except BaseException:
        files.todo.unlink()
        raise


def remove_files(files: SlurmFiles) -> None:
    """Remove the files of a submission that did not come about."""
    files.script.unlink(missing_ok=True)
    files.todo.unlink(missing_ok=True)


def sbatch_options(folder: Path, chunks: int, options: SlurmOptions) -> list[str]:
    """The options of sbatch for an array of ``chunks`` tasks; logs go to ``folder``."""
    logs = str(folder).replace("%", "%%")  # sbatch replaces %A, %a, ...
    if re.search(r"[\\\x00-\x1f]", logs + str(Path.cwd())):
        raise UsageError(
            f"SLURM takes no folder with a backslash or a line break in its name: {folder}; "
            "move the store, or run from another folder"
        )
    limit = "" if options.max_tasks is None else f"%{options.max_tasks}"
    given = {
        "partition": options.partition,
        "account": options.account,
        "time": options.time,
        "gres": None if options.gpus is None else f"gpu:{options.gpus}",
        "mem": options.memory,
        "cpus-per-task": options.cpus,
    }
    return [
        f"--array=0-{chunks - 1}{limit}",
        f"--chdir={Path.cwd()}",
        f"--output={log_file(Path(logs), '%A', '%a', 'out')}",
        f"--error={log_file(Path(logs), '%A', '%a', 'err')}",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{options.signal_seconds}",
        "--export=ALL",
        *(f"--{key}={value}" for key, value in given.items() if value is not None),
        *options.extra,
    ]


def script_text(
    files: SlurmFiles, store: Path, argv: Sequence[str], directives: Sequence[str],
    signal_seconds: int,
) -> str:  # fmt: skip
    """The sbatch script: each task runs the rows in its line of the todo file with ``argv``.

    It runs wherever bash (3.2 or later), sed, sleep and env are.
    """
    margin = min(10, signal_seconds // 2)  # for counting what is missing and asking for a restart
    values = {
        "DIRECTIVES": "\n".join(f"#SBATCH {_directive(words)}" for words in _lines(directives)),
        "FOLDER": shlex.quote(str(Path.cwd())),
        "PYTHONPATH": _python_path(),
        "TODO": shlex.quote(str(files.todo)),
        "MISSING": shlex.join([argv[0], "-m", _COUNT_MODULE, str(store)]),
        "WORKER": shlex.join(["env", *without_variables(), *argv]),
        "PATIENCE": str(signal_seconds - margin),
        "REQUEUES": str(_REQUEUES_WITHOUT_A_ROW),
    }
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], _SCRIPT)


def _lines(directives: Sequence[str]) -> Iterator[list[str]]:
    """Options with the words that follow them, if any: ``-C a100`` is one directive."""
    line: list[str] = []
    for word in directives:
        if line and word.startswith("-"):
            yield line
            line = []
        line.append(word)
    if line:
        yield line


def _directive(words: Sequence[str]) -> str:
    """Words as sbatch reads them from a script: its own quotes, not those of a shell."""
    plain = re.compile(r"[\w@%+=:,./-]+", re.ASCII)
    return " ".join(
        word if plain.fullmatch(word) else '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'
        for word in words
    )


def _python_path() -> str:
    path = os.environ.get("PYTHONPATH")
    return f"export PYTHONPATH={shlex.quote(path)}" if path else "unset PYTHONPATH"


_SCRIPT = r"""#!/usr/bin/env bash
@DIRECTIVES@

# Each task of this array fills the rows in its line of the todo file. Rows that are complete are
# skipped, so it may be submitted again as it is: sbatch THIS_FILE

cd -- @FOLDER@ || exit 1
@PYTHONPATH@
todo=@TODO@

rows=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$todo")
if [ -z "$rows" ]; then
    echo "task ${SLURM_ARRAY_TASK_ID} has no line in $todo" >&2
    exit 1
fi

worker=
timer=
near_end=
ended=

# A worker that is told to ends after its row. One whose row takes too long is ended in time for
# this task to be started again.
give_notice() {
    near_end=yes
    [ -n "$worker" ] || return
    kill -USR1 "$worker" 2>/dev/null
    [ -z "$timer" ] || return
    (
        trap 'kill "$pause" 2>/dev/null; exit' TERM
        sleep @PATIENCE@ &
        pause=$!
        wait "$pause"
        kill -TERM "$worker"
        sleep 2 &
        pause=$!
        wait "$pause"
        kill -KILL "$worker"
    ) </dev/null >/dev/null 2>&1 &
    timer=$!
}

end_now() {
    ended=yes
    [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null
}

trap give_notice USR1
trap end_now TERM

count_missing() { @MISSING@ "$rows"; }

before=$(count_missing) || exit 1
[ "$before" -gt 0 ] || exit 0
status=143
if [ -z "$near_end$ended" ]; then
    @WORKER@ --worker.indices="$rows" &
    worker=$!
    # A signal may have come before its number was known.
    [ -z "$near_end" ] || give_notice
    [ -z "$ended" ] || end_now
    # A signal ends wait, not the worker.
    while kill -0 "$worker" 2>/dev/null; do
        wait "$worker"
        status=$?
    done
    [ -z "$timer" ] || kill "$timer" 2>/dev/null
fi
[ -z "$ended" ] || exit 143
[ -n "$near_end" ] || exit "$status"

after=$(count_missing) || exit 1
[ "$after" -gt 0 ] || exit 0
if [ "$after" -ge "$before" ] && [ "${SLURM_RESTART_COUNT:-0}" -ge @REQUEUES@ ]; then
    echo "no row was completed within the wall time: give more (--launch.time)" >&2
    exit 1
fi
[ -z "$ended" ] || exit 143
echo "$after rows are left at the wall time: starting again" >&2
# The controller may be away for a while.
tries=30
until scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"; do
    [ -z "$ended" ] || exit 143
    [ "$((tries -= 1))" -gt 0 ] || exit 1
    sleep 2
done
"""
