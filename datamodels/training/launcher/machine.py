"""What this machine has for workers: GPUs, cores, and the environment that shares them out."""

import math
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from datamodels.training.launcher.config import WORKER_VARIABLES

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")

# Thread pools of the libraries that training uses; what the user has set stays.
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def visible_gpus(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the GPUs that workers may use, as CUDA_VISIBLE_DEVICES has them."""
    visible = environ.get(_VISIBLE)
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        end = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))
        return names[:end]  # CUDA ignores what stands behind the first that is none
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        asked = [command, "--query-gpu=index", "--format=csv,noheader"]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [] if found.returncode else found.stdout.split()


def gpu_memory(gpus: list[str]) -> list[tuple[int, int]]:
    """Bytes in use and in all of each of these GPUs; empty where nvidia-smi does not say."""
    asked = ["nvidia-smi", "--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(
            [*asked, "-i", ",".join(gpus)], capture_output=True, text=True, timeout=30, check=True
        )
        lines = [line.split(",") for line in found.stdout.splitlines()]
        return [(int(used) * 2**20, int(total) * 2**20) for used, total in lines]
    except (OSError, subprocess.SubprocessError, ValueError):  # parts of a GPU say "[N/A]"
        return []


def usable_cores() -> int:
    """Cores that this process may keep busy."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    try:
        quota, period = _CPU_MAX.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))


def default_workers(gpus: list[str], workers_per_gpu: int) -> int:
    """One process a core, or so many a GPU."""
    return len(gpus) * workers_per_gpu or usable_cores()


def threads_each(workers: int) -> dict[str, str]:
    """Thread pools that together fill the cores, for each of ``workers`` processes."""
    threads = str(max(1, usable_cores() // workers))
    return {name: os.environ.get(name, threads) for name in _THREADS}


def environment(place: int, workers: int, gpus: list[str]) -> dict[str, str]:
    """The environment of the worker in ``place``: its threads, and its GPU, where there are any."""
    kept = {name: value for name, value in os.environ.items() if name not in WORKER_VARIABLES}
    env = {**kept, **threads_each(workers)}
    if gpus:
        env[_VISIBLE] = gpus[place % len(gpus)]
    return env
