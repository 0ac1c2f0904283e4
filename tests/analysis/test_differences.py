import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.utils.extmath import randomized_svd

from datamodels.analysis import differences as module
from datamodels.analysis.components import ends
from datamodels.analysis.differences import compare_datamodels
from datamodels.errors import InputError, UsageError
from tests.analysis.conftest import as_datamodels, sparse_noise

SUBPOPULATION, AFFECTED = np.arange(10, 25), np.arange(0, 40, 2)


def pair():
    """Datamodels (80, 40), of which B alone relies on the subpopulation for the affected targets;
    both have noise of their own."""
    common = sparse_noise(80, 40)
    a, b = (common + 0.1 * sparse_noise(80, 40, seed=s) for s in (1, 2))
    b[np.ix_(SUBPOPULATION, AFFECTED)] += 1.5
    return as_datamodels(a), as_datamodels(b)


def test_distances_are_those_of_each_target(monkeypatch):
    monkeypatch.setattr(module, "_VALUES_PER_BLOCK", 300)
    a, b = pair()
    found = compare_datamodels(a, b, n_components=2)
    for t in range(40):
        x, y = a.weight[:, t].astype(float), b.weight[:, t].astype(float)
        assert found.cosine[t] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
        assert found.rank_correlation[t] == pytest.approx(spearmanr(x, y).statistic)


def test_a_planted_difference_is_the_first_direction_of_the_one_that_has_it():
    a, b = pair()
    found = compare_datamodels(a, b, n_components=2)
    residual = found.b_without_a
    direction = residual.components.directions[:, 0]
    both = ends(direction, len(SUBPOPULATION))
    assert set(both.high) == set(SUBPOPULATION)
    assert set(ends(residual.components.scores[:, 0], len(AFFECTED)).high) == set(AFFECTED)
    assert residual.share_own[0] > 5 * residual.share_other[0]
    assert residual.components.explained[0] > 0.5
    assert found.cosine[AFFECTED].max() < np.delete(found.cosine, AFFECTED).min()


def test_residuals_are_what_projection_leaves():
    a, b = pair()
    found = compare_datamodels(a, b, n_components=3)
    one, other = (d.weight.T / np.linalg.norm(d.weight, axis=0)[:, None] for d in (a, b))
    residuals = one - (one * other).sum(axis=1, keepdims=True) * other
    _, singular, right = randomized_svd(residuals, 3, n_iter=50, random_state=0)
    components = found.a_without_b.components
    np.testing.assert_allclose(components.variance, singular**2 / 40, rtol=1e-5)
    np.testing.assert_allclose(abs(components.directions.T @ right.T), np.eye(3), atol=1e-2)
    np.testing.assert_allclose(components.scores, residuals @ components.directions, atol=1e-6)
    shares = ((one @ components.directions) ** 2).mean(axis=0)
    np.testing.assert_allclose(found.a_without_b.share_own, shares, rtol=1e-5)


def test_exchanging_the_two_exchanges_the_residuals():
    a, b = pair()
    found, back = compare_datamodels(a, b), compare_datamodels(b, a)
    np.testing.assert_allclose(back.cosine, found.cosine)
    for x, y in ((found.a_without_b, back.b_without_a), (found.b_without_a, back.a_without_b)):
        np.testing.assert_allclose(x.components.directions, y.components.directions, atol=1e-8)


def test_targets_without_weights_are_told_apart():
    a, b = pair()
    a.weight[:, 3] = 0
    found = compare_datamodels(a, b, n_components=2)
    assert np.flatnonzero(np.isnan(found.cosine)).tolist() == [3]
    assert np.flatnonzero(np.isnan(found.rank_correlation)).tolist() == [3]


def test_what_does_not_compare_is_refused():
    a, b = pair()
    with pytest.raises(InputError, match=r"\(80, 40\) and \(80, 39\)"):
        compare_datamodels(a, as_datamodels(b.weight[:, :39]))
    with pytest.raises(UsageError, match=r"n_components=40 .* 1 to 39"):
        compare_datamodels(a, b, n_components=40)
    with pytest.raises(UsageError, match=r"n_components=1 .* have none; leave it out"):
        compare_datamodels(*first_targets(1), n_components=1)


def first_targets(n):
    return [as_datamodels(d.weight[:, :n]) for d in pair()]


def test_what_is_the_same_has_no_directions_but_distances():
    a, _ = pair()
    found = compare_datamodels(a, as_datamodels(3 * a.weight))
    np.testing.assert_allclose(found.cosine, 1)
    np.testing.assert_allclose(found.rank_correlation, 1)
    for residual in (found.a_without_b, found.b_without_a):
        assert residual.components.directions.shape == (80, 0)
        assert residual.components.explained.shape == (0,)
        assert residual.why_none == "for every target it points the same way as the other"


def test_of_datamodels_without_weights_the_other_is_the_difference():
    a, _ = pair()
    found = compare_datamodels(a, as_datamodels(np.zeros_like(a.weight)), n_components=39)
    residual = found.a_without_b
    assert residual.why_none is None
    assert residual.share_own.sum() == pytest.approx(1, abs=0.1)  # but for the 40th direction
    assert (residual.share_other == 0).all()
    assert found.b_without_a.components.n_components == 0
    assert found.b_without_a.why_none == "all of its weights are zero"
    assert np.isnan(found.cosine).all()


@pytest.mark.parametrize(("n", "n_directions"), [(1, 0), (2, 1), (5, 4), (6, 5), (40, 5)])
def test_few_targets_have_fewer_directions(n, n_directions):
    found = compare_datamodels(*first_targets(n))
    assert len(found.cosine) == n
    assert np.isfinite(found.rank_correlation).all()
    for residual in (found.a_without_b, found.b_without_a):
        assert residual.components.scores.shape == (n, n_directions)
        assert residual.components.total_variance > 0
        if n == 1:
            assert residual.why_none == "directions take 2 targets or more"
