"""Which rows of the published files are held out for evaluation.

It is published how many they are, 10,000 of each setting, and not which. That they are the last is
an assumption, for which whoever knows better may put something else: a view keeps it in its note.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datamodels.errors import InputError, UsageError
from datamodels.published.catalogue import N_EVALUATION
from datamodels.read_only import NOTE, read_sound_note

End = Literal["last", "first"]
ENDS = ("last", "first")


@dataclass(frozen=True)
class EvaluationRows:
    """So many rows at one end of the files."""

    end: End = "last"
    count: int = N_EVALUATION

    def of(self, n_rows: int) -> slice:
        """These rows of files of ``n_rows``; UsageError where that would leave no others."""
        if not 0 < self.count < n_rows:
            raise UsageError(
                f"n_evaluation={self.count}: the files have {n_rows} rows; give 1 to {n_rows - 1}"
            )
        return slice(0, self.count) if self.end == "first" else slice(n_rows - self.count, n_rows)


ASSUMED = EvaluationRows()


@dataclass(frozen=True)
class Told:
    """What somebody says they are, in whole, in part or not at all (None).

    UsageError for no such end, and for fewer than one.
    """

    end: End | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        if self.end not in (None, *ENDS):
            raise UsageError(f"evaluation={self.end!r}; it is one of {', '.join(ENDS)}")
        if self.count is not None and self.count < 1:
            raise UsageError(f"n_evaluation={self.count}; it must be at least 1")

    def rows(self, view: Path) -> EvaluationRows | None:
        """These rows, of a folder that is or will be a view: what is not said is as it was told
        before, or else assumed; None where nobody ever said anything.

        InputError where something was not said, and the view's note of it is damaged.
        """
        if self.end is not None and self.count is not None:
            return EvaluationRows(self.end, self.count)
        before = _told_before(view)
        if self == NOTHING_TOLD:
            return before
        base = before or ASSUMED
        return EvaluationRows(
            base.end if self.end is None else self.end,
            base.count if self.count is None else self.count,
        )


NOTHING_TOLD = Told()


def _told_before(view: Path) -> EvaluationRows | None:
    """What the note of a view keeps; InputError where it is damaged."""
    try:
        note = read_sound_note(view)
        if note is None or note.evaluation_as_told is None:
            return None
        kept = Told(**note.evaluation_as_told)
        if kept.end is None or not isinstance(kept.count, int):
            raise TypeError("not all of it")
        return EvaluationRows(kept.end, kept.count)
    except (InputError, TypeError, UsageError) as error:
        reason = error if isinstance(error, InputError) else f"{view / NOTE} is damaged"
        raise InputError(
            f"{reason}, so that it is not known which rows the view was told to hold out for "
            "evaluation: say both evaluation and n_evaluation anew, or move away the folder, which "
            "holds links alone"
        ) from None


def held_out(told: EvaluationRows | None, n_rows: int) -> range | None:
    """The rows that a view of ``n_rows`` holds out: None where nothing was told, and what is
    assumed takes them all. UsageError where what was told does."""
    if told is None and n_rows <= ASSUMED.count:
        return None
    rows = (told or ASSUMED).of(n_rows)
    return range(rows.start, rows.stop)
