"""Refusing a fit that would not fit in memory, rather than having the system kill it."""

from pathlib import Path

from datamodels.errors import InputError
from datamodels.regression.row_source import RowSource

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")

# At once: the tables of pair counts of training and validation rows, and the Gram matrix.
_TABLES = 3
_COUNT_BYTES, _FLOAT_BYTES = 4, 8
# X'Y of both parts, their sum and the correlations in float64, and two sets of float32 weights.
_BYTES_PER_WEIGHT = 4 * 8 + 2 * 4


def check_memory(source: RowSource, n_targets: int) -> None:
    """InputError where a fit of ``n_targets`` targets needs more memory than there is."""
    p = source.n_features
    pair = _COUNT_BYTES if source.mask_dtype.kind in "bui" else _FLOAT_BYTES
    needed, free = _TABLES * pair * p**2 + _BYTES_PER_WEIGHT * p * n_targets, available_bytes()
    if free is not None and needed > free:
        raise InputError(
            f"{p} features and {n_targets} targets need about {needed / 2**30:.3g} GiB of memory; "
            f"{free / 2**30:.3g} GiB are free. Fit fewer targets at a time (target_start_ind, "
            "target_end_ind), or on a machine with more"
        )


def available_bytes() -> int | None:
    """Memory that can be had without swapping, in bytes; None where the system does not say."""
    known = [free for free in (_free_of_machine(), _free_of_container()) if free is not None]
    return min(known, default=None)


def _free_of_machine() -> int | None:
    for line in _read(_MEMINFO).splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024  # given in kB
    return None


def _free_of_container() -> int | None:
    limit, used = _read(_CGROUP / "memory.max").strip(), _read(_CGROUP / "memory.current").strip()
    if not (limit.isdigit() and used.isdigit()):
        return None
    stat = dict(line.split() for line in _read(_CGROUP / "memory.stat").splitlines())
    cache = sum(int(stat.get(name, 0)) for name in ("inactive_file", "active_file"))
    return int(limit) - int(used) + cache  # of files read and written; given up when needed


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # no such file: not Linux, or no container
        return ""
