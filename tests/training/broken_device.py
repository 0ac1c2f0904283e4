"""A ``main`` on a device that breaks once: all later calls of that process fail at once, as they do
after an illegal access of a GPU's memory."""

import os
from pathlib import Path

from fastargs import Param, Section
from fastargs.decorators import param

from datamodels.training.utils import make_config
from tests.training.mains import row

Section("device", "what this module does").params(
    at=Param(int, "the row that breaks the device", default=2),
    error=Param(str, "a name of ERRORS", default="accelerator"),
    once=Param(str, "a file that is made when it breaks; it breaks no more if it exists"),
    most=Param(int, "rows of a call that its memory holds", default=100),
)
BROKEN: list[Exception] = []


class AcceleratorError(RuntimeError):
    """As torch calls it."""


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


def _caused() -> Exception:
    error = ValueError("the training failed")
    error.__cause__ = AcceleratorError("CUDA error: unspecified launch failure")
    return error


ERRORS = {
    "accelerator": lambda: AcceleratorError("an illegal memory access was encountered"),
    "memory": lambda: OutOfMemoryError("Tried to allocate 2.00 GiB"),
    "text": lambda: RuntimeError("CUDA error: an illegal memory access was encountered\nmore"),
    "caused": _caused,
}


@param("device.at")
@param("device.error")
@param("device.once")
def _train(index, at, error, once):
    if index == at and not Path(once).exists():
        Path(once).touch()
        BROKEN.append(ERRORS[error]())
    if BROKEN:
        raise BROKEN[0]
    return row(index)


def main(*_, index, logdir):
    make_config(quiet=True)
    return _train(index)


@param("device.most")
def _check_memory(rows, most):
    if len(rows) > most:
        raise OutOfMemoryError("Tried to allocate 2.00 GiB")


def main_batch(*_, indices, logdir):
    make_config(quiet=True)
    Path(logdir, f"process-{os.getpid()}").touch()
    _check_memory(indices)
    rows = [_train(index) for index in indices]
    return {key: [values[key] for values in rows] for key in rows[0]}
