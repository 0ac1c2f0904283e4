"""Rows of the digits made many at once equal those made one by one."""

import sys

import numpy as np
import pytest

from examples.digits import train_digits


@pytest.fixture
def no_options(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["test"])


@pytest.mark.usefixtures("no_options")
def test_rows_made_at_once_equal_rows_made_alone(tmp_path):
    indices = [5, 0, 999]
    rows = train_digits.main_batch(indices=indices, logdir=str(tmp_path))
    for place, index in enumerate(indices):
        row = train_digits.main(index=index, logdir=str(tmp_path))
        assert set(rows) == set(row)
        np.testing.assert_array_equal(rows["masks"][place], row["masks"])
        for key in ("margins", "train_margins"):
            assert rows[key].shape == (3, *row[key].shape)
            np.testing.assert_allclose(rows[key][place], row[key], atol=1e-3)
        assert abs(rows["accuracy"][place] - row["accuracy"]) < 1 / 300
