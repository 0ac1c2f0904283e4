"""What a launch is asked to do, and what came of it."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral
from pathlib import Path
from typing import Any

from datamodels.cli.catalogue import WORKER
from datamodels.errors import UsageError
from datamodels.near_miss import nearest
from datamodels.training.indices import format_indices
from datamodels.training.launcher.slurm_options import SlurmOptions
from datamodels.training.worker_process import MOST_ROWS

# What a worker is told by its launcher, and by no variable of the environment, which would overrule
# it or belong to another launcher's worker.
WORKER_VARIABLES = tuple(WORKER.options())

ENGINES = ("local", "parallel", "slurm")


@dataclass(frozen=True)
class LaunchConfig:
    """Options of a launch, checked when built; UsageError names what cannot be.

    Attributes:
        logdir: the store's folder.
        main_import: module with ``main`` or ``main_batch``.
        engine: ``local``, ``parallel`` or ``slurm``.
        indices: rows to fill, e.g. ``0-99,200``; None: all that are missing.
        workers: processes at a time; None: one a GPU, else one a core. Of slurm, tasks at a time.
        workers_per_gpu: processes that share a GPU.
        retries: how often a row may fail before it is set aside.
        chunk: rows that a worker of parallel or slurm is given at once; None: as suits.
        batch: rows of one call of ``main_batch``; None: ``main`` for each row.
        job_timeout: seconds that a row may take.
        wait: of slurm, follow the jobs until they have ended.
        slurm: what is asked of a SLURM cluster.
    """

    logdir: str
    main_import: str
    engine: str = "local"
    indices: str | None = None
    workers: int | None = None
    workers_per_gpu: int = 1
    retries: int = 3
    chunk: int | None = None
    batch: int | None = None
    job_timeout: int | None = None
    wait: bool = True
    slurm: SlurmOptions = field(default_factory=SlurmOptions)

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"engine={self.engine} is none of {', '.join(ENGINES)}")
        if not isinstance(self.main_import, str) or self.main_import == "__main__":
            raise UsageError(
                f"main_import={self.main_import!r}: workers import main from a file; put it into a "
                'module, and give its name, as in "my_training"'
            )
        for name in ("workers", "workers_per_gpu", "retries", "chunk", "batch", "job_timeout"):
            value = getattr(self, name)
            if value is not None and not (_is_whole(value) and value >= 1):
                raise UsageError(f"{name}={value!r} must be a whole number, at least 1")
        if self.batch is not None and self.batch > MOST_ROWS:
            raise UsageError(f"batch={self.batch} must be at most {MOST_ROWS}, the rows of a chunk")
        if self.chunk is not None and self.engine == "local":
            raise UsageError(
                f"chunk={self.chunk} is for engine=parallel and slurm; local chunks follow the "
                "measured time of a row"
            )
        given = [f.name for f in fields(SlurmOptions) if getattr(self.slurm, f.name) != f.default]
        if given and self.engine != "slurm":
            raise UsageError(f"{', '.join(given)}: for engine=slurm, not engine={self.engine}")
        if not self.wait and self.engine != "slurm":
            raise UsageError(f"wait=false is for engine=slurm; engine={self.engine} has no queue")

    def slurm_options(self) -> SlurmOptions:
        """What is asked of a SLURM cluster, with what is asked of any engine."""
        return replace(
            self.slurm,
            chunk_rows=self.chunk,
            max_tasks=self.workers,
            retries=self.retries,
            batch=self.batch or 1,
        )


def launch_config(logdir: str | Path, main_import: str, options: Mapping[str, Any]) -> LaunchConfig:
    """A configuration from keywords; UsageError names one that there is not."""
    known = [f.name for f in fields(LaunchConfig)]
    for name in options:
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close}?" if close else f"they are {', '.join(known)}"
            raise UsageError(f"there is no option {name!r}: {hint}")
    indices = options.get("indices")
    if indices is not None and not isinstance(indices, str):
        options = {**options, "indices": format_indices([operator.index(row) for row in indices])}
    return LaunchConfig(str(logdir), main_import, **options)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


@dataclass(frozen=True)
class LaunchResult:
    """What a launch left.

    Attributes:
        asked: rows that were to be complete.
        complete: those of them that are, whoever wrote them.
        set_aside: rows that failed too often, in the order that they did.
        command: of engine parallel, the line to run.
        jobs: of engine slurm, the jobs that are still to end.
        interrupted: whether Ctrl-C ended it, which cancels the jobs of engine slurm.
        reasons: why rows were set aside, a line each, where that is known here.
    """

    asked: int
    complete: int
    set_aside: tuple[int, ...] = ()
    command: str | None = None
    jobs: tuple[str, ...] = ()
    interrupted: bool = False
    reasons: Mapping[int, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether all rows asked for are complete."""
        return self.complete == self.asked
