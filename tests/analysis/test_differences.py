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
    with pytest.raises(InputError, match="no difference"):
        compare_datamodels(a, as_datamodels(3 * a.weight))
    with pytest.raises(UsageError, match="n_components=40"):
        compare_datamodels(a, b, n_components=40)
