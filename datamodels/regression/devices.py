"""The devices that there are: what a fit may be asked to run on."""

import re

from datamodels.errors import UsageError

_KNOWN = re.compile(r"cpu|cuda(:\d+)?")


def device_names() -> list[str]:
    """``cpu``, and each CUDA device."""
    import torch  # slow to import

    return ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]


def free_bytes(device: str) -> int:
    """Memory that is free on a CUDA device."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return int(free)


def has_cuda() -> bool:
    """Whether there is a CUDA device."""
    import torch

    return torch.cuda.is_available()


def check_device(device: str) -> None:
    """UsageError unless there is such a device."""
    if device == "cpu":
        return
    there = device_names()
    known = _KNOWN.fullmatch(device) is not None
    if known and (device in there or (device == "cuda" and len(there) > 1)):
        return
    what = "there is none of that name here" if known else "it must be cpu, cuda or cuda:<number>"
    raise UsageError(f"device={device}: {what}; this machine has {', '.join(there)}")
