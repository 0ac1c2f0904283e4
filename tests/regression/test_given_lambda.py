"""A lambda that is given: nothing is held out, and the saved fit is at just that lambda."""

import numpy as np
import pytest

import datamodels
from datamodels.errors import UsageError
from datamodels.regression.compute_datamodels import main
from datamodels.regression.results import Results
from datamodels.regression.status import Status
from tests.conftest import assert_fails
from tests.regression.problems import PROBLEMS, Exact, outputs_of, random_masks

N, P, T = 90, 17, 4


@pytest.fixture(scope="module")
def data():
    x = random_masks(N, P)
    return x, outputs_of(x, T)


@pytest.fixture
def store(data, tmp_path):
    (tmp_path / "store").mkdir()
    for key, array in zip(("masks", "margins"), data, strict=True):
        np.save(tmp_path / "store" / f"{key}.npy", array)
    np.save(tmp_path / "store" / "_completed.npy", np.ones(N, bool))
    return tmp_path / "store"


@pytest.fixture
def compute(run_here, store, tmp_path):
    def run(*options, out="out"):
        return run_here(
            main, f"--data.data_path={store}", f"--data.num_train={N}", "--cfg.k=30",
            f"--cfg.out_dir={tmp_path / out}", *options,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("engine", ["cpu", "few_rows", "screened"])
@pytest.mark.parametrize("name", ["plain", "few_rows", "float_masks", "unequal_alphas"])
@pytest.mark.filterwarnings("ignore:1 mask column never changes")
def test_saved_fit_is_certified_at_that_lambda(name, engine):
    problem = PROBLEMS[name]()
    exact = Exact.of(problem.x, problem.y)
    for share in (0.9, 0.1, 0.013):
        lam = share * exact.lambda_max
        fitted = datamodels.fit(problem.x, problem.y, lam=lam, engine=engine, k=30)
        gap = exact.relative_gap(fitted.weight * exact.scale[:, None], lam)
        assert gap.max() <= 1e-7
        np.testing.assert_array_equal(fitted.lam, lam.astype(np.float32))


@pytest.mark.parametrize("use_bias", [True, False])
def test_at_and_above_lambda_max_only_the_mean_is_left(data, use_bias):
    x, y = data
    lam = Exact.of(x, y, use_bias).lambda_max * np.array([1.0001, 1.5, 10, 1e6])
    fitted = datamodels.fit(x, y, lam=lam, use_bias=use_bias)
    assert not fitted.weight.any()
    np.testing.assert_allclose(fitted.bias, y.mean(axis=0) * use_bias, rtol=1e-6)


def test_a_number_is_that_lambda_for_all_targets(data):
    one = datamodels.fit(*data, lam=0.07)
    each = datamodels.fit(*data, lam=np.full(T, 0.07))
    np.testing.assert_array_equal(one.weight, each.weight)


def test_slices_of_the_targets_take_their_lambdas(data):
    lam = np.array([0.2, 0.1, 0.05, 0.02])
    every = datamodels.fit(*data, lam=lam)
    some = datamodels.fit(*data, lam=lam, targets=slice(1, 3))
    np.testing.assert_array_equal(every.weight[:, 1:3], some.weight)
    np.testing.assert_array_equal(some.lam, lam[1:3].astype(np.float32))


def test_the_path_to_a_tiny_lambda_ends_there(data):
    fitted = datamodels.fit(*data, lam=1e-9, k=10, eps=0.1)
    x, y = data
    z = np.c_[np.ones(N), x]
    least_squares = np.linalg.lstsq(z, y, rcond=None)[0]
    np.testing.assert_allclose(fitted.weight, least_squares[1:], atol=2e-3)


def test_the_command_takes_a_number_or_a_file_and_needs_no_num_val(compute, data, tmp_path):
    x, y = data
    lam = np.array([0.2, 0.1, 0.05, 0.02])
    np.save(tmp_path / "lam.npy", lam)
    for given, values in (("0.07", np.full(T, 0.07)), ("lam.npy", lam)):
        result = compute(f"--cfg.lam={given}", out=f"out {given}")
        assert result.returncode == 0, result.stderr
        assert "90 models (lambda given)" in result.stdout
        results = Results.read(tmp_path / f"out {given}")
        np.testing.assert_array_equal(results.final["lambda"], values)
        assert (results.final["status"] == Status.CONVERGED).all()
        exact = Exact.of(x, y)
        w = results.datamodels.weight * exact.scale[:, None]
        assert (exact.relative_gap(w, values) <= 1e-7).all()
        assert "val_mse" not in results.final
        assert np.isnan(results.path["val_mse"]).all()
        assert len(results.rows.rows) == N


def test_num_val_rows_are_fitted_too_where_lambda_is_given(compute, tmp_path):
    compute("--cfg.lam=0.07", out="all")
    fewer = compute("--cfg.lam=0.07", "--data.num_train=70", "--data.num_val=20", out="split")
    assert fewer.returncode == 0, fewer.stderr
    one, other = (Results.read(tmp_path / out).datamodels for out in ("all", "split"))
    np.testing.assert_array_equal(one.weight, other.weight)


@pytest.mark.parametrize(
    ("options", "status", "needles"),
    [
        (["--cfg.lam=0"], 2, ["lam=0", "above 0"]),
        (["--cfg.lam=-0.1"], 2, ["lam=-0.1"]),
        (["--cfg.lam=nan"], 2, ["lam=nan"]),
        (["--cfg.lam=inf"], 2, ["lam=inf"]),
        (["--cfg.lam=nowhere.npy"], 2, ["nowhere.npy", "neither a number nor a file"]),
        (["--cfg.lam=short.npy"], 1, ["short.npy", "(3,)", "each of the 4 targets"]),
        (["--cfg.lam=zero.npy"], 1, ["zero.npy", "above 0"]),
        (["--cfg.lam=text.npy"], 1, ["text.npy"]),
        (["--cfg.lam=0.1", "--cfg.folds=5"], 2, ["lam and folds are both given"]),
        ([], 2, ["num_val is missing", "cfg.folds", "cfg.lam"]),
    ],
)
def test_what_is_no_lambda_is_refused(compute, tmp_path, options, status, needles):
    for name, values in (("short", np.ones(3)), ("zero", np.arange(T)), ("text", ["a"] * T)):
        np.save(tmp_path / f"{name}.npy", values)
    assert_fails(compute(*options), status, *needles)
    left = [path.name for path in tmp_path.iterdir() if path.suffix != ".npy"]
    assert left == ["store"]


@pytest.mark.parametrize("lam", [0, -1.0, np.nan, "0.1", [0.1, 0.2], [[0.1]], True])
def test_what_is_no_lambda_is_refused_by_fit(data, lam):
    with pytest.raises(UsageError, match="one lambda above 0"):
        datamodels.fit(*data, lam=lam)


@pytest.mark.parametrize("options", [{"num_val": 5}, {"folds": 5}])
def test_nothing_chooses_a_lambda_that_is_given(data, options):
    with pytest.raises(UsageError, match="lam"):
        datamodels.fit(*data, lam=0.1, **options)
