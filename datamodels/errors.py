"""Errors that a user can mend.

Every error that is the user's to mend is a :class:`DatamodelsError`: its message states the
value, the limit and the remedy, and a command prints it without a traceback. Anything else that
escapes is a bug of this package.
"""


class DatamodelsError(Exception):
    """The work could not be done. Commands print the message and end with ``exit_status``."""

    exit_status = 1


class UsageError(DatamodelsError):
    """The call itself was wrong: a missing, misspelled or out-of-range option."""

    exit_status = 2


class ReadOnlyError(UsageError):
    """Something was to be written in a store that is only to be read."""


class InputError(DatamodelsError, ValueError):
    """A file, an array or a returned value is not what it must be."""


class MissingFileError(DatamodelsError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class ExistsError(DatamodelsError, FileExistsError):
    """Something stands where a result is to be written; nothing is ever overwritten."""


class MissingPackageError(DatamodelsError, ImportError):
    """An optional package is not installed; the message holds the line to type."""
