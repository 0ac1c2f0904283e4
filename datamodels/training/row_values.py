"""What ``main`` returned, checked against the spec before anything is written.

Accepted: anything numpy broadcasts to the row (lists, scalars, tensors). Rounding to the dtype is
fine, as in float64 to float16. Refused: unknown keys, shapes that do not broadcast, overflow,
fractions in a bool, NaN and infinity unless the spec allows them.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from datamodels.errors import InputError
from datamodels.near_miss import nearest
from datamodels.training.spec import ALLOW_NONFINITE, Field

Array = np.ndarray[Any, np.dtype[Any]]

_NUMBERS = (bool, int, float, np.number, np.bool_)


class RowError(InputError):
    """A row that does not fit the spec: the message names the key, what came and what is asked."""


def encode_row(schema: Mapping[str, Field], row: Any) -> dict[str, Array]:
    """Every returned value as a C-ordered array of its field's shape and dtype.

    Keys of the schema that ``row`` lacks are absent from the result too. RowError lists all faults.
    """
    return _encode(schema, row, encode_value)


def encode_rows(schema: Mapping[str, Field], rows: Any, n_rows: int) -> dict[str, Array]:
    """As :func:`encode_row` for ``n_rows`` rows at once: each value, and each result, has a leading
    axis of that length."""

    def encode(key: str, field: Field, value: Any) -> Array:
        return _encode_values(key, field, value, n_rows)

    return _encode(schema, rows, encode)


def _encode(
    schema: Mapping[str, Field], row: Any, encode: Callable[[str, Field, Any], Array]
) -> dict[str, Array]:
    if not isinstance(row, Mapping):
        raise RowError(f"main must return a dict of {sorted(schema)}, not {_came(row)}")
    faults = []
    encoded = {}
    for key, value in row.items():
        try:
            if key not in schema:
                close = nearest(str(key), schema)
                hint = f"did you mean {close!r}?" if close else f"it has {sorted(schema)}"
                raise RowError(f"{key!r} is no key of the spec: {hint}")
            encoded[key] = encode(str(key), schema[key], value)
        except RowError as error:
            faults.append(str(error))
    if faults:
        raise RowError("\n".join(faults))
    return encoded


def encode_value(key: str, field: Field, value: Any) -> Array:
    """``value`` as an array of ``field``'s shape and dtype, or RowError."""
    array = _to_array(key, field, value)
    while array.ndim > len(field.shape) and array.shape[0] == 1:
        array = array[0]  # numpy assignment drops leading axes of one as well
    cast = _cast(key, field, array)
    try:
        return np.ascontiguousarray(np.broadcast_to(cast, field.shape)).reshape(field.shape)
    except ValueError:
        raise _refused(key, field, f"shape {array.shape}, which does not broadcast") from None


def _encode_values(key: str, field: Field, value: Any, n_rows: int) -> Array:
    """``value`` as an array (n_rows, *field.shape), its leading axis as it came."""
    of_all = replace(field, shape=(n_rows, *field.shape))
    array = _to_array(key, of_all, value)
    if array.shape[:1] != (n_rows,):
        came = f"shape {array.shape}; its leading axis must be the {n_rows} rows asked for"
        raise _refused(key, of_all, came)
    rest, asked = array.shape[1:], len(field.shape)
    while len(rest) > asked and rest[0] == 1:
        rest = rest[1:]
    if len(rest) > asked:
        raise _refused(key, of_all, f"shape {array.shape}, which does not broadcast")
    aligned = array.reshape(n_rows, *(1,) * (asked - len(rest)), *rest)
    return encode_value(key, of_all, aligned)


def _to_array(key: str, field: Field, value: Any) -> Array:
    if hasattr(value, "detach"):  # a torch tensor, without importing torch to ask
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # numpy has none
            value = value.float()
    try:
        array = np.asarray(value)
    except Exception as error:
        raise _refused(key, field, f"{_came(value)}, which numpy cannot read ({error})") from None
    if array.dtype == object and all(isinstance(item, _NUMBERS) for item in array.flat):
        array = np.array(array.tolist())  # plain numbers that came in an array of objects
    if array.dtype.hasobject or array.dtype.fields:
        raise _refused(key, field, f"{_came(value)}, which is no array of numbers")
    return array


def _cast(key: str, field: Field, array: Array) -> Array:
    """``array`` in ``field``'s dtype; refuses whatever the dtype cannot hold."""
    to, came = field.dtype, array.dtype
    if came == to:
        if to.kind in "fc" and not field.allow_nonfinite:
            _refuse_nonfinite(key, field, array)
        return array
    if to.kind not in "biufc" or came.kind not in "biufc":
        if came.kind == to.kind and np.array_equal(array.astype(to), array):
            return array.astype(to)
        raise _refused(key, field, f"dtype {came}")
    if came.kind == "c" and to.kind != "c":
        if array.imag.any():
            raise _refused(key, field, "complex numbers")
        array = array.real
    if to.kind in "fc":
        return _to_floating(key, field, array)
    if to.kind == "b":
        return _to_bool(key, field, array)
    return _to_integer(key, field, array)


def _to_floating(key: str, field: Field, array: Array) -> Array:
    if not field.allow_nonfinite:
        _refuse_nonfinite(key, field, array)
    with np.errstate(over="ignore"):
        cast = array.astype(field.dtype)
    overflow = ~np.isfinite(cast) & np.isfinite(array)
    if overflow.any():
        raise _refused(
            key, field, f"{array[overflow].flat[0]}, beyond {np.finfo(field.dtype).max:g}"
        )
    return cast


def _to_bool(key: str, field: Field, array: Array) -> Array:
    other = (array != 0) & (array != 1)
    if other.any():
        raise _refused(key, field, f"{array[other].flat[0]}, which is neither 0 nor 1")
    return array.astype(bool)


def _to_integer(key: str, field: Field, array: Array) -> Array:
    limits = np.iinfo(field.dtype)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise _refused(key, field, "NaN or infinity, which no integer holds")
        whole = np.rint(array)
        if (whole != array).any():
            warnings.warn(
                f"{key!r}: values such as {array[whole != array].flat[0]} are rounded to "
                f"{field.dtype}",
                stacklevel=2,
            )
        array = whole
    if array.size:
        # Python integers compare exactly, where int64 against uint64 or float64 would not.
        for extreme in (int(array.min()), int(array.max())):
            if not limits.min <= extreme <= limits.max:
                raise _refused(key, field, f"{extreme}, outside {limits.min}..{limits.max}")
    return array.astype(field.dtype)


def _refuse_nonfinite(key: str, field: Field, array: Array) -> None:
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise _refused(
            key,
            field,
            f"{count} of {array.size} values NaN or infinite; if that is meant, "
            f'set "{ALLOW_NONFINITE}": true for this key in the spec',
        )


def _refused(key: str, field: Field, came: str) -> RowError:
    return RowError(
        f"{key!r}: the spec asks for shape {field.shape} {field.dtype}; main returned {came}"
    )


def _came(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}" if value is not None else "None"
