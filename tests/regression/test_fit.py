"""The whole fit: invariances, choices, refusals, and what it leaves."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodels.errors import ExistsError, InputError, MissingFileError, UsageError
from datamodels.regression.fit import fit_datamodels
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.logs import read_logs, write_logs
from datamodels.regression.row_source import ArraySource
from datamodels.regression.status import Status
from datamodels.regression.validation_rows import pick_validation_rows
from tests.regression.problems import PROBLEMS, Exact, outputs_of, random_masks

CONFIG = FitConfig(k=30, eps=1e-2)
N, P, T, N_VAL = 300, 45, 7, 60  # 7 targets: no block size below divides them


@pytest.fixture(scope="module")
def data():
    x = random_masks(N, P)
    return x, outputs_of(x, T, noise=0.7)


def fit(x, y, config=CONFIG, train=None, val=None, **options):
    train = np.arange(N_VAL, len(x)) if train is None else train
    val = np.arange(N_VAL) if val is None else val
    return fit_datamodels(ArraySource(x, y), train, val, config, **options)


@pytest.fixture(scope="module")
def reference(data):
    return fit(*data)


def assert_same_fit(a, b, atol=2e-3):
    """Equal up to what a gap of 1e-7 leaves open in the weights."""
    np.testing.assert_allclose(a.datamodels.lam, b.datamodels.lam, rtol=1e-5)
    np.testing.assert_allclose(a.datamodels.weight, b.datamodels.weight, atol=atol)
    np.testing.assert_allclose(a.datamodels.bias, b.datamodels.bias, atol=10 * atol)


def assert_identical(a, b):
    for name in ("weight", "bias", "lam"):
        np.testing.assert_array_equal(getattr(a.datamodels, name), getattr(b.datamodels, name))
    for ours, theirs in ((a.path, b.path), (a.final, b.final)):
        for field in ours:
            np.testing.assert_array_equal(ours[field], theirs[field])


# --- what is fitted ------------------------------------------------------------------------------


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("name", PROBLEMS)
def test_saved_fit_is_certified_on_all_rows(name, use_bias):
    problem = PROBLEMS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant columns
        result = fit(
            problem.x, problem.y, FitConfig(k=30, eps=1e-2, use_bias=use_bias),
            np.arange(20, len(problem.x)), np.arange(20),
        )  # fmt: skip
    exact = Exact.of(problem.x, problem.y, use_bias)
    w = result.datamodels.weight.astype(float) * exact.scale[:, None]
    gap = exact.relative_gap(w, result.final["lambda"])
    assert (gap <= 1e-7).all()
    np.testing.assert_allclose(gap, result.final["gap"], atol=1e-10)
    assert (result.final["status"] == Status.CONVERGED).all()


def test_saved_weights_predict_raw_masks_in_the_outputs_units(data, reference):
    x, y = data
    residual = y - reference.datamodels.predict(x)
    np.testing.assert_allclose((residual**2).mean(axis=0), reference.final["train_mse"], rtol=1e-4)
    new = random_masks(500, P, seed=9)
    truth = outputs_of(np.vstack([x, new]), T, noise=0.0)[N:]
    error = ((truth - reference.datamodels.predict(new)) ** 2).mean(axis=0)
    assert (error < 0.5 * truth.var(axis=0)).all()


def test_lambda_has_the_least_validation_error(reference):
    best = np.nanargmin(reference.path["val_mse"], axis=0)
    picked = reference.path["lambda"][best, np.arange(T)]
    np.testing.assert_array_equal(picked, reference.final["lambda"])
    assert reference.datamodels.lam.dtype == np.float32


def test_validation_r2_is_one_minus_the_share_left(data, reference):
    _, y = data
    spread = ((y[:N_VAL] - y[N_VAL:].mean(axis=0)) ** 2).mean(axis=0)
    expected = 1 - np.nanmin(reference.path["val_mse"], axis=0) / spread
    np.testing.assert_allclose(reference.validation_r2, expected, atol=1e-6)


def test_without_bias_the_saved_bias_is_zero(data):
    result = fit(*data, FitConfig(k=30, eps=1e-2, use_bias=False))
    assert not result.datamodels.bias.any()


# --- invariances ---------------------------------------------------------------------------------


def test_fit_is_invariant_to_the_order_rows_are_listed_in(data, reference):
    rng = np.random.default_rng(0)
    train, val = rng.permutation(np.arange(N_VAL, N)), rng.permutation(N_VAL)
    assert_identical(fit(*data, train=train, val=val), reference)


def test_fit_is_invariant_to_row_order(data, reference):
    x, y = data
    order = np.random.default_rng(0).permutation(N)
    new_place = np.argsort(order)
    shuffled = fit(x[order], y[order], train=new_place[N_VAL:], val=new_place[:N_VAL])
    assert_same_fit(shuffled, reference)


def test_fit_is_invariant_to_feature_order(data, reference):
    x, y = data
    order = np.random.default_rng(0).permutation(P)
    shuffled = fit(x[:, order], y).datamodels
    np.testing.assert_allclose(shuffled.weight, reference.datamodels.weight[order], atol=2e-3)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 100])
def test_fit_is_identical_for_every_block_of_targets(data, reference, block):
    assert_identical(fit(*data, FitConfig(k=30, eps=1e-2, target_block=block)), reference)


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 100}, {"memory_gb": 0.001}])
def test_fit_is_invariant_to_the_block_of_rows(data, reference, options):
    assert_same_fit(fit(*data, FitConfig(k=30, eps=1e-2, **options)), reference)


@pytest.mark.parametrize("threads", [1, 2, 1000])
def test_fit_is_identical_for_every_number_of_threads(data, reference, threads):
    assert_identical(fit(*data, FitConfig(k=30, eps=1e-2, threads=threads)), reference)


def test_fit_of_a_slice_of_targets_equals_the_whole(data, reference):
    part = fit(*data, targets=slice(2, 5))
    whole = reference.datamodels
    assert part.datamodels.n_targets == 3
    np.testing.assert_allclose(part.datamodels.weight, whole.weight[:, 2:5], atol=2e-3)
    np.testing.assert_allclose(part.datamodels.lam, whole.lam[2:5], rtol=1e-5)


def test_scale_and_shift_of_y_scale_and_shift_the_fit(data, reference):
    x, y = data
    moved = fit(x, 1000 * y + 7000).datamodels
    np.testing.assert_allclose(moved.weight, 1000 * reference.datamodels.weight, atol=2)
    np.testing.assert_allclose(moved.lam, 1000 * reference.datamodels.lam, rtol=1e-4)
    np.testing.assert_allclose(
        moved.predict(x), 1000 * reference.datamodels.predict(x) + 7000, atol=5
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_masks_of_zeros_and_ones_are_masks_whatever_their_dtype(data, reference, dtype):
    assert_same_fit(fit(data[0].astype(dtype), data[1]), reference)


def test_scale_of_a_feature_scales_its_weight(data, reference):
    x, y = data
    scaled = fit(x * np.float32(0.125) + 1, y).datamodels
    np.testing.assert_allclose(scaled.weight / 8, reference.datamodels.weight, atol=2e-3)


def test_half_precision_outputs_and_one_target_are_taken(data):
    x, y = data
    result = fit(x, y[:, 0].astype(np.float16))
    assert result.datamodels.weight.shape == (P, 1)


# --- warnings and refusals -----------------------------------------------------------------------


def test_constant_columns_warn_and_get_no_weight(data):
    x, y = data
    x = x.copy()
    x[:, [3, 8]] = [True, False]
    with pytest.warns(UserWarning, match=r"2 mask columns never change over 300 rows \(3, 8\)"):
        result = fit(x, y)
    assert not result.datamodels.weight[[3, 8]].any()


def test_constant_targets_warn_and_predict_their_mean(data):
    x, y = data
    y = y.copy()
    y[:, 2] = 0.1
    with pytest.warns(UserWarning, match=r"1 target never changes over 240 rows \(2\)"):
        result = fit(x, y)
    assert not result.datamodels.weight[:, 2].any()
    np.testing.assert_allclose(result.datamodels.bias[2], 0.1, rtol=1e-6)
    assert result.final["status"][2] == Status.CONVERGED
    assert result.final["gap"][2] == result.final["lambda"][2] == 0
    assert (result.path["status"][:, 2] == Status.NOT_RUN).all()
    assert np.isnan(result.validation_r2[2])


def test_a_target_constant_only_over_the_training_rows_predicts_the_mean_of_all(data):
    x, y = data
    y = y.copy()
    y[N_VAL:, 2] = 0.0
    with pytest.warns(UserWarning, match="1 target"):
        result = fit(x, y)
    assert not result.datamodels.weight[:, 2].any()
    np.testing.assert_allclose(result.datamodels.bias[2], y[:, 2].mean(), rtol=1e-5)


def test_an_ordinary_fit_does_not_warn(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(*data)


def test_what_is_not_finite_is_refused_by_row_and_target(data):
    x, y = data
    y = y.copy()
    y[123, 4] = np.nan
    with pytest.raises(InputError, match="outputs of row 123, target 4, are nan"):
        fit(x, y)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("k", 0), ("eps", 0.0), ("eps", 1.0), ("eps", -1.0), ("eps", float("nan")), ("tol", 0.0),
        ("final_tol", 1.0), ("max_sweeps", 0), ("final_max_sweeps", 0), ("target_block", 0),
        ("batch_size", 0), ("memory_gb", 0), ("threads", 0), ("folds", 1), ("lr", 0.0),
        ("engine", "gpu"), ("estimator", "lars"), ("rule", "max"), ("check_every", 0),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(UsageError, match=f"^{option}="):
        FitConfig(**{"k": 10, option: value})


@pytest.mark.parametrize(
    ("train", "val", "message"),
    [
        (np.arange(1), np.arange(5, 9), "1 training and 4 validation rows"),
        (np.arange(10), np.arange(0), "10 training and 0 validation rows"),
        (np.arange(10), np.arange(8, 12), r"2 rows \(the first is 8\) are in both parts"),
        (np.arange(10), np.arange(290, 302), "there are rows 0 to 299"),
    ],
)
def test_rows_that_cannot_be_fitted_are_refused(data, train, val, message):
    with pytest.raises(UsageError, match=message):
        fit(*data, train=train, val=val)


@pytest.mark.parametrize("targets", [slice(3, 3), slice(7, 9)])
def test_targets_that_select_nothing_are_refused(data, targets):
    with pytest.raises(UsageError, match="select none of the 7"):
        fit(*data, targets=targets)


# --- validation rows -----------------------------------------------------------------------------


def test_validation_rows_are_the_same_forever():
    np.testing.assert_array_equal(pick_validation_rows(20, 5, seed=0), [1, 4, 8, 17, 19])
    np.testing.assert_array_equal(pick_validation_rows(20, 5, seed=12345), [2, 3, 12, 16, 17])


def test_validation_rows_are_distinct_sorted_and_of_the_rows_used():
    rows = pick_validation_rows(1000, 300, seed=3)
    assert len(np.unique(rows)) == 300
    assert (np.diff(rows) > 0).all()
    assert rows[0] >= 0
    assert rows[-1] < 1000
    assert 400 < rows.mean() < 600


def test_validation_rows_depend_on_the_seed():
    drawn = {tuple(pick_validation_rows(50, 10, seed)) for seed in range(20)}
    assert len(drawn) == 20


def test_seed_minus_one_takes_the_last_rows():
    np.testing.assert_array_equal(pick_validation_rows(10, 3, seed=-1), [7, 8, 9])


@pytest.mark.parametrize(("n", "num_val"), [(10, 0), (10, 9), (10, 10), (5, -1)])
def test_too_few_rows_for_either_part_are_refused(n, num_val):
    with pytest.raises(UsageError, match=f"num_val={num_val}"):
        pick_validation_rows(n, num_val, seed=0)


@pytest.mark.parametrize("seed", [-2, 2**64])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(UsageError, match=f"seed={seed}"):
        pick_validation_rows(10, 3, seed)


# --- what it leaves ------------------------------------------------------------------------------


def test_logs_read_back_equal(reference, tmp_path):
    write_logs(tmp_path, reference.path, reference.final)
    logs = read_logs(tmp_path)
    for folder, fields in (
        ("regularization_path", reference.path),
        ("final_lambda", reference.final),
    ):
        assert set(logs[folder]) == set(fields)
        for name, values in fields.items():
            np.testing.assert_array_equal(logs[folder][name], values)
            np.testing.assert_array_equal(np.load(tmp_path / folder / f"{name}.npy"), values)


def test_logs_have_a_row_a_lambda_and_a_column_a_target(reference):
    assert set(reference.path) == {
        "lambda", "train_mse", "val_mse", "weight_nz", "gap", "iterations", "status",
    }  # fmt: skip
    assert set(reference.final) == set(reference.path)
    assert all(values.shape == (30, T) for values in reference.path.values())
    assert all(values.shape == (T,) for values in reference.final.values())


def test_logs_after_an_early_end_are_nan_and_minus_one(reference):
    ended = reference.path["status"] == Status.NOT_RUN
    assert ended.any()
    assert not (np.diff(ended.astype(int), axis=0) < 0).any()
    for name, values in reference.path.items():
        absent = np.isnan(values) if values.dtype.kind == "f" else values == -1
        np.testing.assert_array_equal(absent, ended, err_msg=name)


def test_logs_are_never_overwritten(reference, tmp_path):
    write_logs(tmp_path, reference.path, reference.final)
    with pytest.raises(ExistsError, match="regularization_path"):
        write_logs(tmp_path, reference.path, reference.final)
    with pytest.raises(MissingFileError, match="holds no log"):
        read_logs(tmp_path / "elsewhere")


def test_progress_reaches_the_end_of_every_stage(data):
    seen = {}
    fit(*data, progress=lambda stage, done, total: seen.update({stage: (done, total)}))
    assert seen == {
        "rows": (N_VAL, N_VAL), "moments": (N - N_VAL, N - N_VAL), "path": (T, T), "refit": (T, T),
    }  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    st.integers(5, 40), st.integers(1, 30), st.integers(1, 3), st.integers(0, 2**31),
    st.sampled_from([1e-6, 1.0, 1e6]), st.floats(0.05, 0.95), st.integers(1, 15),
    st.floats(1e-4, 0.9),
)  # fmt: skip
def test_any_small_problem_is_solved_and_certified(n, p, t, seed, unit, alpha, k, eps):
    """Whatever the shape, constant and equal columns included, the gap recomputed from the raw
    rows and the saved float32 weights is the one that is reported."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, p)) < alpha
    y = ((x @ rng.standard_normal((p, t)) + rng.standard_normal((n, t))) * unit).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant columns
        result = fit(x, y, FitConfig(k=k, eps=eps), np.arange(2, n), np.arange(2))
    exact = Exact.of(x, y)
    w = result.datamodels.weight.astype(float) * exact.scale[:, None]
    fitted = result.final["lambda"] > 0
    gap = exact.relative_gap(w, result.final["lambda"])[fitted]
    np.testing.assert_allclose(gap, result.final["gap"][fitted], atol=1e-9)
    converged = result.final["status"][fitted] == Status.CONVERGED
    assert (gap[converged] <= 1.001e-7).all()
    limited = result.final["status"][fitted] == Status.FLOAT32_LIMIT
    assert (converged | limited).all()
    assert (gap[limited] < 1e-5).all()


@pytest.mark.parametrize("offset", [1e4, 1e6, 1e8])
def test_an_offset_of_the_outputs_leaves_the_certificate_true(data, offset):
    x, y = data
    far = y.astype(np.float64) + offset
    result = fit(x, far)
    exact = Exact.of(x, far)
    gap = exact.relative_gap(
        result.datamodels.weight.astype(float) * exact.scale[:, None], result.final["lambda"]
    )
    assert (gap <= 1.001e-7).all()
    np.testing.assert_allclose(gap, result.final["gap"], atol=1e-9)


@pytest.mark.parametrize("offset", [1e4, 1e6])
def test_an_offset_of_float_masks_leaves_the_certificate_true(offset):
    far = np.random.default_rng(0).standard_normal((120, 20)) + offset
    near = far - offset  # exact
    y = outputs_of(near, 3)
    rows = {"train": np.arange(20, 120), "val": np.arange(20)}
    config = FitConfig(k=20, eps=1e-2)
    result, expected = (fit(x, y, config, **rows) for x in (far, near))
    exact = Exact.of(near, y)
    gap = exact.relative_gap(
        result.datamodels.weight.astype(float) * exact.scale[:, None], result.final["lambda"]
    )
    assert (gap <= 1.01e-7).all()
    np.testing.assert_allclose(result.datamodels.weight, expected.datamodels.weight, atol=1e-4)
    np.testing.assert_allclose(
        result.path["val_mse"], expected.path["val_mse"], rtol=1e-3, equal_nan=True
    )


def test_the_dense_end_of_few_rows_is_solved_in_few_sweeps():
    """Nearly as many weights as rows, where coordinate descent alone takes tens of thousands of
    sweeps, and equal columns, so that the support itself is singular."""
    rng = np.random.default_rng(0)
    x = rng.random((150, 400)) < 0.5
    x[:, 300:] = x[:, :100]
    y = (x @ rng.standard_normal((400, 8))).astype(np.float32)
    result = fit(x, y, FitConfig(k=100, eps=1e-5), np.arange(30, 150), np.arange(30))
    assert (result.final["status"] == Status.CONVERGED).all()
    assert result.final["weight_nz"].max() > 100
    assert result.final["iterations"].max() < 10_000


def test_tight_tolerances_of_the_path_are_met_in_float64(data):
    """A Gram matrix in float32 holds gaps to some 3e-7."""
    x, y = data
    rows = np.arange(N_VAL, N)
    result = fit(x, y, FitConfig(k=12, eps=1e-2, tol=1e-9, end_early=False))
    exact = Exact.of(x[rows], y[rows])
    assert (result.path["gap"] <= 1e-9).all()
    for t in range(T):
        weights = exact.sklearn_path(t, result.path["lambda"][:, t], tol=1e-14)
        mse = ((exact.y[:, [t]] - exact.z @ weights) ** 2).mean(axis=0)
        np.testing.assert_allclose(result.path["train_mse"][:, t], mse, rtol=1e-5)
