"""Moments that know their rows: so that they can be kept, merged and trusted later.

Moments made on several machines, or before more models were trained, merge where they are of
different rows of the same problem. Each row is known by its number in the store and by a hash of
what it held: rows are never counted twice, and moments are not used with other data.

With folds, every fold has its own part, so that total - part is what cross-validation fits.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.regression.blocks import DEFAULT_BLOCK_BYTES, Int64s, read_blocks
from datamodels.regression.moment_sums import Moments
from datamodels.regression.row_hashes import HashedSource, Hashes, hashes_of
from datamodels.regression.row_source import Progress, RowSource, silent
from datamodels.regression.row_split import fold_of

_COMMAND = "python -m datamodels.regression.moments"


@dataclass(frozen=True, eq=False, kw_only=True)
class KnownRows:
    """Rows of a store, what they held, and what was made of them."""

    rows: Int64s  # (n,) ascending: their numbers in the store
    hashes: Hashes  # (n,) of their masks and all of their outputs
    n_features: int
    n_targets: int  # that were taken
    first_target: int
    n_targets_all: int  # outputs a row of the source
    folds: int | None = None  # None: one part for all rows
    seed: int | None = None  # of the folds
    groups_key: str | None = None  # array of the store that told the groups
    x_name: str | None = None  # arrays of the store; None for a .beton file, or if a fit made them
    y_name: str | None = None

    @property
    def n(self) -> int:
        return len(self.rows)

    @property
    def n_parts(self) -> int:
        return self.folds or 1

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell the data: the same for any order of the same rows."""
        total = int(self.hashes.sum(dtype=np.uint64))  # modulo 2^64
        words = np.array([total, self.n_features, self.n_targets_all], "<u8")
        return hashlib.blake2b(words.tobytes(), digest_size=8).hexdigest()

    def known(self) -> "KnownRows":
        """These alone, without what a subclass adds."""
        return KnownRows(**{field.name: getattr(self, field.name) for field in fields(KnownRows)})

    def joined(self, other: "KnownRows") -> "KnownRows":
        """Both sets of rows; InputError where they overlap or are of different problems."""
        self._check_same_problem(other)
        shared = np.intersect1d(self.rows, other.rows, assume_unique=True)
        if len(shared):
            raise InputError(
                f"{_rows(len(shared))} in both (the first is row {shared[0]}), and would count "
                "twice; make moments of rows that do not overlap"
            )
        rows = np.concatenate([self.rows, other.rows])
        order = np.argsort(rows)
        return replace(
            self.known(),
            rows=rows[order],
            hashes=np.concatenate([self.hashes, other.hashes])[order],
            x_name=self.x_name or other.x_name,
            y_name=self.y_name or other.y_name,
        )

    def _check_same_problem(self, other: "KnownRows") -> None:
        names = [field.name for field in fields(KnownRows) if field.name not in ("rows", "hashes")]
        for name in names:
            mine, theirs = getattr(self, name), getattr(other, name)
            unknown = name in ("x_name", "y_name") and None in (mine, theirs)
            if mine != theirs and not unknown:
                raise InputError(
                    f"moments with {name}={_shown(mine)} and with {name}={_shown(theirs)} do not "
                    "merge; make both alike"
                )

    def matches(self, source: RowSource, sample: int = 64) -> None:
        """InputError unless ``source`` holds these rows as they were.

        ``sample`` of them, evenly spaced, with the first and the last, are read again.
        """
        for name, mine, theirs in (
            ("features", self.n_features, source.n_features),
            ("targets", self.n_targets_all, source.n_targets),
        ):
            if mine != theirs:
                raise _other_data(f"they are of {mine} {name}, and the data have {theirs}")
        chosen = np.unique(np.linspace(0, self.n - 1, sample).round().astype(np.int64))
        rows = self.rows[chosen]
        positions, found = _positions(source, rows)
        if not found.all():
            raise _other_data(f"row {rows[~found][0]} is not among the complete rows of the data")
        differs = hashes_of(*source.read(positions)) != self.hashes[chosen]
        if differs.any():
            raise _other_data(f"row {rows[differs][0]} of the data holds another mask or outputs")


@dataclass(frozen=True, eq=False, kw_only=True)
class RowMoments(KnownRows):
    """Moments of known rows: one part, or one for each fold."""

    parts: tuple[Moments, ...]

    def total(self) -> Moments:
        """Moments of all rows."""
        return reduce(added, self.parts)

    def __add__(self, other: "RowMoments") -> "RowMoments":
        """Moments of both sets of rows, which must not overlap; counts add exactly."""
        joined = self.joined(other)
        parts = (added(a, b) for a, b in zip(self.parts, other.parts, strict=True))
        return with_parts(joined, tuple(parts))


def with_parts(known: KnownRows, parts: tuple[Moments, ...]) -> RowMoments:
    """The moments of known rows."""
    values = {field.name: getattr(known, field.name) for field in fields(KnownRows)}
    return RowMoments(**values, parts=parts)


def added(a: Moments, b: Moments) -> Moments:
    """a + b, where either may be of no rows, and so know of no groups."""
    if not (a.n and b.n):
        return a if a.n else b
    return a + b


class Collector:
    """One pass over rows of a source: :meth:`parts` and then the :meth:`known_rows`, or
    :meth:`collect` for both.

    Fold after fold is read, each row once, so that one table of pairs is held at a time.

    Args:
        positions: which rows of ``source``.
        targets: contiguous.
        folds, seed: one part for each fold; see ``row_split.fold_of``.
        groups: label of each row of the source (source.n_rows,).
        groups_key: the array that they come from.
        names: arrays of the store that masks and outputs come from.
        table: whether to count all pairs of features.
        device: where to count them, see ``MomentAccumulator``.
        block_bytes, max_rows: of a block of rows, see ``read_blocks``.
    """

    def __init__(
        self,
        source: RowSource,
        positions: Int64s,
        *,
        targets: slice = slice(None),
        folds: int | None = None,
        seed: int = 0,
        groups: Int64s | None = None,
        groups_key: str | None = None,
        names: tuple[str | None, str | None] = (None, None),
        table: bool = True,
        device: str | None = None,
        block_bytes: int = DEFAULT_BLOCK_BYTES,
        max_rows: int | None = None,
        progress: Progress = silent,
    ) -> None:
        self._source = HashedSource(source)
        self._positions = _by_row(source, positions)
        self._targets = slice(*targets.indices(source.n_targets))
        self._folds, self._seed = folds, seed
        self._groups, self._groups_key, self._names = groups, groups_key, names
        self._table, self._device = table, device
        self._block_bytes, self._max_rows, self._progress = block_bytes, max_rows, progress
        self._done = 0

    def parts(self) -> Iterator[Moments]:
        """The moments of all rows, or of one fold after another."""
        for positions in self._position_parts():
            # No name for it here: its table goes when the caller's does.
            yield self._part(positions)

    def collect(self) -> RowMoments:
        """The pass, with all parts in memory."""
        parts = tuple(self.parts())
        return with_parts(self.known_rows(), parts)

    def known_rows(self) -> KnownRows:
        """What the moments are of, once all parts were read."""
        x_name, y_name = self._names
        return KnownRows(
            rows=self._source.idx[self._positions],
            hashes=self._source.hashes(self._positions),
            n_features=self._source.n_features,
            n_targets=self._targets.stop - self._targets.start,
            first_target=self._targets.start,
            n_targets_all=self._source.n_targets,
            folds=self._folds,
            seed=None if self._folds is None else self._seed,
            groups_key=self._groups_key,
            x_name=x_name,
            y_name=y_name,
        )

    def _position_parts(self) -> list[Int64s]:
        if self._folds is None:
            return [self._positions]
        fold = fold_of(self._source.idx[self._positions], self._folds, self._seed)
        return [self._positions[fold == f] for f in range(self._folds)]

    def _part(self, positions: Int64s) -> Moments:
        from datamodels.regression.moment_pass import MomentAccumulator  # numba is slow to import

        n_targets = self._targets.stop - self._targets.start
        accumulator = MomentAccumulator(
            self._source.n_features, n_targets, table=self._table, device=self._device
        )
        for block in read_blocks(
            self._source,
            positions,
            targets=self._targets,
            block_bytes=self._block_bytes,
            max_rows=self._max_rows,
            groups=self._groups,
        ):
            accumulator.add(block)
            self._done += len(block.rows)
            self._progress("moments", self._done, len(self._positions))
        return accumulator.finish()


def _by_row(source: RowSource, positions: Int64s) -> Int64s:
    """``positions`` in the order of their rows; InputError for none, or for a row twice."""
    if not len(positions):
        raise InputError("no rows to make moments of; name complete rows of the data")
    ordered = positions[np.argsort(source.idx[positions], kind="stable")]
    rows = source.idx[ordered]
    twice = rows[1:] == rows[:-1]
    if twice.any():
        raise InputError(f"row {rows[1:][twice][0]} is there twice; moments are of different rows")
    return ordered


def _positions(source: RowSource, rows: Int64s) -> tuple[Int64s, NDArray[np.bool_]]:
    """Where ``rows`` of the store are in ``source`` (n,), and which of them are there (n,)."""
    order = np.argsort(source.idx, kind="stable")
    place = np.searchsorted(source.idx, rows, sorter=order)
    positions = order[np.minimum(place, source.n_rows - 1)]
    return positions, source.idx[positions] == rows


def _other_data(difference: str) -> InputError:
    return InputError(
        f"the moments belong to other data: {difference}. Name the moments of these data, or make "
        f"them anew with {_COMMAND}"
    )


def _shown(value: object) -> object:
    return "none" if value is None else value


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count} rows are"
