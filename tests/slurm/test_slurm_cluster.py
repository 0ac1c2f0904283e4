"""The SLURM engine on a real cluster."""

import json

import numpy as np

from tests.slurm.conftest import wait_until
from tests.slurm.rows import row


def assert_filled(launch, rows=None):
    store = launch.store
    wanted = range(store.num_models) if rows is None else rows
    assert np.flatnonzero(store.completed).tolist() == list(wanted), launch.logs()
    for index in wanted:
        np.testing.assert_array_equal(store["values"][index], row(index))


def outcome_of(said):
    return json.loads(said.splitlines()[-1])


def test_an_array_fills_the_store(launch):
    one = launch(40)
    said = one.run("max_tasks=2", "--play.said=it's \"here\" 100%")
    assert_filled(one)
    assert outcome_of(said)["complete"] == 40, said
    assert (one.folder / "it's \"here\" 100%").read_text() == f"{one.folder}\n"
