"""The spec of a store: how many models, and what is stored for each.

{"num_models": 100,
 "schema": {"masks":   {"shape": [50000], "dtype": "bool_"},
            "margins": {"shape": [10000], "dtype": "float16", "allow_nonfinite": true}}}
"""

import json
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datamodels.errors import InputError, MissingFileError
from datamodels.near_miss import nearest

NUM_MODELS = "num_models"
SCHEMA = "schema"
SHAPE = "shape"
DTYPE = "dtype"
ALLOW_NONFINITE = "allow_nonfinite"
COMPLETED = "_completed"  # the array that marks complete rows

# A key becomes the file <key>.npy, on any file system; 200 bytes leave room for temporary names.
_SAFE_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}")
_OLD_NAMES = {"float_": "float64", "complex_": "complex128"}  # gone from numpy 2
_MAX_BYTES = 2**62  # offsets in a file are signed 64-bit


class SpecError(InputError):
    """A spec that cannot be used; the message lists everything wrong with it."""


@dataclass(frozen=True)
class Field:
    """What one key stores for one model."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    allow_nonfinite: bool = False

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape) * self.dtype.itemsize


FLAG = Field((), np.dtype(bool))  # the field behind COMPLETED


@dataclass(frozen=True)
class Spec:
    """A checked spec: ``num_models`` rows of every field in ``schema``."""

    num_models: int
    schema: dict[str, Field]

    @classmethod
    def read(cls, path: str | Path) -> "Spec":
        """Read a JSON spec; SpecError lists everything wrong, MissingFileError when absent."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise MissingFileError(f"no spec at {path}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"cannot read the spec {path}: {error}") from None
        try:
            return cls.parse(json.loads(text, object_pairs_hook=_unique_keys))
        except SpecError as error:
            raise SpecError(f"the spec {path} cannot be used:\n{error}") from None
        except (ValueError, RecursionError) as error:  # JSONDecodeError, too long a number
            raise SpecError(f"the spec {path} is not JSON: {error}") from None

    @classmethod
    def parse(cls, content: Any) -> "Spec":
        """Check a spec given as a dict; unknown fields warn, with the nearest known name."""
        faults = _Faults()
        if not isinstance(content, dict):
            raise SpecError(f"a spec is a JSON object, not {_name(content)}")
        _check_known(content, (NUM_MODELS, SCHEMA), "the spec")
        num_models = faults.take(_num_models, content.get(NUM_MODELS))
        schema = content.get(SCHEMA)
        fields: dict[str, Field] = {}
        if not isinstance(schema, dict) or not set(schema) - {COMPLETED}:
            faults.add(
                f'"{SCHEMA}" must be an object with at least one key, e.g. '
                '{"masks": {"shape": [50000], "dtype": "bool_"}}'
            )
            schema = {}
        for key, described in schema.items():
            if key == COMPLETED and described == completed_entry():
                continue  # a spec that preprocess_spec has been through
            field = faults.take(_field, key, described)
            if field is not None:
                fields[key] = field
        if num_models is not None:
            for key, field in {**fields, COMPLETED: FLAG}.items():
                # Empty axes do not count: no array may have so long an axis.
                items = num_models * math.prod(max(1, length) for length in field.shape)
                if items * field.dtype.itemsize > _MAX_BYTES:
                    faults.add(
                        f'"{key}": {num_models} rows of shape {list(field.shape)} are more than '
                        f"one file can hold ({_MAX_BYTES} bytes)"
                    )
        faults.raise_if_any()
        assert num_models is not None
        return cls(num_models, fields)

    def to_json(self) -> dict[str, Any]:
        """The spec as a dict that :meth:`parse` reads back equal."""
        return {NUM_MODELS: self.num_models, SCHEMA: {k: _entry(f) for k, f in self.schema.items()}}

    def fields(self) -> dict[str, Field]:
        """Every array of the store by key, the flags of complete rows included."""
        return {**self.schema, COMPLETED: FLAG}

    def __str__(self) -> str:
        return json.dumps(self.to_json())


def preprocess_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """A copy of a spec dict whose schema also names the flags of complete rows."""
    schema = {**spec[SCHEMA], COMPLETED: completed_entry()}
    return {**spec, SCHEMA: schema}


def verify_spec(spec: dict[str, Any]) -> None:
    """SpecError, listing everything wrong, unless ``spec`` can be used."""
    Spec.parse(spec)


def completed_entry() -> dict[str, Any]:
    """How a spec describes the flags of complete rows."""
    return {DTYPE: "bool_", SHAPE: []}


class _Faults:
    """Collects what is wrong, so that one error can say all of it."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, fault: str) -> None:
        self.found.append(fault)

    def take(self, check: Any, *args: Any) -> Any:
        """What ``check`` returns, or None with its faults noted."""
        try:
            return check(*args)
        except SpecError as error:
            self.found += str(error).splitlines()
            return None

    def raise_if_any(self) -> None:
        if self.found:
            raise SpecError("\n".join(self.found))


def _num_models(value: Any) -> int:
    if value is None:
        raise SpecError(f'"{NUM_MODELS}" is missing: a positive integer')
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SpecError(f'"{NUM_MODELS}" must be a positive integer, not {json.dumps(value)}')
    return value


def _field(key: str, described: Any) -> Field:
    faults = _Faults()
    if key.lower() == COMPLETED:
        faults.add(f'"{key}" is the name of the flags of complete rows; choose another key')
    elif not _SAFE_KEY.fullmatch(key):
        faults.add(f'"{key}" is no safe file name: use letters, digits, "_", "-" and "."')
    if not isinstance(described, dict):
        faults.add(
            f'"{key}" must be an object with "{SHAPE}" and "{DTYPE}", not {_name(described)}'
        )
        faults.raise_if_any()
    _check_known(described, (SHAPE, DTYPE, ALLOW_NONFINITE), f'"{key}"')
    shape = faults.take(_shape, key, described.get(SHAPE))
    dtype = faults.take(_dtype, key, described.get(DTYPE))
    allow = described.get(ALLOW_NONFINITE, False)
    if not isinstance(allow, bool):
        faults.add(f'"{key}": "{ALLOW_NONFINITE}" must be true or false, not {json.dumps(allow)}')
    faults.raise_if_any()
    return Field(shape, dtype, allow)


def _shape(key: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise SpecError(f'"{key}": "{SHAPE}" must be a list such as [50000], not {_name(value)}')
    wrong = [n for n in value if not isinstance(n, int) or isinstance(n, bool) or n < 0]
    if wrong:
        raise SpecError(f'"{key}": "{SHAPE}" must hold integers >= 0, not {json.dumps(wrong[0])}')
    return tuple(value)


def _dtype(key: str, value: Any) -> np.dtype[Any]:
    problem = f'"{key}": "{DTYPE}" {json.dumps(value)} is'
    remedy = "use a numpy dtype such as bool_, uint8, int64, float16 or float32"
    if not isinstance(value, str):
        raise SpecError(f"{problem} not the name of a dtype; {remedy}")
    name = _OLD_NAMES.get(value, value)
    try:
        dtype = np.dtype(getattr(np, name) if name.endswith("_") else name)  # bool_: no string
    except (AttributeError, TypeError, ValueError, SyntaxError):
        raise SpecError(f"{problem} not a numpy dtype; {remedy}") from None
    if dtype.hasobject or dtype.fields or dtype.subdtype or dtype.itemsize == 0:
        raise SpecError(f"{problem} not of a fixed size in bytes; {remedy}")
    return dtype


def _entry(field: Field) -> dict[str, Any]:
    # Numbers by name ("float16"); text and dates have no name that numpy reads back.
    dtype = (
        field.dtype.name
        if field.dtype.isnative and field.dtype.kind in "biufc"
        else field.dtype.str
    )
    entry: dict[str, Any] = {SHAPE: list(field.shape), DTYPE: dtype}
    if field.allow_nonfinite:
        entry[ALLOW_NONFINITE] = True
    return entry


def _check_known(content: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in content:
        if name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close!r}?" if close else f"known are {', '.join(known)}"
            warnings.warn(f"{where} has an unknown field {name!r}: {hint}", stacklevel=4)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise SpecError(f'"{twice}" stands twice in one object')
    return content


def _name(value: Any) -> str:
    for kind, name in ((dict, "an object"), (list, "a list"), (str, "a string")):
        if isinstance(value, kind):
            return name
    return json.dumps(value)
