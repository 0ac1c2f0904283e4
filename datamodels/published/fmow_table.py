"""The table of FMoW images that WILDS ships, ``rgb_metadata.csv``: one row an image."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError

SPLITS = ("train", "val", "test", "seq")  # of the column ``split``; ``seq`` has no public labels
_COLUMNS = ("split", "category", "timestamp")


@dataclass(frozen=True, eq=False)
class FMoWTable:
    """Columns of the table, all (n,), in its order; ``class_names`` in alphabetical order."""

    split: NDArray[np.int8]  # place in SPLITS
    label: NDArray[np.int64]  # place in class_names
    year: NDArray[np.int64]  # calendar year of the timestamp in UTC
    class_names: tuple[str, ...]


def read_table(path: Path) -> FMoWTable:
    """The table in ``path``; InputError, with the line, where it is not such a table.

    Row i is the i-th record after the header, counted from 0; blank lines are none. Other columns
    than split, category and timestamp are not looked at.
    """
    splits: list[int] = []
    names: list[str] = []
    years: list[int] = []
    for line, (split, category, timestamp) in _records(path):
        if split not in SPLITS:
            raise InputError(
                f"{path}, line {line}: split is {split!r}; it must be one of {', '.join(SPLITS)}"
            )
        if not category:
            raise InputError(f"{path}, line {line}: category is empty; each image has a class")
        splits.append(SPLITS.index(split))
        names.append(category)
        years.append(_year(timestamp, f"{path}, line {line}"))
    if not names:
        raise InputError(f"{path} has no rows below its header; copy it anew from WILDS")
    class_names = tuple(sorted(set(names)))
    number = {name: label for label, name in enumerate(class_names)}
    return FMoWTable(
        np.array(splits, np.int8),
        np.array([number[name] for name in names], np.int64),
        np.array(years, np.int64),
        class_names,
    )


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and values of ``_COLUMNS``, record by record."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            columns = [_column(header, name, path) for name in _COLUMNS]
            for record in reader:
                if not record:
                    continue
                if len(record) != len(header):
                    raise InputError(
                        f"{path}, line {reader.line_num}: {len(record)} values for "
                        f"{len(header)} columns; is the file complete?"
                    )
                yield reader.line_num, [record[column] for column in columns]
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}, after line {reader.line_num}: not a CSV file in UTF-8: {error}"
            ) from None


def _column(header: list[str], name: str, path: Path) -> int:
    if header.count(name) != 1:
        raise InputError(
            f"{path} has {header.count(name) or 'no'} columns {name!r}; it must have one each of "
            f"{', '.join(_COLUMNS)}, and has {', '.join(header) or 'no header'}"
        )
    return header.index(name)


def _year(timestamp: str, where: str) -> int:
    """The calendar year in UTC; a timestamp without an offset is in UTC."""
    try:
        moment = datetime.fromisoformat(timestamp)
        return (moment.astimezone(UTC) if moment.tzinfo else moment).year
    except (ValueError, OverflowError):
        raise InputError(
            f"{where}: timestamp is {timestamp!r}; it must be in ISO form, such as "
            "2014-07-08T14:46:23Z"
        ) from None
