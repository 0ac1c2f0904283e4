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

    def __post_init__(self) -> None:
        if self.end not in ENDS:
            raise UsageError(f"evaluation={self.end!r}; it is one of {', '.join(ENDS)}")

    def of(self, n_rows: int) -> slice:
        """These rows of files of ``n_rows``; UsageError where that would leave no others."""
        if not 0 < self.count < n_rows:
            raise UsageError(
                f"n_evaluation={self.count}: the files have {n_rows} rows; give 1 to {n_rows - 1}, "
                "or part='all'"
            )
        return slice(0, self.count) if self.end == "first" else slice(n_rows - self.count, n_rows)


ASSUMED = EvaluationRows()


def as_told(evaluation: str | None, n_evaluation: int | None) -> EvaluationRows | None:
    """What somebody says they are, in whole or in part; None where he says nothing."""
    if evaluation is None and n_evaluation is None:
        return None
    return EvaluationRows(
        "last" if evaluation is None else evaluation,  # type: ignore[arg-type]  # it is checked
        N_EVALUATION if n_evaluation is None else n_evaluation,
    )


def told_to(view: Path) -> EvaluationRows | None:
    """What the maker of a view said; None where he said nothing, or there is no view."""
    try:
        return EvaluationRows(**json.loads(StoreLayout(view).read_only.read_bytes())[_AS_TOLD])
    except (OSError, ValueError, TypeError, KeyError, UsageError):
        return None


def for_note(told: EvaluationRows | None, n_rows: int) -> dict[str, Any]:
    """What the note of a view of ``n_rows`` says of them: nothing where it takes them all."""
    if told is None and n_rows <= ASSUMED.count:
        return {}
    rows = (told or ASSUMED).of(n_rows)
    kept = {} if told is None else {_AS_TOLD: asdict(told)}
    return {"evaluation": [rows.start, rows.stop], **kept}
