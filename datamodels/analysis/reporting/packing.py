"""Arrays in a page: base64 of their little-endian bytes; a browser makes typed arrays of it."""

import base64
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_TYPES: Final = {"<f4": "f32", "<i4": "i32", "<u2": "u16"}


def pack_array(array: NDArray[Any]) -> dict[str, Any]:
    """``{"type": "f32", "shape": [2, 3], "base64": "..."}`` of a float32, int32 or uint16 array."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    name = _TYPES.get(np.dtype(little.dtype).newbyteorder("<").str)
    if name is None:
        raise TypeError(f"{array.dtype} is none of {', '.join(_TYPES)}")
    text = base64.b64encode(np.ascontiguousarray(little).tobytes()).decode("ascii")
    return {"type": name, "shape": list(array.shape), "base64": text}


def to_levels(values: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.uint16]:
    """``values`` (n, m) in 65,535ths of the range ``low`` to ``high`` (n,), rounded."""
    width = np.where(high > low, high - low, 1.0)
    share = (values - low[:, None]) / width[:, None]
    levels: NDArray[np.uint16] = np.rint(np.clip(share, 0.0, 1.0) * 65535).astype(np.uint16)
    return levels
