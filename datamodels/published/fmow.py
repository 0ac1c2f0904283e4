"""FMoW as the published FMoW datamodels have it: which satellite image is which column.

The images and their table are those of WILDS (folder ``fmow_v1.1``), whose package is not needed.
In-distribution images are of a single year, 2012 in the published setting::

    dataset = FMoWDataset("/data/wilds")
    train = dataset.get_subset("train", transform)  # example i is column i of the masks
    test = dataset.get_subset("id_test", transform)  # example j is column j of the outputs
"""

import os
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from datamodels.errors import InputError, MissingFileError, UsageError
from datamodels.near_miss import nearest
from datamodels.published.fmow_subset import FMoWSubset
from datamodels.published.fmow_table import SPLITS, FMoWTable, read_table

FOLDER = "fmow_v1.1"
TABLE = "rgb_metadata.csv"
N_CLASSES = 62
PUBLISHED_SCHEME = "time_after_2016"
PUBLISHED_COUNTS = {"train": 21404, "id_test": 3138}  # columns of the published matrices

_SAME_SCHEMES = ("official", "mixed-to-test")  # WILDS' other names of PUBLISHED_SCHEME
_SPLIT_COLUMN = {
    "train": "train",
    "id_val": "val",
    "id_test": "test",
    "val": "val",
    "test": "test",
}  # which images of the table's own split each subset takes from
_ID_BEFORE = 4  # scheme time_after_YEAR: in-distribution images are of YEAR - 4,
_VALIDATION_BEFORE = 3  # out-of-distribution validation begins with YEAR - 3, and test with YEAR


class FMoWDataset:
    """The images of WILDS' FMoW, to be split by year.

    ``root_dir`` is the folder ``fmow_v1.1`` or the one that holds it. ``split_scheme`` is
    ``time_after_YEAR``; ``official`` and ``mixed-to-test`` mean ``time_after_2016``.

    MissingFileError without a table there, InputError for one that cannot be read, UsageError for
    another scheme or a YEAR that the images do not reach. A warning says when the table does not
    have 62 classes. Images are not looked at before they are read.
    """

    def __init__(
        self, root_dir: str | os.PathLike[str], split_scheme: str = PUBLISHED_SCHEME
    ) -> None:
        self._ood_year = _scheme_year(split_scheme)
        self.split_scheme = f"time_after_{self._ood_year:04d}"
        self.root = _table_folder(Path(root_dir).expanduser())
        self._table = read_table(self.root / TABLE)
        _check_year(self._ood_year, self._table)
        if len(self.class_names) != N_CLASSES:
            warnings.warn(
                f"{self.root / TABLE} has {len(self.class_names)} classes, and FMoW in WILDS "
                f"{N_CLASSES}: labels are numbered by the classes that are there",
                stacklevel=2,
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the table in alphabetical order; labels are places in it."""
        return self._table.class_names

    def get_subset(self, split: str, transform: Callable[[Any], Any] | None = None) -> FMoWSubset:
        """The images of ``split``: train, id_val, id_test (in-distribution), val or test (later).

        With YEAR of the scheme and calendar years in UTC, in-distribution images are those of
        YEAR - 4, val has YEAR - 3 to YEAR - 1, and test YEAR and later; each takes those of train,
        val or test in the table's own column. UsageError for another ``split``.

        ``train`` and ``id_test`` of the default scheme are the columns of the published matrices;
        a warning says when they are not as many.
        """
        if split not in _SPLIT_COLUMN:
            raise UsageError(
                f"split={split!r}; it must be one of {', '.join(_SPLIT_COLUMN)}"
                f"{_hint(split, _SPLIT_COLUMN)}"
            )
        table = self._table
        first, last = self._years(split)
        rows = np.flatnonzero(
            (table.split == SPLITS.index(_SPLIT_COLUMN[split]))
            & (first <= table.year)
            & (table.year <= last)
        )
        self._compare_with_published(split, len(rows))
        return FMoWSubset(
            split,
            rows,
            table.label[rows],
            table.year[rows],
            table.class_names,
            self.root / "images",
            transform,
        )

    def _years(self, split: str) -> tuple[int, int]:
        """First and last calendar year of the images of ``split``."""
        if split == "test":
            return self._ood_year, int(self._table.year.max())
        if split == "val":
            return self._ood_year - _VALIDATION_BEFORE, self._ood_year - 1
        return self._ood_year - _ID_BEFORE, self._ood_year - _ID_BEFORE

    def _compare_with_published(self, split: str, count: int) -> None:
        published = PUBLISHED_COUNTS.get(split, count)
        if self.split_scheme == PUBLISHED_SCHEME and count != published:
            warnings.warn(
                f"{split} has {count} examples, and the published FMoW matrices {published} "
                f"columns: these are not their images; is {self.root / TABLE} WILDS' own?",
                stacklevel=3,
            )


def _scheme_year(scheme: str) -> int:
    """YEAR of ``time_after_YEAR``, by whatever name."""
    by_name = PUBLISHED_SCHEME if scheme in _SAME_SCHEMES else scheme
    match = re.fullmatch(r"time_after_([0-9]{4})", by_name)
    if match is None:
        raise UsageError(
            f"split_scheme={scheme!r}; it must be time_after_YEAR, such as {PUBLISHED_SCHEME}, or "
            f"one of its names {', '.join(_SAME_SCHEMES)}"
            f"{_hint(scheme, (PUBLISHED_SCHEME, *_SAME_SCHEMES))}"
        )
    return int(match[1])


def _hint(name: str, candidates: Iterable[str]) -> str:
    close = nearest(name, candidates)
    return f" (did you mean {close}?)" if close else ""


def _check_year(ood_year: int, table: FMoWTable) -> None:
    """UsageError unless the in-distribution year is among those of the images."""
    years = table.year[table.split != SPLITS.index("seq")]
    if not len(years):
        raise InputError("all rows of the table are of the split seq, which is not used")
    first, last = int(years.min()), int(years.max())
    if not first <= ood_year - _ID_BEFORE <= last:
        raise UsageError(
            f"split_scheme=time_after_{ood_year:04d}: in-distribution images would be of "
            f"{ood_year - _ID_BEFORE}, and there are images of {first} to {last}; YEAR must be "
            f"from {first + _ID_BEFORE} to {last + _ID_BEFORE}"
        )


def _table_folder(root: Path) -> Path:
    for folder in (root / FOLDER, root):
        if (folder / TABLE).is_file():
            return folder
    raise MissingFileError(
        f"there is neither {root / FOLDER / TABLE} nor {root / TABLE}; root_dir must be WILDS' "
        f"folder {FOLDER}, with {TABLE} and images/, or the folder that holds it"
    )
