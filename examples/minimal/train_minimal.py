"""The smallest module a worker can run: no training, a row of 256 equal numbers."""

from typing import Any

import numpy as np
from fastargs import Param, Section
from fastargs.decorators import param

from datamodels.training.utils import make_config

Section("trainer", "what this module wants to know").params(
    multiple=Param(int, "the number to fill the row with", default=2),
)


@param("trainer.multiple")
def execute(multiple: int) -> dict[str, Any]:
    """The row of one model: 256 times ``multiple``."""
    return {"random_numbers": np.full(256, multiple, dtype=np.uint8)}


def main(*_: Any, index: int, logdir: str) -> dict[str, Any]:
    """The row of one model. ``index`` is the row, ``logdir`` a folder for the model's own files."""
    make_config(quiet=True)
    return execute()
