"""Which errors of ``main`` the process does not recover from, whatever row comes next."""

from collections.abc import Iterator

# Classes told by name: torch, which has them, is not to be imported here. Both are RuntimeErrors.
# Behind them how the RuntimeErrors begin that older versions of torch raise instead.
_FAILED = ("AcceleratorError", ("CUDA error", "CUDA driver error", "cuDNN error", "HIP error"))
_FULL = ("OutOfMemoryError", ("CUDA out of memory", "HIP out of memory"))


def spoils_process(error: BaseException, rows: int = 1) -> bool:
    """Whether ``error``, or what it was raised from, is of the memory or of the accelerator.

    After an illegal access, say, every later CUDA call of a process fails at once; and memory that
    has run out may be held by what ``main`` keeps from row to row. A call of several ``rows`` that
    does not fit on the accelerator says nothing of calls of one.
    """
    return any(_spoils(each, rows) for each in _chain(error))


def _spoils(error: BaseException, rows: int) -> bool:
    is_full = rows == 1 and _is_of(error, *_FULL)
    return is_full or isinstance(error, MemoryError) or _is_of(error, *_FAILED)


def _is_of(error: BaseException, name: str, beginnings: tuple[str, ...]) -> bool:
    if name in {kind.__name__ for kind in type(error).__mro__}:
        return True
    if not isinstance(error, RuntimeError) or not error.args:
        return False
    text = error.args[0]  # not str(error), which a class of the user's may refuse
    return isinstance(text, str) and text.startswith(beginnings)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
