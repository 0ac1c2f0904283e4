"""How far outputs lie from predictions is measured on models whose masks were not fitted."""

import tracemalloc
import warnings

import numpy as np
import pytest

from datamodels import Datamodels
from datamodels.evaluation.fitted_source import FittedSource
from datamodels.evaluation.support import _supports
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.fitted_rows import FittedRows
from datamodels.training import Spec, Store

N, P, T = 60, 12, 3


def make_source(folder, n_fitted, ids=None):
    """Rows that were fitted have residual 1, the others 2."""
    rng = np.random.default_rng(0)
    masks = rng.random((N, P)) < 0.5
    weight = rng.standard_normal((P, T)).astype(np.float32)
    off = np.where(np.arange(N) < n_fitted, 1.0, 2.0)
    schema = {"masks": {"shape": [P], "dtype": "bool_"},
              "margins": {"shape": [T], "dtype": "float64"}}  # fmt: skip
    store = Store.create(folder, Spec.parse({"num_models": N, "schema": schema}))
    store.write_block(range(N), {"masks": masks, "margins": masks @ weight + off[:, None]})
    if ids is not None:
        np.save(folder / "mask_id.npy", ids)
    dataset = RegressionDataset(folder, "margins")
    fitted = FittedRows.of(dataset, np.arange(n_fitted))
    zeros = np.zeros(T, np.float32)
    models = Datamodels(weight, zeros, zeros)
    return FittedSource(models, store, "masks", "margins", np.arange(T), T, fitted)


def deviation(source):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = source.residual_deviation(np.array([2, 0]))
    return found, " ".join(str(warning.message) for warning in caught)


def test_it_is_of_models_that_were_not_fitted(tmp_path):
    found, said = deviation(make_source(tmp_path / "store", 40))
    np.testing.assert_allclose(found, 2, rtol=1e-5)
    assert not said


def test_too_few_of_them_are_told(tmp_path):
    found, said = deviation(make_source(tmp_path / "store", 55))
    assert (found < 1.5).all()
    assert "5 of the 60 complete rows of" in said
    assert "larger margin of safety" in said


def test_other_trainings_of_fitted_masks_are_none_of_them(tmp_path):
    ids = np.arange(N)
    ids[45:] = ids[:15]
    _, said = deviation(make_source(tmp_path / "store", 40, ids))
    assert "5 of the 60 complete rows" in said


def test_an_unknown_fit_is_told(tmp_path):
    source = make_source(tmp_path / "store", 40)
    unknown = FittedSource(
        source.datamodels, source.store, "masks", "margins", np.arange(T), T, None
    )
    assert "it is not known which rows" in deviation(unknown)[1]


def test_targets_in_blocks_equal_all_at_once(tmp_path, monkeypatch):
    source = make_source(tmp_path / "store", 40)
    at_once = source.residual_deviation(np.arange(T))
    monkeypatch.setattr("datamodels.evaluation.fitted_source._VALUES_PER_BLOCK", P)
    np.testing.assert_allclose(source.residual_deviation(np.arange(T)), at_once, rtol=1e-6)


def test_supports_of_nearly_all_targets_copy_few_weights(tmp_path, monkeypatch):
    """Weights may be mapped from a file of gigabytes."""
    rng = np.random.default_rng(0)
    n_train, n_targets, n = 1000, 1500, 20
    weight = np.maximum(rng.standard_normal((n_train, n_targets)), 0).astype(np.float32)
    zeros = np.zeros(n_targets, np.float32)
    schema = {"masks": {"shape": [n_train], "dtype": "bool_"},
              "margins": {"shape": [n_targets], "dtype": "float32"}}  # fmt: skip
    store = Store.create(tmp_path / "store", Spec.parse({"num_models": n, "schema": schema}))
    masks = rng.random((n, n_train)) < 0.5
    store.write_block(range(n), {"masks": masks, "margins": masks @ weight})
    every = np.arange(n_targets)
    models = Datamodels(weight, zeros, zeros)
    source = FittedSource(models, store, "masks", "margins", every, n_targets, None)
    monkeypatch.setattr("datamodels.evaluation.fitted_source._VALUES_PER_BLOCK", 2**16)
    given = {"targets": f"0-{n_targets - 2}", "datamodels": "", "alpha": 0.5, "outputs": None,
             "safety": 2.0}  # fmt: skip
    tracemalloc.start()
    with pytest.warns(UserWarning, match="not known"):
        found = _supports(source, given, None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.targets) == n_targets - 1
    assert peak < weight.nbytes / 2
