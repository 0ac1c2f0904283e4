"""Telling a misspelled name from one that belongs to somebody else."""

from collections.abc import Iterable

_LETTERS_A_SLIP = 4  # one slip is forgiven for every so many letters, and always one
_OTHER_WORDS = {"momentum"}  # of training scripts: no slip of "moments"


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that ``name`` most likely means, or None; case and ``-`` do not count.

    Near are names that few slips lead to, one for every four letters: a letter too many, too few
    or wrong, or two swapped. A name that shares no letter is never near.
    """
    if _plain(name) in _OTHER_WORDS:
        return None
    slips = {candidate: _slips(_plain(name), _plain(candidate)) for candidate in candidates}
    close = min(slips, key=slips.__getitem__, default=None)
    if close is None:
        return None
    longest = max(len(name), len(close))
    allowed = max(1, longest // _LETTERS_A_SLIP)
    return close if slips[close] <= allowed and slips[close] < longest else None


def nearest_option(name: str, candidates: Iterable[str]) -> str | None:
    """The full name nearest to ``name``, or None.

    Within a section that ``candidates`` have, only the last parts are compared. An unknown section
    may be a misspelled one; a name without a section may be any candidate's last part.
    """
    by_section: dict[str, dict[str, str]] = {}
    for candidate in candidates:
        section, last = _split(candidate)
        by_section.setdefault(section, {})[last] = candidate
    section, last = _split(name)
    if not section:
        lasts = {last: full for part in by_section.values() for last, full in part.items()}
    else:
        if section not in by_section:
            section = nearest(section, by_section) or ""
        lasts = by_section.get(section, {})
    close = nearest(last, lasts)
    return lasts[close] if close is not None else None


def _split(name: str) -> tuple[str, str]:
    section, _, last = name.rpartition(".")
    return section, last


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _slips(a: str, b: str) -> int:
    """Optimal string alignment distance: insertions, deletions, changes, swaps of neighbours."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]
