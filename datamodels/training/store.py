"""A store: one ``.npy`` array per key, one row per model, and flags of the complete rows.

::

    store = Store.open("runs/digits")
    done = store.completed            # (num_models,) bool, read anew at each call
    masks = store["masks"]            # read-only map, opened after the flags were read
    store.write(7, {"masks": mask, "margins": margins})

Used from the command line by ``initialize_store`` and ``worker``, and by everything that reads.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datamodels.errors import DatamodelsError, InputError, MissingFileError, UsageError
from datamodels.npy_file import WrongSizeError, open_map, read_growth, read_header
from datamodels.training.indices import check_range
from datamodels.training.layout import StoreLayout
from datamodels.training.row_values import encode_row, encode_rows
from datamodels.training.row_writer import RowWriter
from datamodels.training.spec import COMPLETED, Field, Spec, SpecError
from datamodels.training.store_files import clear_remains, create_files

_MAKE_ONE = "make one with python -m datamodels.training.initialize_store"


class SpecMismatchError(DatamodelsError):
    """The folder holds a store of another spec; it was not changed."""


class Store:
    """The outputs of many models. Make one with :meth:`create`, or :meth:`open` one.

    Reading never locks and never writes. A row counts as complete when its flag is set, however it
    was written. On network file systems read :attr:`completed` first and open maps after it: a map
    opened earlier may show old data for rows flagged since.
    """

    def __init__(self, layout: StoreLayout, spec: Spec, *, spec_is_saved: bool = True) -> None:
        self.layout = layout
        self.spec = spec
        self._spec_is_saved = spec_is_saved
        self._writer = RowWriter(layout)

    @staticmethod
    def exists(logdir: str | Path) -> bool:
        """Whether the folder holds a store."""
        return StoreLayout(Path(logdir)).completed.exists()

    @classmethod
    def create(cls, logdir: str | Path, spec: Spec, *, reserve: bool = True) -> "Store":
        """Make a store, or open the one of the same spec that is there: nothing is ever erased.

        ``reserve`` takes the disk space now, so that a full disk is an error here and not in a
        worker later. Raises SpecMismatchError where a store of another spec is, ExistsError where
        other files have our names, CreateError when the disk is full, ReadOnlyError where a store
        is that is only to be read.
        """
        layout = StoreLayout(Path(logdir).absolute())
        layout.refuse_writing()
        if cls.exists(logdir):
            clear_remains(layout)
            store = cls.open(logdir)
            if not store.holds(spec):
                raise SpecMismatchError(
                    f"{logdir} holds a store of another spec; it was not changed\n"
                    f"there: {store.spec}\nasked: {spec}\n"
                    "choose another logging.logdir, or use the store's own spec; more models are "
                    f"had by python -m datamodels.training.grow {logdir} --grow.num_models=N"
                )
            return store
        create_files(layout, spec, reserve=reserve)
        return cls(layout, spec)

    @classmethod
    def open(cls, logdir: str | Path) -> "Store":
        """Open a store, checking every file's shape, dtype and size; no data is read.

        Stores without a copy of their spec are read from the headers of their arrays. Raises
        MissingFileError where there is no store, InputError naming a truncated or foreign file.
        """
        layout = StoreLayout(Path(logdir).absolute())  # main may change the working folder
        if not layout.root.is_dir():
            raise MissingFileError(f"no store at {logdir}; {_MAKE_ONE}")
        if not layout.completed.exists():
            near = [] if layout.spec.exists() else layout.stores_near()
            hint = f"did you mean {' or '.join(map(str, near))}?" if near else _MAKE_ONE
            raise MissingFileError(
                f"{logdir} is no store: it has no {layout.completed.name}; {hint}"
            )
        try:
            return cls._open(layout)
        except InputError:
            return cls._open(layout)  # it may just have been made longer, between spec and arrays

    @classmethod
    def _open(cls, layout: StoreLayout) -> "Store":
        spec = saved_spec(layout)
        if spec is None:
            return cls(layout, _spec_of_files(layout), spec_is_saved=False)
        _check_files(layout, spec)
        return cls(layout, spec)

    def holds(self, spec: Spec) -> bool:
        """Whether this is a store of ``spec``. Headers cannot say which values are allowed."""
        if self._spec_is_saved:
            return self.spec == spec
        arrays = {key: (field.shape, field.dtype) for key, field in self.spec.schema.items()}
        return self.num_models == spec.num_models and all(
            arrays.get(key) == (field.shape, field.dtype) for key, field in spec.schema.items()
        )

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self.layout.root

    @property
    def num_models(self) -> int:
        """Number of rows."""
        return self.spec.num_models

    @property
    def completed(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows are complete, bool (num_models,): read from the file at every call."""
        return read_flags(self.layout.completed)[: self.num_models]  # it may have grown since

    def missing(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Numbers of the rows that are not complete, ascending."""
        return np.flatnonzero(~self.completed)

    def __getitem__(self, key: str) -> np.ndarray[Any, Any]:
        """A read-only memory map of one array, shape (num_models, *shape), opened now."""
        if key not in self.spec.fields():
            raise KeyError(f"{key!r} is no key of {self.path}: it has {sorted(self.spec.schema)}")
        return open_map(self.layout.array(key))[: self.num_models]

    def write(self, index: int, row: Mapping[str, Any], *, overwrite: bool = False) -> bool:
        """Check and write one row, then mark it complete.

        Returns False, writing nothing, when the row is complete already and ``overwrite`` is not
        set. Keys of the spec that ``row`` lacks keep what the file holds. Raises RowError when a
        value does not fit the spec (nothing is written), WriteError when the disk refuses (the row
        stays incomplete), UsageError when there is no such row, ReadOnlyError in a store that is
        only to be read.
        """
        check_range([index], self.num_models, self.path)
        arrays = encode_row(self.spec.schema, row)
        return self._writer.write(index, arrays, overwrite=overwrite)

    def write_block(
        self, indices: Sequence[int], rows: Mapping[str, Any], *, overwrite: bool = False
    ) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Check and write several rows, each array of ``rows`` (len(indices), ...), as
        :meth:`write` does one; returns which were written (len(indices),). Rows that follow one
        another in the store, and in ``indices``, are written together. Where a row is refused none
        is written."""
        numbers = np.asarray(indices, np.int64)
        check_range(numbers.tolist(), self.num_models, self.path)
        if len(set(numbers.tolist())) < len(numbers):
            raise UsageError(f"rows {numbers.tolist()} name a row twice; give each once")
        arrays = encode_rows(self.spec.schema, rows, len(numbers))
        written = np.zeros(len(numbers), bool)
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        for part in np.split(np.arange(len(numbers)), breaks):
            if len(part):
                own = {key: array[part[0] : part[-1] + 1] for key, array in arrays.items()}
                first = int(numbers[part[0]])
                written[part] = self._writer.write_block(first, len(part), own, overwrite=overwrite)
        return written

    def write_value(self, index: int, key: str, value: Any) -> None:
        """Check and write one key of one row, but not its flag; errors as in :meth:`write`."""
        check_range([index], self.num_models, self.path)
        arrays = encode_row(self.spec.schema, {key: value})
        self._writer.write_value(index, key, arrays[key])

    def is_complete(self, index: int) -> bool:
        """The flag of one row, read anew from the file."""
        check_range([index], self.num_models, self.path)
        return self._writer.is_complete(index)

    def close(self) -> None:
        """Close the files kept open for writing; maps stay valid."""
        self._writer.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return Store.open, (self.path,)  # another process opens its own files

    def __repr__(self) -> str:
        keys = sorted(self.spec.schema)
        return f"Store({str(self.path)!r}, num_models={self.num_models}, keys={keys})"


def read_flags(path: Path) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The flags of complete rows, read (not mapped) from ``path``; any value but 0 is set."""
    header = read_header(path)
    if len(header.shape) != 1 or header.dtype.kind not in "biuf":
        raise InputError(
            f"{path} must be one flag (bool) a row; it has shape {header.shape} and dtype "
            f"{header.dtype}"
        )
    with path.open("rb", buffering=0) as file:
        file.seek(header.offset)
        data = file.read(header.row_bytes * header.shape[0])
    # A bool may hold any byte; as uint8 it is compared as what it is.
    dtype = np.dtype(np.uint8) if header.dtype == bool else header.dtype
    flags: np.ndarray[Any, np.dtype[np.bool_]] = np.frombuffer(data, dtype) != 0
    return flags


def saved_spec(layout: StoreLayout) -> Spec | None:
    """The store's copy of its spec; None where there is none that can be read."""
    if not layout.spec.exists():
        return None
    try:
        return Spec.read(layout.spec)
    except SpecError as error:
        warnings.warn(f"reading the headers of the arrays instead: {error}", stacklevel=3)
        return None


def _check_files(layout: StoreLayout, spec: Spec) -> None:
    faults = []
    for key, field in spec.fields().items():
        path = layout.array(key)
        if path.is_symlink() and not path.exists():
            faults.append(layout.why_missing(key))
            continue
        try:
            header = read_header(path)
        except (InputError, MissingFileError) as error:
            faults.append(str(error))
            continue
        asked = ((spec.num_models, *field.shape), field.dtype)
        if (header.shape, header.dtype) == asked:
            continue
        rows = header.shape[:1] or (0,)
        longer = ((*rows, *field.shape), field.dtype) == (header.shape, header.dtype)
        if not longer or not _is_being_grown(layout, spec.num_models, rows[0]):
            faults.append(
                f"{path} has shape {header.shape} and dtype {header.dtype}; the store's spec says "
                f"{asked[0]} and {asked[1]}"
            )
    if faults:
        raise InputError("\n".join(faults))


def _spec_of_files(layout: StoreLayout) -> Spec:
    """The spec that the arrays themselves show: those with one row per flag. Other files that
    happen to lie there are passed over."""
    num_models = read_flags(layout.completed).size
    schema = {}
    for path in sorted(layout.root.glob("*.npy")):
        try:
            header = read_header(path)
        except WrongSizeError as error:
            if error.header.shape[:1] == (num_models,):
                raise
            continue
        except (InputError, MissingFileError):  # a link that leads nowhere
            continue
        if path.stem == COMPLETED or not header.shape:
            continue
        if header.shape[0] == num_models or _is_being_grown(layout, num_models, header.shape[0]):
            schema[path.stem] = Field(header.shape[1:], header.dtype)
    if read_header(layout.completed).shape != (num_models,):  # made longer meanwhile
        return _spec_of_files(layout)
    return Spec(num_models, schema)


def _is_being_grown(layout: StoreLayout, num_models: int, rows: int) -> bool:
    """Whether an array of ``rows`` belongs to a store of fewer, which is being made longer."""
    growth = read_growth(layout.root) if rows > num_models else None
    return growth is not None and growth.explains(num_models, rows)
