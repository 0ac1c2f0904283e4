"""Repeated trainings of a mask count as one model, whose output is their mean."""

import numpy as np
import pytest

from datamodels.errors import InputError
from datamodels.evaluation.repeats import average_repeats
from datamodels.evaluation.scoring import score_weights

IDS = np.array([7, 7, 2, 9, 2, 7])


def repeated(seed=0):
    rng = np.random.default_rng(seed)
    masks = rng.random((10, 5)) < 0.5
    return masks[IDS], rng.standard_normal((6, 3)).astype(np.float32)


def test_outputs_of_a_mask_are_averaged_in_order_of_appearance():
    masks, outputs = repeated()
    means = np.stack([outputs[i == IDS].mean(axis=0, dtype=float) for i in (7, 2, 9)])
    averaged_masks, averaged = average_repeats(masks, outputs, IDS)
    np.testing.assert_allclose(averaged, means, atol=1e-14)
    np.testing.assert_array_equal(averaged_masks, masks[[0, 2, 3]])


def test_masks_that_are_all_different_stay_as_they_are():
    masks, outputs = repeated()
    _, averaged = average_repeats(masks, outputs, np.arange(6)[::-1])
    assert averaged is outputs


def test_rows_of_one_id_with_other_masks_are_named():
    masks, outputs = repeated()
    masks[5, 1] ^= True
    with pytest.raises(InputError, match="rows 10 and 15 have the same mask_id"):
        average_repeats(masks, outputs, IDS, np.arange(10, 16))


@pytest.mark.parametrize("ids", [np.arange(5), np.arange(6.0), np.zeros((6, 1), int)])
def test_ids_are_one_integer_a_model(ids):
    with pytest.raises(InputError, match="one integer for each of the 6 models"):
        average_repeats(*repeated(), ids)


def test_the_score_of_repeats_is_the_score_of_their_means():
    rng = np.random.default_rng(1)
    masks = (rng.random((12, 8)) < 0.5).repeat(3, axis=0)
    outputs, weight = rng.standard_normal((36, 4)), rng.standard_normal((8, 4))
    ids = np.arange(12).repeat(3)
    order = rng.permutation(36)
    means = outputs.reshape(12, 3, 4).mean(axis=1)
    expected = score_weights(weight, masks[::3], means, n_resamples=50)
    score = score_weights(weight, masks, outputs, mask_id=ids, n_resamples=50)
    np.testing.assert_allclose(score.per_target, expected.per_target, atol=1e-12)
    assert score.interval == pytest.approx(expected.interval, abs=1e-12)
    assert "on 12 masks (mean outputs of 36 trainings), 4 targets" in str(score)
    shuffled = score_weights(
        weight, masks[order], outputs[order], mask_id=ids[order], n_resamples=0
    )
    np.testing.assert_allclose(shuffled.per_target, expected.per_target, atol=1e-12)
