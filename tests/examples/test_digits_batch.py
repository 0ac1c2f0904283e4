"""Rows of the digits made many at once equal those made one by one."""

import sys

import numpy as np
import pytest
import torch

from examples.digits import train_digits

pytestmark = pytest.mark.usefixtures("digits_alone")


@pytest.fixture
def as_in_a_worker(monkeypatch):
    """No options, and one thread: networks of this size gain nothing from more."""
    monkeypatch.setattr(sys, "argv", ["test"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("as_in_a_worker")
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


@pytest.mark.usefixtures("as_in_a_worker")
def test_repeats_share_a_mask_and_nothing_else(monkeypatch, tmp_path):
    alone = train_digits.main(index=2, logdir=str(tmp_path))
    assert "mask_id" not in alone
    monkeypatch.setattr(sys, "argv", ["test", "--digits.repeats=3"])
    rows = train_digits.main_batch(indices=[6, 8, 9], logdir=str(tmp_path))
    row = train_digits.main(index=8, logdir=str(tmp_path))
    np.testing.assert_array_equal(rows["mask_id"], [2, 2, 3])
    assert row["mask_id"] == 2
    np.testing.assert_array_equal(rows["masks"][0], alone["masks"])
    np.testing.assert_array_equal(rows["masks"][1], alone["masks"])
    assert (rows["masks"][2] != alone["masks"]).any()
    assert abs(rows["margins"][0] - rows["margins"][1]).max() > 0.1
    np.testing.assert_allclose(rows["margins"][1], row["margins"], atol=1e-3)
