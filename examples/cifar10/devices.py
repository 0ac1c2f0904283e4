"""Which device trains, and how it computes: the one place that asks what machine this is."""

import importlib.util

import torch

from datamodels.errors import UsageError

_BFLOAT16_SINCE = (8, 0)  # compute capability; older GPUs emulate it, slowly


def training_device() -> torch.device:
    """The GPU, where this process sees one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision_of(device: torch.device, asked: str) -> torch.dtype:
    """What convolutions compute in: ``auto`` is half precision on a GPU, which has units for it."""
    if asked != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[
            asked
        ]
    if device.type != "cuda":
        return torch.float32
    modern = torch.cuda.get_device_capability(device) >= _BFLOAT16_SINCE
    return torch.bfloat16 if modern else torch.float16


def compile_mode(device: torch.device, asked: str) -> str:
    """``none``, ``graph`` or ``compile``: ``auto`` is the fastest that this machine has.

    UsageError where ``graph`` is asked for without a GPU.
    """
    if asked == "graph" and device.type != "cuda":
        raise UsageError(
            "training.compile=graph needs a GPU, and this process sees none; leave the option out"
        )
    if asked != "auto":
        return asked
    if device.type != "cuda":
        return "none"  # compiling takes longer than a small training
    return "compile" if importlib.util.find_spec("triton") else "graph"


def set_up(device: torch.device, *, deterministic: bool) -> None:
    """Settings of this process: batches are always of one shape, so the fastest algorithms for it
    are worth looking for, unless results must not depend on which were found."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = not deterministic
        torch.backends.cudnn.deterministic = deterministic


def synchronize(device: torch.device) -> None:
    """Wait until all work is done, to read a clock."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
