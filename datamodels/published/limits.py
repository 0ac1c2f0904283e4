"""Limits of the numbers that commands asking the bucket take."""

from datamodels.cli.runner import Values
from datamodels.errors import UsageError

_LIMITS = {"workers": (1, 256), "chunk_mib": (1, 4096), "retries": (0, 1000)}


def check_limits(section: str, options: Values) -> None:
    """UsageError where one of the ``options`` of a ``section`` is out of its range."""
    for name, (least, most) in _LIMITS.items():
        if name in options and not least <= options[name] <= most:
            raise UsageError(
                f"--{section}.{name}={options[name]} is out of range; write {least} to {most}"
            )
