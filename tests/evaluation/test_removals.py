import numpy as np
import pytest

from datamodels.errors import DatamodelsError
from datamodels.evaluation.removals import METHODS, choose_removals

N, T = 30, 4
RNG = np.random.default_rng(0)
WEIGHT = np.where(RNG.random((N, T)) < 0.5, 0, RNG.standard_normal((N, T))).astype(np.float32)
FEATURES = RNG.random((N, 3, 2)), RNG.random((T + 2, 3, 2))
COLUMNS = np.arange(1, T + 1)


def chosen(**options):
    given = {
        "sizes": [3, 1],
        "methods": METHODS,
        "candidates": np.ones(N, bool),
        "features": FEATURES,
        "n_outputs": T + 2,
    } | options
    return choose_removals(WEIGHT, COLUMNS, [0, 3], **given)


def examples(removals, method, target):
    return {r.k: r.examples.tolist() for r in removals if (r.method, r.target) == (method, target)}


def test_each_method_takes_the_first_in_its_order():
    removals = chosen()
    assert len(removals) == 2 * 4 * 2
    for target in (0, 3):
        by_weight = np.argsort(-WEIGHT[:, target], kind="stable")
        distance = ((FEATURES[0] - FEATURES[1][target + 1]) ** 2).sum(axis=(1, 2))
        assert examples(removals, "helpful", target)[3] == by_weight[:3].tolist()
        assert examples(removals, "harmful", target)[3] == by_weight[::-1][:3].tolist()
        assert examples(removals, "nearest", target)[3] == np.argsort(distance)[:3].tolist()
    for removal in removals:
        assert removal.column == removal.target + 1
        assert len(set(removal.examples.tolist())) == removal.k


def test_smaller_removals_lie_within_larger_ones():
    removals = chosen()
    for method in METHODS:
        sets = examples(removals, method, 0)
        assert sets[3][:1] == sets[1]


def test_random_removals_are_a_function_of_seed_and_target():
    first, second = examples(chosen(), "random", 0), examples(chosen(), "random", 3)
    assert first == examples(chosen(methods=["random"], features=None), "random", 0)
    assert first != second
    assert first != examples(chosen(seed=1), "random", 0)


def test_random_removals_are_drawn_evenly():
    counts = np.zeros(N)
    for seed in range(600):
        removals = chosen(sizes=[5], methods=["random"], features=None, seed=seed)
        counts[removals[0].examples] += 1
    assert abs(counts - 100).max() < 40  # standard deviation 9.1


def test_only_candidates_are_removed():
    candidates = np.arange(N) % 2 == 0
    for removal in chosen(candidates=candidates):
        assert candidates[removal.examples].all()


def test_where_there_are_no_more_the_same_set_is_not_removed_twice():
    n_helpful = int((WEIGHT[:, 0] > 0).sum())
    removals = chosen(sizes=[2, n_helpful, n_helpful + 2, N], methods=["helpful"])
    assert [len(r.examples) for r in removals if r.target == 0] == [2, n_helpful]


@pytest.mark.parametrize(
    ("options", "needle"),
    [
        ({"sizes": [0]}, "k=0"),
        ({"sizes": [N + 1]}, f"from 1 to {N}"),
        ({"sizes": []}, "k=None"),
        ({"methods": ["best"]}, "'best' is unknown"),
        ({"methods": []}, "is unknown"),
        ({"features": None}, "nearest needs features"),
        ({"features": (FEATURES[0][1:], FEATURES[1])}, "expected"),
        ({"features": (FEATURES[0], FEATURES[1][:, :2])}, "expected"),
        ({"features": (FEATURES[0], FEATURES[1][:3])}, "a row for every output"),
        ({"features": (FEATURES[0], FEATURES[0])}, "a row for every output"),
        ({"features": (FEATURES[0][:, 0, 0], FEATURES[1])}, "a row an example"),
    ],
)
def test_what_cannot_be_chosen_is_refused(options, needle):
    with pytest.raises(DatamodelsError, match=needle):
        chosen(**options)
