"""Reading the torch file of datamodels: no code in it is run, and large ones are mapped."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, MissingFileError

KEYS = ("weight", "bias", "lam")
_MAP_FROM = 2**26  # bytes; smaller files are read, so that nothing hangs on the file afterwards
_BLOCK = 2**24  # values looked at together
# What torch says of files that are cut short: of archives, where it seeks in vain, and older ones.
_OF_DAMAGE = ("PytorchStreamReader", "[Errno 22]", "unexpected EOF")
_ZIP = b"PK\x03\x04"  # how files of torch.save begin since torch 1.6


def read_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """``weight``, ``bias`` and ``lam`` of a file, checked to be finite floats.

    Those of a large file are a private map of it, if it holds float32: they take no memory of their
    own, may be written to without changing the file, and outlive its name, though not its being
    overwritten or cut, which nothing here ever does.
    """
    import torch

    if not path.exists():
        raise MissingFileError(f"{path} does not exist")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the file in it: {path / 'datamodels.pt'}")
    content = _load_without_code(path)
    if not isinstance(content, dict) or any(key not in content for key in KEYS):
        held = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise InputError(f"{path} holds {held}; datamodels are a dict of {', '.join(KEYS)}")
    arrays = {}
    for key in KEYS:
        value = content[key]
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            raise InputError(f"{key} in {path} is not a tensor of floats")
        if not _is_finite(value):
            raise InputError(f"{key} in {path} holds NaN or infinity: the file is damaged")
        arrays[key] = value.detach().to(torch.float32).numpy()
    return arrays


def _is_finite(tensor: Any) -> bool:
    """Block by block: a mask of all values would take a quarter of their memory again."""
    if tensor.ndim == 0:
        return bool(tensor.isfinite())
    step = max(1, _BLOCK // max(1, tensor[:1].numel()))
    return all(bool(block.isfinite().all()) for block in tensor.split(step))


def _load_without_code(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about pickles that it then refuses
            return _load(path)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} holds pickled code, which is never run, or is no torch file; datamodels are "
            f"a dict of the plain tensors {', '.join(KEYS)}, written by torch.save"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = _plain_reason(path, error)
        raise InputError(f"{path} is not a whole file of torch.save: {reason}") from None


def _load(path: Path) -> Any:
    import torch

    if path.stat().st_size >= _MAP_FROM and _begins_with(path, _ZIP):
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (RuntimeError, OSError, ValueError):
            pass  # a file system without maps; what is wrong with the file, reading it tells
    return torch.load(path, map_location="cpu", weights_only=True)


def _begins_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _plain_reason(path: Path, error: Exception) -> str:
    """Why torch cannot read a file, in words without places in its code."""
    if path.suffix in (".npz", ".npy"):
        return f"a {path.suffix} file holds numpy's arrays, not datamodels"
    if isinstance(error, EOFError) or any(words in str(error) for words in _OF_DAMAGE):
        return "it is cut short or damaged. Make it again, or download it again"
    lines = str(error).splitlines()
    return lines[0].rpartition("] . ")[2] if lines else type(error).__name__
