"""A ``main`` for jobs: quick to import, and it misbehaves on request."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from fastargs import Param, Section, get_current_config

from datamodels.training.utils import make_config

Section("play", "what this module does").params(
    seconds=Param(float, "of a row", default=0.0),
    wait=Param(int, "first row that waits for a file named go", default=1 << 30),
    die=Param(int, "row whose first run kills its process", default=-1),
    fail=Param(int, "row that always fails", default=-1),
    said=Param(str, "file to write to", default=""),
)


def row(index: int) -> np.ndarray:
    """What row ``index`` must hold, int64 (64,)."""
    return np.arange(64) * 1_000_003 + index


def main(*_, index, logdir):
    make_config(quiet=True)
    config = get_current_config()
    folder = Path(logdir)
    (folder / f"begun-{os.getpid()}-{time.time_ns()}").touch()
    if index == config["play.die"] and len(list(folder.glob("begun-*"))) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if index == config["play.fail"]:
        raise RuntimeError("the training diverged")
    time.sleep(config["play.seconds"])
    while index >= config["play.wait"] and not Path("go").exists():
        time.sleep(0.05)
    if config["play.said"]:
        Path(config["play.said"]).write_text(f"{Path.cwd()}\n")
    return {"values": row(index)}
