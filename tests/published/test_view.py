"""Downloaded files as a store that is only to be read, which every reader takes for one."""

import json
import os
import shutil
import threading

import numpy as np
import pytest

from datamodels.errors import ExistsError, InputError, MissingFileError, ReadOnlyError, UsageError
from datamodels.published import view as view_module
from datamodels.published.links import follow_name
from datamodels.published.view import open_view, refresh_views
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.result import Datamodels
from datamodels.training import merge_stores, status_of, verify_store
from datamodels.training.spec import Field, Spec
from datamodels.training.store import Store
from tests.conftest import assert_fails
from tests.published.killing import kills_at_each_step
from tests.published.on_disk import (
    LAST,
    N_EVALUATION,
    N_FIT,
    N_TEST,
    N_TRAIN,
    N,
    linear_outputs,
    put,
    put_datamodels,
    put_rows,
)

MASKS, MARGINS, WEIGHT, BIAS = linear_outputs()


@pytest.fixture
def whole(tmp_path):
    """A root with all masks and margins, and the true datamodels."""
    root = tmp_path / "published"
    put(root, MASKS, "masks")
    put(root, MARGINS, "margins")
    put_datamodels(root, WEIGHT, BIAS)
    return root


@pytest.fixture
def sparse(tmp_path):
    """A root with rows 0 to 99 and the evaluation rows of both, the rest being holes."""
    root = tmp_path / "published"
    put_rows(root, MASKS, "masks", (0, 100), (N_FIT, N))
    put_rows(root, MARGINS, "margins", (0, 120), (N_FIT, N))
    put_datamodels(root, WEIGHT, BIAS)
    return root


def test_a_view_holds_the_files_themselves(whole):
    store = open_view(whole)
    assert store.path == whole / "cifar" / "50pct"
    assert store.num_models == N
    assert store.completed.all()
    np.testing.assert_array_equal(store["masks"], MASKS)
    np.testing.assert_array_equal(store["margins"], MARGINS)
    assert not store["margins"].flags.writeable
    with pytest.raises(ReadOnlyError, match="cifar at 50%"):
        store.write(0, {"masks": MASKS[0], "margins": MARGINS[0]})


def test_only_rows_that_are_there_count_as_complete(sparse):
    store = open_view(sparse)
    there = np.r_[0:100, N_FIT:N]
    np.testing.assert_array_equal(np.flatnonzero(store.completed), there)
    np.testing.assert_array_equal(store["margins"][there], MARGINS[there])
    assert status_of(store.path).missing_rows == f"100-{N_FIT - 1}"


def test_fetching_more_and_the_rest_shows_once_refreshed(sparse):
    before = open_view(sparse)
    put_rows(sparse, MASKS, "masks", (100, 150))
    put_rows(sparse, MARGINS, "margins", (120, N_FIT))  # whole: the .partial file is gone
    store = open_view(sparse)
    np.testing.assert_array_equal(np.flatnonzero(store.completed), np.r_[0:150, N_FIT:N])
    np.testing.assert_array_equal(store["margins"], MARGINS)
    assert (store.path / "margins.npy").readlink().name == "test_margins_50pct.npy"
    assert before.completed.sum() == 150 + N_EVALUATION  # flags are read anew
    put_rows(sparse, MASKS, "masks", (150, N_FIT))
    assert open_view(sparse).completed.all()
    assert not any(path.name.endswith(".partial") for path in store.path.iterdir())


def test_links_follow_a_file_that_gets_its_name_while_others_still_come(sparse):
    folder = open_view(sparse).path
    final = put_rows(sparse, MASKS, "masks", (100, N_FIT))
    with pytest.raises(InputError, match=r"a link to .*published view"):
        Store.open(folder)
    follow_name(final)
    store = Store.open(folder)
    np.testing.assert_array_equal(store["masks"], MASKS)
    assert store.completed.sum() == 100 + N_EVALUATION
    follow_name(final)
    follow_name(sparse / "cifar" / "data" / "other.npy")


def test_a_file_that_gets_its_name_during_a_refresh_is_led_to_after_it(sparse, monkeypatch):
    def finish():
        follow_name(put_rows(sparse, MASKS, "masks", (100, N_FIT)))

    thread = threading.Thread(target=finish)
    choose = view_module._choose

    def choose_while_it_finishes(present):
        thread.start()
        thread.join(0.3)  # it waits for the refresh
        return choose(present)

    monkeypatch.setattr(view_module, "_choose", choose_while_it_finishes)
    refresh_views(sparse)
    thread.join()
    store = Store.open(sparse / "cifar" / "50pct")
    np.testing.assert_array_equal(store["masks"], MASKS)


def test_a_refresh_that_finds_nothing_new_writes_nothing(whole):
    store = open_view(whole)
    before = {p.name: p.lstat().st_mtime_ns for p in [*store.path.iterdir(), store.path]}
    store.path.chmod(0o555)
    try:
        assert [view.path for view in refresh_views(whole)] == [store.path]
        after = {p.name: p.lstat().st_mtime_ns for p in [*store.path.iterdir(), store.path]}
    finally:
        store.path.chmod(0o755)
    assert before == after


def test_moving_the_root_keeps_a_view_valid(whole, tmp_path):
    refresh_views(whole)
    shutil.move(whole, tmp_path / "elsewhere")
    store = Store.open(tmp_path / "elsewhere" / "cifar" / "50pct")
    np.testing.assert_array_equal(store["masks"], MASKS)


def test_each_setting_that_is_there_has_a_view(whole):
    put(whole, MASKS, "masks", alpha=0.1)
    views = refresh_views(whole)
    assert [view.path.name for view in views] == ["10pct", "50pct"]
    assert list(views[0].arrays) == ["masks"]


def test_other_arrays_take_no_rows_away(whole):
    put_rows(whole, MARGINS, "margins", (0, 5), split="train")
    put(whole, np.zeros((N, N_TEST, 10), np.float16), "logits")
    (view,) = refresh_views(whole)
    assert list(view.arrays) == ["masks", "margins", "logits"]
    assert view.n_complete == N
    assert any("train_margins is left out: it lacks 355 of the 360" in r for r in view.remarks)
    put_rows(whole, MARGINS, "margins", (5, N), split="train")
    assert "train_margins" in open_view(whole).spec.schema


def test_files_of_other_models_are_left_out(whole):
    put(whole, MARGINS[:-1], "margins", split="train")
    (view,) = refresh_views(whole)
    assert "train_margins" not in view.arrays
    assert any("359 rows and masks 360" in remark for remark in view.remarks)


def test_an_array_that_is_removed_leaves_the_view(whole):
    put(whole, np.zeros((N, N_TEST, 10), np.float16), "logits")
    assert "logits" in open_view(whole).spec.schema
    (whole / "cifar" / "data" / "test_logits_50pct.npy").unlink()
    store = open_view(whole)
    assert list(store.spec.schema) == ["masks", "margins"]
    assert not os.path.lexists(store.path / "logits.npy")


def test_where_no_row_is_in_both_it_is_said(tmp_path):
    put_rows(tmp_path, MASKS, "masks", (0, 10))
    put_rows(tmp_path, MARGINS, "margins", (10, 20))
    (view,) = refresh_views(tmp_path)
    assert view.n_complete == 0
    assert any("none is there in masks and margins" in remark for remark in view.remarks)


def test_what_differs_from_the_catalogue_is_a_remark(whole):
    (view,) = refresh_views(whole)
    (remark,) = view.remarks  # one for all arrays
    assert "(360, 40)" in remark
    assert "(310000, 50000)" in remark
    assert "test_margins_50pct.npy" in remark


@pytest.mark.parametrize("first", [True, False], ids=["made", "brought up to date"])
def test_a_kill_at_any_step_leaves_what_a_refresh_puts_in_order(sparse, first):
    expected = {"_completed.npy", "_read_only.json", "_spec.json", "margins.npy", "masks.npy"}

    def before():
        shutil.rmtree(sparse / "cifar")
        shutil.copytree(sparse.parent / "kept", sparse / "cifar")
        if not first:
            open_view(sparse)
            put_rows(sparse, MASKS, "masks", (100, N_FIT))  # whole: its link is to be another

    shutil.copytree(sparse / "cifar", sparse.parent / "kept")
    for step in kills_at_each_step(lambda: open_view(sparse, n_evaluation=60), before):
        store = open_view(sparse, n_evaluation=60)
        assert {path.name for path in store.path.iterdir()} == expected, step
        assert {path.name for path in store.path.parent.iterdir()} == {
            "50pct", "data", "datamodels"
        }, step  # fmt: skip
        np.testing.assert_array_equal(store["masks"][LAST], MASKS[LAST])
        assert store.completed.sum() == 100 + N_EVALUATION + (0 if first else 20)
    assert step > 5


def test_nothing_but_a_view_is_ever_replaced(whole):
    folder = whole / "cifar" / "50pct"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(ExistsError, match="no view"):
        refresh_views(whole)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    folder.rename(whole / "aside")
    store = open_view(whole)
    (store.path / "mine.txt").write_text("mine")
    (store.path / "margins.npy").unlink()
    np.save(store.path / "margins.npy", MARGINS)
    with pytest.raises(ExistsError, match="no link"):
        refresh_views(whole)
    assert (store.path / "mine.txt").read_text() == "mine"


def test_damaged_files_and_missing_ones_are_named(whole, tmp_path):
    with pytest.raises(MissingFileError, match="nowhere"):
        refresh_views(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match="fmow at 20%"):
        open_view(whole, "fmow", 0.2)
    with pytest.raises(UsageError, match="there are"):
        open_view(whole, alpha=0.3)
    path = whole / "cifar" / "data" / "train_masks_50pct.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"truncated.*Remove it and download it again"):
        refresh_views(whole)
    path.write_bytes(b"no array")
    with pytest.raises(InputError, match=r"no \.npy file.*Remove it and download it again"):
        refresh_views(whole)


# --- what reads stores reads views ------------------------------------------------------------


def test_commands_of_stores_read_it(run, sparse):
    folder = open_view(sparse).path
    status = run("training.status", folder)
    assert status.returncode == 1
    assert "160 of 360" in status.stdout
    assert "datamodels.published download" in status.stdout
    assert run("training.verify", folder).returncode == 0
    assert verify_store(folder) == []


def test_stores_merge_with_it(sparse, tmp_path):
    view = open_view(sparse)
    schema = {
        "masks": Field((N_TRAIN,), np.dtype(bool)),
        "margins": Field((N_TEST,), np.dtype(np.float16), allow_nonfinite=True),
    }
    own = Store.create(tmp_path / "own", Spec(N, schema))
    own.write(200, {"masks": MASKS[200], "margins": MARGINS[200]})
    merge_stores([view.path, own.path], tmp_path / "merged")
    merged = Store.open(tmp_path / "merged")
    assert merged.completed.sum() == 161
    np.testing.assert_array_equal(merged["masks"][LAST], MASKS[LAST])
    assert merged.write(201, {"masks": MASKS[201], "margins": MARGINS[201]})


READERS = {
    "write_dataset": [
        "regression.write_dataset",
        "--cfg.data_dir={}",
        "--cfg.out_path=out.beton",
        "--cfg.y_name=margins",
    ],
    "moments": [
        "regression.moments",
        "--moments.data_path={}",
        "--moments.rows=0-99",
        "--moments.out=out.npz",
    ],
    "influence": ["analysis.influence", "--influence.data_path={}", "--influence.out=out.npz"],
    "learning_curve": [
        "evaluation.learning_curve",
        "--curve.data_path={}",
        "--curve.out=out",
        "--curve.num_held_out=60",
        "--curve.k=10",
        "--curve.eps=0.05",
    ],
    "linear_share": [
        "evaluation.linear_share",
        "--share.store={}",
        "--share.datamodels={}/../datamodels/test_50pct.pt",
        "--share.out=out.json",
    ],
    "report": [
        "analysis.report",
        "--report.datamodels={}/../datamodels/test_50pct.pt",
        "--report.store={}",
        "--report.out=out.html",
    ],
}


@pytest.mark.parametrize("name", READERS)
def test_other_commands_read_it(run, sparse, tmp_path, name):
    folder = open_view(sparse).path
    before = sorted(path.name for path in folder.iterdir())
    module, *options = READERS[name]
    result = run(module, *(option.format(folder) for option in options))
    assert result.returncode == 0, result.stderr
    assert [path for path in tmp_path.iterdir() if path.name.startswith("out")]
    assert sorted(path.name for path in folder.iterdir()) == before


def test_rows_that_are_not_there_are_asked_for_by_download(run, sparse):
    folder = open_view(sparse).path
    weights = sparse / "cifar/datamodels/test_50pct.pt"
    result = run(
        "evaluation.lds",
        f"--lds.datamodels={weights}",
        f"--lds.store={folder}",
        "--lds.rows=90-109",
    )
    assert_fails(result, 1, "100-109", "python -m datamodels.published download")


PATH = ["--cfg.k=10", "--cfg.eps=0.05"]


def test_rows_for_a_fit_are_to_be_fetched_not_trained(run, sparse):
    fit = ["regression.compute_datamodels", f"--data.data_path={open_view(sparse).path}"]
    result = run(*fit, "--data.num_train=300", "--data.num_val=30", *PATH, "--cfg.out_dir=out")
    assert_fails(result, 1, "has 160", "the missing 170", "published download")
    assert "train" not in result.stderr.partition("Lower one")[2]


def test_a_fit_writes_nothing_into_a_view(run, whole):
    folder = open_view(whole).path
    before = sorted(folder.iterdir())
    fit = ["regression.compute_datamodels", f"--data.data_path={folder}", "--data.num_train=100"]
    fit.append("--data.num_val=30")
    result = run(*fit, *PATH, f"--cfg.out_dir={folder}/deep/fit")
    assert_fails(result, 2, f"--cfg.out_dir={folder}/deep/fit lies in {folder}", "read-only")
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("place", [".", "cifar", "cifar/data"])
def test_a_folder_near_a_view_is_told_from_it(whole, place):
    folder = open_view(whole).path
    for reader in (Store.open, lambda path: RegressionDataset(path, "margins")):
        with pytest.raises(MissingFileError, match=r"is no store.*did you mean \S*cifar/50pct\?"):
            reader(whole / place)
    assert folder.name == "50pct"


def test_a_link_that_leads_nowhere_is_mended_by_view(run, whole):
    folder = open_view(whole).path
    (whole / "cifar/data/test_margins_50pct.npy").rename(whole / "aside.npy")
    with pytest.raises(MissingFileError, match=rf"link to .*published view {folder}/\.\./\.\."):
        RegressionDataset(folder, "margins")
    assert run("published view", f"{folder}/../..").returncode == 0
    with pytest.raises(MissingFileError, match="holds no array 'margins'"):
        RegressionDataset(folder, "margins")


def test_a_view_is_no_place_for_models_of_ones_own(run, whole, tmp_path):
    folder = open_view(whole).path
    result = run(
        "training.worker",
        f"--worker.logdir={folder}",
        "--worker.main_import=nothing",
        "--worker.index=0",
    )
    assert_fails(result, 2, "read-only", "cifar at 50%")


def test_the_command_says_what_it_made(run, sparse):
    result = run("published view", sparse)
    assert result.returncode == 0, result.stderr
    assert "masks, margins; 160 complete rows of 360" in result.stdout
    note = json.loads((sparse / "cifar/50pct/_read_only.json").read_text())
    assert note["kind"] == "view of published files"
    assert_fails(run("published view", sparse / "nowhere"), 1, "no folder")
    fitted = Datamodels.load(sparse / "cifar/datamodels/test_50pct.pt")
    assert fitted.n_targets == N_TEST
