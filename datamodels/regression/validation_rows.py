"""Which rows choose lambda."""

import numpy as np

from datamodels.errors import UsageError
from datamodels.regression.blocks import Int64s
from datamodels.streams import stream_words

_STREAM = "validate"


def pick_validation_rows(n_rows_used: int, num_val: int, seed: int) -> Int64s:
    """``num_val`` of the rows 0 .. n_rows_used - 1, in ascending order.

    With seed >= 0 row i draws the i-th word of a stream of random words, and the rows of the
    smallest words are taken: the same on every machine and in every version of numpy.
    seed = -1 takes the last rows, as the public code always did.
    """
    num_train = n_rows_used - num_val
    if num_val < 1 or num_train < 2:
        raise UsageError(
            f"num_train={num_train} and num_val={num_val}; fitting takes at least 2 rows and "
            "choosing lambda at least 1"
        )
    if seed == -1:
        return np.arange(num_train, n_rows_used, dtype=np.int64)
    if seed < -1:
        raise UsageError(f"seed={seed}; give 0 or more, or -1 for the last rows")
    words = stream_words(_STREAM, seed=seed, index=0, count=n_rows_used)
    drawn = np.argsort(words, kind="stable")[:num_val]
    return np.sort(drawn).astype(np.int64)
