"""Slices of the targets, fitted apart and merged: the results of one run over all of them."""

import dataclasses

import numpy as np
import pytest

from datamodels.regression import compute_datamodels, merge
from datamodels.regression.results import Results
from tests.conftest import assert_fails
from tests.regression.problems import outputs_of, random_masks
from tests.regression.test_resume import FOLDS, HELD_OUT, files_of, make_store

N, P, T = 120, 20, 7


@pytest.fixture
def store(tmp_path):
    x = random_masks(N, P)
    factors = np.random.default_rng(0).uniform(0.5, 2, (P, T))
    np.save(tmp_path / "v.npy", factors)
    np.save(tmp_path / "lam.npy", np.linspace(0.05, 0.4, T))
    y = outputs_of(x, T)
    folder = make_store(tmp_path / "store", x, y)
    np.save(folder / "exact.npy", y.astype(np.float64) * np.pi)  # float64, whose sums are rounded
    return folder


@pytest.fixture
def compute(run_here, store, tmp_path):
    def run(out, start=0, end=-1, *options, how=HELD_OUT):
        result = run_here(
            compute_datamodels.main, f"--data.data_path={store}", "--cfg.k=15", "--cfg.eps=0.01",
            f"--data.target_start_ind={start}", f"--data.target_end_ind={end}",
            f"--cfg.out_dir={tmp_path / out}", *how, *options,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return tmp_path / out

    return run


@pytest.fixture
def merged(run_here, tmp_path):
    def run(*inputs, out="merged"):
        names = ",".join(map(str, inputs))
        return run_here(merge.main, f"--merge.inputs={names}", f"--merge.out={tmp_path / out}")

    return run


@pytest.mark.parametrize(
    "how",
    [
        HELD_OUT,
        FOLDS,
        (*FOLDS, "--cfg.rule=1se"),
        (*HELD_OUT, "--cfg.engine=few_rows"),
        (*FOLDS, "--cfg.engine=screened"),
        (*HELD_OUT, "--cfg.use_bias=0", "--cfg.penalty_factors=v.npy"),
        (*HELD_OUT, "--cfg.estimator=difference"),
        (*HELD_OUT, "--data.y_name=exact"),
        ("--data.num_train=100", "--cfg.lam=lam.npy"),
        (*FOLDS, "--cfg.moments=kept.npz"),
    ],
    ids=lambda how: " ".join(option.partition(".")[2] for option in how),
)
def test_merged_slices_are_one_run_to_the_bit(compute, merged, tmp_path, how):
    whole = compute("whole", how=how)
    parts = [compute(f"s{a}", a, b, how=how) for a, b in ((4, -1), (0, 1), (1, 4))]
    result = merged(*parts)
    assert result.returncode == 0, result.stderr
    assert "merged" in result.stdout
    one, other = files_of(whole), files_of(tmp_path / "merged")
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


@pytest.mark.parametrize(
    "how",
    [
        (*HELD_OUT, "--cfg.groups=init"),
        (*HELD_OUT, "--cfg.estimator=ridge", "--cfg.tol=1e-8", "--cfg.final_tol=1e-11"),
    ],
    ids=["groups", "ridge"],
)
def test_merged_slices_are_one_run_to_rounding_where_targets_share_products(
    compute, merged, tmp_path, how
):
    whole = compute("whole", how=how)
    parts = [compute(f"s{a}", a, b, how=how) for a, b in ((4, -1), (0, 1), (1, 4))]
    assert merged(*parts).returncode == 0
    one, other = Results.read(whole), Results.read(tmp_path / "merged")
    assert one.config == other.config
    np.testing.assert_allclose(one.datamodels.weight, other.datamodels.weight, atol=1e-4)
    np.testing.assert_allclose(one.datamodels.lam, other.datamodels.lam, rtol=1e-6)
    for mine, theirs in ((one.path, other.path), (one.final, other.final)):
        assert mine.keys() == theirs.keys()
        np.testing.assert_allclose(mine["train_mse"], theirs["train_mse"], rtol=1e-4)


def changed(store, key, rows=slice(None)):
    array = np.load(store / f"{key}.npy")
    array[rows] = ~array[rows] if key == "masks" else array[rows] * 2
    np.save(store / f"{key}.npy", array)


def test_gaps_and_overlaps_are_refused(compute, merged, tmp_path):
    parts = {(a, b): compute(f"s{a}{b}", a, b) for a, b in ((0, 2), (1, 3), (4, 7))}
    assert_fails(merged(parts[0, 2], parts[4, 7]), 1, "targets 0 to 1", "targets 4 to 6", "gap")
    assert_fails(merged(parts[0, 2], parts[1, 3]), 1, "targets 0 to 1", "targets 1 to 2", "overlap")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("option", "needle"),
    [("--cfg.k=16", "k=15"), ("--cfg.eps=0.02", "eps=0.01"), ("--data.seed=3", "seed=0"),
     ("--data.seed=-1", "seed=0"),
     ("--data.num_train=81", "num_train=80"), ("--cfg.engine=screened", "engine=cpu"),
     ("--cfg.groups=init", "groups=None"), ("--cfg.penalty_factors=v.npy", "penalty_factors=None"),
     ("--cfg.tol=1e-5", "tol=0.0001")],
)  # fmt: skip
def test_slices_of_other_options_are_refused(compute, merged, option, needle):
    one, other = compute("one", 0, 3), compute("other", 3, 7, option)
    assert_fails(merged(one, other), 1, needle, "one and the same fit")


def test_threads_and_memory_may_differ(compute, merged):
    one = compute("one", 0, 3, "--cfg.threads=1", "--cfg.memory_gb=3")
    assert merged(one, compute("other", 3, 7)).returncode == 0


def test_slices_of_other_rows_are_refused(compute, merged, store):
    one = compute("one", 0, 3)
    flags = np.load(store / "_completed.npy")
    np.save(store / "_completed.npy", np.ones(N, bool))
    assert_fails(merged(one, compute("two", 3, 7)), 1, "different models")
    np.save(store / "_completed.npy", flags)
    changed(store, "masks", slice(0, 3))
    assert_fails(merged(one, compute("three", 3, 7)), 1, "different models")


def test_what_is_no_result_is_refused(compute, merged, store, tmp_path):
    one = compute("one", 0, 3)
    assert_fails(merged(one), 2, "names 1 of at least 2")
    assert_fails(merged(one, one), 2, "named twice")
    assert_fails(merged(one, store), 1, "store")
    assert_fails(merged(one, tmp_path / "v.npy"), 2, "is a file and")
    assert_fails(merged(one, tmp_path / "nowhere"), 1, "nowhere")
    other = compute("other", 3, 7)
    assert_fails(merged(one, other, out="one"), 1, "exists already")


def test_a_merged_run_merges_on(compute, merged, tmp_path):
    whole = compute("whole")
    a, b, c = (compute(f"s{i}", i, j) for i, j in ((0, 2), (2, 5), (5, 7)))
    merged(b, c, out="later")
    assert merged(tmp_path / "later", a).returncode == 0
    one, other = Results.read(whole), Results.read(tmp_path / "merged")
    assert dataclasses.replace(other.config, target_end_ind=None) == one.config
    np.testing.assert_array_equal(one.datamodels.weight, other.datamodels.weight)
