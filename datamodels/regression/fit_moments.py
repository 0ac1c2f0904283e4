"""The moments that a fit needs: from a file where there is one, from the rows otherwise.

A file is made when there is none. Rows that it lacks (models trained since) are added to it; rows
that it has and the fit does not use are an error, as they would take part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from datamodels.errors import InputError, UsageError
from datamodels.regression.blocks import Int64s
from datamodels.regression.moment_sums import Moments
from datamodels.regression.moments_file import MomentsFile, new_moments_file
from datamodels.regression.moments_merge import merge_moments
from datamodels.regression.row_moments import Collector, KnownRows, added
from datamodels.regression.row_source import Progress, RowSource


class Parts(NamedTuple):
    """Moments of all rows, and of each fold, made or read when asked for."""

    total: Moments
    folds: Sequence[Callable[[], Moments]]


@dataclass(frozen=True, eq=False)
class MomentsMaker:
    """Makes moments of rows of ``source`` for some of its ``targets``."""

    source: RowSource
    targets: slice
    block_bytes: int
    report: Progress
    groups: Int64s | None = None  # (source.n_rows,) labels
    groups_key: str | None = None
    device: str | None = None  # where to count; None: from bits on the CPU
    max_rows: int | None = None  # of a block of rows

    def make(
        self, rows: Int64s, folds: int | None, seed: int, path: Path | None, *, all_targets: bool
    ) -> Parts:
        """Moments of ``rows``, and of the folds among them.

        With ``path`` they come from that file, which is made or brought up to date first;
        ``all_targets``: make it with all targets of the source, for later fits of others.
        """
        if path is None:
            parts = list(self._collector(rows, self.targets, folds, seed).parts())
            return _in_memory(parts)
        if path.exists():
            self._bring_up_to_date(path, rows, folds, seed)
        else:
            targets = slice(0, self.source.n_targets) if all_targets else self.targets
            self._write(path, self._collector(rows, targets, folds, seed))
        return self._from_file(path, folds)

    def _collector(self, rows: Int64s, targets: slice, folds: int | None, seed: int) -> Collector:
        return Collector(
            self.source,
            rows,
            targets=targets,
            folds=folds,
            seed=seed,
            groups=self.groups,
            groups_key=self.groups_key,
            device=self.device,
            block_bytes=self.block_bytes,
            max_rows=self.max_rows,
            progress=self.report,
        )

    def _write(self, path: Path, collector: Collector) -> None:
        with new_moments_file(path) as file:
            for part in collector.parts():
                file.add(part)
            file.finish(collector.known_rows())

    def _from_file(self, path: Path, folds: int | None) -> Parts:
        with MomentsFile(path) as file:
            targets = _within(file.known, self.targets, path)
            if not file.has_table:
                raise _lacks("table of pairs", path)
            total = file.total(targets=targets)
        if total.xy is None:
            raise _lacks("products of masks and outputs", path)
        if (total.groups is None) != (self.groups is None):
            there, asked = ("no ", "with") if total.groups is None else ("", "without")
            raise InputError(
                f"moments={path} hold {there}sums of groups, and the fit is {asked} groups; make "
                "the file anew, or name another"
            )

        def part(k: int) -> Moments:
            with MomentsFile(path) as file:
                return file.part(k, targets=targets)

        return Parts(total, [lambda k=k: part(k) for k in range(folds or 0)])  # type: ignore[misc]

    def _bring_up_to_date(self, path: Path, rows: Int64s, folds: int | None, seed: int) -> None:
        """Check that the file is of these data and rows, and add the rows that it lacks."""
        with MomentsFile(path) as file:
            known = file.known
        _check_folds(known, folds, seed, path)
        if known.groups_key != self.groups_key:
            raise UsageError(
                f"moments={path} were made with groups={known.groups_key}, and the fit asks for "
                f"groups={self.groups_key}; name the same, or another file"
            )
        _within(known, self.targets, path)
        known.matches(self.source)
        wanted = self.source.idx[rows]
        extra = np.setdiff1d(known.rows, wanted)
        if len(extra):
            raise UsageError(
                f"moments={path} hold {len(extra)} rows that the fit does not use (the first is "
                f"row {extra[0]}); raise num_train to use them, or name another file"
            )
        missing = rows[~np.isin(wanted, known.rows)]
        if len(missing):
            first = known.first_target
            targets = slice(first, first + known.n_targets)
            with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
                new, together = Path(folder) / "new.npz", Path(folder) / "together.npz"
                self._write(new, self._collector(missing, targets, known.folds, known.seed or 0))
                merge_moments([path, new], together)
                together.replace(path)


def _in_memory(parts: list[Moments]) -> Parts:
    if len(parts) == 1:
        return Parts(parts[0], ())
    total = parts[0]
    for part in parts[1:]:
        total = added(total, part)
    return Parts(total, [lambda part=part: part for part in parts])  # type: ignore[misc]


def _lacks(what: str, path: Path) -> InputError:
    return InputError(f"moments={path} hold no {what}, which a fit needs; name another file")


def _check_folds(known: KnownRows, folds: int | None, seed: int, path: Path) -> None:
    if folds is None or (known.folds, known.seed) == (folds, seed):
        return
    made = "without folds" if known.folds is None else f"folds={known.folds}, seed={known.seed}"
    raise UsageError(
        f"moments={path} were made {made}, and the fit asks for folds={folds}, seed={seed}; "
        "name moments made with these folds"
    )


def _within(known: KnownRows, targets: slice, path: Path) -> slice:
    """``targets`` of the source, counted from the first of the file."""
    first, last = known.first_target, known.first_target + known.n_targets
    if targets.start < first or targets.stop > last:
        raise UsageError(
            f"moments={path} are of targets {first} to {last - 1}, and the fit asks for "
            f"{targets.start} to {targets.stop - 1}; name moments of these targets"
        )
    return slice(targets.start - first, targets.stop - first)
