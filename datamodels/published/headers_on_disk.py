"""Headers of ``.npy`` files that were downloaded, with the remedy of what can be had again."""

from pathlib import Path

from datamodels.errors import InputError
from datamodels.npy_file import NoHeaderError, NpyHeader, WrongSizeError, read_header
from datamodels.published.layout import PARTIAL, final_of, journal_of


def local_header(path: Path) -> NpyHeader:
    """The header of a published file, whole or ``.partial``; InputError where it is damaged."""
    try:
        return read_header(path)
    except WrongSizeError as error:
        raise InputError(f"{error.found}. {_remedy(path)}") from None
    except NoHeaderError:
        raise InputError(
            f"{path} is no .npy file, or its header is cut short. {_remedy(path)}"
        ) from None


def _remedy(path: Path) -> str:
    both = f" and {journal_of(final_of(path)).name}" if path.name.endswith(PARTIAL) else ""
    return f"Remove it{both} and download it again"
