import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

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
    plain = run("evaluation.lds", "--lds.scores=scores.npy", "--lds.store=.")
    without = run("evaluation.lds", "--lds.scores=scores.npy", "--lds.store=.", "--lds.exclude_own")
    assert without.returncode == 0, without.stderr
    assert plain.stdout != without.stdout


@pytest.mark.parametrize(
    ("options", "status", "needle"),
    [
        ([], 2, "give one of"),
        (["--lds.scores=scores.npy", "--lds.datamodels=datamodels.pt"], 2, "not both"),
        (["--lds.scores=nowhere.npy"], 1, "nowhere.npy"),
        (["--lds.scores=margins.npy"], 1, "40"),
        (["--lds.scores=_completed.npy"], 1, "(n_train, n_targets)"),
        (["--lds.scores=scores.npy", "--lds.rows=29-32"], 1, "30-31"),
        (["--lds.scores=scores.npy", "--lds.rows=39-40"], 2, "rows 0 to 39"),
        (["--lds.scores=scores.npy", "--lds.rows=5"], 1, "3"),
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
