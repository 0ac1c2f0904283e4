"""Folders that are only to be read: a note in them says why, and nothing is ever written there."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from datamodels.errors import ReadOnlyError

NOTE = "_read_only.json"


@dataclass(frozen=True)
class ReadOnly:
    """Why a store is only to be read."""

    of: str  # what it shows, as in "it is a view of ..."
    remedy: str  # how rows that are missing are had, as a request: "fetch them with ..."
    evaluation: range | None = None  # rows that its makers held out for evaluation
    evaluation_is_assumed: bool = False  # that these are the rows, which nobody said


def read_note(folder: Path) -> ReadOnly | None:
    """What the note in ``folder`` says; None where the folder may be written."""
    try:
        content = json.loads((folder / NOTE).read_bytes())
        held_out = content.get("evaluation")
        return ReadOnly(
            str(content["of"]),
            str(content["remedy"]),
            None if held_out is None else range(*map(int, held_out)),
            held_out is not None and content.get("evaluation_as_told") is None,
        )
    except OSError:
        if not os.path.lexists(folder / NOTE):  # or nobody can look: writing there says why
            return None
        return ReadOnly("something", "see what made it")
    except (ValueError, TypeError, KeyError, AttributeError):
        return ReadOnly("something", "see what made it")


def refuse_inside_read_only(path: Path, option: str | None = None) -> None:
    """ReadOnlyError where ``path``, the value of ``option``, lies in a folder that is only read.

    What lies where is a matter of folders, not of names: links and ``..`` are followed.
    """
    inside = Path(os.path.realpath(path.parent))  # unlike resolve, it never raises
    for folder in (inside, *inside.parents):
        reason = read_note(folder)
        if reason is not None:
            raise ReadOnlyError(
                f"{'' if option is None else f'--{option}='}{path} lies in {folder}, which is "
                f"read-only: it is a view of {reason.of}. Name a place outside of it"
            )
