from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodels.errors import DatamodelsError
from datamodels.evaluation.data_support import smallest_supports, support_examples

P = 8
values = st.integers(-4, 6)  # whole numbers: sums are exact, and ties are many


def smallest_by_trying_all(weights, before, share, margin):
    for size in range(P + 1):
        for examples in combinations(range(P), size):
            if before - share * weights[list(examples)].sum() <= -margin:
                return size
    return None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(values, min_size=P, max_size=P),
    st.integers(-3, 20),
    st.sampled_from([0.5, 1.0]),
    st.integers(0, 3),
)
def test_the_support_is_the_smallest_of_all_sets(weights, before, share, margin):
    weight = np.array(weights, np.float32)[:, None]
    support = smallest_supports(weight, [before], share=share, margin=margin)
    smallest = smallest_by_trying_all(weight[:, 0].astype(float), before, share, margin)
    assert support.found[0] == (smallest is not None)
    assert support.size[0] == ((weight > 0).sum() if smallest is None else smallest)
    examples = support_examples(weight[:, 0], int(support.size[0]), np.ones(P, bool))
    assert len(set(examples.tolist())) == support.size[0]
    assert support.after[0] == before - share * weight[examples, 0].sum()
    assert support.flippable[0] == (smallest is not None and before > 0)


def test_only_candidates_are_removed():
    weight = np.array([[9.0], [2.0], [1.0]], np.float32)
    candidates = np.array([False, True, True])
    support = smallest_supports(weight, [2.5], candidates=candidates)
    assert (support.size[0], support.found[0], support.after[0]) == (2, True, -0.5)
    assert support_examples(weight[:, 0], 2, candidates).tolist() == [1, 2]


def test_many_targets_equal_one_by_one():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((50, 150)).astype(np.float32)  # more than a block of targets
    before, margin = rng.random(150) * 20, rng.random(150)
    together = smallest_supports(weight, before, margin=margin)
    for t in range(150):
        alone = smallest_supports(weight[:, [t]], before[[t]], margin=margin[t])
        assert (alone.size[0], alone.found[0]) == (together.size[t], together.found[t])
        assert alone.after[0] == together.after[t]


@pytest.mark.parametrize(
    ("before", "options", "needle"),
    [
        ([1.0], {"share": 0}, "share=0"),
        ([1.0], {"margin": -1}, "margins"),
        ([1.0], {"margin": np.nan}, "margins"),
        ([np.nan], {}, "finite"),
        ([1.0, 2.0], {}, "do not fit"),
        ([1.0], {"candidates": np.ones(3, bool)}, "do not fit"),
    ],
)
def test_what_makes_no_sense_is_refused(before, options, needle):
    with pytest.raises(DatamodelsError, match=needle):
        smallest_supports(np.ones((2, 1), np.float32), before, **options)
