"""How many threads numba and torch may take."""

from collections.abc import Iterator
from contextlib import contextmanager

import numba


@contextmanager
def at_most_threads(threads: int | None) -> Iterator[None]:
    """Numba and torch with at most so many threads, while the block runs; None: as they are."""
    if threads is None:
        yield
        return
    import torch  # slow to import

    before, torch_before = numba.get_num_threads(), torch.get_num_threads()
    numba.set_num_threads(min(threads, before))
    torch.set_num_threads(min(threads, torch_before))
    try:
        yield
    finally:
        numba.set_num_threads(before)
        torch.set_num_threads(torch_before)
