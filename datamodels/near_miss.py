"""Telling a misspelled option from one that belongs to somebody else."""

import difflib
from collections.abc import Iterable

_CLOSE = 0.75  # logdr~logdir .91, idx~index .75; num_classes~num_val .56, path~data_path .61


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that ``name`` most likely means, or None; case and ``-`` do not count."""
    by_plain = {_plain(candidate): candidate for candidate in candidates}
    close = difflib.get_close_matches(_plain(name), list(by_plain), n=1, cutoff=_CLOSE)
    return by_plain[close[0]] if close else None


def nearest_option(name: str, candidates: Iterable[str]) -> str | None:
    """The full name nearest to ``name``: within its own section first, then with the section.

    A name without a section (``--logdir``) is compared with the last part of every candidate.
    """
    candidates = list(candidates)
    section, _, last = name.rpartition(".")
    lasts = {c.rpartition(".")[2]: c for c in candidates if not section or _section(c) == section}
    if (close := nearest(last, lasts)) is not None:
        return lasts[close]
    return nearest(name, candidates) if section else None


def _section(name: str) -> str:
    return name.rpartition(".")[0]


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
