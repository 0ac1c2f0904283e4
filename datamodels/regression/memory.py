"""How much memory there is."""

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")

_SHARE_OF_FREE = 0.6
_READ_SHARE, _MAX_READ = 0.25, 512 * 2**20
_DEFAULT_FREE = 8 * 2**30  # where the system does not say what is free


def memory_budget(memory_gb: float | None) -> int:
    """Bytes that may be taken: ``memory_gb`` GiB, or a share of what is free."""
    if memory_gb is not None:
        return int(memory_gb * 2**30)
    free = available_bytes()
    return int(_SHARE_OF_FREE * (free if free is not None else _DEFAULT_FREE))


def block_bytes_beside(left: int) -> int:
    """Bytes for a block of rows, of those that sums over the rows leave."""
    return max(int(min(_READ_SHARE * left, _MAX_READ)), 1)


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
