"""What the commands that prepare retrainings have in common: reading options, saying what to do."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels.cli.catalogue import LAUNCH, RETRAINED
from datamodels.errors import UsageError
from datamodels.evaluation.removals import Removal
from datamodels.evaluation.retraining_plan import RetrainingPlan
from datamodels.npy_file import open_map
from datamodels.training.indices import parse_indices
from datamodels.training.layout import StoreLayout
from datamodels.training.records import read_worker, record_files


def chosen_targets(
    text: str | None, n_targets: int, datamodels: str, *, at_most: int | None = None
) -> list[int]:
    """Targets as written; without a text, all of them or ``at_most`` at even distances."""
    if text is not None:
        return parse_indices(text, n_targets, datamodels, noun="target")
    count = n_targets if at_most is None else min(at_most, n_targets)
    return [place * n_targets // count for place in range(count)]


def numbers(text: str, option: str) -> list[int]:
    """``5,10,20`` as integers; UsageError naming ``option``."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--{option}={text}: write numbers as 5,10,20") from None


def read_base(path: str | None) -> NDArray[np.generic] | None:
    """The mask in an ``.npy`` file, where one is named."""
    return None if path is None else np.array(open_map(Path(path)))


def what_to_do(plan: RetrainingPlan, folder: str, first: StoreLayout) -> str:
    """The lines that fill a store of retrainings, as ``first`` was filled, and read it."""
    main, options = _how_it_was_filled(first)
    fill = shlex.join(
        ["python", "-m", LAUNCH.module, f"--launch.logdir={folder}",
         f"--launch.main_import={main or 'YOUR_MODULE'}", *options]
    )  # fmt: skip
    read = shlex.join(["python", "-m", RETRAINED.module, folder, f"--retrained.out={folder}-read"])
    return (
        f"{folder} is prepared: {plan.n_rows:,} retrainings, that is, {plan.repeats} repeats of "
        f"{len(plan.removals):,} removals and {plan.controls} models with nothing removed.\n"
        f"{_fewer(plan.removals)}"
        "Train them with the module and the options of the first store, whose main must take its "
        "masks from\ndatamodels.training.subset_for, and read them:\n"
        f"  {fill}\n  {read}"
    )


def _fewer(removals: Sequence[Removal]) -> str:
    """A line where there were not as many examples as asked for."""
    fewer = sum(len(removal.examples) < removal.k for removal in removals)
    if not fewer:
        return ""
    return (
        f"{fewer:,} of the removals are of fewer examples than asked for: no more of their target "
        "have a weight of that sign.\n"
    )


def _how_it_was_filled(layout: StoreLayout) -> tuple[str | None, list[str]]:
    """The module of the last worker of a store, and the options it was given that are not about
    which rows it made."""
    workers = [worker for path in record_files(layout) if (worker := read_worker(path))]
    if not workers:
        return None, []
    last = max(workers, key=lambda worker: worker.started)
    given = {word.partition("=")[0] for word in last.command if word.startswith("--")}
    options = [
        f"--{name}={value}"
        for name, value in last.options.items()
        if f"--{name}" in given and (name == "worker.batch" or not name.startswith("worker."))
    ]
    return last.main, options


def as_table(rows: Sequence[Sequence[object]]) -> str:
    """Columns side by side, the first to the left and the others to the right."""
    words = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*words, strict=True)]
    lines = []
    for row in words:
        first, *rest = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join(lines)
