"""Cross-validation: which rows are in which fold, and lambda against a slow exact one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import lasso_path

from datamodels.errors import InputError, UsageError
from datamodels.regression import fit, lambda_choice
from datamodels.regression import plan as planning
from datamodels.regression.fit import FitData, run_fit
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.lambda_path import PathLog
from datamodels.regression.moments_file import save
from datamodels.regression.row_moments import Collector
from datamodels.regression.row_source import ArraySource
from datamodels.regression.row_split import fold_of, held_out_once, in_folds
from datamodels.regression.status import Status
from datamodels.regression.trials import FoldTables
from tests.regression.problems import outputs_of, random_masks

N, P, T, FOLDS = 131, 19, 3, 3
CONFIG = FitConfig(k=12, eps=3e-2, tol=1e-7, folds=FOLDS, end_early=False, engine="cpu", seed=5)


def data_of(kind):
    """Masks, outputs and groups (or None)."""
    x = random_masks(N, P)
    y = outputs_of(x, T, noise=1.0)
    if kind == "floats":
        x = x + 0.2 * np.random.default_rng(2).standard_normal(x.shape)
    groups = None
    if kind == "groups":
        groups = np.random.default_rng(3).integers(0, 4, N)
        y = y + 2 * groups[:, None].astype(np.float32)
    return x, y, groups


def cross_validated(x, y, groups=None, config=CONFIG, **options):
    source = ArraySource(x, y)
    split = in_folds(np.arange(len(x)), source.idx, config.folds, config.seed)
    return run_fit(FitData(source, split, groups=groups), config, **options)


# --- folds ---------------------------------------------------------------------------------------


@given(st.integers(2, 12), st.integers(0, 2**40), st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_folds_are_even_and_rows_to_come_change_nothing(folds, seed, n):
    fold = fold_of(np.arange(n), folds, seed)
    counts = np.bincount(fold, minlength=folds)
    assert len(counts) == folds
    assert np.ptp(counts) <= 1
    np.testing.assert_array_equal(fold_of(np.arange(n + 100), folds, seed)[:n], fold)


@given(st.lists(st.integers(0, 500), min_size=1, unique=True))
@settings(max_examples=30, deadline=None)
def test_the_fold_of_a_row_is_a_function_of_its_number_and_the_seed(rows):
    names = np.array(rows)
    np.testing.assert_array_equal(fold_of(names, 5, 7), fold_of(np.arange(501), 5, 7)[names])


@pytest.mark.parametrize("number", [-1, 2**27, 2**62])
def test_rows_of_impossible_numbers_are_refused(number):
    with pytest.raises(UsageError, match=f"the number {number};"):
        fold_of(np.array([4, number]), 5, 0)


def test_seeds_draw_different_folds():
    every = [fold_of(np.arange(200), 5, seed) for seed in range(10)]
    for i, one in enumerate(every):
        assert all((one != other).mean() > 0.5 for other in every[:i])


def test_folds_share_out_the_rows():
    split = in_folds(np.arange(10, 60), np.arange(110, 160), 4, 0)
    np.testing.assert_array_equal(np.sort(np.concatenate(split.held_out)), np.arange(10, 60))
    for fold in range(4):
        together = np.concatenate([split.training(fold), split.held_out[fold]])
        np.testing.assert_array_equal(np.sort(together), split.rows)


@pytest.mark.parametrize(("folds", "n", "seed"), [(1, 9, 0), (5, 4, 0), (2, 2, 0), (3, 9, -1)])
def test_impossible_folds_are_refused(folds, n, seed):
    with pytest.raises(UsageError, match=r"folds|seed=-1"):
        in_folds(np.arange(n), np.arange(n), folds, seed)


# --- against the slow way ------------------------------------------------------------------------


def centred(x, labels, means, everything):
    """``x`` less the mean of each row's group, or of all rows for an unknown one."""
    return x - np.array([means.get(label, everything) for label in labels])


def slow_errors(x, y, groups, lambdas, config=CONFIG):
    """Validation error (folds, k, t): every fold standardized and solved on its own."""
    x, y = x.astype(float), y.astype(float)
    labels = np.zeros(len(x), int) if groups is None else groups
    fold = fold_of(np.arange(len(x)), config.folds, config.seed)
    errors = np.zeros((config.folds, *lambdas.shape))
    for f in range(config.folds):
        train, held = fold != f, fold == f

        def parts(values, train=train, held=held):
            means = {g: values[train & (labels == g)].mean(axis=0) for g in set(labels[train])}
            overall = values[train].mean(axis=0)
            return (centred(values[part], labels[part], means, overall) for part in (train, held))

        (x_train, x_held), (y_train, y_held) = parts(x), parts(y)
        scale = np.sqrt((x_train**2).mean(axis=0))
        for t in range(y.shape[1]):
            _, w, _ = lasso_path(
                x_train / scale, y_train[:, t], alphas=lambdas[:, t], tol=1e-11, max_iter=100_000
            )
            left = y_held[:, t, None] - x_held / scale @ w
            errors[f, :, t] = (left**2).mean(axis=0)
    return errors


@pytest.mark.parametrize("engine", ["cpu", "few_rows", "screened"])
@pytest.mark.parametrize("kind", ["bits", "floats", "groups"])
def test_errors_and_their_spread_are_those_of_the_slow_way(kind, engine):
    x, y, groups = data_of(kind)
    result = cross_validated(x, y, groups, replace(CONFIG, engine=engine))
    slow = slow_errors(x, y, groups, result.path["lambda"])
    np.testing.assert_allclose(result.path["val_mse"], slow.mean(axis=0), rtol=2e-3)
    se = slow.std(axis=0, ddof=1) / np.sqrt(FOLDS)
    np.testing.assert_allclose(result.path["val_se"], se, rtol=2e-2, atol=2e-3 * slow.mean())
    best = slow.mean(axis=0).argmin(axis=0)
    chosen = np.log(result.final["lambda"] / result.path["lambda"][best, np.arange(T)])
    assert np.abs(chosen).max() < 1.01 * np.log(CONFIG.eps) / -CONFIG.k  # at most a step away
    assert (result.final["gap"] <= 1e-7).all()


def test_the_grid_begins_where_all_rows_have_no_weights():
    x, y, _ = data_of("bits")
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    largest = np.abs(z.T @ (y - y.mean(axis=0))).max(axis=0) / N
    path = cross_validated(x, y).path["lambda"]
    np.testing.assert_allclose(path[0], largest, rtol=1e-5)
    np.testing.assert_allclose(path[1:] / path[:-1], CONFIG.eps ** (1 / CONFIG.k), rtol=1e-6)


def test_1se_is_the_largest_lambda_within_one_standard_error():
    x, y, _ = data_of("bits")
    least = cross_validated(x, y)
    result = cross_validated(x, y, config=replace(CONFIG, rule="1se"))
    errors, se = result.path["val_mse"], result.path["val_se"]
    for t in range(T):
        i = errors[:, t].argmin()
        within = np.flatnonzero(errors[:, t] <= errors[i, t] + se[i, t])
        assert result.final["lambda"][t] == result.path["lambda"][within[0], t]
    assert (result.final["lambda"] >= least.final["lambda"]).all()
    assert (result.final["lambda"] > least.final["lambda"]).any()


@pytest.mark.parametrize("kind", ["bits", "floats", "groups"])
def test_the_table_of_all_rows_is_restored_to_the_bit(kind):
    x, y, groups = data_of(kind)
    made = Collector(ArraySource(x, y), np.arange(N), folds=FOLDS, groups=groups).collect()
    tables = FoldTables(
        [lambda part=part: part for part in made.parts], made.total(), lambda _: None, True
    )
    before = tables.exact().standardized
    kept = before.xx.copy()
    for fold in (0, 2, 1, 0):
        with tables.trial(fold) as trial:
            assert trial.problem.n < N
        with tables.everything():
            pass
        after = tables.exact().standardized
        np.testing.assert_array_equal(after.xx, kept)
        np.testing.assert_array_equal(after.basis, before.basis)
        np.testing.assert_array_equal(after.xy[:, :], before.xy[:, :])


def test_the_table_is_restored_after_an_error():
    x, y, _ = data_of("bits")
    made = Collector(ArraySource(x, y), np.arange(N), folds=FOLDS).collect()
    tables = FoldTables(
        [lambda part=part: part for part in made.parts], made.total(), lambda _: None, True
    )
    kept = tables.exact().standardized.xx.copy()
    with pytest.raises(ValueError, match="stop"), tables.trial(1):
        raise ValueError("stop")
    np.testing.assert_array_equal(tables.exact().standardized.xx, kept)


@pytest.mark.parametrize("kind", ["bits", "floats", "groups"])
def test_folds_from_a_file_of_moments_are_those_of_the_rows(kind, tmp_path):
    x, y, groups = data_of(kind)
    path = tmp_path / "moments.npz"
    without = cross_validated(x, y, groups)
    for _ in ("made", "used"):
        result = cross_validated(x, y, groups, moments=path)
        for fields, others in ((result.path, without.path), (result.final, without.final)):
            for name, values in fields.items():
                # Half a table is kept: of floats the other half may differ in its last bit.
                rtol = 1e-6 if kind == "floats" else 0
                np.testing.assert_allclose(values, others[name], rtol=rtol, err_msg=name)


def test_a_target_that_never_changes_gets_its_mean():
    x, y, _ = data_of("bits")
    y[:, 1] = 4.5
    with pytest.warns(UserWarning, match="1 target never changes"):
        result = cross_validated(x, y)
    assert not result.datamodels.weight[:, 1].any()
    assert result.datamodels.bias[1] == 4.5
    assert np.isnan(result.validation_r2[1])


def test_a_path_that_ends_early_picks_a_lambda_as_good():
    x, y, _ = data_of("bits")
    config = replace(CONFIG, k=40, eps=1e-3)
    whole = cross_validated(x, y, config=config)
    ended = cross_validated(x, y, config=replace(config, end_early=True))
    assert np.isnan(ended.path["val_mse"][-1]).any()
    np.testing.assert_allclose(ended.final["val_mse"], whole.final["val_mse"], rtol=0.02)


def test_a_target_constant_outside_one_fold_is_warned_of_and_not_run():
    x, y, _ = data_of("bits")
    fold = fold_of(np.arange(N), FOLDS, CONFIG.seed)
    y[fold != 1, 2] = 0.5
    said = r"1 target never changes over the training rows of a fold \(2\): no lambda"
    with pytest.warns(UserWarning, match=said):
        result = cross_validated(x, y)
    assert result.final["status"].tolist() == [0, 0, Status.NOT_RUN]
    assert result.final["lambda"][2] == 0
    assert np.isnan(result.final["gap"][2])
    assert not result.datamodels.weight[:, 2].any()
    np.testing.assert_allclose(result.datamodels.bias[2], y[:, 2].mean(), rtol=1e-6)


def test_targets_that_are_solved_nowhere_are_warned_of_and_not_run(monkeypatch):
    x, y, _ = data_of("bits")
    names = PathLog.names()
    follow = lambda_choice.follow_path

    def unsolved(*arguments, **options):
        result = follow(*arguments, **options)
        result.log.status[:, 1] = Status.ITERATION_LIMIT
        return result._replace(log=PathLog(**{name: getattr(result.log, name) for name in names}))

    monkeypatch.setattr(lambda_choice, "follow_path", unsolved)
    with pytest.warns(UserWarning, match=r"1 target is solved at no lambda of the path \(1\)"):
        result = cross_validated(x, y)
    assert result.final["status"].tolist() == [0, Status.NOT_RUN, 0]
    split = held_out_once(np.arange(100), np.arange(100, N))
    config = replace(CONFIG, folds=None)
    with pytest.warns(UserWarning, match=r"1 target is solved at no lambda of the path \(1\)"):
        result = run_fit(FitData(ArraySource(x, y), split), config)
    assert result.final["status"].tolist() == [0, Status.NOT_RUN, 0]
    assert result.final["lambda"][1] == 0


def test_tables_of_folds_in_a_file_are_those_in_memory(monkeypatch):
    x, y, groups = data_of("groups")
    held = cross_validated(x, y, groups)
    used = []
    folder = fit.TemporaryDirectory
    monkeypatch.setattr(
        fit, "TemporaryDirectory", lambda **options: used.append(1) or folder(**options)
    )
    monkeypatch.setattr(planning, "_HELD_FOLDS", 1)
    spooled = cross_validated(x, y, groups)
    assert used == [1]
    np.testing.assert_array_equal(spooled.datamodels.weight, held.datamodels.weight)


def test_moments_with_and_without_groups_are_told_apart(tmp_path):
    x, y, groups = data_of("groups")
    cross_validated(x, y, groups, moments=tmp_path / "with.npz")
    cross_validated(x, y, moments=tmp_path / "without.npz")
    with pytest.raises(InputError, match="hold sums of groups, and the fit is without groups"):
        cross_validated(x, y, moments=tmp_path / "with.npz")
    with pytest.raises(InputError, match="hold no sums of groups, and the fit is with groups"):
        cross_validated(x, y, groups, moments=tmp_path / "without.npz")


def test_moments_that_lack_what_a_fit_needs_are_refused(tmp_path):
    x, y, _ = data_of("bits")
    made = Collector(
        ArraySource(x, y), np.arange(N), folds=FOLDS, seed=CONFIG.seed, table=False
    ).collect()
    save(made, tmp_path / "m.npz")
    with pytest.raises(InputError, match=r"m\.npz hold no table of pairs"):
        cross_validated(x, y, moments=tmp_path / "m.npz")
    whole = Collector(ArraySource(x, y), np.arange(N), folds=FOLDS, seed=CONFIG.seed).collect()
    save(replace(whole, parts=tuple(replace(p, xy=None) for p in whole.parts)), tmp_path / "n.npz")
    with pytest.raises(InputError, match=r"n\.npz hold no products of masks and outputs"):
        cross_validated(x, y, moments=tmp_path / "n.npz")
