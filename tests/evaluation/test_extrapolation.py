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


def test_intervals_cover_the_truth_about_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr("datamodels.evaluation.extrapolation._GRID", 300)
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


N_FEATURES, N_TARGETS, NOISE, VARIANCE = 60, 12, 1.5, 0.25  # VARIANCE of a mask's entry


class Linear:
    """Outputs linear in the mask with noise that targets share in part, and weights from
    covariances: scores of nested prefixes as fits give them, and their truth."""

    def __init__(self):
        rng = np.random.default_rng(0)
        weight = rng.standard_normal((N_FEATURES, N_TARGETS))
        weight *= rng.random(weight.shape) < 0.3
        self.weight = weight / np.sqrt((weight**2).sum(axis=0) * VARIANCE)

    def models(self, rng, n):
        x = (rng.random((n, N_FEATURES)) < 0.5) - 0.5
        noise = rng.standard_normal((n, 1)) + rng.standard_normal((n, N_TARGETS))
        return x, x @ self.weight + NOISE * np.sqrt(0.5) * noise

    def estimates(self, rng, sizes):
        """Weights (p, t) from the first n of the same models, for each n."""
        x, y = self.models(rng, sizes[-1])
        return [x[:n].T @ y[:n] / (n * VARIANCE) for n in sizes]

    def score(self, weight):
        """Mean correlation with outputs, over models without end."""
        lengths = np.sqrt((weight**2).sum(axis=0) * ((self.weight**2).sum(axis=0) + 4 * NOISE**2))
        return ((weight * self.weight).sum(axis=0) / lengths).mean()

    def measured(self, weights, rng, n_held_out, n_resamples=100):
        """The scores (m,) on some held-out models, and on bootstrap samples of these (r, m)."""
        x, y = self.models(rng, n_held_out)
        drawn = rng.multinomial(n_held_out, np.full(n_held_out, 1 / n_held_out), n_resamples)
        counts = np.vstack([np.ones(n_held_out), drawn]) / n_held_out  # (1 + r, n)

        def mean(values):
            return counts @ values  # (1 + r, t)

        scores = []
        for a in (x @ weight for weight in weights):
            covariance = mean(a * y) - mean(a) * mean(y)
            spread = (mean(a**2) - mean(a) ** 2) * (mean(y**2) - mean(y) ** 2)
            scores.append((covariance / np.sqrt(spread)).mean(axis=1))
        return np.array(scores)[:, 0], np.array(scores)[:, 1:].T


@pytest.mark.parametrize("n_held_out", [None, 300])
@pytest.mark.parametrize("n_sizes", [5, 7])
def test_intervals_cover_the_truth_for_nested_prefixes(monkeypatch, n_held_out, n_sizes):
    """Later prefixes hold the earlier ones: their scores err together, and follow a law closely
    that is not the true one. None: the scores have no other error."""
    monkeypatch.setattr("datamodels.evaluation.extrapolation._GRID", 300)
    world, rng = Linear(), np.random.default_rng(1)
    sizes = np.round(np.geomspace(200, 1600, n_sizes)).astype(np.int64)
    later = np.mean([world.score(world.estimates(rng, [6_400])[0]) for _ in range(30)])
    hits = np.zeros(2)
    for seed in range(60):
        weights = world.estimates(rng, sizes)
        curve, resampled = np.array([world.score(w) for w in weights]), np.zeros((0, n_sizes))
        if n_held_out is not None:
            curve, resampled = world.measured(weights, rng, n_held_out)
        found = extrapolate(sizes, curve, resampled, level=0.9, seed=seed)
        pairs = ((found.limit, world.score(world.weight)), (found.at(6_400), later))
        hits += [estimate.low <= truth <= estimate.high for estimate, truth in pairs]
    assert (hits >= 49).all(), hits  # 54 expected


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
