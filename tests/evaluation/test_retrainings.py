"""Counterfactuals and data support from the command line, with outputs that are truly linear."""

import csv
import json

import numpy as np
import pytest

from datamodels import Datamodels
from datamodels.errors import DatamodelsError
from datamodels.evaluation.retraining_plan import base_subsets, read_plan
from datamodels.training import Store, subset_masks
from tests.conftest import assert_fails
from tests.evaluation.linear_outputs import N_TARGETS, N_TRAIN, outputs, true_bias, true_weight

N_ROWS = 60


@pytest.fixture
def folder(tmp_path):
    """A store of 60 models at alpha 0.5, and the true weights as datamodels."""
    masks = subset_masks(range(N_ROWS), N_TRAIN, alpha=0.5, seed=0)
    margins = [outputs(mask, index) for index, mask in enumerate(masks)]
    (tmp_path / "first").mkdir()
    for key, array in {
        "masks": masks,
        "margins": np.array(margins, np.float32),
        "_completed": np.ones(N_ROWS, bool),
    }.items():
        np.save(tmp_path / "first" / f"{key}.npy", array)
    arrays = true_weight(), true_bias(), np.zeros(N_TARGETS)
    Datamodels(*(array.astype(np.float32) for array in arrays)).save(tmp_path / "datamodels.pt")
    rng = np.random.default_rng(0)
    np.save(tmp_path / "train.npy", rng.random((N_TRAIN, 2, 2)))
    np.save(tmp_path / "test.npy", rng.random((N_TARGETS, 2, 2)))
    return tmp_path


@pytest.fixture
def prepare(call):
    """A command on the store of :func:`folder`, its options without their section."""

    def prepare_with(section, *options):
        given = ["datamodels=datamodels.pt", "store=first", *options]
        return call(f"evaluation.{section}", *(f"--{section}.{option}" for option in given))

    return prepare_with


@pytest.fixture
def compare(call):
    def compare_in(store, out):
        result = call("evaluation.retrained", store, f"--retrained.out={out}")
        assert result.returncode == 0, result.stderr
        return result.stdout

    return compare_in


@pytest.fixture
def call(folder, monkeypatch, call):
    """Commands in this process, in ``folder``."""
    monkeypatch.chdir(folder)
    return call


def launch(run, store, module="tests.evaluation.linear_outputs", *options):
    return run("training.launch", f"--launch.logdir={store}", f"--launch.main_import={module}",
               "--launch.workers=1", *options)  # fmt: skip


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_linear_outputs_change_as_predicted(run, folder, prepare, compare, alpha):
    prepared = prepare("counterfactuals", "out=again", "sizes=2,5", f"alpha={alpha}",
                       "methods=helpful,harmful,random,nearest", "train_features=train.npy",
                       "test_features=test.npy", "repeats=3")  # fmt: skip
    assert prepared.returncode == 0, prepared.stderr
    assert "156 retrainings" in prepared.stdout  # 3 x (6 x 4 x 2 + 4)
    assert launch(run, "again").returncode == 0
    said = compare("again", "read")
    agreements = json.loads((folder / "read" / "agreement.json").read_text())
    names = [each["name"] for each in agreements]
    assert names == ["helpful", "harmful", "random", "nearest", "all"]
    for agreement in agreements:
        assert agreement["pearson"]["value"] > 0.99
        assert agreement["slope"]["value"] == pytest.approx(1, abs=0.05)
        low, high = agreement["pearson"]["interval"]
        assert low <= agreement["pearson"]["value"] <= high
        assert agreement["name"] in said
    with (folder / "read" / "removals.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    off = [float(row["actual"]) - float(row["predicted"]) for row in rows]
    assert np.abs(off).max() < 0.15  # noise 0.05 of a model, over 3 repeats
    for row in rows:  # masks say the same as the plan
        assert float(row["after"]) - float(row["before"]) == pytest.approx(
            float(row["actual"]), abs=1e-4
        )
    assert (folder / "read" / "changes.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "read" / "table.txt").read_text().strip() in said


def test_supports_of_linear_outputs_flip(run, folder, prepare, compare):
    prepared = prepare("support", "alpha=1", "out=s.npz", "plan=again", "repeats=3")
    assert prepared.returncode == 0, prepared.stderr
    with np.load(folder / "s.npz") as found:
        sizes, ends, safe = found["support_size"], found["support_ends"], found["safe_support_size"]
        parts = np.split(found["support_examples"], ends[:-1])
        assert found["support_found"].all()
    full = true_weight().sum(axis=0) + true_bias()
    for t, examples in enumerate(parts):
        left = full[t] - true_weight()[examples, t].sum()
        assert left <= 0 < left + true_weight()[examples[-1], t]
        assert len(examples) == sizes[t]
    assert (safe >= sizes).all()
    assert launch(run, "again").returncode == 0
    said = compare("again", "read")
    # raw supports may end within the noise of 0; the safe ones may not
    assert "safe support: without it 6 of 6 targets flip" in said


def test_supports_are_of_the_subsets_of_the_fit_unless_told_otherwise(folder, prepare):
    said = prepare("support", "out=s.npz")
    assert "random subsets of a share 0.5" in said.stdout, said.stderr
    with np.load(folder / "s.npz") as found:
        before, after = found["support_before"], found["support_after"]
        sizes, flippable = found["support_size"], found["support_found"]
    expected = true_weight().sum(axis=0) / 2 + true_bias()
    np.testing.assert_allclose(before, expected, atol=1e-5)
    for t in np.flatnonzero(flippable):
        top = np.sort(true_weight()[:, t])[::-1][: sizes[t]]
        assert after[t] == pytest.approx(expected[t] - top.sum() / 2, abs=1e-4)


def test_removals_stay_within_a_given_base(folder, prepare):
    base = np.arange(N_TRAIN) % 4 > 0
    np.save(folder / "base.npy", base)
    np.save(folder / "outputs.npy", np.full(N_TARGETS, 1.0))
    for section, options in (
        ("counterfactuals", ["out=again", "targets=1,4", "sizes=3"]),
        ("support", ["plan=support", "safety=0", "targets=4,1", "outputs=outputs.npy"]),
    ):
        result = prepare(section, "base=base.npy", "repeats=2", *options)
        assert result.returncode == 0, result.stderr
    for name in ("again", "support"):
        store = Store.open(folder / name)
        plan = read_plan(store)
        assert {removal.target for removal in plan.removals} <= {1, 4}
        masks = np.load(store.layout.planned_masks).reshape(2, -1, N_TRAIN)
        np.testing.assert_array_equal(masks[:, : plan.controls], np.broadcast_to(base, (2, 4, 40)))
        for place, removal in enumerate(plan.removals):
            assert base[removal.examples].all()
            kept = masks[0, plan.controls + place]
            np.testing.assert_array_equal(np.flatnonzero(base & ~kept), np.sort(removal.examples))
            assert not (kept & ~base).any()


def test_what_is_not_trained_yet_is_named_with_the_line_to_go_on(
    run, call, folder, prepare, compare
):
    prepare("counterfactuals", "out=again", "sizes=2", "targets=0-2", "repeats=2")
    assert launch(run, "again", "tests.evaluation.linear_outputs", "--launch.indices=0-9",
                  "--worker.batch=4").returncode == 0  # fmt: skip
    result = call("evaluation.retrained", "again", "--retrained.out=read")
    assert_fails(result, 1, "10 of the 20 planned", "rows 10-19", "datamodels.training.launch")
    assert not (folder / "read").exists()
    assert launch(run, "again").returncode == 0
    compare("again", "read")
    assert_fails(call("evaluation.retrained", "again", "--retrained.out=read"), 1, "exists")
    masks = np.load(folder / "again" / "masks.npy")
    masks[13, 5] ^= True
    np.save(folder / "again" / "masks.npy", masks)
    result = call("evaluation.retrained", "again")
    assert_fails(result, 1, "row 13", "not trained on its planned mask")


@pytest.mark.parametrize(
    ("section", "options", "status", "needle"),
    [
        ("counterfactuals", ["out=first"], 1, "exists"),
        ("counterfactuals", ["out=a", "targets=6"], 2, "target 6 is not in datamodels.pt"),
        ("counterfactuals", ["out=a", "sizes=3,x"], 2, "write numbers as"),
        ("counterfactuals", ["out=a", "sizes=41"], 2, "from 1 to 40"),
        ("counterfactuals", ["out=a", "methods=nearest"], 2, "needs features"),
        ("counterfactuals", ["out=a", "train_features=train.npy"], 2, "give both"),
        ("counterfactuals", ["out=a", "repeats=0"], 2, "repeats=0"),
        ("counterfactuals", ["out=a", "controls=0"], 2, "controls=0"),
        ("counterfactuals", ["out=a", "sizes=40", "methods=random"], 2, "no training example"),
        ("counterfactuals", ["out=a", "base=train.npy"], 1, "expected a mask (40,)"),
        ("counterfactuals", ["out=a", "y_name=margin"], 1, "did you mean 'margins'?"),
        ("counterfactuals", ["out=a", "x_name=margins"], 1, "of 40 training examples"),
        ("support", ["alpha=2"], 2, "alpha=2"),
        ("support", ["safety=-1"], 2, "0 or more"),
        ("support", ["outputs=train.npy"], 1, "expected a number for each of the 6 targets"),
        ("support", ["plan=first"], 1, "exists"),
    ],
)
def test_mistakes_are_explained_and_leave_nothing(
    folder, prepare, section, options, status, needle
):
    assert_fails(prepare(section, *options), status, needle)
    assert not (folder / "a").exists()


def test_a_store_that_nobody_named_and_one_without_a_plan(call):
    result = call("evaluation.support", "--support.datamodels=datamodels.pt")
    assert_fails(result, 2, "name it by the option store")
    assert_fails(call("evaluation.retrained", "first"), 1, "has no plan of retrainings")


def test_base_subsets_are_none_of_those_of_the_fit():
    bases = base_subsets(50, 20, alpha=0.5, seed=0)
    assert bases.sum(axis=1).tolist() == [25] * 20
    fitted = {mask.tobytes() for mask in subset_masks(range(200), 50, alpha=0.5, seed=0)}
    assert not fitted & {mask.tobytes() for mask in bases}
    assert base_subsets(50, 2).all()
    for wrong in (np.ones(49), np.zeros(50), np.full(50, 2)):
        with pytest.raises(DatamodelsError):
            base_subsets(50, 2, base=wrong)


def test_the_store_and_the_targets_of_a_fit_are_known(run, folder, call):
    """Datamodels of targets 2 to 4 of another array: outputs are read from their columns."""
    (folder / "first" / "margins.npy").rename(folder / "first" / "scores.npy")
    made = run("regression.compute_datamodels", "--data.data_path=first", "--data.num_train=40",
               "--data.num_val=10", "--cfg.k=10", "--cfg.out_dir=fit", "--data.y_name=scores",
               "--data.target_start_ind=2", "--data.target_end_ind=5")  # fmt: skip
    assert made.returncode == 0, made.stderr
    result = call("evaluation.counterfactuals", "--counterfactuals.out=again",
                  "--counterfactuals.datamodels=fit/datamodels.pt", "--counterfactuals.sizes=3",
                  "--counterfactuals.targets=0,2")  # fmt: skip
    assert result.returncode == 0, result.stderr
    plan = read_plan(Store.open(folder / "again"))
    assert plan.y_name == "scores"
    assert {(removal.target, removal.column) for removal in plan.removals} == {(0, 2), (2, 4)}
    weight = Datamodels.load(folder / "fit" / "datamodels.pt").weight
    for place, removal in enumerate(plan.removals):
        expected = -weight[removal.examples, removal.target].sum()
        np.testing.assert_allclose(plan.predicted[:, place], expected, atol=1e-5)
