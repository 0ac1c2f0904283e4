"""A module whose rows take a known time, and that notes when each of its calls began and ended."""

import os
import time

from fastargs import Param, Section

from datamodels.training.utils import make_config

Section("sleeping", "how long rows take, and what goes wrong").params(
    first=Param(float, "seconds of a process's first call", default=0.0),
    each=Param(float, "seconds of every other call", default=0.0),
    told=Param(str, "file to note the calls in", default=""),
    bad=Param(int, "the first call of a process that fails, from 1", default=0),
    how=Param(str, "how it fails: raise or die", default="raise"),
    first_mask=Param(int, "first entry of the mask", default=1),
    keeps=Param(int, "bytes that a call leaves in its logdir", default=0),
)
CALLS = []


def main(*_, index, logdir):
    return _call([index], logdir)


def main_batch(*_, indices, logdir):
    return {key: [value] * len(indices) for key, value in _call(indices, logdir).items()}


def _call(indices, logdir):
    told = make_config(quiet=True).get().sleeping
    began = time.monotonic()
    CALLS.append(indices)
    if 0 < told.bad <= len(CALLS):
        if told.how == "die":
            os._exit(0)
        raise RuntimeError("the training diverged")
    time.sleep(told.each if CALLS[1:] else told.first)
    if told.keeps:
        with open(f"{logdir}/kept", "wb") as file:
            file.write(b"1" * told.keeps)
    if told.told:
        with open(told.told, "a") as file:
            rows = ",".join(map(str, indices))
            print(os.getpid(), began, time.monotonic(), rows, logdir, file=file)
    return {"masks": [told.first_mask, 1, 1, 1, 1], "margins": [1.0] * 3, "epochs": 7}
