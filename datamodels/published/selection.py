"""Which published files are meant, and which of their rows, as people write it."""

import math
import re
from dataclasses import dataclass

from datamodels.errors import UsageError
from datamodels.near_miss import nearest
from datamodels.published.byte_ranges import ByteRanges, Range
from datamodels.published.catalogue import (
    DATASETS,
    KINDS,
    SPLITS,
    PublishedFile,
    alphas_of,
    find,
    published_files,
)
from datamodels.published.evaluation_rows import EvaluationRows

ALL = "all"
EVALUATION = "evaluation"  # the rows held out for evaluation


def select(
    dataset: str | None, alpha: str | None, kinds: str | None, splits: str | None
) -> list[PublishedFile]:
    """Published files by comma-separated lists of values, None or "all" standing for all of them.

    Masks are of both splits: they are among the files whatever ``splits`` are. UsageError for a
    value that no data set has, or that none of the chosen ones has.
    """
    datasets = _words(dataset) or list(DATASETS)
    wanted_kinds, wanted_splits, alphas = _words(kinds), _words(splits), _fractions(alpha)
    _refuse_unknown("data set", datasets, DATASETS)
    _refuse_unknown("kind", wanted_kinds, KINDS)
    _refuse_unknown("split", wanted_splits, SPLITS)
    known = sorted({fraction for name in datasets for fraction in alphas_of(name)})
    for fraction in alphas:
        if not any(math.isclose(fraction, there) for there in known):
            raise UsageError(
                f"alpha={fraction:g} is not published for {' or '.join(datasets)}; there are "
                f"{', '.join(map(str, known))}, and {ALL}"
            )
    if len(datasets) == 1:  # of several, one may have what another lacks
        for fraction in alphas or alphas_of(datasets[0]):
            for kind in wanted_kinds or ("masks",):
                find(datasets[0], fraction, kind)
    chosen = [
        file
        for file in published_files()
        if file.dataset in datasets
        and (not alphas or any(math.isclose(file.alpha, fraction) for fraction in alphas))
        and (not wanted_kinds or file.kind in wanted_kinds)
        and (not wanted_splits or file.kind == "masks" or file.split in wanted_splits)
    ]
    if not chosen:
        raise UsageError(
            f"no published file has all of this: dataset={dataset} alpha={alpha} kinds={kinds} "
            f"splits={splits}. `python -m datamodels.published list` shows what there is"
        )
    return chosen


@dataclass(frozen=True)
class Rows:
    """Rows of ``.npy`` files, e.g. ``0-999,evaluation``: inclusive ranges."""

    text: str

    def __post_init__(self) -> None:
        for part in self._parts():
            self._parse(part)

    def of(self, n_rows: int, held_out: EvaluationRows, name: str) -> list[Range]:
        """Ranges ``(first, stop)`` in order; UsageError unless ``name`` has these rows."""
        rows = ByteRanges()
        for part in self._parts():
            if part == EVALUATION:
                there = held_out.of(n_rows)
                first, last = there.start, there.stop - 1
            else:
                first, last = self._parse(part)
            if last >= n_rows:
                raise UsageError(f"row {last} is not in {name}: it has rows 0 to {n_rows - 1}")
            rows.add(first, last + 1)
        return rows.ranges

    def _parts(self) -> list[str]:
        return [part.strip() for part in self.text.split(",")]

    def _parse(self, part: str) -> Range:
        if part == EVALUATION:
            return (0, 0)
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            within = "" if part == self.text else f" in {self.text!r}"
            hint = (
                f"did you mean {EVALUATION}?"
                if nearest(part, [EVALUATION])
                else f"write e.g. 0-999,300000-309999 or {EVALUATION}"
            )
            raise UsageError(f"{part!r}{within} is no row or range; {hint}")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise UsageError(f"the range {part} runs backwards; write {last}-{first}")
        return (first, last)


def _words(text: str | None) -> list[str]:
    """The parts of a list, none where all are meant."""
    if text is None or text.strip() == ALL:
        return []
    return list(dict.fromkeys(word.strip() for word in text.split(",")))


def _fractions(text: str | None) -> list[float]:
    try:
        return [float(word) for word in _words(text)]
    except ValueError:
        known = sorted({file.alpha for file in published_files()})
        raise UsageError(
            f"alpha={text} is no list of fractions of those published "
            f"({', '.join(map(str, known))}), nor {ALL}"
        ) from None


def _refuse_unknown(what: str, words: list[str], known: tuple[str, ...]) -> None:
    for word in words:
        if word not in known:
            raise UsageError(f"{word!r} is no {what}; there are {', '.join(known)}, and {ALL}")
