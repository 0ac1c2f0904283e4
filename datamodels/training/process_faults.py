"""Which errors of ``main`` the process does not recover from, whatever row comes next."""

from collections.abc import Iterator

# Told by name: torch, which has them, is not to be imported here. Both are RuntimeErrors.
_CLASSES = {"AcceleratorError", "OutOfMemoryError"}
# How the RuntimeErrors begin that older versions of torch raise instead.
_BEGINNINGS = ("CUDA error", "CUDA out of memory", "CUDA driver error", "cuDNN error", "HIP error",
               "HIP out of memory")  # fmt: skip


def spoils_process(error: BaseException) -> bool:
    """Whether ``error``, or what it was raised from, is of the memory or of the accelerator.

    After an illegal access, say, every later CUDA call of a process fails at once; and memory that
    has run out may be held by what ``main`` keeps from row to row.
    """
    return any(_is_of_process(each) for each in _chain(error))


def _is_of_process(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or _CLASSES & {kind.__name__ for kind in type(error).__mro__}:
        return True
    if not isinstance(error, RuntimeError) or not error.args:
        return False
    text = error.args[0]  # not str(error), which a class of the user's may refuse
    return isinstance(text, str) and text.startswith(_BEGINNINGS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
