"""Optional packages, loaded where they are used; their lack names the line to type."""

from importlib import import_module
from typing import Any

from datamodels.errors import MissingPackageError


def import_optional(
    module: str, package: str, use: str, *, extra: str = "analysis", otherwise: str = ""
) -> Any:
    """``module`` of an optional ``package``; MissingPackageError says what ``use`` it is for, which
    ``extra`` has it, and what may be done ``otherwise``."""
    try:
        return import_module(module)
    except ImportError:
        raise MissingPackageError(
            f"{use} need {package}: pip install 'datamodels[{extra}]'{otherwise}"
        ) from None


def import_scipy_sparse() -> Any:
    """``scipy.sparse``, or MissingPackageError."""
    return import_optional("scipy.sparse", "scipy", "sparse weights")


def require_matplotlib(otherwise: str = "") -> None:
    """MissingPackageError unless it is installed."""
    import_optional("matplotlib", "matplotlib", "pictures", extra="plots", otherwise=otherwise)
