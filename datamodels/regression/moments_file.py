"""Moments in a file: ``.npz``, which ``np.load`` alone reads, written and read as a stream.

Not compressed, nothing pickled, the same bytes for the same content. Its arrays, k being the part
(0, or the number of the fold):

    about              JSON in a string: format, version, names of the arrays, n of each part, and
                       what the moments are of (see ``KnownRows``)
    rows, hashes       (n,) numbers of the rows in their store, and a hash of each
    xx_k               (p (p + 1) / 2,) the upper triangle of X'X with its diagonal, row by row;
                       missing where no table was made
    xy_k               (p, t); missing where it was not made
    sum_x_k, squares_x_k, shift_x_k   (p,)
    sum_y_k, sum_yy_k, shift_k        (t,)
    group_labels_k, group_n_k, group_sum_x_k, group_sum_y_k    (q,), (q,), (q, p), (q, t)

``xx[np.triu_indices(p)] = file["xx_0"]`` gives the triangle its shape again. What the sums mean is
told in ``moment_sums``. A table of 10 GB is never in memory twice.
"""

import json
import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import DatamodelsError, InputError, MissingFileError, UsageError
from datamodels.files import disk_errors, new_file
from datamodels.npy_file import header_bytes
from datamodels.regression.blocks import Float64s
from datamodels.regression.moment_sums import Groups, Moments
from datamodels.regression.row_moments import KnownRows, RowMoments, added, with_parts

_FORMAT, _VERSION = "datamodels moments", 1
_CHUNK = 8 * 2**20  # bytes read or written at a time
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can tell: the same content, the same bytes
_ON_UNIX = 3
_COMMAND = "python -m datamodels.regression.moments"

_SUMS = ("sum_x", "squares_x", "shift_x", "sum_y", "sum_yy", "shift")
_GROUP_SUMS = ("labels", "n", "sum_x", "sum_y")
_WORDS = ("folds", "seed", "groups_key", "x_name", "y_name", "first_target", "n_targets_all",
          "n_features", "n_targets")  # fmt: skip

Triangle = Iterator[NDArray[Any]]  # row i of a symmetric table from its diagonal on, (p - i,)


def check_name(path: Path, option: str = "out") -> None:
    """UsageError for a file of moments that is to be called otherwise than ``.npz``."""
    if path.suffix != ".npz":
        raise UsageError(
            f"{option}={path}: moments are written to .npz files; end the name in .npz"
        )


def save(moments: RowMoments, path: str | Path) -> None:
    """Write moments to a new file, which appears whole or not at all."""
    with new_moments_file(path) as file:
        for part in moments.parts:
            file.add(part)
        file.finish(moments)


def load(path: str | Path, *, table: bool = True, targets: slice = slice(None)) -> RowMoments:
    """All parts of a file; without the tables of pairs if so asked, or with some of the targets.

    ``targets`` are contiguous, counted from the first of the file. Errors are those of
    :class:`MomentsFile`.
    """
    with MomentsFile(path) as file:
        parts = tuple(file.part(k, table=table, targets=targets) for k in range(file.known.n_parts))
        return with_parts(file.known_of(targets), parts)


@contextmanager
def new_moments_file(path: str | Path) -> "Iterator[MomentsWriter]":
    """A writer whose file stands at ``path`` once the block ends without an error."""
    path = Path(path)
    with new_file(path) as temporary:
        archive = zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED)
        try:
            yield MomentsWriter(archive, path)
        except BaseException:
            with suppress(OSError, ValueError):  # the first error says it better
                archive.close()
            raise
        with disk_errors(path):
            archive.close()


class MomentsWriter:
    """Takes part after part, and then what they are moments of."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self._path = archive, path
        self._n: list[int] = []
        self._names: list[str] = []

    def add(self, part: Moments, triangle: Triangle | None = None) -> None:
        """Write the next part, its table from ``part.xx`` or from the rows of ``triangle``, which
        then are of ``table_dtype(part)``."""
        k = len(self._n)
        self._n.append(part.n)
        p = part.n_features
        if triangle is not None:
            dtype = table_dtype(part)
            self._write(f"xx_{k}", (_entries_before(p, p),), dtype, triangle)
        elif part.xx is not None:
            rows = (part.xx[i, i:] for i in range(p))
            self._write(f"xx_{k}", (_entries_before(p, p),), part.xx.dtype, rows)
        if part.xy is not None:
            self._array(f"xy_{k}", part.xy)
        for name in _SUMS:
            self._array(f"{name}_{k}", getattr(part, name))
        if part.groups is not None:
            for name in _GROUP_SUMS:
                self._array(f"group_{name}_{k}", getattr(part.groups, name))

    def finish(self, known: KnownRows) -> None:
        """Write what the parts are moments of."""
        self._array("rows", known.rows)
        self._array("hashes", known.hashes)
        words = {name: getattr(known, name) for name in _WORDS}
        about = {"format": _FORMAT, "version": _VERSION, "arrays": self._names, "n": self._n}
        self._array("about", np.array(json.dumps({**about, **words})))

    def _array(self, name: str, values: NDArray[Any]) -> None:
        step = max(_CHUNK * max(len(values), 1) // max(values.nbytes, 1), 1) if values.ndim else 1
        pieces = (values[i : i + step] for i in range(0, len(values), step)) if values.ndim else (
            values,)  # fmt: skip
        self._write(name, values.shape, values.dtype, pieces)

    def _write(
        self, name: str, shape: tuple[int, ...], dtype: "np.dtype[Any]", pieces: Iterable[Any]
    ) -> None:
        self._names.append(name)
        info = zipfile.ZipInfo(f"{name}.npy", _DATE)
        info.create_system, info.external_attr = _ON_UNIX, 0o644 << 16
        with disk_errors(self._path), self._archive.open(info, "w", force_zip64=True) as stream:
            stream.write(header_bytes(shape, dtype))
            for piece in pieces:
                stream.write(np.ascontiguousarray(piece, dtype).reshape(-1).view(np.uint8).data)


class MomentsFile:
    """An open file of moments; ``known`` tells what they are of.

    Raises:
        MissingFileError: there is no such file. InputError: it is no file of moments, is cut short
            or damaged (every array read is checked against its sum), or of another version.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        with self._reading():
            self._archive = zipfile.ZipFile(self._path)
        try:
            about = self._about()
            with self._reading("about"):
                self._names = set(about["arrays"])
            self._n, self.known = self._read_known(about)
        except BaseException:
            self._archive.close()
            raise

    def __enter__(self) -> "MomentsFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go."""
        self._archive.close()

    @property
    def has_table(self) -> bool:
        """Whether it holds products of pairs."""
        return all(f"xx_{k}" in self._names for k in range(self.known.n_parts))

    def known_of(self, targets: slice) -> KnownRows:
        """What the moments of some of the targets are of."""
        start, stop, _ = targets.indices(self.known.n_targets)
        first = self.known.first_target + start
        return replace(self.known, first_target=first, n_targets=max(stop - start, 0))

    def part(self, k: int, *, table: bool = True, targets: slice = slice(None)) -> Moments:
        """One part; without its table of pairs if so asked."""
        part = self._sums(k, targets)
        if not table or not self.has_table:
            return part
        triangle, dtype = self.triangle(k)
        return replace(part, xx=_square(triangle, part.n_features, dtype))

    def total(self, *, table: bool = True, targets: slice = slice(None)) -> Moments:
        """Moments of all rows, their tables summed as they are read: one is in memory."""
        pieces = [(self, k) for k in range(self.known.n_parts)]
        total, triangle = summed(pieces, table=table, targets=targets)
        if triangle is None:
            return total
        return replace(total, xx=_square(triangle, total.n_features, table_dtype(total)))

    def triangle(self, k: int) -> tuple[Triangle, "np.dtype[Any]"]:
        """The table of part k, row after row as it is read from the file, and its dtype."""
        p = self.known.n_features
        stream, shape, dtype = self._open(f"xx_{k}")
        self._check(f"xx_{k}", shape == (_entries_before(p, p),))
        return self._triangle_rows(stream, p, dtype), dtype

    def _triangle_rows(self, stream: IO[bytes], p: int, dtype: "np.dtype[Any]") -> Triangle:
        with stream:
            i = 0
            while i < p:
                stop = min(p, i + max(1, _CHUNK // ((p - i) * dtype.itemsize)))
                begins = [_entries_before(p, row) for row in range(i, stop + 1)]
                values = self._take(stream, dtype, begins[-1] - begins[0], last=stop == p)
                for a, b in pairwise(begins):
                    yield values[a - begins[0] : b - begins[0]]
                i = stop

    def _sums(self, k: int, targets: slice) -> Moments:
        """Part k without its table."""
        p, t = self.known.n_features, self.known.n_targets
        shapes = [(p,)] * 3 + [(t,)] * 3
        sums = {
            name: self._array(f"{name}_{k}", shape)
            for name, shape in zip(_SUMS, shapes, strict=True)
        }
        part = Moments(
            n=self._n[k], xx=None, xy=self._columns(f"xy_{k}", (p, t), targets),
            groups=self._groups(k), **sums,
        )  # fmt: skip
        taken = part.targets(targets)
        return replace(taken, xy=part.xy)  # whose columns were chosen as they were read

    def _groups(self, k: int) -> Groups | None:
        if f"group_labels_{k}" not in self._names:
            return None
        q = len(self._array(f"group_labels_{k}"))
        shapes = ((q,), (q,), (q, self.known.n_features), (q, self.known.n_targets))
        return Groups(
            *(
                self._array(f"group_{name}_{k}", shape)
                for name, shape in zip(_GROUP_SUMS, shapes, strict=True)
            )
        )

    def _about(self) -> dict[str, Any]:
        there = [name.removesuffix(".npy") for name in self._archive.namelist()]
        about = None
        if "about" in there:
            with self._reading("about"):
                about = json.loads(str(self._array("about", ())))
        if not isinstance(about, dict) or about.get("format") != _FORMAT:
            raise InputError(
                f"{self._path} holds no moments (its arrays: {', '.join(there[:5]) or 'none'}); "
                f"{_COMMAND} makes such a file"
            )
        if about.get("version") != _VERSION:
            raise InputError(
                f"{self._path} is of version {about.get('version')} of this format, and version "
                f"{_VERSION} is read here; make it anew with {_COMMAND}"
            )
        return about

    def _read_known(self, about: dict[str, Any]) -> tuple[list[int], KnownRows]:
        rows, hashes = self._array("rows"), self._array("hashes")
        with self._reading("about"):
            known = KnownRows(rows=rows, hashes=hashes, **{name: about[name] for name in _WORDS})
            n = [int(count) for count in about["n"]]
        self._check("rows", rows.ndim == 1 and rows.shape == hashes.shape and sum(n) == len(rows))
        self._check("about", len(n) == known.n_parts)
        return n, known

    def _array(self, name: str, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
        stream, found, dtype = self._open(name)
        with stream:
            self._check(name, shape is None or found == shape)
            count = int(np.prod(found, dtype=np.int64))
            return self._take(stream, dtype, count, last=True).reshape(found).copy()

    def _columns(self, name: str, shape: tuple[int, int], columns: slice) -> Float64s | None:
        """Some columns of a matrix, if it is there; the others are read, but not kept."""
        if name not in self._names:
            return None
        stream, found, dtype = self._open(name)
        with stream:
            self._check(name, found == shape and dtype == np.float64)
            p, t = shape
            start, stop, _ = columns.indices(t)
            kept = np.empty((p, max(stop - start, 0)))
            step = max(_CHUNK // max(8 * t, 1), 1)
            for i in range(0, p, step):
                n = min(step, p - i)
                values = self._take(stream, dtype, n * t, last=i + n == p)
                kept[i : i + n] = values.reshape(n, t)[:, columns]
            return kept

    def _open(self, name: str) -> tuple[IO[bytes], tuple[int, ...], "np.dtype[Any]"]:
        """An array's bytes from the first element on, its shape and dtype."""
        with self._reading(name):
            stream = self._archive.open(f"{name}.npy")
            try:
                np.lib.format.read_magic(stream)
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            except (zipfile.BadZipFile, OSError):
                raise
            except Exception as error:  # numpy parses headers as Python: its errors come through
                raise ValueError(error) from None
            if dtype.hasobject or (fortran and len(shape) > 1):
                raise ValueError("a header that is not of this format")
            return stream, shape, dtype

    def _take(
        self, stream: IO[bytes], dtype: "np.dtype[Any]", count: int, *, last: bool
    ) -> NDArray[Any]:
        """The next ``count`` elements, read-only; the ``last`` ones end their array."""
        with self._reading():
            content = stream.read(count * dtype.itemsize)
            if len(content) != count * dtype.itemsize or (last and stream.read(1)):
                raise EOFError("an array is not as long as it should be")
            return np.frombuffer(content, dtype)

    def _check(self, name: str, holds: bool) -> None:
        if not holds:
            raise InputError(
                f"{self._path} is damaged: its array {name} does not fit the others. Copy it again "
                f"from where it is whole, or make it anew with {_COMMAND}"
            )

    @contextmanager
    def _reading(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except DatamodelsError:
            raise
        except FileNotFoundError:
            raise MissingFileError(
                f"there is no {self._path}; {_COMMAND} makes a file of moments"
            ) from None
        except OSError as error:
            raise InputError(f"cannot read {self._path}: {error.strerror}") from None
        except _DAMAGE as error:
            what = "is no .npz file, is cut short or damaged"
            raise InputError(
                f"{self._path} {what}{name and f' (array {name})'}: {error}. Copy it again from "
                f"where it is whole, or make it anew with {_COMMAND}"
            ) from None


# What zipfile, struct, json and numpy raise at bytes that make no sense.
_DAMAGE = (zipfile.BadZipFile, EOFError, ValueError, TypeError, LookupError, NotImplementedError,
           RuntimeError, struct.error, OverflowError)  # fmt: skip


def summed(
    pieces: Sequence[tuple[MomentsFile, int]], *, table: bool = True, targets: slice = slice(None)
) -> tuple[Moments, Triangle | None]:
    """The sum of some parts of files, without its table, and the rows of that.

    Two X'Y are in memory at a time, and of the tables what is read at once. No rows of a table
    where any part lacks it, or if so asked.
    """
    kept: list[Moments] = []
    total: Moments | None = None
    for file, k in pieces:
        part = file.part(k, table=False, targets=targets)
        total = part if total is None else added(total, part)
        kept.append(replace(part, xy=None))
        del part  # and with it X'Y
    if total is None:
        raise ValueError("nothing to sum")
    if not table or not all(file.has_table for file, _ in pieces):
        return total, None
    return total, _summed_triangle(kept, [file.triangle(k)[0] for file, k in pieces], total)


def _summed_triangle(
    parts: Sequence[Moments], triangles: Sequence[Triangle], total: Moments
) -> Triangle:
    """The table of ``total`` = the sum of ``parts``, row by row from theirs.

    Measured from another shift_x, with d = shift_x - new shift_x,
    sum (x_i + d_i) (x_j + d_j) = xx_ij + d_i sum_x_j + sum_x_i d_j + n d_i d_j.
    """
    dtype = table_dtype(total)
    shifts = [part.shift_x - total.shift_x if part.n else 0 * part.shift_x for part in parts]
    moved = [bool(d.any()) for d in shifts]
    for i, rows in enumerate(zip(*triangles, strict=True)):
        summed = np.zeros(len(rows[0]), dtype)
        for part, d, moves, row in zip(parts, shifts, moved, rows, strict=True):
            summed += row
            if moves:
                summed += d[i] * part.sum_x[i:] + part.sum_x[i] * d[i:] + part.n * d[i] * d[i:]
        yield summed


def table_dtype(moments: Moments) -> "np.dtype[Any]":
    """What a table of pairs of these rows is made of."""
    if not moments.counted:
        return np.dtype(np.float64)
    return np.dtype(np.int32 if moments.n <= np.iinfo(np.int32).max else np.int64)


def _entries_before(p: int, i: int) -> int:
    """Entries of the triangle of a (p, p) table before row i."""
    return i * p - i * (i - 1) // 2


def _square(triangle: Triangle, p: int, dtype: "np.dtype[Any]") -> NDArray[Any]:
    """The symmetric table (p, p) of a triangle."""
    table = np.empty((p, p), dtype)
    for i, row in enumerate(triangle):
        table[i, i:] = row
    side = 256  # two blocks fit in the second-level cache
    for i in range(0, p, side):
        diagonal = table[i : i + side, i : i + side]
        diagonal[:] = np.triu(diagonal) + np.triu(diagonal, 1).T
        for j in range(i + side, p, side):
            table[j : j + side, i : i + side] = table[i : i + side, j : j + side].T
    return table
