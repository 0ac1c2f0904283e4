"""Talking to a SLURM cluster through its own commands: sbatch, squeue, scontrol, scancel."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodels.errors import DatamodelsError

_DEFAULT_MAX_ARRAY = 1001
_ANSWER_SECONDS = 120.0  # a busy slurmctld; its own clients give up after MessageTimeout or so
_LAST_SECONDS = 10.0  # a job on its way to the cluster should be known before it is cancelled
_FORMAT = "%F|%K|%T|%r|%j"  # array job, task, state, reason, name
_NO_SUCH_JOB = "Invalid job id specified"
# Variables that make the commands answer another question than the one that is asked.
_MISLEADING = re.compile(r"(SQUEUE|SCANCEL)_.*|SBATCH_WAIT|SLURM_RESTART_COUNT")
_ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "REVOKED", "TIMEOUT",
}  # fmt: skip


class SlurmError(DatamodelsError):
    """A command of SLURM failed; the message holds what it said."""


@dataclass(frozen=True)
class Job:
    """An array job. Numbers are used again by clusters made anew; the name is the launcher's."""

    number: str
    name: str
    cluster: str | None = None


@dataclass(frozen=True)
class Task:
    """One task of an array job as the queue shows it."""

    job: str  # its number
    index: int
    state: str  # as squeue writes it out: PENDING, RUNNING, ...
    reason: str  # why it waits, or how it ended

    @property
    def is_live(self) -> bool:
        """Whether it runs or may still do so."""
        return self.state not in _ENDED


class Cluster:
    """The cluster that the commands on the PATH belong to."""

    def __init__(self) -> None:
        """SlurmError where there are no such commands."""
        missing = [word for word in ("sbatch", "squeue", "scontrol", "scancel")
                   if shutil.which(word) is None]  # fmt: skip
        if missing:
            raise SlurmError(
                f"--launch.engine=slurm needs {missing[0]} on the PATH: run it on a machine of the "
                "cluster from which jobs are submitted (often: module load slurm), or choose "
                "another --launch.engine"
            )

    def most_tasks(self) -> int:
        """How many tasks one array may have, numbered from 0."""
        try:
            text = _call(["scontrol", "show", "config"])
        except SlurmError:  # some sites keep it to themselves; sbatch will say if it is too many
            return _DEFAULT_MAX_ARRAY
        limits = re.findall(r"^MaxArraySize\s*=\s*(\d+)|\bmax_array_tasks=(\d+)", text, re.M)
        return max(1, min((int(a or b) for a, b in limits), default=_DEFAULT_MAX_ARRAY))

    def submit(self, script: Path, name: str, options: Sequence[str]) -> Job:
        """Submit ``script`` under the unique ``name``; SlurmError with what sbatch said.

        Options are given on the command line as well as in the script: there they overrule
        variables such as SBATCH_PARTITION.
        """
        words = ["sbatch", "--parsable", f"--job-name={name}", *options, str(script)]
        try:
            answer = _call(words, shielded=True)
        except SlurmError:
            # A slow cluster may take a job and not say so in time.
            with contextlib.suppress(SlurmError):
                job = self.find(name)
                if job is not None:
                    return job
            raise
        match = re.search(r"^(\d+)(?:;(\S+))?\s*$", answer, re.M)
        if match is None:
            raise SlurmError(f"sbatch named no job: {answer.strip() or 'it said nothing'}")
        return Job(match[1], name, match[2])

    def find(self, name: str) -> Job | None:
        """The job of this name, if the queue knows one; SlurmError while it cannot be asked."""
        lines = _call(["squeue", "-h", "-t", "all", f"--name={name}", "-o", _FORMAT])
        numbers = [line.split("|")[0] for line in lines.splitlines() if line.endswith(f"|{name}")]
        return Job(numbers[0], name) if numbers else None

    def tasks(self, jobs: Iterable[Job]) -> list[Task]:
        """All tasks of ``jobs`` that the queue still knows; SlurmError while it cannot be asked.

        Tasks that ended stay known for a while (MinJobAge, five minutes by default).
        """
        tasks = []
        for cluster, group in _by_cluster(jobs).items():
            names = {job.number: job.name for job in group}
            words = ["squeue", "-h", "-r", "-t", "all", "-j", ",".join(names), "-o", _FORMAT]
            for line in _ask_for_jobs([*words, *_of_cluster(cluster)]).splitlines():
                number, index, state, reason, name = [*line.split("|", 4), "", "", "", ""][:5]
                if names.get(number) == name and index.isdecimal():
                    tasks.append(Task(number, int(index), state, reason))
        return tasks

    def cancel(self, jobs: Iterable[Job]) -> None:
        """End all tasks of ``jobs``; those that ended already are no error."""
        for cluster, group in _by_cluster(jobs).items():
            _ask_for_jobs(["scancel", *_of_cluster(cluster), *(job.number for job in group)])

    def release(self, job: Job, index: int) -> None:
        """Let a task that was held go on."""
        _call(["scontrol", *_of_cluster(job.cluster), "release", f"{job.number}_{index}"])


def _by_cluster(jobs: Iterable[Job]) -> dict[str | None, list[Job]]:
    groups: dict[str | None, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.cluster, []).append(job)
    return groups


def _of_cluster(cluster: str | None) -> list[str]:
    return [] if cluster is None else [f"--clusters={cluster}"]


def _ask_for_jobs(words: list[str]) -> str:
    """As :func:`_call`; nothing where the queue has forgotten the jobs."""
    try:
        return _call(words)
    except SlurmError as error:
        if _NO_SUCH_JOB in str(error):
            return ""
        raise


def _call(words: list[str], *, shielded: bool = False) -> str:
    """What a command printed; SlurmError with its own words where it failed.

    ``shielded`` keeps a Ctrl-C from the command itself, and gives it a while to end after ours.
    """
    environment = {key: value for key, value in os.environ.items()
                   if not _MISLEADING.fullmatch(key)}  # fmt: skip
    process = subprocess.Popen(
        words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, errors="backslashreplace",
        process_group=0 if shielded else None,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{words[0]} has not answered in {_ANSWER_SECONDS:.0f} s") from None
    except KeyboardInterrupt:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LAST_SECONDS if shielded else 0)
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode != 0:
        said = (err.strip() or out.strip()) or f"{words[0]} ended with status {process.returncode}"
        raise SlurmError(said)
    return out
