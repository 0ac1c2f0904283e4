import sys

import numpy as np
import pytest

from datamodels.cli.shared_config import current_config
from datamodels.errors import UsageError
from examples.digits import train_digits
from examples.digits.data import load_digits
from examples.digits.planted import plant_faults

pytestmark = pytest.mark.usefixtures("digits_alone")


def test_without_faults_the_digits_are_the_digits():
    planted = plant_faults()
    for ours, theirs in zip(planted.digits, load_digits(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(planted.flipped) == len(planted.copies) == len(planted.originals) == 0


def test_what_is_planted_is_what_is_told():
    clean, planted = load_digits(), plant_faults(flip=0.1, plant=20, canaries=5, seed=3)
    digits, copies, originals = planted.digits, planted.copies, planted.originals
    assert (len(planted.flipped), len(copies), len(originals)) == (144, 25, 25)
    assert len({*planted.flipped, *copies}) == 169
    changed = np.flatnonzero((digits.train_images != clean.train_images).any(axis=(1, 2)))
    assert set(changed) <= set(copies)
    np.testing.assert_array_equal(digits.train_images[copies], clean.test_images[originals])
    np.testing.assert_array_equal(digits.train_labels[copies], digits.test_labels[originals])
    np.testing.assert_array_equal(digits.test_images, clean.test_images)
    wrong = np.flatnonzero(digits.test_labels != clean.test_labels)
    assert set(wrong) == set(originals[20:])
    others = np.setdiff1d(np.arange(len(digits.train_labels)), copies)
    wrong = others[digits.train_labels[others] != clean.train_labels[others]]
    np.testing.assert_array_equal(wrong, planted.flipped)
    assert set(np.unique(digits.train_labels)) == set(range(10))


def test_it_is_a_function_of_the_seed():
    first, again, other = (plant_faults.__wrapped__(0.05, 3, 2, seed) for seed in (1, 1, 2))
    for ours, theirs in zip(first.digits, again.digits, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert first.copies.tolist() != other.copies.tolist()


@pytest.mark.parametrize(
    ("faults", "needle"),
    [
        ({"flip": 1.5}, r"flip=1\.5"),
        ({"plant": 300, "canaries": 61}, "360 test images"),
        ({"plant": -1}, "plant=-1"),
        ({"flip": 0.9, "plant": 200}, "of which 1293 get a wrong label"),
    ],
)
def test_more_faults_than_images_are_refused(faults, needle):
    with pytest.raises(UsageError, match=needle):
        plant_faults(**faults)


def test_networks_are_trained_on_the_faults(monkeypatch, tmp_path):
    # As in a worker; 40 steps are enough to tell wrong labels.
    config = current_config()
    monkeypatch.setattr(config, "content", dict(config.content))  # other tests have no options
    options = ["--digits.flip=0.3", "--digits.canaries=9", "--digits.steps=40"]
    monkeypatch.setattr(sys, "argv", ["test", *options])
    row = train_digits.main(index=0, logdir=str(tmp_path))
    row = {key: np.asarray(values) for key, values in row.items()}
    planted = plant_faults(flip=0.3, canaries=9)
    wrong = row["train_margins"][planted.flipped]
    right = np.delete(row["train_margins"], [*planted.flipped, *planted.copies])
    assert np.median(wrong) < 0 < np.median(right)
    np.testing.assert_allclose(
        row["margins"][planted.originals], row["train_margins"][planted.copies], atol=1e-4
    )
    assert np.median(row["margins"][planted.originals]) < 0 < np.median(row["margins"])
    monkeypatch.setattr(sys, "argv", ["test", "--digits.flip=7"])
    with pytest.raises(UsageError, match="flip=7"):
        train_digits.main(index=0, logdir=str(tmp_path))
