import re

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, pearsonr, spearmanr

from datamodels.errors import InputError
from datamodels.evaluation.held_out import read_datamodels, read_held_out
from datamodels.regression.write_dataset import write_dataset
from tests.conftest import assert_fails

N, P = 40, 6


@pytest.fixture
def folder(tmp_path):
    """A store of 40 models (rows 30 and 31 incomplete), and scores that nearly explain it."""
    rng = np.random.default_rng(0)
    masks = rng.random((N, P)) < 0.5
    weight = rng.standard_normal((P, P)).astype(np.float32)
    margins = (masks @ weight + rng.standard_normal((N, P))).astype(np.float32)
    flags = np.ones(N, bool)
    flags[[30, 31]] = False
    for key, array in {"masks": masks, "margins": margins, "_completed": flags}.items():
        np.save(tmp_path / f"{key}.npy", array)
    np.save(tmp_path / "scores.npy", weight)
    torch.save(
        {"weight": torch.tensor(weight), "bias": torch.zeros(P), "lam": torch.zeros(P)},
        tmp_path / "datamodels.pt",
    )
    return tmp_path


def expected(folder, rows):
    masks, margins, weight = (np.load(folder / f"{k}.npy") for k in ("masks", "margins", "scores"))
    predictions = masks[rows] @ weight.astype(float)
    return [spearmanr(predictions[:, t], margins[rows, t]).statistic for t in range(P)]


@pytest.mark.parametrize("what", ["--lds.datamodels=datamodels.pt", "--lds.scores=scores.npy"])
@pytest.mark.parametrize("rows", [None, "20-29,32-39"])
def test_it_prints_the_mean_over_targets(run, folder, what, rows):
    options = [] if rows is None else [f"--lds.rows={rows}"]
    result = run("evaluation.lds", what, "--lds.store=.", "--lds.out=per_target.npy", *options)
    assert result.returncode == 0, result.stderr
    wanted = [i for i in range(N) if i not in (30, 31) and (rows is None or i >= 20)]
    scores = expected(folder, wanted)
    assert f"LDS {np.mean(scores):.3f} (95% interval" in result.stdout
    np.testing.assert_allclose(np.load(folder / "per_target.npy"), scores, atol=1e-12)


def test_own_columns_can_be_left_out(run, folder):
    options = ["--lds.scores=scores.npy", "--lds.store=.", "--lds.exclude_own", "--lds.out=a.npy"]
    assert run("evaluation.lds", *options).returncode == 0
    scores = np.load(folder / "scores.npy")
    np.fill_diagonal(scores, 0)
    np.save(folder / "scores.npy", scores)
    complete = [i for i in range(N) if i not in (30, 31)]
    np.testing.assert_allclose(np.load(folder / "a.npy"), expected(folder, complete), atol=1e-12)


@pytest.mark.parametrize(
    ("options", "status", "needle"),
    [
        ([], 2, "give one of"),
        (["--lds.scores=scores.npy", "--lds.datamodels=datamodels.pt"], 2, "not both"),
        (["--lds.scores=nowhere.npy"], 1, "nowhere.npy"),
        (["--lds.scores=margins.npy"], 1, "weight (40, 6), masks (38, 6)"),
        (["--lds.scores=_completed.npy"], 1, "(n_train, n_targets)"),
        (["--lds.scores=scores.npy", "--lds.rows=29-32"], 1, "30-31"),
        (["--lds.scores=scores.npy", "--lds.rows=39-40"], 2, "rows 0 to 39"),
        (["--lds.scores=scores.npy", "--lds.rows=5"], 1, "needs 3 or more"),
        (["--lds.scores=scores.npy", "--lds.out=scores.npy"], 1, "exists"),
    ],
)
def test_bad_input_is_explained(run, folder, options, status, needle):
    assert_fails(run("evaluation.lds", "--lds.store=.", *options), status, needle)


def test_pickled_code_is_never_run(run, folder):
    class Evil:
        def __reduce__(self):
            return (open, (str(folder / "ran"), "w"))

    torch.save({"weight": Evil()}, folder / "evil.pt")
    assert_fails(run("evaluation.lds", "--lds.store=.", "--lds.datamodels=evil.pt"), 1, "pickled")
    assert not (folder / "ran").exists()


@pytest.fixture
def fitted(run, folder):
    """Datamodels of targets 1 and 2 of the store, fitted on its first 20 complete rows."""
    result = run("regression.compute_datamodels", "--data.data_path=.", "--data.num_train=15",
                 "--data.num_val=5", "--cfg.k=10", "--cfg.out_dir=fit",
                 "--data.target_start_ind=1", "--data.target_end_ind=3")  # fmt: skip
    assert result.returncode == 0, result.stderr
    return "--lds.datamodels=fit/datamodels.pt"


def test_rows_of_the_fit_are_left_out_unless_named(run, fitted):
    result = run("evaluation.lds", fitted, "--lds.store=.", "--lds.out=a.npy")
    assert result.returncode == 0, result.stderr
    assert "on 18 models, 2 targets" in result.stdout
    assert "warning" not in result.stderr
    named = run("evaluation.lds", fitted, "--lds.store=.", "--lds.rows=10-29")
    assert "10 of the 20 rows took part in the fit" in named.stderr
    assert named.returncode == 0


def test_rows_of_the_fit_are_known_by_their_masks_wherever_the_store_lies(run, fitted, folder):
    for name in ("moved", "other"):
        (folder / name).mkdir()
        for key in ("masks", "margins", "_completed"):
            (folder / name / f"{key}.npy").write_bytes((folder / f"{key}.npy").read_bytes())
    np.save(folder / "other" / "masks.npy", ~np.load(folder / "masks.npy"))
    assert "on 18 models, 2 targets" in run("evaluation.lds", fitted, "--lds.store=moved").stdout
    assert "on 38 models, 2 targets" in run("evaluation.lds", fitted, "--lds.store=other").stdout


def test_a_fit_from_a_beton_knows_its_rows(run, folder):
    write_dataset(folder, folder / "a.beton", "margins")
    made = run("regression.compute_datamodels", "--data.data_path=a.beton", "--data.num_train=15",
               "--data.num_val=5", "--cfg.k=10", "--cfg.out_dir=fit")  # fmt: skip
    assert made.returncode == 0, made.stderr
    result = run("evaluation.lds", "--lds.datamodels=fit/datamodels.pt", "--lds.store=.")
    assert "on 18 models, 6 targets" in result.stdout


def test_own_columns_of_some_of_the_training_examples(run, fitted, folder):
    result = run("evaluation.lds", fitted, "--lds.store=.", "--lds.exclude_own")
    assert result.returncode == 0, result.stderr
    margins = np.load(folder / "margins.npy")
    np.save(folder / "margins.npy", np.concatenate([margins, margins], axis=1))
    refused = run("evaluation.lds", fitted, "--lds.store=.", "--lds.exclude_own")
    assert_fails(refused, 2, "12 targets are not the 6 training examples")


def test_a_fit_on_all_rows_leaves_none_to_score(run, folder):
    run("regression.compute_datamodels", "--data.data_path=.", "--data.num_train=30",
        "--data.num_val=8", "--cfg.k=10", "--cfg.out_dir=fit")  # fmt: skip
    result = run("evaluation.lds", "--lds.datamodels=fit/datamodels.pt", "--lds.store=.")
    assert_fails(result, 1, "all 38 complete rows", "took part in the fit")


def test_outputs_that_never_change_cannot_be_ranked(run, folder):
    np.save(folder / "margins.npy", np.ones((N, P)))
    result = run("evaluation.lds", "--lds.scores=scores.npy", "--lds.store=.")
    assert_fails(result, 1, "no target varies")


def test_the_arrays_of_the_fit_are_scored_unless_others_are_named(run, folder):
    np.save(folder / "losses.npy", -np.load(folder / "margins.npy"))
    made = run("regression.compute_datamodels", "--data.data_path=.", "--data.num_train=15",
               "--data.num_val=5", "--cfg.k=10", "--cfg.out_dir=fit",
               "--data.y_name=losses")  # fmt: skip
    assert made.returncode == 0, made.stderr
    options = ["--lds.datamodels=fit/datamodels.pt", "--lds.store=."]
    run("evaluation.lds", *options, "--lds.out=fit.npy")
    named = run("evaluation.lds", *options, "--lds.y_name=margins", "--lds.out=margins_too.npy")
    assert "fitted to losses, and are scored on margins" in named.stderr
    np.testing.assert_allclose(
        np.load(folder / "fit.npy"), -np.load(folder / "margins_too.npy"), atol=1e-12
    )


def test_the_arrays_of_the_fit_are_known_where_its_store_was_moved(run, folder):
    store = folder / "store"
    store.mkdir()
    for key in ("masks", "margins", "_completed"):
        (store / f"{key}.npy").write_bytes((folder / f"{key}.npy").read_bytes())
    np.save(store / "losses.npy", np.load(folder / "margins.npy")[::-1])
    made = run("regression.compute_datamodels", "--data.data_path=store", "--data.num_train=15",
               "--data.num_val=5", "--cfg.k=10", "--cfg.out_dir=fit",
               "--data.y_name=losses")  # fmt: skip
    assert made.returncode == 0, made.stderr
    before = run("evaluation.lds", "--lds.datamodels=fit/datamodels.pt", "--lds.store=store")
    store.rename(folder / "moved")
    after = run("evaluation.lds", "--lds.datamodels=fit/datamodels.pt", "--lds.store=moved")
    assert after.returncode == 0, after.stderr
    assert after.stdout == before.stdout


def test_scores_of_any_method_over_all_complete_rows_with_the_defaults(run, folder):
    result = run("evaluation.lds", "--lds.scores=scores.npy", "--lds.store=.")
    assert result.returncode == 0, result.stderr
    complete = [i for i in range(N) if i not in (30, 31)]
    mean = np.mean(expected(folder, complete))
    assert re.fullmatch(
        rf"LDS {mean:.3f} \(95% interval 0\.\d\d\d to 0\.\d\d\d\) on 38 models, 6 targets\n",
        result.stdout,
    )


@pytest.mark.parametrize(
    ("name", "measure", "words"),
    [("kendall", kendalltau, "Kendall's tau-b"), ("pearson", pearsonr, "Pearson's correlation")],
)
def test_other_correlations_by_name(run, folder, name, measure, words):
    options = ["--lds.scores=scores.npy", "--lds.store=.", f"--lds.correlation={name}"]
    result = run("evaluation.lds", *options, "--lds.pooled", "--lds.resamples=50")
    assert result.returncode == 0, result.stderr
    complete = [i for i in range(N) if i not in (30, 31)]
    predictions = np.load(folder / "masks.npy")[complete] @ np.load(folder / "scores.npy")
    margins = np.load(folder / "margins.npy")[complete]
    mean = np.mean([measure(predictions[:, t], margins[:, t]).statistic for t in range(P)])
    pooled = measure(predictions.ravel(), margins.ravel()).statistic
    lds, line = result.stdout.splitlines()
    assert lds.startswith(f"LDS by {words} {mean:.3f} (95% interval")
    assert line.startswith(f"pooled {words} {pooled:.3f} over all 38 x 6 pairs")
    assert "LDS" not in line
    wrong = run("evaluation.lds", *options[:2], f"--lds.correlation={name[:-1]}")
    assert_fails(wrong, 2, f"did you mean {name}")


def test_repeated_trainings_are_averaged_where_the_store_says_so(run, folder):
    masks, margins = np.load(folder / "masks.npy"), np.load(folder / "margins.npy")
    ids = np.arange(N) // 2  # rows 30 and 31 are one mask, and incomplete
    masks = masks[2 * ids]
    np.save(folder / "masks.npy", masks)
    np.save(folder / "mask_id.npy", ids)
    np.save(folder / "id2.npy", ids)
    options = ["--lds.scores=scores.npy", "--lds.store=.", "--lds.resamples=0"]
    kept = [i for i in range(0, N, 2) if i != 30]
    predictions, means = (
        masks[kept] @ np.load(folder / "scores.npy"),
        np.stack([margins[i : i + 2].mean(axis=0) for i in kept]),
    )
    mean = np.mean([spearmanr(predictions[:, t], means[:, t]).statistic for t in range(P)])
    said = f"LDS {mean:.3f} on 19 masks (mean outputs of 38 trainings), 6 targets"
    assert said in run("evaluation.lds", *options).stdout
    (folder / "mask_id.npy").unlink()
    assert "on 38 models" in run("evaluation.lds", *options).stdout
    assert said in run("evaluation.lds", *options, "--lds.mask_id=id2").stdout
    assert_fails(run("evaluation.lds", *options, "--lds.mask_id=id3"), 1, "'id3'")
    np.save(folder / "masks.npy", ~masks ^ (np.arange(N) == 9)[:, None])
    refused = run("evaluation.lds", *options, "--lds.mask_id=id2")
    assert_fails(refused, 1, "rows 8 and 9 have the same mask_id")


def test_other_trainings_of_fitted_masks_are_not_unseen(run, folder, fitted):
    ids = np.arange(N)
    ids[35] = 3  # row 3 took part in the fit
    np.save(folder / "mask_id.npy", ids)
    masks = np.load(folder / "masks.npy")
    masks[35] = masks[3]
    np.save(folder / "masks.npy", masks)
    assert "on 17 models, 2 targets" in run("evaluation.lds", fitted, "--lds.store=.").stdout


def test_rows_of_the_fit_stay_known_while_some_are_incomplete(run, fitted, folder):
    flags = np.load(folder / "_completed.npy")
    flags[3] = False  # as while that row is trained anew
    np.save(folder / "_completed.npy", flags)
    result = run("evaluation.lds", fitted, "--lds.store=.")
    assert "on 18 models, 2 targets" in result.stdout
    assert "warning" not in result.stderr


@pytest.mark.parametrize("kind", ["incomplete", "other masks"])
def test_scores_warn_where_no_row_of_the_fit_can_be_recognized(run, fitted, folder, kind):
    flags, masks = np.load(folder / "_completed.npy"), np.load(folder / "masks.npy")
    if kind == "incomplete":
        flags[:16] = False
    else:
        masks[:8] ^= True
    np.save(folder / "_completed.npy", flags)
    np.save(folder / "masks.npy", masks)
    result = run("evaluation.lds", fitted, "--lds.store=.")
    assert f"on {flags.sum()} models" in result.stdout
    assert "it is not known which rows" in result.stderr
    assert "first 16 of them, rows 0 to 15, none is complete now" in result.stderr


def test_nan_is_named_by_its_row_of_the_store(fitted, folder):
    margins = np.load(folder / "margins.npy")
    margins[35, 2] = np.nan
    np.save(folder / "margins.npy", margins)
    scored = read_datamodels(folder / "fit" / "datamodels.pt")
    with pytest.raises(InputError, match="outputs of row 35 are NaN at target 2: name other rows"):
        read_held_out(folder, scored)


def test_models_that_were_fitted_are_counted_as_those_scored_on(call, folder):
    np.save(folder / "mask_id.npy", np.arange(N) // 2)
    np.save(folder / "masks.npy", np.load(folder / "masks.npy")[np.arange(N) // 2 * 2])
    with pytest.warns(UserWarning, match="share their masks"):
        made = call("regression.compute_datamodels", "--data.data_path=.", "--data.num_train=15",
                    "--data.num_val=5", "--cfg.k=10", "--cfg.out_dir=fit")  # fmt: skip
    assert made.returncode == 0, made.stderr
    scored = read_datamodels(folder / "fit" / "datamodels.pt")
    with pytest.warns(UserWarning, match="10 of the 20 rows took part in the fit"):
        held_out = read_held_out(folder, scored, rows="10-29")
    assert (len(held_out.outputs), held_out.n_trainings, held_out.n_fitted) == (10, 20, 5)
