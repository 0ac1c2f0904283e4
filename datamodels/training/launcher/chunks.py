"""Rows cut into chunks for jobs, and the words that a job's worker command begins with."""

import math
from collections.abc import Sequence
from itertools import pairwise

from datamodels.training.launcher.config import WORKER_VARIABLES


def even_chunks(rows: Sequence[int], n_chunks: int, batch: int = 1) -> list[list[int]]:
    """``rows`` in order, in ``n_chunks`` parts or fewer; each but the last is whole batches of
    ``batch`` rows, and their numbers differ by one at most."""
    n_batches = math.ceil(len(rows) / batch)
    count = min(n_chunks, n_batches)
    edges = [n_batches * number // count * batch for number in range(count + 1)] if count else [0]
    return [list(rows[a:b]) for a, b in pairwise(edges)]


def without_variables() -> list[str]:
    """Options of ``env`` that take away variables which would divert a worker."""
    return [word for name in WORKER_VARIABLES for word in ("-u", name)]
