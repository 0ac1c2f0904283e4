"""``slurm.json``: the arrays submitted for a store, and the rows that each of their tasks has."""

import json
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from datamodels.errors import InputError
from datamodels.files import new_file
from datamodels.training.indices import parse_indices
from datamodels.training.launcher.slurm_cluster import Job
from datamodels.training.launcher.slurm_script import SlurmFiles


@dataclass(frozen=True)
class Submission:
    """An array that was submitted, or was about to be when the launcher was killed."""

    number: int  # of its files
    name: str  # of the job, unique
    chunks: int
    rows: int
    submitted: str  # local time
    job: str | None = None  # None: sbatch has not answered
    cluster: str | None = None  # only where there are several

    def as_job(self) -> Job:
        """The array job, whose number is known."""
        if self.job is None:
            raise ValueError(f"sbatch has not answered for {self.name}")
        return Job(self.job, self.name, self.cluster)


class SlurmJournal:
    """The submissions for one store, kept in ``folder``; every change is on the disk at once."""

    def __init__(self, folder: Path) -> None:
        """InputError where the file is no journal."""
        self._folder = folder
        self._path = folder / "slurm.json"
        self.submissions = self._read()

    def files(self, submission: Submission) -> SlurmFiles:
        """The todo file and the script of a submission."""
        return SlurmFiles(self._folder, submission.number)

    def chunks(self, submission: Submission, num_models: int) -> list[list[int]]:
        """The rows of each task; InputError where its todo file is gone."""
        path = self.files(submission).todo
        try:
            lines = path.read_text().splitlines()
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}), so what job {submission.job} is at is "
                f"unknown: end it with scancel {submission.job}, then run again"
            ) from error
        return [parse_indices(line, num_models, self._folder.parent) for line in lines]

    def next_files(self) -> SlurmFiles:
        """Files that no submission has yet."""
        taken = [submission.number for submission in self.submissions]
        for path in self._folder.glob("slurm-*.*"):
            if match := re.fullmatch(r"slurm-(\d+)\.(todo|sh)", path.name):
                taken.append(int(match[1]))
        return SlurmFiles(self._folder, max(taken, default=0) + 1)

    def add(self, files: SlurmFiles, chunks: Sequence[Sequence[int]]) -> Submission:
        """Note a submission before it is made: a job must never be one that nobody knows of."""
        submission = Submission(
            number=files.number,
            name=f"datamodels-{secrets.token_hex(4)}",
            chunks=len(chunks),
            rows=sum(len(chunk) for chunk in chunks),
            submitted=time.strftime("%Y-%m-%dT%H:%M:%S"),
        )
        self.submissions.append(submission)
        self._save()
        return submission

    def became(self, submission: Submission, job: Job) -> None:
        """Note the number of a submission's job."""
        known = replace(submission, job=job.number, cluster=job.cluster)
        self.submissions[self.submissions.index(submission)] = known
        self._save()

    def remove(self, submission: Submission) -> None:
        """Forget a submission that the cluster refused."""
        self.submissions.remove(submission)
        self._save()

    def _read(self) -> list[Submission]:
        try:
            content = json.loads(self._path.read_text())
            return [Submission(**entry) for entry in content["submissions"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{self._path} cannot be read ({error}); if no job of this store is in the queue, "
                "move it away"
            ) from error

    def _save(self) -> None:
        if not self.submissions:
            self._path.unlink(missing_ok=True)
            return
        content = {"submissions": [asdict(submission) for submission in self.submissions]}
        with new_file(self._path, overwrite=True) as path:
            path.write_text(json.dumps(content, indent=2) + "\n")
