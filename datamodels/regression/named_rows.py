"""Which rows of a store are meant, as people write it: ``0-99,200``, or ``evaluation``.

The latter are the rows that a view of published files holds out for evaluation. What is fitted or
estimated on a view leaves them out unless they are named, and what is scored takes them.
"""

import sys
import warnings
from pathlib import Path

import numpy as np

from datamodels.errors import InputError, UsageError
from datamodels.read_only import ReadOnly, read_note, read_sound_note
from datamodels.regression.blocks import Int64s
from datamodels.training.indices import parse_indices
from datamodels.training.layout import StoreLayout

EVALUATION = "evaluation"


def evaluation_rows(store: str | Path) -> range:
    """Rows that a view of published files holds out for evaluation; none of anything else.

    InputError where a damaged note leaves that open.
    """
    try:
        note = read_sound_note(Path(store))
    except InputError as error:
        raise InputError(
            f"{error}, so that nobody knows which rows are held out for evaluation: make the view "
            "anew (python -m datamodels.published view)"
        ) from None
    return range(0) if note is None or note.evaluation is None else note.evaluation


def parse_rows(text: str, complete: Int64s, n_rows: int, store: str | Path, option: str) -> Int64s:
    """Row numbers of a store of ``n_rows``, in the order written, each once.

    ``complete`` (n,) are its complete rows. Numbers need not be among them; ``evaluation`` stands
    for those of the held-out rows that are.

    Raises:
        UsageError: a part is no row or range, or ``evaluation`` of what is no view. InputError:
            none of the evaluation rows is complete. Both name ``option``, e.g. "--lds.rows".
    """
    numbers: dict[int, None] = {}
    for part in text.split(","):
        if names_evaluation(part):
            numbers |= dict.fromkeys(_complete_evaluation_rows(complete, store, option).tolist())
        else:
            numbers |= dict.fromkeys(parse_indices(part, n_rows, store))
    return np.array(list(numbers), np.int64)


def names_evaluation(text: str) -> bool:
    """Whether ``evaluation`` is among the rows that ``text`` names."""
    return any(part.strip() == EVALUATION for part in text.split(","))


def _complete_evaluation_rows(complete: Int64s, store: str | Path, option: str) -> Int64s:
    held_out = evaluation_rows(store)
    if not held_out:
        raise UsageError(
            f"{option}={EVALUATION}: {store} is no view of published files, or one that holds no "
            "row out: write row numbers as 1600-1999"
        )
    rows = complete[np.isin(complete, held_out)]
    if not len(rows):
        raise InputError(none_complete(store, option))
    return rows


def none_complete(store: str | Path, option: str) -> str:
    """What to say where no evaluation row is complete."""
    held_out = evaluation_rows(store)
    return (
        f"none of the rows {held_out.start}-{held_out.stop - 1} of {store}, which are held out for "
        f"evaluation, is complete: {StoreLayout(Path(store)).how_to_complete()}, or name others "
        f"with {option}"
    )


def beside_evaluation(complete: Int64s, store: str | Path | None, otherwise: str) -> Int64s:
    """Positions among the ``complete`` rows (n,) of all that a view does not hold out.

    InputError where it holds out all of them; its message ends with ``otherwise``, a request.
    """
    if store is None or not (held_out := evaluation_rows(store)):
        return np.arange(len(complete))
    positions = np.flatnonzero(~np.isin(complete, held_out))
    if not len(positions):
        raise InputError(
            f"all {len(complete)} complete rows of {store} are held out for evaluation: "
            f"{StoreLayout(Path(store)).how_to_complete()}, or {otherwise}"
        )
    return positions


def rows_to_fit(complete: Int64s, store: str | Path, option: str) -> Int64s:
    """:func:`beside_evaluation` for a command, with a note on standard error if any are left out.

    ``option`` is the one that names rows.
    """
    positions = beside_evaluation(complete, store, f"take them all the same, by {option}")
    if left_out := len(complete) - len(positions):
        print(
            f"note: {left_out} rows that {store} holds out for evaluation are left out; {option} "
            "takes the rows that it names",
            file=sys.stderr,
        )
    return positions


def warn_if_assumed(store: str | Path) -> None:
    """A warning where it is assumed which rows of a view took no part in a published fit."""
    note: ReadOnly | None = read_note(Path(store))
    if note is None or note.evaluation is None or not note.evaluation_is_assumed:
        return
    warnings.warn(
        f"rows {note.evaluation.start}-{note.evaluation.stop - 1} of {store} are taken as held "
        "out from the published fit: that it is these is an assumption. `python -m "
        "datamodels.published view` says otherwise (--view.evaluation, --view.n_evaluation)",
        stacklevel=3,
    )
