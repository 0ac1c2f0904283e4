"""Which device trains, and how it computes: the one place that asks what machine this is."""

import importlib.util

import torch

from datamodels.errors import UsageError
from datamodels.training.launcher.machine import visible_gpus

_BFLOAT16_SINCE = (8, 0)  # compute capability; older GPUs emulate it, slowly
_TRITON_SINCE = (7, 0)  # compute capability; torch.compile refuses older GPUs


def training_device() -> torch.device:
    """The GPU, where this process is to use one; else the CPU.

    UsageError where there is a GPU that torch cannot use: the CPU would take far longer, and nobody
    would be told why.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    gpus = visible_gpus()
    if gpus:
        raise UsageError(
            f"this process is to use GPU {', '.join(gpus)}, but torch {torch.__version__} sees "
            "none: it was built without CUDA, or for a newer one than the driver runs. Install one "
            "that fits (examples/cifar10/README.md, On a GPU), or set CUDA_VISIBLE_DEVICES= (to "
            "nothing) to train on the CPU"
        )
    return torch.device("cpu")


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
    works = torch.cuda.get_device_capability(device) >= _TRITON_SINCE
    return "compile" if works and importlib.util.find_spec("triton") else "graph"


def captures_steps(device: torch.device, mode: str) -> bool:
    """Whether steps become CUDA graphs in this mode."""
    return mode != "none" and device.type == "cuda"


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
