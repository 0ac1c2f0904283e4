"""``datamodels.fit``: what it takes, what it refuses, and what can be done with its result."""

import numpy as np
import pytest
import torch

import datamodels
from datamodels.errors import InputError, MissingFileError, UsageError
from datamodels.regression.fit import fit_datamodels
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.row_source import ArraySource
from datamodels.regression.validation_rows import pick_validation_rows
from datamodels.regression.write_dataset import write_dataset
from datamodels.training.spec import Spec
from datamodels.training.store import Store
from tests.regression.problems import outputs_of, random_masks

N, P, T = 83, 13, 3
OPTIONS = {"k": 12, "eps": 1e-2, "engine": "cpu"}


@pytest.fixture(scope="module")
def data():
    x = random_masks(N, P)
    return x, outputs_of(x, T)


@pytest.fixture(scope="module")
def reference(data):
    return datamodels.fit(*data, **OPTIONS)


@pytest.fixture(scope="module")
def store(data, tmp_path_factory):
    """The same models in a store with two incomplete rows between them."""
    x, y = data
    spec = Spec.parse({
        "num_models": N + 2,
        "schema": {
            "masks": {"dtype": "bool_", "shape": [P]},
            "margins": {"dtype": "float32", "shape": [T]},
        },
    })  # fmt: skip
    store = Store.create(tmp_path_factory.mktemp("store") / "s", spec)
    for i, row in enumerate(row for row in range(N + 2) if row not in (5, 60)):
        store.write(row, {"masks": x[i], "margins": y[i]})
    return store


def assert_same(a, b):
    for name in ("weight", "bias", "lam"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


# --- what it takes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        lambda x, y: (x.astype(np.uint8), y.astype(np.float64)),
        lambda x, y: (x.astype(np.int64), y),
        lambda x, y: (x.tolist(), y.tolist()),
        lambda x, y: (torch.from_numpy(x), torch.from_numpy(y).requires_grad_()),
        lambda x, y: (np.asfortranarray(x), np.asfortranarray(y)),
        lambda x, y: (x[::-1][::-1], np.repeat(y, 2, axis=1)[:, ::2]),
    ],
)
def test_any_kind_of_array_gives_the_same(data, reference, convert):
    assert_same(datamodels.fit(*convert(*data), **OPTIONS), reference)


def test_stores_and_files_give_the_same(data, reference, store, tmp_path):
    path = store.path
    for given in (store, path, str(path)):
        assert_same(datamodels.fit(given, **OPTIONS), reference)
    write_dataset(path, tmp_path / "a.beton", "margins")
    assert_same(datamodels.fit(tmp_path / "a.beton", **OPTIONS), reference)


def test_outputs_of_one_target_may_have_one_dimension(data):
    x, y = data
    assert_same(datamodels.fit(x, y[:, 0], **OPTIONS), datamodels.fit(x, y[:, :1], **OPTIONS))


def test_a_slice_of_the_targets_is_that_slice_of_all(data, reference):
    some = datamodels.fit(*data, targets=slice(1, 3), **OPTIONS)
    np.testing.assert_array_equal(some.weight, reference.weight[:, 1:3])


def test_a_fifth_of_the_rows_is_held_out_by_default(data, reference):
    x, y = data
    val = pick_validation_rows(N, round(N / 5), 0)
    by_hand = fit_datamodels(
        ArraySource(x, y), np.delete(np.arange(N), val), val, FitConfig(**OPTIONS)
    )
    assert_same(by_hand.datamodels, reference)
    assert_same(datamodels.fit(x, y, num_val=round(N / 5), **OPTIONS), reference)


def test_seeds_hold_out_other_rows(data, reference):
    x, y = data
    other = datamodels.fit(x, y, seed=1, **OPTIONS)
    assert (other.lam != reference.lam).any()
    last = datamodels.fit(x, y, seed=-1, num_val=20, **OPTIONS)
    by_hand = fit_datamodels(
        ArraySource(x, y), np.arange(N - 20), np.arange(N - 20, N), FitConfig(**OPTIONS)
    )
    assert_same(last, by_hand.datamodels)


def test_moments_are_kept_and_used_again(data, reference, tmp_path):
    path = tmp_path / "moments.npz"
    made = datamodels.fit(*data, moments=path, **OPTIONS)
    assert path.exists()
    assert_same(datamodels.fit(*data, moments=path, **OPTIONS), made)
    np.testing.assert_allclose(made.weight, reference.weight, atol=2e-3)


def test_differences_of_means_hold_nothing_out(data):
    plain = datamodels.fit(*data, estimator="difference")
    held_out = datamodels.fit(*data, estimator="difference", num_val=20)
    np.testing.assert_array_equal(plain.weight, held_out.weight)


# --- what it refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "needle"),
    [
        ({"kk": 3}, UsageError, "did you mean k?"),
        ({"colour": 3}, UsageError, "fit has no option 'colour': they are k, eps"),
        ({"k": 0}, UsageError, "k=0"),
        ({"engine": "cpuu"}, UsageError, "did you mean cpu"),
        ({"estimator": "lars"}, UsageError, "lasso, ridge, difference"),
        ({"estimator": "ridge", "engine": "screened"}, UsageError, "a solver of its own"),
        ({"rule": "1se"}, UsageError, "folds"),
        ({"num_val": 0}, UsageError, "num_val=0"),
        ({"num_val": N - 1}, UsageError, "num_train=1"),
        ({"num_val": 5, "folds": 3}, UsageError, "leave it out"),
        ({"seed": -2}, UsageError, "seed=-2"),
        ({"seed": -1, "folds": 3}, UsageError, "seed=-1"),
        ({"folds": 90}, UsageError, "folds=90"),
        ({"targets": slice(3, 9)}, UsageError, "select none"),
        ({"targets": slice(0, 3, 2)}, UsageError, "in steps of 2; give a slice without a step"),
        ({"num_val": 0.2}, UsageError, "num_val=0.2; it must be a whole number"),
        ({"seed": "a"}, UsageError, "seed='a'"),
        ({"k": 50.0}, UsageError, "k=50.0; it must be a whole number"),
        ({"k": True}, UsageError, "k=True"),
        ({"folds": "5"}, UsageError, "folds='5'"),
        ({"engine": None}, UsageError, "engine=None; it must be a string"),
        ({"eps": "small"}, UsageError, "eps='small'; it must be a number"),
        ({"memory_gb": float("inf")}, UsageError, "memory_gb=inf; .* finite"),
        ({"estimator": "difference", "lam": 0.1}, UsageError, "has no lambda"),
        ({"moments": "m.npy"}, UsageError, "moments=m.npy.*end the name in .npz"),
        ({"moments": "m.npz", "groups": np.zeros(N, int)}, UsageError, "put the labels into"),
        ({"targets": 1}, UsageError, "slice"),
        ({"groups": "init"}, UsageError, "array of a store"),
        ({"penalty_factors": "nowhere.npy"}, MissingFileError, "nowhere.npy"),
        ({"engine": "few_rows", "moments": "m.npz"}, UsageError, "uses no file"),
        ({"outputs": None}, UsageError, "outputs are missing"),
        ({"outputs": np.zeros((N - 1, T))}, InputError, "83 rows"),
        ({"outputs": np.full((N, T), np.nan)}, InputError, "target 0, are nan"),
        ({"outputs": [["a"] * T] * N}, InputError, "dtype"),
        ({"outputs": [[1.0] * T] * (N - 1) + [[1.0]]}, InputError, "makes no array"),
        ({"masks": np.zeros((N, P, 2))}, InputError, "shape"),
        ({"masks": np.zeros(N)}, InputError, "shape"),
        ({"masks": np.full((N, P), np.inf)}, InputError, "inf"),
        ({"masks": "nowhere", "outputs": None}, MissingFileError, "there is no nowhere"),
        ({"masks": "nowhere"}, UsageError, "beside"),
    ],
)
def test_what_cannot_be_fitted_is_refused(data, monkeypatch, tmp_path, change, error, needle):
    monkeypatch.chdir(tmp_path)
    given = {"masks": data[0], "outputs": data[1], **OPTIONS, **change}
    with pytest.raises(error, match=needle):
        datamodels.fit(given.pop("masks"), given.pop("outputs"), **given)
    assert not list(tmp_path.iterdir())


def test_targets_that_are_not_solved_are_a_warning(data):
    with pytest.warns(UserWarning, match=r"3 targets \(the first is 0\) are not solved"):
        datamodels.fit(*data, lam=1e-4, final_max_sweeps=1, max_sweeps=1, k=2, eps=1e-4)


# --- what can be done with the result ------------------------------------------------------------


def test_residuals_are_outputs_less_predictions(data, reference):
    x, y = data
    np.testing.assert_allclose(
        reference.residuals(x, y), y - (x @ reference.weight + reference.bias), atol=1e-5
    )
    np.testing.assert_allclose(  # one row and many may be rounded otherwise
        reference.residuals(x[4], y[4]), reference.residuals(x, y)[4], rtol=0, atol=1e-6
    )
    np.testing.assert_array_equal(
        reference.residuals(torch.from_numpy(x), torch.from_numpy(y)), reference.residuals(x, y)
    )


def test_the_score_is_the_share_of_variance_explained(data, reference):
    x, y = data
    expected = 1 - ((y - reference.predict(x)) ** 2).mean(axis=0) / y.var(axis=0)
    np.testing.assert_allclose(reference.score(x, y), expected, rtol=1e-4)
    flat = y.copy()
    flat[:, 1] = 2
    score = reference.score(x, flat)
    assert np.isnan(score[1])
    assert not np.isnan(score[[0, 2]]).any()


def test_outputs_of_one_target_may_be_scored_in_one_dimension(data):
    x, y = data
    one = datamodels.fit(x, y[:, 0], **OPTIONS)
    np.testing.assert_array_equal(one.score(x, y[:, 0]), one.score(x, y[:, :1]))
    assert one.residuals(x, y[:, 0]).shape == (N, 1)


@pytest.mark.parametrize("shape", [(N, T + 1), (N - 1, T), (N,), (T,)])
def test_outputs_of_another_shape_are_not_scored(data, reference, shape):
    for method in (reference.score, reference.residuals):
        with pytest.raises(InputError, match="outputs have shape"):
            method(data[0], np.zeros(shape))
