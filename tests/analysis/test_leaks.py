import numpy as np
import pytest
import torch

import datamodels
from datamodels.analysis import leaks as module
from datamodels.analysis.leaks import rank_leaks
from datamodels.errors import InputError, UsageError
from datamodels.training import row_seed, subset_masks, train_copies
from examples.digits.planted import plant_faults
from examples.digits.train_digits import margins, network
from tests.analysis.conftest import as_datamodels, sparse_noise

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


def test_copies_of_digits_in_the_training_set_are_found(monkeypatch):
    """Copies with a wrong label in common: what other digits explain, nobody could tell apart."""
    threads = torch.get_num_threads()
    monkeypatch.setattr("sys.argv", ["test"])
    torch.set_num_threads(1)
    planted = plant_faults(canaries=N_CANARIES, seed=0)
    train, test = _part(planted)
    true = {(int(np.flatnonzero(train == c)[0]), int(np.flatnonzero(test == o)[0]))
            for c, o in zip(planted.copies, planted.originals, strict=True)}  # fmt: skip
    masks, outputs = _train(planted.digits, train, test)
    torch.set_num_threads(threads)
    found = rank_leaks(datamodels.fit(masks, outputs, k=20, eps=0.05))
    ranked = list(zip(found.examples, found.targets, strict=True))
    hits = len(true & set(ranked[:N_CANARIES]))
    sure = set(ranked[: len(found.up_to(0.05))])
    assert hits >= N_CANARIES - 1  # precision and recall
    assert sure <= true
    assert len(sure) >= N_CANARIES // 2


def _part(planted):
    """Some training and test images, the planted pairs among them."""
    rest = np.setdiff1d(np.arange(len(planted.digits.train_labels)), planted.copies)
    others = np.setdiff1d(np.arange(len(planted.digits.test_labels)), planted.originals)
    train = np.sort(np.concatenate([planted.copies, rest[: N_TRAIN - N_CANARIES]]))
    return train, np.sort(np.concatenate([planted.originals, others[: N_TEST - N_CANARIES]]))


def _train(digits, train, test):
    masks = subset_masks(range(N_MODELS), N_TRAIN, alpha=0.5, seed=0)
    images, tests = (
        torch.from_numpy(part).flatten(1)
        for part in (digits.train_images[train], digits.test_images[test])
    )
    labels = torch.from_numpy(digits.train_labels[train])
    outputs = []
    for first in range(0, N_MODELS, 32):
        rows = range(first, min(first + 32, N_MODELS))
        copies = train_copies(
            lambda: network(24),
            images,
            labels,
            masks[rows.start : rows.stop],
            [row_seed(i, seed=0) for i in rows],
            optimizer=lambda params: torch.optim.SGD(params, lr=0.5, momentum=0.9),
            steps=100,
            batch_size=128,
            batches="all",
        )
        outputs.append(margins(copies.predict(tests), torch.from_numpy(digits.test_labels[test])))
    return masks, torch.cat(outputs).numpy()
