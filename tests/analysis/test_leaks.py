import numpy as np
import pytest

import datamodels
from datamodels.analysis import leaks as module
from datamodels.analysis.leaks import rank_leaks
from datamodels.errors import InputError, UsageError
from examples.digits.planted import plant_faults
from tests.analysis.conftest import as_datamodels, sparse_noise
from tests.analysis.digits import part_of, train_part

N_TRAIN, N_TEST, N_CANARIES, N_MODELS = 160, 160, 8, 320


def test_medians_of_others_are_those_without_each():
    rng = np.random.default_rng(0)
    for m in (2, 3, 4, 7, 10):
        sizes = rng.integers(0, 5, m).astype(float)  # with ties
        expected = [np.median(np.delete(sizes, i)) for i in range(m)]
        np.testing.assert_allclose(module._medians_of_others(sizes), expected)


def test_by_chance_there_are_as_many_pairs_as_expected():
    counts = []
    for seed in range(40):
        found = rank_leaks(as_datamodels(sparse_noise(100, 60, seed=seed)))
        counts.append([len(found.up_to(limit)) for limit in (0.05, 1)])
    few, one = np.mean(counts, axis=0)
    assert few < 0.25
    assert 0.5 < one < 2


def test_a_planted_pair_is_found_whatever_the_units_of_its_target():
    weight = sparse_noise(100, 60)
    weight[7, 5], weight[90, 50] = 40, 50
    weight[:, 5] *= 1000
    weight[3, 9] = -1000  # no copy lowers an output
    found = rank_leaks(as_datamodels(weight))
    sure = found.up_to(0.01)
    assert set(zip(sure.examples, sure.targets, strict=True)) == {(7, 5), (90, 50)}
    assert (found.weights > 0).all()
    assert (np.diff(found.expected) >= -1e-12).all()
    assert len(found) == (weight > 0).sum()
    first = found.first(1)
    assert first.weights[0] == np.float32(weight[first.examples[0], first.targets[0]])


@pytest.mark.parametrize("seed", range(5))
def test_elsewhere_is_the_largest_weight_on_another_target(seed):
    weight = np.round(sparse_noise(30, 25, seed=seed), 1)  # with ties
    weight[3] = 0
    weight[4, 1:] = 0
    weight[4, 0] = 2
    found = rank_leaks(as_datamodels(weight))
    for example, target, elsewhere in zip(
        found.examples, found.targets, found.elsewhere, strict=True
    ):
        others = np.delete(weight[example], target)
        assert elsewhere == np.float32(max(others.max(), 0))


def test_two_copies_of_one_target_do_not_hide_one_another():
    weight = sparse_noise(100, 60)
    weight[[7, 8], 5] = 40
    sure = rank_leaks(as_datamodels(weight)).up_to(0.01)
    assert set(zip(sure.examples, sure.targets, strict=True)) == {(7, 5), (8, 5)}


def test_targets_of_few_weights_borrow_the_scale_of_others():
    weight = sparse_noise(100, 60)
    weight[:, :3] = 0
    weight[4, 1], weight[5, 2] = 1.5, 60  # a lone weight of common size, and a lone large one
    found = rank_leaks(as_datamodels(weight)).up_to(0.01)
    assert list(zip(found.examples, found.targets, strict=True)) == [(5, 2)]


def test_own_examples_can_be_left_out():
    weight = sparse_noise(60, 60) + 40 * np.eye(60)
    weight[3, 9] = 50
    found = rank_leaks(as_datamodels(weight), own=False).up_to(0.01)
    assert list(zip(found.examples, found.targets, strict=True)) == [(3, 9)]
    with pytest.raises(UsageError, match="are not the 60"):
        rank_leaks(as_datamodels(weight[:, :5]), own=False)


def test_without_weights_there_is_nothing_to_rank():
    with pytest.raises(InputError, match="zero"):
        rank_leaks(as_datamodels(np.zeros((4, 3))))


def test_copies_of_digits_in_the_training_set_are_found():
    """Copies with a wrong label in common: what other digits explain, nobody could tell apart."""
    planted = plant_faults(canaries=N_CANARIES, seed=0)
    digits = planted.digits
    train = part_of(len(digits.train_labels), planted.copies, N_TRAIN)
    test = part_of(len(digits.test_labels), planted.originals, N_TEST)
    places = np.searchsorted(train, planted.copies), np.searchsorted(test, planted.originals)
    true = set(zip(*places, strict=True))
    masks, outputs, _ = train_part(digits, train, test, N_MODELS)
    found = rank_leaks(datamodels.fit(masks, outputs, k=20, eps=0.05))
    ranked = list(zip(found.examples, found.targets, strict=True))
    hits = len(true & set(ranked[:N_CANARIES]))
    sure = set(ranked[: len(found.up_to(0.05))])
    assert hits >= N_CANARIES - 1  # precision and recall
    assert sure <= true
    assert len(sure) >= N_CANARIES // 2
