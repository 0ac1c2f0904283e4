"""Rows whose content is known from their index, so that every complete one can be judged."""

import numpy as np

from datamodels.training.spec import Spec
from datamodels.training.store import Store

WIDE, MASKS, MARGINS = 3_000, 5_000, 7  # 24,000, 5,000 and 14 bytes: two are larger than a page
ROW_BYTES = 8 * WIDE + MASKS + 2 * MARGINS + 8
SCHEMA = {
    "masks": {"shape": [MASKS], "dtype": "bool_"},
    "wide": {"shape": [WIDE], "dtype": "int64"},
    "margins": {"shape": [MARGINS], "dtype": "float16"},
    "row": {"shape": [], "dtype": "int64"},
}


def content(indices, generation=0):
    """What rows ``indices`` (n,) must hold: arrays (n, ...). No row is all zero, and no two are
    alike; ``generation`` gives other contents for the same rows."""
    number = np.asarray(indices, np.int64)[:, None] + 1_000_000 * generation  # (n, 1)
    return {
        "masks": (np.arange(MASKS) * (number + 3)) % 7 < 3,
        "wide": np.arange(1, WIDE + 1) + number * 1_000_003,
        "margins": (np.arange(1, MARGINS + 1) + number % 500).astype(np.float16),
        "row": number[:, 0] + 1,
    }


def spec_of(num_models):
    return Spec.parse({"num_models": num_models, "schema": SCHEMA})


def wrong_rows(store, rows, generation=0):
    """Those of ``rows`` that do not hold what they must."""
    rows = np.asarray(rows, np.int64)
    if not len(rows):
        return []
    wanted = content(rows, generation)
    wrong = np.zeros(len(rows), bool)
    for key, values in wanted.items():
        found = store[key][rows].reshape(len(rows), -1)
        wrong |= (found != values.reshape(len(rows), -1)).any(axis=1)
    return rows[wrong].tolist()


def assert_sound(folder):
    """Every row that is marked complete holds what it must; returns the store and their number."""
    store = Store.open(folder)
    done = np.flatnonzero(store.completed)
    assert wrong_rows(store, done) == []
    return store, len(done)
