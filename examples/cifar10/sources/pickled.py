"""Pickled dicts of arrays, lists and text, read without running anything that is in them.

A pickle may call whatever it names. Here it names nothing but stand-ins: those for numpy's arrays
and dtypes keep their bytes, and everything else is refused. So not even numpy is called by a file.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError


class _DType:
    """Stands for a numpy dtype."""

    def __init__(self, name: Any = "", *_: Any) -> None:
        self.name, self.order = _text(name), "="

    def __setstate__(self, state: Any) -> None:
        self.order = _text(state[1])  # (version, byte order, ...)


class _Array:
    """Stands for a numpy array."""

    shape: Any = ()
    dtype: Any = None
    fortran: Any = False
    raw: Any = b""

    def __init__(self, *_: Any) -> None:
        pass  # numpy's first call makes an empty array, whatever its arguments

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.fortran, self.raw = state


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> _Array:
    array = _Array()
    array.shape, array.dtype, array.fortran, array.raw = shape, dtype, order == "F", raw
    return array


def _bytes_of_text(text: Any, encoding: Any = "latin1") -> bytes:
    """How Python 3 puts bytes into the old protocols that Python 2 reads."""
    if encoding != "latin1":  # other codecs would be looked up, and imported
        raise pickle.UnpicklingError(f"bytes in {encoding!r}")
    return str(text).encode("latin1")


def _no_bytes() -> bytes:
    """How it puts none there."""
    return b""


_STAND_INS: dict[tuple[str, str], Any] = {
    ("__builtin__", "bytes"): _no_bytes,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _bytes_of_text,
}
for _core in ("numpy.core", "numpy._core"):  # before numpy 2, and since
    _STAND_INS[f"{_core}.multiarray", "_reconstruct"] = _Array
    _STAND_INS[f"{_core}.numeric", "_frombuffer"] = _from_buffer


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it wants {module}.{name}, which no batch of images needs"
            ) from None


def read_pickle(path: Path) -> dict[str, Any]:
    """The dict in a pickle of Python 2 or 3, its keys as text.

    Values are numbers, bytes, text, lists of these and stand-ins that :func:`integers` makes arrays
    of. Raises :class:`InputError` for anything else.
    """
    try:
        # bytes: what Python 2 called str is bytes in arrays and text elsewhere
        found = _Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged pickle raises nearly any
        raise InputError(f"{path} is no pickled batch, or damaged: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is no pickled batch: it holds a {type(found).__name__}, no dict")
    return {_text(key): value for key, value in found.items()}


def integers(value: Any) -> NDArray[Any] | None:
    """The array of integers that a value of :func:`read_pickle` is, None where it is none."""
    try:
        if isinstance(value, _Array):
            dtype = np.dtype(value.dtype.name).newbyteorder(value.dtype.order)
            if dtype.kind not in "iu":
                return None
            flat = np.frombuffer(value.raw, dtype)
            shape = tuple(value.shape)
            return flat.reshape(shape[::-1]).T if value.fortran else flat.reshape(shape)
        array = np.array(value)
        return array if array.dtype.kind in "iu" else None
    except (TypeError, ValueError, AttributeError, OverflowError):  # stand-ins filled with rubbish
        return None


def texts(value: Any) -> tuple[str, ...]:
    """A list of names; those of Python 2 are bytes."""
    return tuple(_text(name) for name in value) if isinstance(value, list) else ()


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)
