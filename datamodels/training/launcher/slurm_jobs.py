"""The array jobs of one store: submitting them, finding them again, and what their tasks hold."""

from collections.abc import Iterable, Sequence

from datamodels.training.launcher.slurm_cluster import Cluster, Job, SlurmError, Task
from datamodels.training.launcher.slurm_journal import SlurmJournal, Submission
from datamodels.training.launcher.slurm_options import SlurmOptions
from datamodels.training.launcher.slurm_script import (
    log_file,
    remove_files,
    sbatch_options,
    split_rows,
    write_files,
)
from datamodels.training.store import Store

_LOG_LINES = 5


class SlurmJobs:
    """The jobs that a launch follows: those it submits and those it finds in the queue."""

    def __init__(self, store: Store, argv: Sequence[str], options: SlurmOptions) -> None:
        """SlurmError where there is no cluster, InputError where the journal is damaged."""
        self._cluster = Cluster()
        self._store = store
        self._argv = list(argv)
        self._options = options
        self._folder = store.layout.launch
        self._journal = SlurmJournal(self._folder)
        self._followed: dict[str, Job] = {}  # by number
        self._chunks: dict[str, list[list[int]]] = {}  # rows of each task, by job number
        self._tasks: dict[tuple[str, int], Task] = {}  # as last seen

    def find(self) -> list[Submission]:
        """Follow every job of the store that is in the queue; those not followed before."""
        self._resolve_unanswered()
        entries = {entry.job: entry for entry in self._journal.submissions}
        tasks = self._cluster.tasks(entry.as_job() for entry in entries.values())
        # One that is ending holds no row any more; it may have been cancelled just before.
        live = [task for task in tasks if task.is_live and task.state != "COMPLETING"]
        found = [entries[number] for number in dict.fromkeys(task.job for task in live)
                 if number not in self._followed]  # fmt: skip
        for entry in found:
            self._follow(entry.as_job(), self._journal.chunks(entry, self._store.num_models))
        self._tasks.update({(task.job, task.index): task for task in live})
        return found

    def look(self) -> None:
        """Ask the queue about the jobs followed; SlurmError while it does not answer."""
        found = self._cluster.tasks(self._followed.values())
        # Tasks that the queue has forgotten have ended: what they were last seen to be is over.
        ended = {key: task for key, task in self._tasks.items() if not task.is_live}
        self._tasks = ended | {(task.job, task.index): task for task in found}

    @property
    def live(self) -> list[Task]:
        """Tasks that run or may still do so."""
        return [task for task in self._tasks.values() if task.is_live]

    @property
    def cancelled(self) -> list[str]:
        """Jobs of which somebody cancelled a task."""
        return _numbers(task for task in self._tasks.values() if task.state == "CANCELLED")

    def held(self) -> set[int]:
        """Rows that live tasks have in hand."""
        held: set[int] = set()
        for task in self.live:
            chunks = self._chunks[task.job]
            held.update(chunks[task.index] if task.index < len(chunks) else ())
        return held

    def submit(self, rows: Sequence[int], *, chunk_rows: int | None) -> str:
        """Submit ``rows`` as one array; a line that says so.

        SlurmError with the words of sbatch where it refuses; nothing is left behind then.
        """
        most = self._cluster.most_tasks()
        chunks = split_rows(
            rows,
            most,
            chunk_rows=chunk_rows,
            max_tasks=self._options.max_tasks,
            batch=self._options.batch,
        )
        words = sbatch_options(self._folder, len(chunks), self._options)
        self._folder.mkdir(exist_ok=True)
        files = self._journal.next_files()
        seconds = self._options.signal_seconds
        write_files(files, self._store.path, chunks, self._argv, words, seconds)
        entry = self._journal.add(files, chunks)
        try:
            job = self._cluster.submit(files.script, entry.name, words)
        except SlurmError:
            self._forget(entry)
            raise
        self._journal.became(entry, job)
        self._follow(job, chunks)
        tasks = [Task(job.number, index, "PENDING", "None") for index in range(len(chunks))]
        self._tasks.update({(task.job, task.index): task for task in tasks})
        return (
            f"submitted job {job.number}: {entry.rows} rows in {entry.chunks} tasks, logs in "
            f"{log_file(self._folder, job.number, '*', 'err')}"
        )

    def cancel(self) -> list[str]:
        """Cancel all jobs with live tasks; their numbers."""
        numbers = _numbers(self.live)
        if numbers:
            self._cluster.cancel([self._followed[number] for number in numbers])
        self._tasks = {key: task for key, task in self._tasks.items() if not task.is_live}
        return numbers

    def release(self, task: Task) -> None:
        """Let a task that was held go on."""
        self._cluster.release(self._followed[task.job], task.index)

    def last_words(self) -> str:
        """The end of the last job's newest log that says anything, to be shown."""
        if not self._followed:
            return ""
        pattern = log_file(self._folder, list(self._followed)[-1], "*", "err").name
        written = [path for path in self._folder.glob(pattern) if path.stat().st_size]
        if not written:
            return ""
        newest = max(written, key=lambda path: path.stat().st_mtime)
        lines = newest.read_text(errors="backslashreplace").splitlines()[-_LOG_LINES:]
        return "\n".join([f"; the end of {newest}:", *(f"  {line}" for line in lines)])

    def _resolve_unanswered(self) -> None:
        """Find the jobs of submissions that were cut short before sbatch answered."""
        for entry in [entry for entry in self._journal.submissions if entry.job is None]:
            job = self._cluster.find(entry.name)
            if job is None:
                self._forget(entry)
            else:
                self._journal.became(entry, job)

    def _follow(self, job: Job, chunks: list[list[int]]) -> None:
        self._followed[job.number] = job
        self._chunks[job.number] = chunks

    def _forget(self, entry: Submission) -> None:
        """Take back a submission that the cluster knows nothing of."""
        self._journal.remove(entry)
        remove_files(self._journal.files(entry))


def _numbers(tasks: Iterable[Task]) -> list[str]:
    """Numbers of the jobs of ``tasks``, each once."""
    return list(dict.fromkeys(task.job for task in tasks))
