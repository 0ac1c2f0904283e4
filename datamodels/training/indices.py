"""Row numbers as people write them: ``0-99,200,300-399``, ranges inclusive."""

import re

from datamodels.errors import UsageError


def parse_indices(text: str, num_models: int, store: object, *, noun: str = "row") -> list[int]:
    """Row numbers in the order written, each once.

    UsageError names the part that is no row or range, or a row that ``store``, which has
    ``num_models``, lacks. ``noun`` is what is numbered, where it is not the rows of a store.
    """
    rows: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None:
            raise UsageError(
                f"{part!r} in {text!r} is no {noun} or range; write e.g. 0-99,200,300-399"
            )
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise UsageError(f"the range {part} in {text!r} runs backwards; write {last}-{first}")
        check_range([last], num_models, store, noun=noun)  # before a long range is written out
        rows.update(dict.fromkeys(range(first, last + 1)))
    return list(rows)


def format_indices(rows: list[int]) -> str:
    """The shortest text that :func:`parse_indices` reads back, e.g. ``0-99,200``."""
    parts: list[list[int]] = []
    for row in sorted(set(rows)):
        if parts and row == parts[-1][1] + 1:
            parts[-1][1] = row
        else:
            parts.append([row, row])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def check_range(rows: list[int], num_models: int, store: object, *, noun: str = "row") -> None:
    """UsageError unless every row number is one of the store's."""
    outside = [row for row in rows if not 0 <= row < num_models]
    if outside:
        raise UsageError(
            f"{noun} {outside[0]} is not in {'the store ' if noun == 'row' else ''}{store}: it has "
            f"{noun}s 0 to {num_models - 1}"
        )
