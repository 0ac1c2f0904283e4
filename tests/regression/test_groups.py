"""Groups of rows that differ by an effect: centred within, before anything is fitted."""

import warnings

import numpy as np
import pytest

import datamodels
from datamodels.errors import InputError, UsageError
from datamodels.regression.fit import FitData, run_fit
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.row_source import ArraySource
from datamodels.regression.row_split import held_out_once
from datamodels.regression.write_dataset import write_dataset
from tests.conftest import assert_fails
from tests.regression.problems import Exact, outputs_of, random_masks

N, P, T = 150, 21, 3
ENGINES = ["cpu", "few_rows", "screened"]


@pytest.fixture(scope="module")
def data():
    """Masks, outputs with large effects of the groups, and labels: any integers."""
    x = random_masks(N, P)
    labels = np.random.default_rng(1).choice([-7, 3, 4, 1000], N)
    effect = {-7: 5.0, 3: -20.0, 4: 0.0, 1000: 40.0}
    y = outputs_of(x, T) + np.array([effect[label] for label in labels], np.float32)[:, None]
    return x, y, labels


def fit(x, y, labels, *, train=None, held=None, **options):
    train = np.arange(40, len(x)) if train is None else train
    held = np.arange(40) if held is None else held
    config = FitConfig(**{"k": 20, "eps": 1e-2, "tol": 1e-7, "engine": "cpu", **options})
    data = FitData(ArraySource(x, y), held_out_once(train, held), groups=labels)
    return run_fit(data, config)


def centred_within(values, labels):
    values = values.astype(float)
    means = {label: values[labels == label].mean(axis=0) for label in set(labels)}
    return values - np.array([means[label] for label in labels])


@pytest.mark.parametrize("engine", ENGINES)
def test_saved_fit_is_that_of_rows_centred_within_their_groups(data, engine):
    x, y, labels = data
    result = fit(x, y, labels, engine=engine)
    cx, cy = centred_within(x, labels), centred_within(y, labels)
    exact = Exact.of(cx, cy)
    w = result.datamodels.weight * exact.scale[:, None]
    assert (exact.relative_gap(w, result.final["lambda"]) <= 1e-7).all()
    by_hand = datamodels.fit(cx, cy, lam=result.final["lambda"], engine="cpu", k=20, eps=1e-2)
    np.testing.assert_allclose(result.datamodels.weight, by_hand.weight, atol=2e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_held_out_rows_are_centred_by_their_groups_training_means(data, engine):
    x, y, labels = data
    labels = labels.copy()
    labels[:5] = 77  # of no training row: the grand mean is theirs
    result = fit(x, y, labels, engine=engine, end_early=False)
    train = np.arange(40, N)
    cx, cy = centred_within(x[train], labels[train]), centred_within(y[train], labels[train])
    exact = Exact.of(cx, cy)
    left = np.zeros((40, T, 20))
    weights = [exact.sklearn_path(t, result.path["lambda"][:, t]) for t in range(T)]
    for i in range(40):
        mine = train[labels[train] == labels[i]]
        mine = mine if len(mine) else train
        dx = (x[i] - x[mine].mean(axis=0)) / exact.scale
        dy = y[i] - y[mine].astype(float).mean(axis=0)
        for t in range(T):
            left[i, t] = dy[t] - dx @ weights[t]
    np.testing.assert_allclose(result.path["val_mse"], (left**2).mean(axis=0).T, rtol=5e-3)


def test_the_bias_is_that_of_the_grand_mean(data):
    x, y, labels = data
    fitted = fit(x, y, labels).datamodels
    residual = y - fitted.predict(x)
    np.testing.assert_allclose(residual.mean(axis=0), 0, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_group_is_no_groups(data, engine):
    x, y, _ = data
    one, none = fit(x, y, np.full(N, 8), engine=engine), fit(x, y, None, engine=engine)
    np.testing.assert_allclose(one.final["lambda"], none.final["lambda"], rtol=1e-6)
    np.testing.assert_allclose(one.datamodels.weight, none.datamodels.weight, atol=2e-3)
    np.testing.assert_allclose(one.datamodels.bias, none.datamodels.bias, atol=2e-2)


def test_labels_are_only_names(data):
    x, y, labels = data
    renamed = {-7: 90, 3: 1, 4: 2, 1000: 3}
    one = fit(x, y, labels).datamodels
    other = fit(x, y, np.array([renamed[label] for label in labels])).datamodels
    np.testing.assert_allclose(one.weight, other.weight, atol=2e-3)
    np.testing.assert_allclose(one.lam, other.lam, rtol=1e-5)


def test_fit_is_invariant_to_the_order_of_rows(data):
    x, y, labels = data
    order = np.random.default_rng(0).permutation(N)
    place = np.argsort(order)
    one = fit(x, y, labels).datamodels
    other = fit(x[order], y[order], labels[order], train=place[40:], held=place[:40]).datamodels
    np.testing.assert_allclose(one.weight, other.weight, atol=2e-3)
    np.testing.assert_allclose(one.lam, other.lam, rtol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_effects_of_the_groups_change_nothing_but_the_bias(data, engine):
    x, y, labels = data
    moved = y + 1e3 * np.random.default_rng(5).standard_normal(2000)[labels][:, None]
    one = fit(x, y.astype(float), labels, engine=engine)
    other = fit(x, moved, labels, engine=engine)
    np.testing.assert_allclose(one.final["lambda"], other.final["lambda"], rtol=1e-6)
    np.testing.assert_allclose(one.datamodels.weight, other.datamodels.weight, atol=2e-3)


def test_columns_that_change_only_between_groups_get_no_weight(data):
    x, y, labels = data
    x = x.copy()
    x[:, 4] = labels > 3
    with pytest.warns(UserWarning, match="1 mask column never changes"):
        result = fit(x, y, labels)
    assert not result.datamodels.weight[4].any()


def test_a_group_of_one_row_says_nothing(data):
    x, y, labels = data
    more = np.vstack([x, x[:1]]), np.vstack([y, y[:1] + 500]), np.append(labels, 12345)
    one, other = fit(x, y, labels), fit(*more)
    n = N - 40  # the mean square is over one row more
    np.testing.assert_allclose(
        one.path["lambda"][0] * n / np.sqrt(n), other.path["lambda"][0] * (n + 1) / np.sqrt(n + 1),
        rtol=1e-5,
    )  # fmt: skip


# --- refusals ------------------------------------------------------------------------------------


def test_without_an_intercept_there_is_nothing_to_centre(data):
    x, y, labels = data
    with pytest.raises(UsageError, match="use_bias=0 centres nothing"):
        datamodels.fit(x, y, groups=labels, use_bias=False)


@pytest.mark.parametrize(
    "labels", [np.ones(N), np.ones(N - 1, int), np.ones((N, 2), int), np.ones(N, bool), ["a"] * N]
)
def test_labels_that_are_not_one_integer_a_row_are_refused(data, labels):
    x, y, _ = data
    with pytest.raises(InputError, match="one integer for each"):
        datamodels.fit(x, y, groups=labels)


@pytest.fixture
def store(data, tmp_path):
    x, y, labels = data
    arrays = {"masks": x, "margins": y, "_completed": np.ones(N, bool), "init": labels,
              "speed": labels / 2}  # fmt: skip
    (tmp_path / "store").mkdir()
    for key, array in arrays.items():
        np.save(tmp_path / "store" / f"{key}.npy", array)
    return tmp_path / "store"


def test_groups_of_a_store_and_in_memory_are_the_same(data, store):
    x, y, labels = data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = datamodels.fit(store, groups="init", k=20, eps=1e-2)
        given = datamodels.fit(x, y, groups=labels, k=20, eps=1e-2)
    np.testing.assert_array_equal(named.weight, given.weight)


@pytest.mark.parametrize(
    ("groups", "status", "needle"),
    [("inti", 1, "did you mean 'init'"), ("speed", 1, "groups are one integer"),
     ("masks", 1, "groups are one integer")],
)  # fmt: skip
def test_arrays_that_hold_no_groups_are_refused(run_here, store, tmp_path, groups, status, needle):
    from datamodels.regression.compute_datamodels import main

    options = (f"--data.data_path={store}", "--data.num_train=100", "--data.num_val=20",
               "--cfg.k=5", f"--cfg.out_dir={tmp_path / 'out'}")  # fmt: skip
    assert_fails(run_here(main, *options, f"--cfg.groups={groups}"), status, needle)
    assert_fails(run_here(main, *options, "--cfg.groups=init", "--cfg.use_bias=0"), 2, "use_bias")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_beton_holds_no_groups(store, tmp_path):
    write_dataset(store, tmp_path / "a.beton", "margins")
    with pytest.raises(UsageError, match="holds no groups"):
        datamodels.fit(tmp_path / "a.beton", groups="init")


def test_groups_of_one_row_each_are_refused():
    x = random_masks(60, 5)
    with pytest.raises(UsageError, match="leaves nothing to fit"):
        datamodels.fit(x, outputs_of(x, 1), groups=np.arange(60), k=5)
