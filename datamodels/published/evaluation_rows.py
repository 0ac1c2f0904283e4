"""Which rows of the published files are held out for evaluation.

It is published how many they are, 10,000 of each setting, and not which. That they are the last is
an assumption, for which whoever knows better may put something else: a view keeps it in its note.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from datamodels.errors import UsageError
from datamodels.published.catalogue import N_EVALUATION
from datamodels.training.layout import StoreLayout

End = Literal["last", "first"]
ENDS = ("last", "first")
_AS_TOLD = "evaluation_as_told"  # in the note of a view


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

    def check(self, n_rows: int) -> None:
        """UsageError where files of ``n_rows`` cannot have as many as are said."""
        if self.count is not None:
            EvaluationRows(count=self.count).of(n_rows)

    def rows(self, view: Path) -> EvaluationRows | None:
        """These rows, of a folder that is or will be a view: what is not said is as it was told
        before, or else assumed; None where nobody ever said anything."""
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
    """What the note of a view keeps."""
    try:
        kept = Told(**json.loads(StoreLayout(view).read_only.read_bytes())[_AS_TOLD])
    except (OSError, ValueError, TypeError, KeyError, UsageError):
        return None
    return None if kept.end is None or kept.count is None else EvaluationRows(kept.end, kept.count)


def for_note(told: EvaluationRows | None, n_rows: int) -> dict[str, Any]:
    """What the note of a view of ``n_rows`` says of them: nothing where it takes them all."""
    if told is None and n_rows <= ASSUMED.count:
        return {}
    rows = (told or ASSUMED).of(n_rows)
    kept = {} if told is None else {_AS_TOLD: asdict(told)}
    return {"evaluation": [rows.start, rows.stop], **kept}
