import shutil

import numpy as np
import pytest
import torch

from datamodels.errors import ExistsError, InputError, UsageError
from datamodels.training import (
    Spec,
    Store,
    grow_store,
    merge_stores,
    subset_for,
    subset_mask,
    subset_masks,
    subsets_for,
)
from datamodels.training.layout import StoreLayout
from datamodels.training.planned_masks import PlannedMasks, create_planned_store
from datamodels.training.row_values import RowError
from tests.conftest import assert_fails
from tests.evaluation.linear_outputs import N_TARGETS, N_TRAIN

SPEC = Spec.parse(
    {
        "num_models": 1,
        "schema": {
            "masks": {"shape": [N_TRAIN], "dtype": "bool_"},
            "margins": {"shape": [N_TARGETS], "dtype": "float32"},
        },
    }
)
DRAWN = {"alpha": 0.5, "seed": 0}


@pytest.fixture
def planned(tmp_path):
    """A store with a plan of 5 rows, and the planned masks."""
    masks = np.random.default_rng(3).random((5, N_TRAIN)) < 0.8
    store = create_planned_store(
        tmp_path / "s", SPEC.schema, masks, x_name="masks", description={}, arrays={}
    )
    return store, masks


def test_without_a_plan_masks_are_drawn_as_ever(tmp_path):
    logdir = str(tmp_path / "store" / "workers" / "7")
    expected = subset_mask(7, 30, **DRAWN)
    np.testing.assert_array_equal(subset_for(7, 30, logdir=logdir, **DRAWN), expected)
    rows = subsets_for([7, 2], 30, logdir=logdir, **DRAWN, kind="bernoulli")
    np.testing.assert_array_equal(rows, subset_masks([7, 2], 30, **DRAWN, kind="bernoulli"))


def test_with_a_plan_they_are_the_planned_ones(planned):
    store, masks = planned
    for index in (0, 4):
        logdir = str(store.layout.worker(index))
        np.testing.assert_array_equal(
            subset_for(index, N_TRAIN, logdir=logdir, **DRAWN), masks[index]
        )
    rows = subsets_for([4, 1], N_TRAIN, logdir=store.layout.worker(4), **DRAWN)
    np.testing.assert_array_equal(rows, masks[[4, 1]])


def test_rows_and_sizes_that_are_not_planned_are_refused(planned):
    logdir = planned[0].layout.worker(0)
    with pytest.raises(UsageError, match="row 5 is not planned: the plan has rows 0 to 4"):
        subset_for(5, N_TRAIN, logdir=logdir, **DRAWN)
    with pytest.raises(UsageError, match=f"{N_TRAIN} training examples, not of 7"):
        subset_for(0, 7, logdir=logdir, **DRAWN)


def test_a_planned_store_replaces_nothing(planned):
    with pytest.raises(ExistsError):
        create_planned_store(
            planned[0].path, SPEC.schema, planned[1], x_name="masks", description={}, arrays={}
        )
    assert PlannedMasks.read(planned[0].layout) is not None
    assert PlannedMasks.read(StoreLayout(planned[0].path / "nowhere")) is None


@pytest.mark.parametrize("as_given", [np.float32, list, torch.tensor])
def test_any_form_of_the_planned_mask_will_do(planned, as_given):
    store, masks = planned
    plan = PlannedMasks.read(store.layout)
    give = (lambda m: m.astype(np.float32)) if as_given is np.float32 else as_given
    plan.check([2], {"masks": give(masks[2])})
    plan.check([2, 0], {"masks": give(masks[[2, 0]])})
    for wrong in ({"masks": give(masks[1])}, {"masks": give(masks[2][:-1])}, {}):
        with pytest.raises(RowError, match="not the planned mask"):
            plan.check([2], wrong)


@pytest.mark.parametrize("batch", [[], ["--worker.batch=3"]])
def test_the_worker_trains_planned_masks(run, planned, batch):
    store, masks = planned
    result = run(
        "training.worker", "--worker.logdir=s", "--worker.indices=0-4",
        "--worker.main_import=tests.evaluation.linear_outputs", *batch,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert Store.open(store.path).completed.all()
    np.testing.assert_array_equal(store["masks"], masks)


def test_the_worker_refuses_masks_that_are_not_planned(run, planned):
    result = run("training.worker", "--worker.logdir=s", "--worker.index=1",
                 "--worker.main_import=tests.evaluation.draws_at_random")  # fmt: skip
    assert_fails(result, 1, "not the planned mask", "subset_for")
    assert not planned[0].completed.any()


def test_stores_of_one_plan_merge_and_others_do_not(planned, tmp_path):
    store, masks = planned
    rows = [{"masks": mask, "margins": np.ones(N_TARGETS)} for mask in masks]
    for name, own in (("a", [0, 3]), ("b", [1, 2, 4])):
        shutil.copytree(store.path, tmp_path / name)
        with Store.open(tmp_path / name) as part:
            for index in own:
                part.write(index, rows[index])
    merge_stores([tmp_path / "a", tmp_path / "b"], tmp_path / "ab")
    merged = Store.open(tmp_path / "ab")
    assert merged.completed.all()
    np.testing.assert_array_equal(PlannedMasks.read(merged.layout).masks, masks)
    np.save(tmp_path / "b" / "_plan" / "masks.npy", ~masks)
    with pytest.raises(InputError, match="not stores of one plan"):
        merge_stores([tmp_path / "a", tmp_path / "b"], tmp_path / "other")
    shutil.rmtree(tmp_path / "b" / "_plan")
    with pytest.raises(InputError, match="not stores of one plan"):
        merge_stores([tmp_path / "b", tmp_path / "a"], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_planned_store_does_not_grow(planned):
    store, masks = planned
    with pytest.raises(UsageError, match="holds a plan of masks for its 5 rows"):
        grow_store(store.path, 9)
    assert Store.open(store.path).num_models == len(masks)


def test_repeats_draw_the_same_mask(tmp_path):
    logdir = str(tmp_path / "store" / "workers" / "7")
    rows = subsets_for([4, 5, 6], 30, logdir=logdir, **DRAWN, repeats=2)
    np.testing.assert_array_equal(rows, subset_masks([2, 2, 3], 30, **DRAWN))
    with pytest.raises(UsageError, match="repeats=0"):
        subsets_for([4], 30, logdir=logdir, **DRAWN, repeats=0)
