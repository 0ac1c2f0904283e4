"""Extrapolated learning curves: known laws are found, and intervals cover what they say."""

import numpy as np
import pytest

from datamodels.errors import InputError, UsageError
from datamodels.evaluation.extrapolation import LAWS, extrapolate

SIZES = np.round(np.geomspace(200, 1600, 7)).astype(np.int64)
TRUTH = {
    "saturating": lambda n: 0.6 * (1 + 900 / n) ** -0.5,
    "power": lambda n: 0.7 - 2.2 * n**-0.3,
}
NONE = np.zeros((0, 7))


@pytest.mark.parametrize("law", list(LAWS))
def test_a_law_without_noise_is_found(law):
    n = SIZES.astype(float)
    found = extrapolate(SIZES, TRUTH[law](n), NONE, law=law)
    assert found.at(20_000).value == pytest.approx(TRUTH[law](20_000.0), abs=3e-3)
    assert found.limit.value == pytest.approx({"saturating": 0.6, "power": 0.7}[law], abs=5e-3)
    needed = found.reaching(0.55).value
    assert TRUTH[law](needed) == pytest.approx(0.55, abs=2e-3)


def simulated(rng):
    """A curve with the errors of held-out models, shared by all sizes, and of those learnt from."""
    n = SIZES.astype(float)
    curve = TRUTH["saturating"](n) * (1 + 0.015 * rng.standard_normal())
    curve = curve + 0.003 * rng.standard_normal(len(n))
    return curve, curve * (1 + 0.015 * rng.standard_normal((100, 1)))


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    hits = np.zeros(3)
    needed = 900 / ((0.6 / 0.5) ** 2 - 1)
    for seed in range(60):
        curve, resampled = simulated(rng)
        found = extrapolate(SIZES, curve, resampled, level=0.9, seed=seed)
        pairs = ((found.limit, 0.6), (found.at(6_400), TRUTH["saturating"](6_400.0)),
                 (found.reaching(0.5), needed))  # fmt: skip
        hits += [estimate.low <= truth <= estimate.high for estimate, truth in pairs]
    assert (hits >= 46).all(), hits  # 54 expected


def test_answers_are_said_in_words():
    curve, resampled = simulated(np.random.default_rng(1))
    found = extrapolate(SIZES, curve, resampled)
    assert "more models for LDS 0.5" in found.say_needed(0.5)
    assert "LDS 0.9 is out of reach: the limit is 0." in found.say_needed(0.9)
    assert "which are there" in found.say_needed(0.1)


def test_too_few_sizes_and_unknown_laws_are_refused():
    with pytest.raises(InputError, match="measure 3 or more"):
        extrapolate(SIZES[:2], np.array([0.1, 0.2]), NONE[:, :2])
    with pytest.raises(UsageError, match="saturating, power"):
        extrapolate(SIZES, np.zeros(7), NONE, law="linear")
