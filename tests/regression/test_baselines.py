"""Ridge regression and the difference of means against their closed forms."""

import numpy as np
import pytest

import datamodels
from datamodels.regression.compute_datamodels import main
from datamodels.regression.results import Results
from datamodels.regression.row_split import fold_of
from datamodels.regression.validation_rows import pick_validation_rows
from tests.regression.problems import outputs_of, random_masks

N, P, T, N_VAL = 140, 25, 3, 30


def data_of(kind):
    x = random_masks(N, P)
    y = outputs_of(x, T)
    if kind == "floats":
        x = x * np.linspace(0.1, 9, P) + np.random.default_rng(2).standard_normal(x.shape)
    if kind == "few_rows":
        x = random_masks(N, 3 * N)
        y = outputs_of(x, T)
    return x.astype(np.float64 if kind == "floats" else bool), y


def ridge(x, y, lam, factors=None, use_bias=True):
    """Raw weights (p, t) and bias (t,) at ``lam`` (t,), or one lambda."""
    x, y = x.astype(float), y.astype(float)
    mean_x, mean_y = x.mean(axis=0) * use_bias, y.mean(axis=0) * use_bias
    z = (x - mean_x) / x.std(axis=0)
    penalty = np.diag(np.ones(x.shape[1]) if factors is None else factors)
    weights = np.zeros((x.shape[1], y.shape[1]))
    for t, value in enumerate(np.broadcast_to(lam, y.shape[1])):
        left = z.T @ z / len(z) + value * penalty
        weights[:, t] = np.linalg.solve(left, z.T @ (y[:, t] - mean_y[t]) / len(z))
    weights /= x.std(axis=0)[:, None]
    return weights, mean_y - mean_x @ weights


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kind", ["bits", "floats", "few_rows"])
def test_ridge_is_the_closed_form(kind, use_bias):
    x, y = data_of(kind)
    fitted = datamodels.fit(
        x, y, estimator="ridge", num_val=N_VAL, k=15, use_bias=use_bias, final_tol=1e-10
    )
    weights, bias = ridge(x, y, fitted.lam.astype(float), use_bias=use_bias)
    spread = np.abs(weights).max(axis=0)
    assert (np.abs(fitted.weight - weights).max(axis=0) <= 2e-4 * spread).all()
    np.testing.assert_allclose(fitted.bias, bias, atol=2e-3 * np.abs(weights).sum(axis=0).max())


def test_ridge_takes_a_given_lambda_and_factors():
    x, y = data_of("bits")
    factors = np.random.default_rng(0).uniform(0.2, 3, P)
    fitted = datamodels.fit(
        x, y, estimator="ridge", lam=0.3, penalty_factors=factors, final_tol=1e-10
    )
    np.testing.assert_allclose(fitted.weight, ridge(x, y, 0.3, factors)[0], atol=1e-4)
    factors[4] = np.inf
    fitted = datamodels.fit(x, y, estimator="ridge", lam=0.3, penalty_factors=factors)
    assert not fitted.weight[4].any()


def test_ridge_chooses_lambda_on_held_out_rows():
    x, y = data_of("bits")
    fitted = datamodels.fit(x, y, estimator="ridge", num_val=N_VAL, seed=3, k=15, tol=1e-9)
    held = pick_validation_rows(N, N_VAL, 3)
    train = np.delete(np.arange(N), held)
    grid = 100 * 1e-4 ** (np.arange(15) / 15)
    errors = []
    for lam in grid:
        weights, bias = ridge(x[train], y[train], lam)
        errors.append(((y[held] - x[held] @ weights - bias) ** 2).mean(axis=0))
    np.testing.assert_allclose(fitted.lam, grid[np.argmin(errors, axis=0)], rtol=1e-6)


def test_ridge_chooses_lambda_by_folds():
    x, y = data_of("bits")
    fitted = datamodels.fit(
        x, y, estimator="ridge", folds=3, seed=3, k=15, tol=1e-9, end_early=False
    )
    fold = fold_of(np.arange(N), 3, 3)
    grid = 100 * 1e-4 ** (np.arange(15) / 15)
    errors = np.zeros((15, 3, T))
    for i, lam in enumerate(grid):
        for f in range(3):
            weights, bias = ridge(x[fold != f], y[fold != f], lam)
            left = y[fold == f] - x[fold == f] @ weights - bias
            errors[i, f] = (left**2).mean(axis=0)
    np.testing.assert_allclose(fitted.lam, grid[errors.mean(axis=1).argmin(axis=0)], rtol=1e-6)


@pytest.mark.parametrize("options", [{"num_val": N_VAL}, {"folds": 3}, {}])
def test_the_difference_of_means_is_just_that(options):
    x, y = data_of("bits")
    fitted = datamodels.fit(x, y, estimator="difference", **options)
    for j in range(P):
        expected = y[x[:, j]].mean(axis=0) - y[~x[:, j]].mean(axis=0)
        np.testing.assert_allclose(fitted.weight[j], expected, rtol=1e-4, atol=1e-5)
    assert not fitted.lam.any()
    np.testing.assert_allclose(fitted.predict(x).mean(axis=0), y.mean(axis=0), rtol=1e-3)


def test_the_difference_of_means_within_groups():
    x, y = data_of("bits")
    labels = np.arange(N) % 3
    fitted = datamodels.fit(
        x, y + 50 * labels[:, None], estimator="difference", groups=labels, num_val=N_VAL
    )
    means = np.array([x[labels == g].mean(axis=0) for g in range(3)])[labels]
    expected = ((x - means).T @ y) / ((x - means) ** 2).sum(axis=0)[:, None]
    np.testing.assert_allclose(fitted.weight, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("estimator", ["ridge", "difference"])
def test_constant_columns_and_targets_have_no_weights(estimator):
    x, y = data_of("bits")
    x[:, 3], y[:, 1] = True, 4.5
    with pytest.warns(UserWarning, match="never change"):
        fitted = datamodels.fit(x, y, estimator=estimator, num_val=N_VAL, k=5)
    assert not fitted.weight[3].any()
    assert not fitted.weight[:, 1].any()
    assert fitted.bias[1] == 4.5


@pytest.mark.parametrize("estimator", ["ridge", "difference"])
@pytest.mark.parametrize("how", ["--data.num_val=30", "--cfg.folds=3"])
def test_the_command_saves_them_as_it_saves_the_lasso(run_here, tmp_path, estimator, how):
    x, y = data_of("bits")
    (tmp_path / "store").mkdir()
    for key, array in (("masks", x), ("margins", y), ("_completed", np.ones(N, bool))):
        np.save(tmp_path / "store" / f"{key}.npy", array)
    options = ("--data.data_path=store", f"--data.num_train={N - 30}", "--cfg.k=6", how)
    for name in ("lasso", estimator):
        done = run_here(main, *options, f"--cfg.estimator={name}", f"--cfg.out_dir={name}")
        assert done.returncode == 0, done.stderr
    lasso, other = (Results.read(tmp_path / name) for name in ("lasso", estimator))
    for mine, theirs in ((other.path, lasso.path), (other.final, lasso.final)):
        assert mine.keys() == theirs.keys()
        assert all(mine[name].dtype == theirs[name].dtype for name in mine)
        assert all(mine[name].shape[-1] == T for name in mine)
    assert other.config.fit.estimator == estimator
    assert other.config.fit.engine == "cpu"
    assert (other.final["status"] == 0).all()
    shown = "undefined" if estimator == "difference" else "in the median"
    assert shown in next(line for line in done.stdout.splitlines() if "validation R2" in line)
