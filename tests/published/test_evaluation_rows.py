"""Rows held out for evaluation: told by whom knows, kept in the view, and left out of every fit."""

import json

import numpy as np
import pytest

import datamodels
from datamodels.errors import InputError, UsageError
from datamodels.evaluation.curves import LearningCurve, split_rows
from datamodels.evaluation.fitted_source import read_fitted
from datamodels.published.loading import load
from datamodels.published.view import open_view, refresh_views
from datamodels.read_only import NOTE, ReadOnly, read_note
from datamodels.regression.dataset import RegressionDataset
from datamodels.regression.moments_file import MomentsFile
from tests.conftest import assert_fails
from tests.published.on_disk import (
    LAST,
    N_EVALUATION,
    N_FIT,
    N,
    linear_outputs,
    put,
    put_datamodels,
    put_rows,
)

MASKS, MARGINS, WEIGHT, BIAS = linear_outputs()
ENDS = {"last": range(N_FIT, N), "first": range(N_EVALUATION)}


@pytest.fixture
def root(tmp_path):
    put(tmp_path, MASKS, "masks")
    put(tmp_path, MARGINS, "margins")
    put_datamodels(tmp_path, WEIGHT, BIAS)
    return tmp_path


@pytest.fixture(params=["last", "first"])
def view(root, request):
    """(folder of a view that holds out 60 rows at one end, these rows)."""
    store = open_view(root, evaluation=request.param, n_evaluation=N_EVALUATION)
    return store.path, ENDS[request.param]


def assume(folder):
    """Let the note say of the same rows that nobody told which they are."""
    note = folder / "_read_only.json"
    content = json.loads(note.read_text())
    del content["evaluation_as_told"]
    note.write_text(json.dumps(content))


def others(rows):
    return np.setdiff1d(np.arange(N), rows)


# --- the view keeps what it was told -----------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*the catalogue says")
def test_a_view_keeps_what_it_was_told_until_it_is_told_otherwise(root, call):
    assert read_note(open_view(root).path).evaluation is None  # of 360 rows no 10,000 can be
    folder = open_view(root, evaluation="first", n_evaluation=60).path
    assert read_note(folder).evaluation == ENDS["first"]
    refresh_views(root)
    assert read_note(folder).evaluation == ENDS["first"]
    assert not read_note(folder).evaluation_is_assumed
    np.testing.assert_array_equal(load(root, kind="masks"), MASKS[N_EVALUATION:])
    assert call("published.view_command", root, "--view.evaluation=last").returncode == 0
    assert read_note(folder).evaluation == ENDS["last"]
    with pytest.raises(UsageError, match=r"n_evaluation=360: the files have 360 rows"):
        open_view(root, n_evaluation=N)
    assert_fails(call("published.view_command", root, "--view.evaluation=end"), 2, "last, first")
    assert read_note(folder).evaluation == ENDS["last"]


@pytest.mark.parametrize("told", [None, {"end": "last", "count": 3}])
@pytest.mark.parametrize("rows", [None, range(2, 5)])
def test_a_note_is_read_as_it_was_written(tmp_path, told, rows):
    note = ReadOnly("files", "fetch them", "a view", "make {folder} anew", rows, told)
    (tmp_path / NOTE).write_text(json.dumps(note.to_json()))
    assert read_note(tmp_path) == note


@pytest.mark.filterwarnings("ignore:.*the catalogue says")
@pytest.mark.parametrize("told", [{"end": "lsat", "count": 60}, {"end": "first"}, 60, []])
def test_what_a_view_was_told_is_not_forgotten_where_its_note_is_damaged(root, told):
    folder = open_view(root, evaluation="first", n_evaluation=N_EVALUATION).path
    content = json.loads((folder / NOTE).read_text()) | {"evaluation_as_told": told}
    (folder / NOTE).write_text(json.dumps(content))
    assert read_note(folder).evaluation == ENDS["first"]  # which is not in doubt
    for way in (refresh_views, lambda root: load(root, kind="masks")):
        with pytest.raises(InputError, match=f"{NOTE} is damaged.*n_evaluation anew"):
            way(root)
    assert json.loads((folder / NOTE).read_text()) == content
    open_view(root, evaluation="first", n_evaluation=N_EVALUATION)
    refresh_views(root)
    assert read_note(folder).evaluation == ENDS["first"]
    assert not read_note(folder).evaluation_is_assumed


# --- scores ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_what_is_not_known_to_be_fitted_is_scored_on_them(view, root, call):
    folder, rows = view
    told = [f"--lds.datamodels={root}/cifar/datamodels/test_50pct.pt", f"--lds.store={folder}",
            "--lds.resamples=0"]  # fmt: skip
    scored = call("evaluation.lds", *told)
    assert scored.returncode == 0, scored.stderr
    by_number = call("evaluation.lds", *told, f"--lds.rows={rows.start}-{rows.stop - 1}")
    assert scored.stdout == by_number.stdout
    assume(folder)
    with pytest.warns(UserWarning, match=rf"rows {rows.start}-{rows.stop - 1} of .*assumption"):
        assert call("evaluation.lds", *told).stdout == scored.stdout
    with pytest.warns(UserWarning, match="assumption"):
        units = call("published.units_command", f"--units.store={folder}",
                     "--units.rows=evaluation",
                     f"--units.datamodels={root}/cifar/datamodels/test_50pct.pt")  # fmt: skip
    assert f"on {N_EVALUATION} held-out models" in units.stdout


@pytest.mark.filterwarnings("error")
def test_estimates_and_their_scores_share_no_row(view, call, tmp_path):
    folder, _ = view
    estimated = call("analysis.influence", f"--influence.data_path={folder}",
                     "--influence.out=all.npz")  # fmt: skip
    assert estimated.returncode == 0, estimated.stderr
    assert f"{N_FIT} models" in estimated.stdout
    assert f"{N_EVALUATION} rows" in estimated.stderr
    scored = call("evaluation.lds", "--lds.scores=all.npz", f"--lds.store={folder}",
                  "--lds.resamples=0")  # fmt: skip
    assert f"on {N_EVALUATION} models" in scored.stdout


# --- fits and estimates ------------------------------------------------------------------------


def moments_rows(call, folder, *options):
    result = call("regression.moments", f"--moments.data_path={folder}", *options)
    assert result.returncode == 0, result.stderr
    (path,) = (option.partition("=")[2] for option in options if "out=" in option)
    with MomentsFile(path) as file:
        return file.known.rows


def test_moments_are_of_the_others_unless_rows_are_named(view, call):
    folder, rows = view
    np.testing.assert_array_equal(moments_rows(call, folder, "--moments.out=a.npz"), others(rows))
    named = moments_rows(call, folder, "--moments.out=b.npz", "--moments.rows=evaluation,100")
    np.testing.assert_array_equal(named, sorted([*rows, 100]))


def test_a_fit_takes_them_last_and_with_a_warning(view, call, tmp_path):
    folder, rows = view
    fit = ["regression.compute_datamodels", f"--data.data_path={folder}", "--cfg.k=5",
           "--cfg.eps=0.1"]  # fmt: skip
    clean = call(*fit, "--data.num_train=250", "--data.num_val=50", "--cfg.out_dir=clean")
    assert clean.returncode == 0, clean.stderr
    assert "evaluation" not in clean.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "clean/rows.npy"), others(rows))
    more = call(*fit, "--data.num_train=255", "--data.num_val=50", "--cfg.out_dir=more")
    assert "5 of the 305 rows are held out for evaluation" in more.stderr
    np.testing.assert_array_equal(
        np.load(tmp_path / "more/rows.npy"), np.sort(np.r_[others(rows), rows[:5]])
    )


def test_a_fit_from_python_leaves_them_out(view):
    folder, rows = view
    there = others(rows)
    ours = datamodels.fit(folder, lam=0.05)
    np.testing.assert_array_equal(
        ours.weight, datamodels.fit(MASKS[there], MARGINS[there], lam=0.05).weight
    )


def test_linear_share_of_published_weights_is_of_rows_they_did_not_see(view, root, call, tmp_path):
    folder, _ = view
    share = ["evaluation.linear_share", f"--share.store={folder}"]
    weights = f"--share.datamodels={root}/cifar/datamodels/test_50pct.pt"
    told = {
        name: call(*share, *options, f"--share.out={name}.json")
        for name, options in {
            "default": [weights],
            "named": [weights, "--share.rows=evaluation"],
            "without": [],
        }.items()
    }
    n = {name: json.loads((tmp_path / f"{name}.json").read_text())["n_trainings"] for name in told}
    assert n == {"default": N_EVALUATION, "named": N_EVALUATION, "without": N}
    assert not any("not known" in result.stderr for result in told.values())


def test_a_fit_is_refused_where_a_damaged_note_hides_them(view, call):
    folder, _ = view
    (folder / NOTE).write_text("{")
    with pytest.raises(InputError, match=f"{NOTE} is damaged.*make the view anew"):
        datamodels.fit(folder)
    assert_fails(
        call("analysis.influence", f"--influence.data_path={folder}", "--influence.out=a.npz"),
        1,
        f"{NOTE} is damaged",
    )


def test_residuals_of_published_weights_are_of_them(view, root, recwarn):
    folder, held_out = view
    source = read_fitted(root / "cifar/datamodels/test_50pct.pt", folder)
    rows = list(held_out)
    residuals = MARGINS[rows] - (MASKS[rows] @ WEIGHT + BIAS)
    np.testing.assert_allclose(
        source.residual_deviation(np.arange(WEIGHT.shape[1])),
        np.sqrt((residuals.astype(float) ** 2).mean(axis=0)),
        rtol=1e-2,
    )
    assert not [each for each in recwarn if "not known" in str(each.message)]


def test_a_learning_curve_scores_on_them_and_learns_from_the_others(view):
    folder, held_out = view
    dataset = RegressionDataset(folder, "margins", "masks")
    positions = np.flatnonzero(np.isin(dataset.idx, held_out))
    rows = split_rows(dataset, evaluation=positions)
    assert dataset.idx[rows.held_out].tolist() == list(held_out)
    assert dataset.idx[rows.learnt].tolist() == others(held_out).tolist()
    fewer = split_rows(dataset, 10, evaluation=positions)
    assert dataset.idx[fewer.held_out].tolist() == list(held_out)[-10:]
    assert fewer.learnt.tolist() == rows.learnt.tolist()
    with pytest.raises(UsageError, match="num_held_out=61 of 60 complete rows for evaluation"):
        split_rows(dataset, 61, evaluation=positions)


def test_so_does_its_command(view, call, tmp_path):
    folder, held_out = view
    curve = ["evaluation.learning_curve", f"--curve.data_path={folder}", "--curve.out=curve",
             "--curve.k=5", "--curve.resamples=20"]  # fmt: skip
    assert call(*curve).returncode == 0
    made = LearningCurve.load(tmp_path / "curve")
    assert made.n_held_out == len(held_out)
    assert made.sizes[-1] == N - len(held_out)


def test_a_beton_of_all_rows_says_so(view, call):
    folder, rows = view
    written = call("regression.write_dataset", f"--cfg.data_dir={folder}", "--cfg.y_name=margins",
                   "--cfg.out_path=all.beton")  # fmt: skip
    assert written.returncode == 0
    assert f"rows {rows.start}-{rows.stop - 1} there" in written.stderr


def test_where_nothing_else_is_there_it_is_said(tmp_path, call):
    put_rows(tmp_path, MASKS, "masks", (N_FIT, N))
    put_rows(tmp_path, MARGINS, "margins", (N_FIT, N))
    folder = open_view(tmp_path, n_evaluation=N_EVALUATION).path
    influence = ["analysis.influence", f"--influence.data_path={folder}", "--influence.out=a.npz"]
    assert_fails(call(*influence), 1, "all 60 complete rows", "--influence.rows", "download")
    assert call(*influence, "--influence.rows=evaluation").returncode == 0
    with pytest.raises(InputError, match="give rows as arrays"):
        datamodels.fit(folder)
    np.testing.assert_array_equal(open_view(tmp_path)["masks"][LAST], MASKS[LAST])


@pytest.mark.parametrize("command", ["analysis.influence", "regression.moments"])
def test_the_word_is_refused_where_nothing_is_held_out(root, call, command):
    section = command.rpartition(".")[2]
    result = call(command, f"--{section}.data_path={open_view(root).path}",
                  f"--{section}.rows=evaluation", f"--{section}.out=a.npz")  # fmt: skip
    assert_fails(result, 2, f"--{section}.rows=evaluation", "no view of published files")


# --- and nothing is written there --------------------------------------------------------------

OUTPUTS = {
    "analysis.influence": ["--influence.data_path={}", "--influence.out={}/x.npz"],
    "regression.moments": ["--moments.data_path={}", "--moments.out={}/x.npz"],
    "regression.write_dataset": [
        "--cfg.data_dir={}", "--cfg.y_name=margins", "--cfg.out_path={}/x.beton",
    ],
    "evaluation.lds": [
        "--lds.datamodels={}/../datamodels/test_50pct.pt", "--lds.store={}", "--lds.out={}/x.npy",
    ],
    "evaluation.linear_share": ["--share.store={}", "--share.out={}/x.json"],
    "analysis.report": [
        "--report.datamodels={}/../datamodels/test_50pct.pt", "--report.store={}",
        "--report.out={}/x.html",
    ],
    "analysis.clusters": [
        "--clusters.datamodels={}/../datamodels/test_50pct.pt", "--clusters.out={}/deep/x",
    ],
    "evaluation.counterfactuals": [
        "--counterfactuals.datamodels={}/../datamodels/test_50pct.pt",
        "--counterfactuals.store={}", "--counterfactuals.out={}/x",
    ],
    "training.initialize_store": ["--logging.logdir={}/x", "--logging.spec=spec.json"],
    "regression.compute_datamodels": [
        "--data.data_path={}", "--data.num_train=100", "--data.num_val=30", "--cfg.k=5",
        "--cfg.out_dir=out", "--cfg.moments={}/x.npz",
    ],
}  # fmt: skip


@pytest.mark.parametrize("command", OUTPUTS)
def test_no_output_may_lie_in_a_view(root, call, tmp_path, command):
    spec = {"num_models": 3, "schema": {"a": {"shape": [], "dtype": "float32"}}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    folder = open_view(root).path
    before = sorted(folder.iterdir())
    result = call(command, *(option.format(folder) for option in OUTPUTS[command]))
    assert_fails(result, 2, f"lies in {folder}, which is read-only")
    assert sorted(folder.iterdir()) == before
