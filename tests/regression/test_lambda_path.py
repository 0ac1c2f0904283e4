"""The path of lambdas: scikit-learn's solutions, certified gaps, and where a path may end."""

from typing import NamedTuple

import numpy as np
import pytest

from datamodels.regression.choice import choose, solved_errors
from datamodels.regression.engines.contract import Limits
from datamodels.regression.engines.cpu import CpuEngine
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.lambda_path import Grid, follow_path, path_has_turned
from datamodels.regression.moment_pass import moments_of
from datamodels.regression.row_source import ArraySource
from datamodels.regression.rows_in_memory import load_rows
from datamodels.regression.sparse_rows import to_sparse
from datamodels.regression.standardized import standardize
from datamodels.regression.status import Status
from datamodels.regression.trials import scorer_of
from tests.regression.problems import PROBLEMS, Exact, outputs_of, random_masks

TIGHT = FitConfig(k=20, eps=1e-2, tol=1e-8, max_sweeps=100_000, end_early=False)


def split(problem, n_val=40):
    return np.arange(n_val, len(problem.x)), np.arange(n_val)


class Picked(NamedTuple):
    """The chosen solutions."""

    lam: np.ndarray  # (t,) in the units of y
    weights: np.ndarray  # (t, p) standardized, in units of rms(y)


def run_path(problem, options, use_bias=True, targets=slice(None), train=None):
    """(Picked, PathLog) of all targets in one block; validation on the first 40 rows."""
    source = ArraySource(problem.x, problem.y)
    train_rows, val_rows = split(problem)
    train_rows = train_rows if train is None else train
    standardized = standardize(moments_of(source, train_rows, targets=targets), use_bias)
    held_out = load_rows(
        source, val_rows, targets, block_bytes=2**20, max_rows=17, centred=use_bias
    )
    block = slice(0, standardized.n_targets)
    units = standardized.units(block)
    path = CpuEngine(standardized.gram()).block(
        standardized,
        block,
        np.ones((1, source.n_features)),
        Limits(options.tol, options.max_sweeps),
    )
    lambdas = Grid(options.k, options.eps).lambdas(path.lambda_max() * units)
    result = follow_path(
        path, lambdas, units, units, standardized.yy > 0,
        scorer_of(held_out).block(standardized, block), end_early=options.end_early,
    )  # fmt: skip
    choice = choose(result.log, solved_errors(result.log))
    return Picked(choice.lam, result.weights.dense(source.n_features)), result.log


def test_grid_falls_by_a_constant_factor_from_lambda_max():
    grid = Grid(4, 1e-2).lambdas(np.array([2.0, 5.0]))
    np.testing.assert_allclose(grid[:, 0], 2 * 1e-2 ** np.array([0, 0.25, 0.5, 0.75]))
    np.testing.assert_allclose(grid[:, 1], 2.5 * grid[:, 0])


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", PROBLEMS)
def test_path_agrees_with_scikit_learn(name, use_bias):
    problem = PROBLEMS[name]()
    _, log = run_path(problem, TIGHT, use_bias)
    train_rows, val_rows = split(problem)
    exact = Exact.of(problem.x[train_rows], problem.y[train_rows], use_bias)
    val_x = problem.x[val_rows] - exact.mean_x
    val_z = val_x / np.where(exact.scale > 0, exact.scale, np.inf)
    val_y = problem.y[val_rows].astype(float) - exact.mean_y
    assert (log.status == Status.CONVERGED).all()
    np.testing.assert_allclose(log.lam[0], exact.lambda_max, rtol=1e-6)
    for t in range(problem.y.shape[1]):
        weights = exact.sklearn_path(t, log.lam[:, t])
        train_mse = ((exact.y[:, [t]] - exact.z @ weights) ** 2).mean(axis=0)
        val_mse = ((val_y[:, [t]] - val_z @ weights) ** 2).mean(axis=0)
        scale = exact.yy[t]
        np.testing.assert_allclose(log.train_mse[:, t], train_mse, atol=1e-4 * scale)
        if problem.unique:
            np.testing.assert_allclose(log.val_mse[:, t], val_mse, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("name", PROBLEMS)
def test_picked_weights_have_the_gap_that_is_claimed(name):
    problem = PROBLEMS[name]()
    picked, log = run_path(problem, FitConfig(k=30, eps=1e-2, tol=1e-4, max_sweeps=10_000))
    train_rows, _ = split(problem)
    exact = Exact.of(problem.x[train_rows], problem.y[train_rows])
    w = picked.weights.T * np.sqrt(exact.yy)
    assert (exact.relative_gap(w, picked.lam) <= 1.01e-4).all()
    assert np.nanmax(log.gap) <= 1e-4


def test_a_long_path_does_not_drift():
    """Gradients are updated a hundred thousand times, and extrapolated at each of 300 lambdas."""
    x = random_masks(900, 300)

    class Long:
        y = outputs_of(x, 2, noise=2)

    Long.x = x
    options = FitConfig(k=300, eps=1e-3, tol=1e-6, max_sweeps=10_000, end_early=False)
    picked, log = run_path(Long, options)
    train_rows, _ = split(Long)
    exact = Exact.of(x[train_rows], Long.y[train_rows])
    w = picked.weights.T * np.sqrt(exact.yy)
    assert (log.status == Status.CONVERGED).all()
    assert (exact.relative_gap(w, picked.lam) <= 1.1e-6).all()


def test_a_path_down_to_given_lambdas_ends_at_each_of_them():
    largest = np.array([1.0, 2.0, 5.0])
    wanted = np.array([0.3, 2.5, 5e-3])  # the second is above its lambda_max
    lambdas = Grid(10, 1e-2).lambdas_down_to(wanted, largest)
    np.testing.assert_array_equal(lambdas[-1], wanted)
    assert lambdas[0, 0] == 1.0
    assert (lambdas[:, 1] == 2.5).all()
    assert (np.diff(lambdas, axis=0) <= 0).all()
    falls = lambdas[1:, 2] / lambdas[:-1, 2]
    assert (falls >= 1e-2 ** (1 / 10) - 1e-12).all()


def test_first_lambda_has_no_weight_and_the_next_has_some():
    problem = PROBLEMS["plain"]()
    _, log = run_path(problem, TIGHT)
    assert (log.weight_nz[0] == 0).all()
    assert (log.weight_nz[1] > 0).all()


def test_lambda_has_the_least_validation_error():
    problem = PROBLEMS["plain"]()
    picked, log = run_path(problem, TIGHT)
    best = log.val_mse.argmin(axis=0)
    np.testing.assert_array_equal(picked.lam, log.lam[best, np.arange(5)])


def test_targets_do_not_depend_on_their_neighbours():
    problem = PROBLEMS["plain"]()
    options = FitConfig(k=30, eps=1e-3, tol=1e-4, max_sweeps=1000)
    together, _ = run_path(problem, options)
    alone, _ = run_path(problem, options, targets=slice(3, 4))
    np.testing.assert_allclose(alone.weights[0], together.weights[3], atol=1e-5)
    np.testing.assert_allclose(alone.lam, together.lam[3:4])


def test_scale_of_y_scales_the_path():
    problem = PROBLEMS["plain"]()
    options = FitConfig(k=30, eps=1e-3, tol=1e-4, max_sweeps=1000)
    picked, log = run_path(problem, options)
    for factor in (np.float32(2.0**-60), np.float32(2.0**50)):

        class Scaled:
            x, y = problem.x, problem.y * factor

        scaled, scaled_log = run_path(Scaled, options)
        np.testing.assert_array_equal(scaled.weights, picked.weights)
        np.testing.assert_allclose(scaled.lam, picked.lam * factor)
        np.testing.assert_allclose(scaled_log.val_mse, log.val_mse * float(factor) ** 2)


def test_an_unsolved_lambda_is_never_picked_and_ends_the_path():
    problem = PROBLEMS["few_rows"]()
    options = FitConfig(k=40, eps=1e-4, tol=1e-9, max_sweeps=3, end_early=False)
    picked, log = run_path(problem, options)
    for t in range(problem.y.shape[1]):
        done = np.flatnonzero(log.status[:, t] != Status.NOT_RUN)
        assert log.status[done[-1], t] == Status.ITERATION_LIMIT
        assert (log.status[done[:-1], t] == Status.CONVERGED).all()
        assert picked.lam[t] > log.lam[done[-1], t]
        assert np.isnan(log.val_mse[done[-1] + 1 :, t]).all()


# --- the early end -------------------------------------------------------------------------------

GRID = Grid(100, 1e-4).lambdas(np.ones(1))  # falls to half in 7.5 steps


def turned(done, best, weight_nz=50, grid=GRID, rise=np.nan):
    rises = np.array([rise])
    return bool(path_has_turned(done, np.array([best]), np.array([weight_nz]), grid, rises)[0])


def test_one_rise_of_the_validation_error_does_not_end_a_path():
    assert not turned(done=21, best=19)


def test_a_path_ends_once_lambda_halved_without_a_new_best():
    assert [turned(done, best=19) for done in range(21, 31)].index(True) == 7


def test_a_path_ends_at_the_third_lambda_of_a_clear_rise():
    assert [turned(done, best=19, rise=3.5) for done in range(21, 31)].index(True) == 2
    assert not turned(done=25, best=19, rise=2.5)


def test_rises_are_paired_differences_in_standard_errors():
    x = random_masks(300, 20)
    y = outputs_of(x, 3)
    source = ArraySource(x, y)
    problem = standardize(moments_of(source, np.arange(200)))
    rows = np.arange(200, 300)
    scorer = scorer_of(load_rows(source, rows, slice(None), block_bytes=2**20)).block(
        problem, slice(0, 3)
    )
    weights = np.random.default_rng(0).standard_normal((2, 3, 20)) / 10
    which = np.array([0, 2])
    scorer.mean_square_errors(to_sparse(weights[0]), np.arange(3))
    scorer.remember(np.arange(3))
    scorer.mean_square_errors(to_sparse(weights[1][which]), which)
    units = problem.units(slice(None))
    z = (x[rows] - problem.mean_x) * problem.inv_scale
    for place, t in enumerate(which):
        left = [
            (y[rows, t] - problem.mean_y[t] - units[t] * (z @ weights[s][t])) ** 2 for s in (0, 1)
        ]
        d = left[1] - left[0]
        expected = d.mean() / (d.std(ddof=1) / np.sqrt(100))
        np.testing.assert_allclose(scorer.rises()[place], expected, rtol=1e-4)


def test_a_path_goes_on_before_ten_lambdas():
    coarse = Grid(20, 1e-6).lambdas(np.ones(1))
    assert not turned(done=9, best=1, grid=coarse)
    assert turned(done=10, best=1, grid=coarse)


def test_a_path_goes_on_with_at_most_one_weight():
    assert not turned(done=40, best=0, weight_nz=1)
    assert turned(done=40, best=0, weight_nz=2)


def test_a_coarse_grid_asks_for_several_lambdas_since_the_best():
    coarse = Grid(20, 1e-10).lambdas(np.ones(1))  # falls to a third in one step
    assert not turned(done=14, best=11, grid=coarse)
    assert turned(done=15, best=11, grid=coarse)


def test_ended_paths_pick_what_the_whole_path_picks():
    x = random_masks(400, 80)

    class Noisy:
        y = outputs_of(x, 30, noise=2)

    Noisy.x = x
    early, log = run_path(Noisy, FitConfig(k=60, eps=1e-3, tol=1e-6, max_sweeps=10_000))
    whole, _ = run_path(
        Noisy, FitConfig(k=60, eps=1e-3, tol=1e-6, max_sweeps=10_000, end_early=False)
    )
    assert (log.status == Status.NOT_RUN).any(axis=0).mean() > 0.8
    assert np.isclose(early.lam, whole.lam).mean() >= 0.9
