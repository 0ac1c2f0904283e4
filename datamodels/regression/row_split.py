"""Which rows fit and which choose lambda: rows held out once, folds, or none."""

from dataclasses import dataclass

import numpy as np

from datamodels.errors import UsageError
from datamodels.regression.blocks import Int64s
from datamodels.streams import stream_words

_STREAM = "folds"
_LARGEST_NAME = 2**27  # a word of 8 bytes is drawn for every number up to the largest: 1 GiB


@dataclass(frozen=True, eq=False)
class RowSplit:
    """Rows of a source and the sets of them that are held out in turn.

    One held-out set is the validation part of a plain split; several are folds, which share out
    all rows; without any, lambda is given.
    """

    rows: Int64s  # (n,) ascending
    held_out: tuple[Int64s, ...]  # each ascending, disjoint

    @property
    def n_trials(self) -> int:
        """How often the path is followed to choose lambda."""
        return len(self.held_out)

    @property
    def is_folds(self) -> bool:
        return self.n_trials > 1

    def training(self, trial: int) -> Int64s:
        """The rows that are fitted while ``held_out[trial]`` are held out."""
        return np.setdiff1d(self.rows, self.held_out[trial])


def held_out_once(train_rows: Int64s, val_rows: Int64s) -> RowSplit:
    """Fit ``train_rows``, choose lambda on ``val_rows``."""
    if len(train_rows) < 2 or len(val_rows) < 1:
        raise UsageError(
            f"{len(train_rows)} training and {len(val_rows)} validation rows; fitting takes at "
            "least 2 rows and choosing lambda at least 1"
        )
    shared = np.intersect1d(train_rows, val_rows)
    if len(shared):
        raise UsageError(
            f"{len(shared)} rows (the first is {shared[0]}) are in both parts; validation rows "
            "must not be fitted before lambda is chosen"
        )
    return RowSplit(np.union1d(train_rows, val_rows), (np.sort(val_rows),))


def in_folds(rows: Int64s, names: Int64s, folds: int, seed: int) -> RowSplit:
    """Each of ``rows`` (n,), called ``names`` (n,) in its store, held out in one of ``folds``."""
    fold = fold_of(names, folds, seed)
    parts = tuple(np.sort(rows[fold == f]) for f in range(folds))
    smallest = min(len(part) for part in parts)
    if smallest < 1 or len(rows) - max(len(part) for part in parts) < 2:
        raise UsageError(
            f"folds={folds} of {len(rows)} rows: the smallest fold has {smallest}; every fold "
            "needs a row, and at least 2 outside it. Lower folds, or fit more models"
        )
    return RowSplit(np.sort(rows), parts)


def whole(rows: Int64s) -> RowSplit:
    """No row is held out."""
    if len(rows) < 2:
        raise UsageError(f"{len(rows)} rows; fitting takes at least 2")
    return RowSplit(np.sort(rows), ())


def fold_of(names: Int64s, folds: int, seed: int) -> Int64s:
    """The fold (n,) of each row of a store, by its number there.

    A function of (seed, number) alone, so that the moments of folds from several shards merge and
    rows trained later do not move the others. Rows ``folds`` b to ``folds`` (b + 1) - 1 get all
    different folds, in the order of their words of one stream: folds are even.
    """
    if folds < 2:
        raise UsageError(f"folds={folds}; give at least 2, 5 or 10 are usual")
    if seed < 0:
        raise UsageError(f"seed={seed}; folds are drawn with a seed of 0 or more")
    _check_names(names)
    block, place = np.divmod(names, folds)
    n_blocks = int(block.max(initial=0)) + 1
    words = stream_words(_STREAM, seed=seed, index=0, count=n_blocks * folds)
    present, which = np.unique(block, return_inverse=True)
    order = np.argsort(words.reshape(n_blocks, folds)[present], axis=1, kind="stable")
    assigned: Int64s = order[which, place].astype(np.int64)
    return assigned


def _check_names(names: Int64s) -> None:
    wrong = names[(names < 0) | (names >= _LARGEST_NAME)]
    if len(wrong):
        raise UsageError(
            f"a row has the number {wrong[0]}; folds are drawn for rows numbered from 0 to "
            f"{_LARGEST_NAME - 1}: number the rows of the data anew, or hold rows out once"
        )
