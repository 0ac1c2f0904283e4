"""A ``main`` that can misbehave in every way a test asks for: ``--play.how=<row>:<way>,...``"""

import ctypes
import os
import sys
import time

import numpy as np
from fastargs import Param, Section
from fastargs.decorators import param

from datamodels.training.utils import make_config

Section("play", "what this module does").params(
    how=Param(str, "row:way, separated by commas", default=""),
    scale=Param(float, "factor", default=1.0),
    loud=Param(bool, "say so", default=False),
)


def row(index: int, scale: float = 1.0):
    """What row ``index`` of the small test store must hold."""
    return {
        "masks": np.arange(5) % (index + 2) == 0,
        "margins": np.arange(3) * scale + index,
        "epochs": index,
    }


@param("play.how")
@param("play.scale")
@param("play.loud")
def _play(index, how="", scale=1.0, loud=False):
    if loud:
        print(f"row {index} is loud")
    way = dict(part.split(":") for part in how.split(",") if part).get(str(index))
    return WAYS.get(way, lambda values: values)(row(index, scale))


def _raise(_):
    raise RuntimeError("the training diverged")


def _python_loop(_):
    while True:
        pass


WAYS = {
    "raise": _raise,
    "exit": lambda _: sys.exit(0),
    "die": lambda _: os._exit(0),
    "segfault": lambda _: ctypes.string_at(0),
    "loop": _python_loop,
    # a call into C that holds the interpreter's lock: no Python code can run meanwhile
    "native": lambda _: ctypes.PyDLL(None).sleep(600),
    "sleep": lambda values: time.sleep(1.5) or values,
    "overflow": lambda values: values | {"margins": 70_000},
    "absent": lambda values: {"masks": values["masks"]},
    "typo": lambda values: {"mask": values["masks"]},
    "nothing": lambda _: None,
}


def main(*_, index, logdir):
    make_config(quiet=True)
    assert isinstance(index, int)
    assert isinstance(logdir, str)
    assert os.path.isdir(logdir)  # noqa: PTH112
    assert logdir.endswith(os.path.join("workers", str(index)))  # noqa: PTH118
    return _play(index)
