"""Penalty factors: what they are read from, what they do to a fit, what is refused."""

import numpy as np
import pytest

import datamodels
from datamodels.errors import InputError, UsageError
from datamodels.regression import penalty_factors
from datamodels.regression.penalty_factors import PenaltyFactors
from tests.regression.problems import outputs_of, random_masks

N, P, T = 160, 23, 4


@pytest.fixture(scope="module")
def data():
    x = random_masks(N, P)
    return x, outputs_of(x, T)


def standardized(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


def relative_gap(x, y, weight, lam, factors):
    """Duality gap of raw ``weight`` (p,) with penalty ``factors`` (p,); the unpenalized features
    and the mean are projected out first."""
    z, y = standardized(x.astype(float)), y.astype(float)
    kept = np.isfinite(factors)
    w = weight * x.std(axis=0)
    assert not w[~kept].any()
    basis = np.c_[np.ones(len(z)), z[:, factors == 0]]
    project = np.eye(len(z)) - basis @ np.linalg.pinv(basis)
    residual = y - y.mean() - z @ w
    penalized = kept & (factors > 0)
    n, yy = len(y), ((y - y.mean()) ** 2).mean()
    zy, zr = project @ y, project @ residual
    rr = residual @ residual / n
    scaled = np.abs(z[:, penalized].T @ zr / n) / factors[penalized]
    s = min(1, lam / scaled.max())
    penalty = lam * (factors[penalized] * np.abs(w[penalized])).sum()
    dual = s * (zy @ zr) / n - s**2 * (zr @ zr) / n / 2
    return (rr / 2 + penalty - dual) / yy


@pytest.mark.parametrize("engine", ["cpu", "few_rows", "screened"])
def test_saved_fit_is_certified_with_factors_of_each_feature_and_target(data, engine):
    x, y = data
    factors = np.random.default_rng(0).uniform(0.2, 3, (P, T))
    factors[2:5], factors[[7, 9]] = 0, np.inf
    factors[11, 1], factors[12, 2] = 0, np.inf
    fitted = datamodels.fit(x, y, penalty_factors=factors, engine=engine, k=30, eps=1e-2)
    for t in range(T):
        gap = relative_gap(x, y[:, t], fitted.weight[:, t], float(fitted.lam[t]), factors[:, t])
        assert gap <= 1.5e-7  # lam is saved in float32


def test_an_unpenalized_feature_is_projected_out(data):
    x, y = data
    factors = np.ones(P)
    factors[[3, 8]] = 0
    fitted = datamodels.fit(x, y, penalty_factors=factors, lam=0.05, engine="cpu", final_tol=1e-10)
    z = standardized(x.astype(float))
    basis = np.c_[np.ones(N), z[:, factors == 0]]
    project = np.eye(N) - basis @ np.linalg.pinv(basis)
    from sklearn.linear_model import Lasso

    rest = np.flatnonzero(factors)
    for t in range(T):
        lasso = Lasso(alpha=0.05, fit_intercept=False, tol=1e-12, max_iter=100_000)
        lasso.fit(project @ z[:, rest], project @ y[:, t])
        np.testing.assert_allclose(
            fitted.weight[rest, t] * x[:, rest].std(axis=0), lasso.coef_, atol=2e-4
        )


def test_factors_of_a_feature_are_those_of_all_targets_alike(data):
    x, y = data
    factors = np.random.default_rng(1).uniform(0.5, 2, P)
    one = datamodels.fit(x, y, penalty_factors=factors, k=20, eps=1e-2)
    each = datamodels.fit(
        x, y, penalty_factors=np.repeat(factors[:, None], T, axis=1), k=20, eps=1e-2
    )
    np.testing.assert_array_equal(one.weight, each.weight)


def test_slices_of_the_targets_take_their_columns(data, tmp_path):
    x, y = data
    factors = np.random.default_rng(2).uniform(0.5, 2, (P, T))
    np.save(tmp_path / "v.npy", factors.astype(np.float32))
    options = {"penalty_factors": tmp_path / "v.npy", "k": 20, "eps": 1e-2}
    every = datamodels.fit(x, y, **options)
    some = datamodels.fit(x, y, targets=slice(1, 3), **options)
    np.testing.assert_array_equal(every.weight[:, 1:3], some.weight)


def test_only_ratios_of_factors_matter_to_the_path(data):
    x, y = data
    factors = np.random.default_rng(1).uniform(0.5, 2, P)
    one = datamodels.fit(x, y, penalty_factors=factors, k=20, eps=1e-2)
    twice = datamodels.fit(x, y, penalty_factors=2 * factors, k=20, eps=1e-2)
    np.testing.assert_allclose(one.weight, twice.weight, atol=2e-3)
    np.testing.assert_allclose(one.lam, 2 * twice.lam, rtol=1e-5)


def test_features_left_out_of_all_targets_leave_the_means(data):
    x, y = data
    fitted = datamodels.fit(x, y, penalty_factors=np.full(P, np.inf), k=20, eps=1e-2)
    assert not fitted.weight.any()
    np.testing.assert_allclose(fitted.bias, y.mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("factors", "needle"),
    [
        (-np.ones(P), "feature 0 is -1"),
        (np.where(np.arange(P) == 4, np.nan, 1), "feature 4 is nan"),
        (np.ones(P + 1), rf"\({P + 1},\)"),
        (np.ones((T, P)), rf"\({P}, {T}\)"),
        (np.ones((P, 1)), "shape"),
        (["a"] * P, "dtype"),
    ],
)
def test_wrong_factors_are_refused(data, factors, needle):
    with pytest.raises(InputError, match=needle):
        datamodels.fit(*data, penalty_factors=factors)
    with pytest.raises(InputError, match=needle):
        PenaltyFactors(factors, P, T)


@pytest.mark.parametrize("at_once", [1, 2 * T, 3 * P * T])
def test_factors_are_checked_in_blocks(at_once, monkeypatch):
    monkeypatch.setattr(penalty_factors, "_CHECKED_AT_ONCE", at_once)
    factors = np.ones((P, T))
    assert not PenaltyFactors(factors, P, T).has_zeros
    factors[P - 1, 2] = 0
    assert PenaltyFactors(factors, P, T).has_zeros
    factors[17, 3] = -0.5
    with pytest.raises(InputError, match=r"feature 17 is -0\.5"):
        PenaltyFactors(factors, P, T)


@pytest.mark.parametrize("options", [{"estimator": "ridge"}, {"engine": "torch"}])
def test_zeros_are_refused_where_they_cannot_be(data, options):
    with pytest.raises(UsageError, match="factors of 0"):
        datamodels.fit(*data, penalty_factors=np.zeros(P), **options)


def test_only_unpenalized_features_are_least_squares():
    x = random_masks(120, 12)
    y = outputs_of(x, 2)
    factors = np.full(12, np.inf)
    factors[:4] = 0
    fitted = datamodels.fit(x, y, penalty_factors=factors, k=5, eps=0.1, engine="cpu")
    design = np.column_stack([x[:, :4], np.ones(len(x))]).astype(float)
    expected = np.linalg.lstsq(design, y.astype(float), rcond=None)[0]
    np.testing.assert_allclose(fitted.weight[:4], expected[:4], atol=1e-4)
    np.testing.assert_allclose(fitted.bias, expected[4], atol=1e-4)
    assert not fitted.weight[4:].any()
