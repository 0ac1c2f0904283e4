"""What a store of many models will cost: time on this machine, disk, memory of the regression."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from datamodels.errors import UsageError
from datamodels.npy_file import header_bytes
from datamodels.streams import stream_words
from datamodels.training.launcher.config import LaunchConfig
from datamodels.training.launcher.trial import TrialTimes, time_rows
from datamodels.training.spec import Spec
from datamodels.training.store import Store

NUMBERS = (500, 1_000, 2_000, 5_000, 10_000, 50_000, 300_000)  # of models, to look at
_MOST_ROWS = 100_000  # that a trial may run
_PAIR_BYTES = 4  # of the regression's table of pairs, see datamodels.regression.plan


@dataclass(frozen=True)
class Cost:
    """What models cost here. Seconds are seen while all workers run."""

    planned: int  # models
    spec: Spec
    times: TrialTimes
    place: Path  # whose disk the store is on, or would be
    free_bytes: int  # there

    def seconds(self, models: int) -> float:
        """Time that so many models take."""
        begin = self.times.import_seconds + self.times.first_call_seconds
        return begin + models / self.times.rows_per_second

    def array_bytes(self, models: int) -> int:
        """What the files of the arrays of so many models take, to the byte."""
        total = 0
        for field in self.spec.fields().values():
            total += len(header_bytes((models, *field.shape), field.dtype))
            total += models * field.row_bytes
        return total

    @property
    def row_bytes(self) -> int:
        """What one model adds to the arrays."""
        return sum(field.row_bytes for field in self.spec.fields().values())

    @property
    def n_train(self) -> int | None:
        """Training examples, where the spec keeps masks under that name."""
        masks = self.spec.schema.get("masks")
        return masks.shape[0] if masks is not None and len(masks.shape) == 1 else None

    @property
    def pair_table_bytes(self) -> int | None:
        """Memory that the regression takes for all pairs of training examples."""
        return None if self.n_train is None else _PAIR_BYTES * self.n_train**2

    def numbers(self) -> list[int]:
        """Of models, the planned one among them."""
        return sorted({*NUMBERS, self.planned})

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        later = self.times.later_calls
        return {
            "workers": len(self.times.workers),
            "gpus": self.times.gpus,
            "batch": self.times.batch,
            "import_seconds": self.times.import_seconds,
            "first_call_seconds": self.times.first_call_seconds,
            "model_seconds": fmean(later),
            "model_seconds_least": min(later),
            "model_seconds_most": max(later),
            "calls_timed": len(later),
            "models_per_hour": 3600 * self.times.rows_per_second,
            "planned_models": self.planned,
            "hours": {str(n): self.seconds(n) / 3600 for n in self.numbers()},
            "bytes_per_model": self.row_bytes,
            "array_bytes": {str(n): self.array_bytes(n) for n in self.numbers()},
            "file_bytes_per_model": self.times.file_bytes,
            "free_bytes": self.free_bytes,
            "gpu_bytes": self.times.gpu_bytes,
            "gpu_total_bytes": self.times.gpu_total_bytes,
            "pair_table_bytes": self.pair_table_bytes,
        }


def estimate_cost(
    main_import: str,
    *,
    spec: str | Path | None = None,
    logdir: str | Path | None = None,
    models: int | None = None,
    trials: int = 3,
    workers: int | None = None,
    batch: int | None = None,
    options: Sequence[str] = (),
) -> Cost:
    """Run ``main`` of a module for a few rows of a temporary store, and reckon from these.

    Args:
        main_import: the module, as in an import statement, from the current folder.
        spec: path of the JSON spec of the store that is planned; or
        logdir: a store that is there. Nothing in it is touched; its plan is read, if it has one.
        models: how many are planned; None: as many as the spec says.
        trials: calls that each worker is timed on, after its first; more if they take no time.
        workers: processes at a time; None: one a GPU, else one a core.
        batch: rows of one call of ``main_batch``; None: ``main`` for each row.
        options: words of a command line for the module, such as ``--training.lr=0.1``.

    Raises:
        UsageError: an option is wrong, or there are too few rows. MissingFileError: there is no
        such store or spec. RowFailedError, WorkerFailedError: the module failed.
    """
    if (spec is None) == (logdir is None):
        raise UsageError(
            "which store? Give estimate.spec=PATH of its JSON spec, or estimate.logdir=FOLDER of "
            f"one that is there{'' if spec is None else '; not both'}"
        )
    for name, value in (("models", models), ("trials", trials)):
        if value is not None and value < 1:
            raise UsageError(f"estimate.{name}={value} must be at least 1")
    store = None if logdir is None else Store.open(logdir)
    there = Spec.read(spec) if spec is not None else store.spec  # type: ignore[union-attr]
    planned = models or there.num_models
    rows = planned
    if store is not None and store.layout.plan.is_dir():
        rows = min(rows, store.num_models)  # it says nothing of more
    with tempfile.TemporaryDirectory(prefix="datamodels-estimate-") as folder:
        config = LaunchConfig(
            str(Path(folder) / "store"), main_import, workers=workers, batch=batch
        )
        trial = Store.create(config.logdir, replace(there, num_models=rows), reserve=False)
        if store is not None and store.layout.plan.is_dir():
            trial.layout.plan.symlink_to(store.layout.plan)
        times = time_rows(trial, config, options, _sample(rows), trials)
    place = Path.cwd() if store is None else store.path
    return Cost(planned, there, times, place, shutil.disk_usage(place).free)


def _sample(num_models: int) -> list[int]:
    """Rows from all over the store, in an order that is always the same: what a row costs may
    depend on its number."""
    words = stream_words("estimate", seed=0, index=0, count=min(num_models, 2 * _MOST_ROWS))
    order = np.argsort(words, kind="stable")[:_MOST_ROWS]
    stride = num_models // len(words)
    return [int(row) for row in order * stride]
