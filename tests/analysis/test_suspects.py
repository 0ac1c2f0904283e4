import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import datamodels
from datamodels.analysis import suspects as module
from datamodels.analysis.suspects import rank_mislabelled
from datamodels.errors import InputError, UsageError
from examples.digits.planted import plant_faults
from tests.analysis.conftest import as_datamodels, sparse_noise
from tests.analysis.digits import train_part


def noisy(n_train=60, n_targets=40, wrong=(3, 17, 44)):
    """Datamodels of own outputs and of others; the wrong examples owe much to themselves and harm
    half of all others."""
    rng = np.random.default_rng(0)
    own, test = 0.1 * sparse_noise(n_train, n_train), 0.1 * sparse_noise(n_train, n_targets)
    np.fill_diagonal(own, rng.uniform(0.5, 1, n_train))
    for j in wrong:
        own[j] -= rng.random(n_train) < 0.5
        test[j] -= rng.random(n_targets) < 0.5
        own[j, j] = 5
    return as_datamodels(own), as_datamodels(test)


@pytest.mark.parametrize("which", ["own", "test", "both"])
@pytest.mark.parametrize("block_bytes", [1, 2**20])
def test_planted_examples_come_first(monkeypatch, which, block_bytes):
    monkeypatch.setattr(module, "_BLOCK_BYTES", block_bytes)
    own, test = noisy()
    found = rank_mislabelled(own if which != "test" else None, test if which != "own" else None)
    assert set(found.order[:3]) == {3, 17, 44}
    assert sorted(found.order) == list(range(60))
    assert (np.diff(found.score[found.order]) <= 0).all()
    assert (found.self_influence is None) == (which == "test")


def test_self_influence_and_harm_are_what_they_say():
    own, test = noisy()
    found = rank_mislabelled(own, test)
    others = own.weight - np.diag(own.weight.diagonal())
    harm = -np.minimum(others, 0).sum(axis=1) - np.minimum(test.weight, 0).sum(axis=1)
    np.testing.assert_allclose(found.self_influence, own.weight.diagonal())
    np.testing.assert_allclose(found.harm, harm, rtol=1e-5)


def test_a_negative_self_influence_is_no_harm_to_others():
    weight = np.zeros((4, 4))
    weight[1, 1], weight[2, 3] = -2, -1
    np.testing.assert_array_equal(rank_mislabelled(as_datamodels(weight)).harm, [0, 0, 1, 0])


def test_units_do_not_matter():
    own, test = noisy()
    scaled = [as_datamodels(1000 * d.weight) for d in (own, test)]
    np.testing.assert_allclose(
        rank_mislabelled(*scaled).score, rank_mislabelled(own, test).score, rtol=1e-4
    )


def test_what_does_not_go_together_is_refused():
    own, test = noisy()
    with pytest.raises(UsageError, match="give datamodels"):
        rank_mislabelled()
    with pytest.raises(InputError, match="40 targets and 60 training examples"):
        rank_mislabelled(test)
    with pytest.raises(InputError, match="60 and 70 training examples"):
        rank_mislabelled(own, as_datamodels(np.zeros((70, 5))))


def test_wrong_labels_of_digits_are_found():
    planted = plant_faults(flip=0.1, seed=0)
    train, test = np.arange(200), np.arange(100)
    wrong = np.isin(train, planted.flipped)
    masks, outputs, margins = train_part(planted.digits, train, test, 320)
    own, others = (datamodels.fit(masks, y, k=20, eps=0.05) for y in (margins, outputs))
    scores = {
        "both": rank_mislabelled(own, others),
        "own": rank_mislabelled(own),
        "test": rank_mislabelled(test=others),
    }
    areas = {name: roc_auc_score(wrong, found.score) for name, found in scores.items()}
    self_influence = roc_auc_score(wrong, scores["own"].self_influence)
    assert min(areas["both"], areas["own"], self_influence) > 0.9, areas
    assert areas["test"] > 0.7, areas
    n_wrong = wrong.sum()
    assert wrong[scores["both"].order[:n_wrong]].mean() > 0.6  # precision and recall
