"""Folders that are only to be read: a note in them says why, and nothing is ever written there."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodels.errors import InputError, ReadOnlyError

NOTE = "_read_only.json"


@dataclass(frozen=True)
class ReadOnly:
    """Why a store is only to be read, as its note says."""

    of: str  # what it shows, as in "it is a view of ..."
    remedy: str  # how rows that are missing are had, as a request: "fetch them with ..."
    kind: str | None = None  # what made the folder, which may then make it anew
    repair: str | None = None  # how a link that leads nowhere is mended; "{folder}" is the store's
    evaluation: range | None = None  # rows that its makers held out for evaluation
    evaluation_as_told: Any = None  # what somebody said of them, for who makes the note anew

    @property
    def evaluation_is_assumed(self) -> bool:
        """That it is these rows, which nobody said."""
        return self.evaluation is not None and self.evaluation_as_told is None

    def to_json(self) -> dict[str, Any]:
        """The content of the note: what is None is left out."""
        rows = self.evaluation
        content = {
            "kind": self.kind,
            "of": self.of,
            "remedy": self.remedy,
            "repair": self.repair,
            "evaluation": None if rows is None else [rows.start, rows.stop],
            "evaluation_as_told": self.evaluation_as_told,
        }
        return {name: value for name, value in content.items() if value is not None}

    @classmethod
    def from_json(cls, content: Any) -> "ReadOnly":
        """Of the content of a note; ValueError, TypeError or KeyError where it is none."""
        if not isinstance(content, dict):
            raise TypeError("no object")
        repair, rows = content.get("repair"), content.get("evaluation")
        return cls(
            str(content["of"]),
            str(content["remedy"]),
            content.get("kind"),
            None if repair is None else str(repair),
            None if rows is None else range(*map(int, rows)),
            content.get("evaluation_as_told"),
        )


def read_note(folder: Path) -> ReadOnly | None:
    """What the note in ``folder`` says; None where the folder may be written.

    A note that is damaged forbids writing, and says nothing else.
    """
    try:
        return read_sound_note(folder)
    except InputError:
        return ReadOnly("something", "see what made it")


def read_sound_note(folder: Path) -> ReadOnly | None:
    """:func:`read_note`, and InputError where the note is damaged or cannot be read."""
    note = folder / NOTE
    try:
        return ReadOnly.from_json(json.loads(note.read_bytes()))
    except OSError as error:
        if not os.path.lexists(note):  # or nobody can look: writing there says why
            return None
        raise InputError(f"{note} cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{note} is damaged") from None


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
