"""What the launcher asks of a SLURM cluster."""

import re
import shlex
from dataclasses import dataclass

from datamodels.errors import UsageError

# What the launcher itself must decide for its chunks to be found, followed and started again.
_OURS = (
    ("--array", "-a"),
    ("--chdir", "-D"),
    ("--error", "-e"),
    ("--job-name", "-J"),
    ("--no-requeue", ""),
    ("--output", "-o"),
    ("--open-mode", ""),
    ("--parsable", ""),
    ("--signal", ""),
    ("--test-only", ""),
    ("--wait", "-W"),
    ("--wrap", ""),
)


@dataclass(frozen=True)
class SlurmOptions:
    """Resources of one task and how many there are; None leaves the choice to the cluster.

    UsageError names the option that cannot be meant.
    """

    partition: str | None = None
    account: str | None = None
    time: str | None = None  # as sbatch writes it: minutes, hours:minutes:seconds, days-hours, ...
    gpus: str | None = None  # a number, or type:number
    memory: str | None = None  # of a node, e.g. 16G
    cpus: int | None = None  # of a task
    sbatch: str = ""  # further options, e.g. "--constraint=a100 --nice=100"
    chunk_rows: int | None = None  # rows of a task (None: chosen)
    batch: int = 1  # rows that a worker runs together: chunks hold whole batches
    max_tasks: int | None = None  # tasks that run at a time (None: what the cluster gives)
    resubmissions: int = 10  # how often what is still missing may be submitted again
    retries: int = 3  # a row that failed so often is set aside
    signal_seconds: int = 60  # told so long before the wall time, a worker ends after its row
    poll_seconds: float = 15.0  # between two looks at the queue

    def __post_init__(self) -> None:
        for name in ("partition", "account", "time", "gpus", "memory"):
            text = getattr(self, name)
            if text is not None and (not text or re.search(r"[\s\x00]", text)):
                raise UsageError(f"--launch.{name}={text!r} must be one word, as sbatch takes it")
        for name, least in (("cpus", 1), ("chunk_rows", 1), ("max_tasks", 1), ("retries", 1),
                            ("resubmissions", 0), ("signal_seconds", 5)):  # fmt: skip
            number = getattr(self, name)
            if number is not None and number < least:
                raise UsageError(f"{name}={number} must be at least {least}")
        if not self.poll_seconds > 0:
            raise UsageError(f"poll_seconds={self.poll_seconds} must be more than 0")
        self._check_wall_time()
        self._check_extra()

    @property
    def extra(self) -> list[str]:
        """The words of ``sbatch``."""
        return shlex.split(self.sbatch)

    def _check_wall_time(self) -> None:
        seconds = None if self.time is None else wall_seconds(self.time)
        if seconds is not None and seconds <= self.signal_seconds:
            raise UsageError(
                f"--launch.time={self.time} is {seconds} seconds, but a worker is told to end "
                f"{self.signal_seconds} seconds before: give more time"
            )

    def _check_extra(self) -> None:
        try:
            words = self.extra
        except ValueError as error:
            raise UsageError(f"--launch.sbatch={self.sbatch!r} cannot be read: {error}") from None
        if words and not words[0].startswith("-"):
            raise UsageError(
                f"--launch.sbatch={self.sbatch!r} must hold options of sbatch, as --key=value"
            )
        for word in words:
            if any(ord(letter) < 32 for letter in word):
                raise UsageError(f"--launch.sbatch: {word!r} has a line break or control character")
            for name, short in _OURS:
                if word.partition("=")[0] == name or (short and re.match(short + r"(?!-)", word)):
                    raise UsageError(
                        f"--launch.sbatch: {word!r} is for the launcher to set; leave it out"
                    )


def wall_seconds(time: str) -> int | None:
    """Seconds of a time limit as sbatch reads it; None for one without end or of unknown form."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if match is None:
        return None
    days, first, second, third = (None if part is None else int(part) for part in match.groups())
    if days is not None:  # days-hours:minutes:seconds
        return ((days * 24 + (first or 0)) * 60 + (second or 0)) * 60 + (third or 0)
    if third is not None:  # hours:minutes:seconds
        return ((first or 0) * 60 + (second or 0)) * 60 + third
    return (first or 0) * 60 + (second or 0)  # minutes:seconds
