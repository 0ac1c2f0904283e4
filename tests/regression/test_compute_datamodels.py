import json
import os
from functools import partial

import numpy as np
import pytest
import torch

from datamodels import Datamodels
from datamodels.errors import InputError
from datamodels.regression.compute_datamodels import main
from datamodels.regression.logs import read_logs
from datamodels.regression.results import Results
from datamodels.regression.run_config import RunConfig
from datamodels.regression.write_dataset import write_dataset
from tests.conftest import assert_fails
from tests.regression.problems import outputs_of, random_masks

N, P, T = 120, 20, 4


@pytest.fixture
def folder(tmp_path):
    """A store of 120 models of which two are not complete."""
    masks = random_masks(N, P)
    flags = np.ones(N, bool)
    flags[[5, 60]] = False
    (tmp_path / "store").mkdir()
    for key, array in {
        "masks": masks,
        "margins": outputs_of(masks, T),
        "_completed": flags,
    }.items():
        np.save(tmp_path / "store" / f"{key}.npy", array)
    return tmp_path / "store"


@pytest.fixture
def compute(run_here, folder, tmp_path):
    """``compute("--cfg.k=5", ...)`` with the store's path and a first choice of everything else."""

    def run_compute(*options, out="out", command=partial(run_here, main)):  # noqa: B008
        given = {str(option).partition("=")[0] for option in options}
        base = {"--data.data_path": folder, "--data.num_train": 80, "--data.num_val": 20,
                "--cfg.k": 20, "--cfg.eps": 0.01, "--cfg.out_dir": tmp_path / out}  # fmt: skip
        defaults = [f"{name}={value}" for name, value in base.items() if name not in given]
        return command(*defaults, *options)

    return run_compute


def weights(folder):
    return torch.load(folder / "datamodels.pt", weights_only=True)


def test_results_are_where_users_look_for_them(compute, run, tmp_path):
    result = compute(command=partial(run, "regression.compute_datamodels"))
    assert result.returncode == 0, result.stderr
    saved = weights(tmp_path / "out")
    assert {key: tuple(value.shape) for key, value in saved.items()} == {
        "weight": (P, T), "bias": (T,), "lam": (T,)}  # fmt: skip
    assert all(value.dtype == torch.float32 for value in saved.values())
    logs = read_logs(tmp_path / "out")
    assert logs["regularization_path"]["val_mse"].shape == (20, T)
    assert logs["final_lambda"]["gap"].max() <= 1e-7
    np.testing.assert_allclose(logs["final_lambda"]["lambda"], saved["lam"], rtol=1e-6)
    config = RunConfig.read(tmp_path / "out")
    assert (config.num_train, config.num_val, config.fit.k) == (80, 20, 20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "store"]


def test_weights_predict_raw_masks(compute, folder, tmp_path):
    compute("--data.num_train=90")
    fitted = Datamodels.load(tmp_path / "out" / "datamodels.pt")
    masks, margins = np.load(folder / "masks.npy"), np.load(folder / "margins.npy")
    unseen = slice(112, None)
    residual = margins[unseen] - fitted.predict(masks[unseen])
    assert residual.var() < 0.5 * margins[unseen].var()
    assert abs(residual.mean()) < 0.5 * abs(margins.mean())


def test_a_beton_and_its_store_give_the_same_bytes(compute, folder, tmp_path):
    write_dataset(folder, tmp_path / "a.beton", "margins")
    assert compute(out="store_out").returncode == 0
    assert compute(f"--data.data_path={tmp_path / 'a.beton'}", out="beton_out").returncode == 0
    for key, value in weights(tmp_path / "store_out").items():
        torch.testing.assert_close(value, weights(tmp_path / "beton_out")[key], rtol=0, atol=0)


def test_a_slice_of_the_targets_is_that_slice_of_all(compute, tmp_path):
    compute(out="all")
    sliced = compute("--data.target_start_ind=1", "--data.target_end_ind=3", out="some")
    assert sliced.returncode == 0, sliced.stderr
    torch.testing.assert_close(
        weights(tmp_path / "all")["weight"][:, 1:3], weights(tmp_path / "some")["weight"]
    )


def test_later_rows_stay_untouched(compute, folder, tmp_path):
    compute(out="before")
    masks = np.load(folder / "masks.npy")
    margins = np.load(folder / "margins.npy")
    masks[102:], margins[102:] = False, 1e6  # two rows before these are not complete
    np.save(folder / "masks.npy", masks)
    np.save(folder / "margins.npy", margins)
    compute(out="after")
    assert torch.equal(
        weights(tmp_path / "before")["weight"], weights(tmp_path / "after")["weight"]
    )


def test_seed_picks_the_validation_rows_and_minus_one_takes_the_last(compute, folder, tmp_path):
    compute("--data.seed", "-1", out="last")
    margins = np.load(folder / "margins.npy")
    margins[83:102] += 1e3 * np.random.default_rng(0).standard_normal((19, T))
    np.save(folder / "margins.npy", margins)
    compute("--data.seed=-1", out="noisy")

    def train_mse(out):
        return read_logs(tmp_path / out)["regularization_path"]["train_mse"][0]

    np.testing.assert_array_equal(
        train_mse("last"), train_mse("noisy")
    )  # none of these were fitted
    compute("--data.seed=0", out="drawn")
    assert (train_mse("drawn") > train_mse("noisy")).all()


def test_one_yaml_serves_several_commands(compute, run, run_here, folder, tmp_path):
    (tmp_path / "c.yml").write_text(
        f"""
data: {{data_path: '{folder}', num_train: 8_0, num_val: 20, seed: 0, target_start_ind: 0,
       target_end_ind: -1}}
cfg: {{k: 20, batch_size: 7, lr: 5e-3, eps: 1e-2, out_dir: '{tmp_path / "yaml"}', num_workers: 8,
      data_dir: '{folder}', y_name: margins, out_path: '{tmp_path / "y.beton"}', use_bias: 1}}
early_stopping: {{check_every: 3, eps: 5e-11}}
training: {{epochs: 5}}
"""
    )
    result = run_here(main, "-C", tmp_path / "c.yml")
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr
    assert result.stderr.count("cfg.lr") == 1
    assert run("regression.write_dataset", "-C", tmp_path / "c.yml").returncode == 0
    compute()
    torch.testing.assert_close(weights(tmp_path / "yaml"), weights(tmp_path / "out"))


def test_without_a_bias(compute, tmp_path):
    assert compute("--cfg.use_bias=0").returncode == 0
    assert not weights(tmp_path / "out")["bias"].any()


def test_constant_columns_and_targets_are_warnings(compute, folder, tmp_path):
    masks, margins = np.load(folder / "masks.npy"), np.load(folder / "margins.npy")
    masks[:, 3], masks[:, 7], margins[:, 2] = True, False, 4.5
    np.save(folder / "masks.npy", masks)
    np.save(folder / "margins.npy", margins)
    result = compute()
    assert result.returncode == 0, result.stderr
    assert "2 mask columns never change" in result.stderr
    assert "1 target never changes" in result.stderr
    saved = weights(tmp_path / "out")
    assert not saved["weight"][[3, 7]].any()
    assert not saved["weight"][:, 2].any()
    assert saved["bias"][2] == 4.5


def test_a_target_constant_over_the_training_rows_alone_is_an_error(compute, folder, tmp_path):
    margins = np.load(folder / "margins.npy")
    margins[:82, 2] = 4.5
    np.save(folder / "margins.npy", margins)
    result = compute("--data.seed=-1")
    assert_fails(result, 1, "target 2 is without a lambda", "1 target never changes over 80 rows")
    assert read_logs(tmp_path / "out")["final_lambda"]["status"].tolist() == [0, 0, -1, 0]


def test_differences_of_means_need_no_rows_that_choose(compute, here):
    made = here("a", "--cfg.estimator=difference", num_train=100, num_val=None)
    assert "val_mse" not in made.final
    assert made.datamodels.weight.any()
    assert_fails(compute("--cfg.estimator=difference", "--cfg.lam=1", out="b"), 2, "has no lambda")


def test_options_without_effect_are_named(compute):
    result = compute("--cfg.num_workers=3", "--cfg.device=cpu", "--cfg.engine=screened")
    assert "cfg.num_workers is ignored by every engine" in result.stderr
    assert "ignored, as engine=screened runs on the CPU: cfg.device=cpu" in result.stderr
    assert "SAGA" not in result.stderr


def test_a_damaged_log_is_named(compute, tmp_path):
    compute()
    file = tmp_path / "out" / "final_lambda" / "gap.npy"
    file.write_bytes(file.read_bytes()[:9])
    with pytest.raises(InputError, match=r"gap\.npy is damaged"):
        read_logs(tmp_path / "out")


def test_the_summary_tells_what_was_made(compute, tmp_path):
    result = compute()
    assert "engine: cpu (the table of all pairs fits in memory)" in result.stderr
    first, *lines, last = result.stdout.splitlines()
    assert first == "4 datamodels of 20 training examples, from 80 + 20 models"
    assert [line.split("  ")[1] for line in lines] == [
        "lambda", "non-zero weights", "validation R2", "largest relative gap", "seconds"
    ]  # fmt: skip
    assert last == f"wrote {tmp_path / 'out' / 'datamodels.pt'}"


def test_results_say_the_options_and_the_engine_but_not_the_memory(compute, tmp_path):
    compute()
    config = RunConfig.read(tmp_path / "out")
    assert config.fit.engine == "cpu"
    assert config.engine_reason == "the table of all pairs fits in memory"
    assert config.fit.memory_gb is config.fit.target_block is None
    for path in tmp_path.rglob("*"):
        assert "unfinished" not in str(path)


# --- a file of moments ---------------------------------------------------------------------------


@pytest.fixture
def here(run_here, folder, tmp_path):
    """``here("out", "--cfg.k=5", ...)``: the command in this process; the results it left."""

    def run_compute(out, *options, num_train=80, num_val=20, fails=False):
        val = [] if num_val is None else [f"--data.num_val={num_val}"]
        result = run_here(
            main, f"--data.data_path={folder}", f"--data.num_train={num_train}", *val,
            "--cfg.k=20", "--cfg.eps=0.01", f"--cfg.out_dir={tmp_path / out}", *options,
        )  # fmt: skip
        assert bool(result.returncode) == fails, result.stderr
        return result.stderr if fails else Results.read(tmp_path / out)

    return run_compute


def assert_same_results(one, other):
    np.testing.assert_allclose(one.final["lambda"], other.final["lambda"], rtol=1e-9)
    np.testing.assert_allclose(one.datamodels.weight, other.datamodels.weight, atol=1e-5)
    np.testing.assert_allclose(one.datamodels.bias, other.datamodels.bias, atol=1e-4)


MOMENTS = "--cfg.moments=m.npz"


@pytest.mark.parametrize("options", [[], ["--cfg.folds=3"], ["--cfg.lam=0.1"]])
def test_a_file_of_moments_is_made_and_used_again(here, tmp_path, options):
    num_val = None if options else 20
    made = here("made", MOMENTS, *options, num_val=num_val)
    content = (tmp_path / "m.npz").read_bytes()
    used = here("used", MOMENTS, *options, num_val=num_val)
    for one, other in ((made.path, used.path), (made.final, used.final)):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    np.testing.assert_array_equal(made.datamodels.weight, used.datamodels.weight)
    assert (tmp_path / "m.npz").read_bytes() == content
    assert_same_results(made, here("without", *options, num_val=num_val))


def test_moments_serve_other_targets_paths_and_validation_rows(here):
    here("first", MOMENTS)
    for i, options in enumerate(
        (["--data.target_start_ind=1", "--data.target_end_ind=3"],
         ["--cfg.k=7", "--cfg.eps=0.1"], ["--data.seed=9"], ["--cfg.rule=min", "--cfg.tol=1e-5"],
         ["--cfg.use_bias=0"], ["--cfg.estimator=ridge"])
    ):  # fmt: skip
        assert_same_results(here(f"with{i}", MOMENTS, *options), here(f"without{i}", *options))


def test_rows_trained_since_are_added_to_the_moments(here):
    for folds in ([], ["--cfg.folds=3"]):
        name, num_val = f"--cfg.moments=m{len(folds)}.npz", None if folds else 20
        here(f"first{len(folds)}", name, *folds, num_train=50, num_val=num_val)
        more = here(f"more{len(folds)}", name, *folds, num_train=90, num_val=num_val)
        anew = here(f"anew{len(folds)}", *folds, num_train=90, num_val=num_val)
        assert_same_results(more, anew)
        again = here(f"again{len(folds)}", name, *folds, num_train=90, num_val=num_val)
        np.testing.assert_array_equal(more.datamodels.weight, again.datamodels.weight)


@pytest.mark.parametrize(
    ("first", "then", "needle"),
    [
        ([], {"num_train": 60}, "rows that the fit does not use"),
        (["--cfg.folds=3"], {"options": ["--cfg.folds=4"]}, "folds=3, seed=0"),
        (["--cfg.folds=3"], {"options": ["--cfg.folds=3", "--data.seed=1"]}, "seed=1"),
        ([], {"options": ["--cfg.folds=3"]}, "made without folds"),
        (["--cfg.groups=init"], {}, "groups=init"),
        ([], {"options": ["--cfg.groups=init"]}, "groups=None"),
        ([], {"change": "masks"}, "other data"),
        ([], {"change": "margins"}, "other data"),
        ([], {"options": ["--cfg.engine=few_rows"]}, "uses no file"),
    ],
)
def test_moments_of_something_else_are_refused(here, folder, tmp_path, first, then, needle):
    np.save(folder / "init.npy", np.arange(N) % 3)
    num_val = None if any("folds" in option for option in first) else 20
    here("first", MOMENTS, *first, num_val=num_val)
    content = (tmp_path / "m.npz").read_bytes()
    if key := then.pop("change", None):
        array = np.load(folder / f"{key}.npy")
        np.save(folder / f"{key}.npy", array[::-1].copy())
    options = then.pop("options", [])
    num_val = None if any("folds" in option for option in options) else 20
    num_train = then.pop("num_train", 80)
    said = here("then", MOMENTS, *options, num_val=num_val, num_train=num_train, fails=True)
    assert needle in said
    assert (tmp_path / "m.npz").read_bytes() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "m.npz", "store"]


def save(folder, **arrays):
    for key, array in arrays.items():
        np.save(folder / f"{key}.npy", array)


def with_nan(folder):
    margins = np.load(folder / "margins.npy")
    margins[7, 2] = np.nan
    return margins


def cut(path, size=100):
    os.truncate(path, path.stat().st_size - size)


@pytest.mark.parametrize(
    ("damage", "options", "status", "needles"),
    [
        (None, ["--data.data_path=nowhere"], 1, ["nowhere"]),
        (lambda f: cut(f / "masks.npy"), [], 1, ["masks.npy is truncated"]),
        (lambda f: save(f, _completed=np.zeros(N, bool)), [], 1, ["no complete row"]),
        (None, ["--data.num_train=100"], 1, ["num_train=100", "need 120 complete rows", "has 118"]),
        (lambda f: save(f, masks=np.zeros((N, 3, 3), bool)), [], 1, ["(120, 3, 3)"]),
        (lambda f: save(f, margins=with_nan(f)), [], 1, ["row 7, target 2", "nan"]),
        (None, ["--cfg.k=0"], 2, ["k=0"]),
        (None, ["--cfg.k=-3"], 2, ["k=-3"]),
        (None, ["--cfg.eps=0"], 2, ["eps=0"]),
        (None, ["--cfg.eps=1"], 2, ["eps=1"]),
        (None, ["--cfg.eps=nan"], 2, ["eps=nan"]),
        (None, ["--cfg.batch_size=0"], 2, ["batch_size=0"]),
        (None, ["--data.num_val=0"], 2, ["num_val=0"]),
        (None, ["--data.num_train=1"], 2, ["num_train=1"]),
        (None, ["--data.seed=-2"], 2, ["seed=-2"]),
        (None, ["--data.target_start_ind=2", "--data.target_end_ind=2"], 2, ["select no target"]),
        (None, ["--data.target_start_ind=4"], 2, ["target_start_ind=4", "has 4 targets, 0 to 3"]),
        (None, ["--data.target_end_ind=9"], 2, ["target_end_ind=9", "4 targets"]),
        (None, ["--data.y_name=margin"], 1, ["no array 'margin'"]),
        (None, ["--cfg.kk=3"], 2, ["did you mean --cfg.k?"]),
    ],
)
def test_bad_input_is_explained_and_leaves_nothing(
    compute, folder, tmp_path, damage, options, status, needles
):
    if damage:
        damage(folder)
    assert_fails(compute(*options), status, *needles)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_an_existing_out_dir_is_left_alone(compute, tmp_path):
    (tmp_path / "out").mkdir()
    assert_fails(compute(), 1, "exists already")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("text", ["cfg: {kk: 3}\n", "data:\n  num_tran: 5\n", "cfg.ep: 0.1\n"])
def test_a_misspelled_key_in_yaml_is_an_error(compute, tmp_path, text):
    (tmp_path / "c.yml").write_text(text)
    assert_fails(compute("-C", tmp_path / "c.yml"), 2, "did you mean")
    assert not (tmp_path / "out").exists()


def test_a_beton_cut_short_or_with_foreign_fields(compute, folder, tmp_path):
    beton = tmp_path / "a.beton"
    write_dataset(folder, beton, "margins")
    whole = beton.read_bytes()
    for content, needle in ((whole[:-5], "a.beton"), (b"hello", "a.beton"),
                            (whole.replace(b"targets", b"labels\0"), "Its fields")):  # fmt: skip
        beton.write_bytes(content)
        assert_fails(compute(f"--data.data_path={beton}"), 1, needle)
        assert not (tmp_path / "out").exists()


def test_config_that_was_changed_by_hand_is_refused(compute, tmp_path):
    compute()
    path = tmp_path / "out" / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"colour": "blue"}))
    with pytest.raises(ValueError, match="damaged"):
        RunConfig.read(tmp_path / "out")
