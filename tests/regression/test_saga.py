"""SAGA on loaders of batches: its solutions against scikit-learn's, and what must not matter."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso
from torch.utils.data import DataLoader, TensorDataset

from datamodels.errors import DatamodelsError, ExistsError, InputError, UsageError
from datamodels.regression.engines.contract import Limits
from datamodels.regression.engines.saga import SagaEngine
from datamodels.regression.moment_pass import moments_of
from datamodels.regression.row_source import ArraySource
from datamodels.regression.saga import RowLoader, calc_max_lambda, train_saga
from datamodels.regression.standardized import standardize
from datamodels.regression.status import Status
from tests.regression.problems import PROBLEMS, Exact, outputs_of, random_masks

EXACTLY = {"early_stop_eps": 1e-10, "early_stop_freq": 5, "max_epochs": 2000}
# A problem of rank 12 in 50 features takes SAGA thousands of passes.
FEASIBLE = sorted(set(PROBLEMS) - {"rank_deficient"})


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # small products wait longer for other threads than they take
    yield
    torch.set_num_threads(before)


def loader_of(x, y, batch_size=41, seed=0, **options):
    source = ArraySource(x, y)
    return RowLoader(source, np.arange(len(x)), batch_size=batch_size, seed=seed, **options)


def fit(x, y, loader=None, val_loader=None, *, start=None, **options):
    """weight, bias and result of a fit; unless told otherwise at 0.2 lambda_max, nearly exactly."""
    loader = loader_of(x, y) if loader is None else loader
    weight = torch.zeros(x.shape[1], y.shape[1])
    bias = torch.zeros(y.shape[1])
    lams = 0.2 * calc_max_lambda(loader) if start is None else start
    options = {"lr": None, "start_lams": lams, "lam_decay": 1.0, "num_lambdas": 1, **options}
    result = train_saga(weight, bias, loader, val_loader or loader, **{**EXACTLY, **options})
    return weight.double().numpy(), bias.double().numpy(), result


def path(x, y, loader=None, val_loader=None, **options):
    """A quick path of 12 lambdas from lambda_max down."""
    loader = loader_of(x, y) if loader is None else loader
    defaults = {
        "start": calc_max_lambda(loader),
        "lam_decay": 0.7,
        "num_lambdas": 12,
        "early_stop_eps": 1e-6,
        "early_stop_freq": 2,
    }
    return fit(x, y, loader, val_loader, **{**defaults, **options})


def split(n=300, p=60, t=5, seed=0):
    """Training and validation parts of one draw."""
    x = random_masks(n, p, seed=seed)
    y = outputs_of(x, t, noise=1.5)
    k = n - n // 4
    return x[:k], y[:k], loader_of(x[k:], y[k:], batch_size=17)


# ---- the solution ----


@pytest.mark.parametrize("name", FEASIBLE)
def test_objectives_agree_with_scikit_learn(name):
    problem = PROBLEMS[name]()
    exact = Exact.of(problem.x, problem.y)
    weight, bias, result = fit(problem.x, problem.y)
    lam = result.lam.double().numpy()
    assert (result.log["status"] == Status.CONVERGED).all()
    theirs = [exact.sklearn_path(t, lam[t : t + 1])[:, 0] for t in range(len(lam))]
    best = exact.objective(np.stack(theirs, axis=1), lam)
    ours = exact.objective(weight * exact.scale[:, None], lam)
    np.testing.assert_allclose(ours, best, rtol=1e-5)
    np.testing.assert_allclose(bias, exact.mean_y - exact.mean_x @ weight, rtol=1e-5, atol=1e-5)


def test_weights_predict_raw_masks():
    x = random_masks(300, 40)
    y = outputs_of(x, 3, noise=0.1)
    weight, bias, result = fit(x, y, start=0.01)
    error = ((x @ weight + bias - y) ** 2).mean(axis=0)
    np.testing.assert_allclose(error, result.log["val_mse"][0], rtol=1e-5)
    np.testing.assert_allclose(error, result.log["train_mse"][0], rtol=1e-4)
    assert (error < 0.05 * y.var(axis=0)).all()


@pytest.mark.parametrize("batch_size", [1, 7, 100, 300, 1000])
def test_solutions_do_not_depend_on_the_batch_size(batch_size):
    x = random_masks(301, 30)
    y = outputs_of(x, 2)
    exact = Exact.of(x, y)
    weight, _, result = fit(x, y, loader_of(x, y, batch_size))
    gap = exact.relative_gap(weight * exact.scale[:, None], result.lam.double().numpy())
    assert gap.max() < 1e-5


def test_a_large_mean_costs_no_digits():
    x = random_masks(200, 30)
    y = outputs_of(x, 2).astype(np.float64)
    weight, bias, _ = fit(x, y)
    moved, moved_bias, _ = fit(x, y + 1e8)
    np.testing.assert_allclose(moved, weight, atol=1e-5)
    np.testing.assert_allclose(moved_bias, bias + 1e8, rtol=1e-7)


def test_solutions_follow_the_units_of_the_outputs():
    x = random_masks(200, 30)
    y = outputs_of(x, 2).astype(np.float64)
    weight, _, _ = fit(x, y)
    scaled, _, _ = fit(x, y * 1e-25, early_stop_eps=1e-62)
    np.testing.assert_allclose(scaled * 1e25, weight, atol=1e-4)


def test_constant_columns_and_targets_get_zero_weights():
    x = random_masks(150, 20)
    x[:, 4], x[:, 9] = True, False
    y = outputs_of(x, 3)
    y[:, 1] = 7.25
    lam = calc_max_lambda(loader_of(x, y)).numpy()
    assert lam[1] == 0
    weight, bias, result = path(x, y, num_lambdas=3)
    assert not weight[[4, 9]].any()
    assert not weight[:, 1].any()
    assert bias[1] == 7.25
    assert result.log["status"][:, 1].tolist() == [Status.CONVERGED, Status.NOT_RUN, Status.NOT_RUN]


def test_without_a_bias_to_fit_nothing_is_centred():
    x = random_masks(200, 25)
    y = outputs_of(x, 2)
    given = np.array([0.5, -2.0])
    loader = loader_of(x, y)
    weight, bias = torch.zeros(25, 2), torch.tensor(given, dtype=torch.float32)
    lam = np.array([0.05, 0.1])
    train_saga(weight, bias, loader, loader, lr=None, start_lams=torch.tensor(lam), lam_decay=1,
               num_lambdas=1, update_bias=False, early_stop_eps=1e-12)  # fmt: skip
    assert bias.tolist() == given.tolist()
    scale = x.std(axis=0)
    for t in range(2):
        model = Lasso(lam[t], fit_intercept=False, tol=1e-12, max_iter=100_000)
        theirs = model.fit(x / scale, y[:, t] - given[t]).coef_ / scale
        np.testing.assert_allclose(weight[:, t].numpy(), theirs, atol=1e-4)


def test_the_largest_lambda_is_that_of_the_standardized_problem():
    for name in PROBLEMS:
        problem = PROBLEMS[name]()
        ours = calc_max_lambda(loader_of(problem.x, problem.y)).numpy()
        np.testing.assert_allclose(ours, Exact.of(problem.x, problem.y).lambda_max, rtol=1e-6)


def test_the_largest_lambda_without_an_intercept_is_that_of_uncentred_rows():
    x = random_masks(100, 20)
    y = outputs_of(x, 3)
    ours = calc_max_lambda(loader_of(x, y), update_bias=False).numpy()
    np.testing.assert_allclose(ours, np.abs((x / x.std(axis=0)).T @ y).max(axis=0) / 100, rtol=1e-6)


def test_all_weights_are_zero_at_the_largest_lambda():
    x = random_masks(200, 30)
    y = outputs_of(x, 3)
    weight, bias, _ = fit(x, y, start=1.001 * calc_max_lambda(loader_of(x, y)))
    assert not weight.any()
    np.testing.assert_allclose(bias, y.mean(axis=0), rtol=1e-6)


# ---- loaders ----


class Rebatched:
    """Batches as FFCV yields them: tuples, idx (b, 1), always in the same memory."""

    def __init__(self, x, y, idx, sizes):
        self.parts = torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(idx)[:, None]
        self.sizes = sizes

    def __iter__(self):
        buffers = [torch.empty(max(self.sizes), *part.shape[1:], dtype=part.dtype)
                   for part in self.parts]  # fmt: skip
        start = 0
        for size in self.sizes:
            for buffer, part in zip(buffers, self.parts, strict=True):
                buffer[:size] = part[start : start + size]
            yield tuple(buffer[:size] for buffer in buffers)
            start += size


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.float16, np.float32, np.float64])
def test_any_batches_and_idx_give_the_same_solution(dtype):
    x = random_masks(150, 25)
    y = outputs_of(x, 3)
    weight, bias, _ = fit(x, y)
    idx = np.random.default_rng(4).permutation(10**9 + np.arange(450) * 7)[:150]
    sizes = [40, 1, 64, 33, 12]
    other, other_bias, _ = fit(x, y, Rebatched(x.astype(dtype), y, idx, sizes))
    np.testing.assert_allclose(other, weight, atol=2e-5)
    np.testing.assert_allclose(other_bias, bias, atol=1e-4)


def test_torch_loaders_do():
    x = random_masks(150, 25)
    y = outputs_of(x, 1)
    weight, _, _ = fit(x, y)
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(y[:, 0]), torch.arange(150) * 3)
    generator = torch.Generator().manual_seed(0)
    other, _, _ = fit(x, y, DataLoader(rows, batch_size=32, shuffle=True, generator=generator))
    np.testing.assert_allclose(other, weight, atol=2e-5)


def test_a_loader_must_yield_the_same_rows_each_time():
    x = random_masks(50, 5)
    y = outputs_of(x, 1)
    rows = TensorDataset(torch.from_numpy(x), torch.from_numpy(y), torch.arange(50))
    with pytest.raises(InputError, match="drop_last=False"):
        fit(x, y, DataLoader(rows, batch_size=32, shuffle=True, drop_last=True), start=0.1)
    with pytest.raises(InputError, match="50 rows in its first pass and 0"):
        fit(x, y, iter(loader_of(x, y)), loader_of(x, y), start=0.1)


def test_what_a_loader_must_not_yield_is_refused():
    x = random_masks(50, 5)
    y = outputs_of(x, 2)
    idx = np.arange(50)
    idx[7] = 3
    with pytest.raises(InputError, match="idx 3 comes twice"):
        fit(x, y, Rebatched(x, y, idx, [25, 25]), start=0.1)
    y[30, 1] = np.nan
    with pytest.raises(InputError, match="target of the row with idx 30, column 1, is nan"):
        fit(x, y, start=0.1)
    parts = torch.zeros(4, 2), torch.zeros(3, 1), torch.arange(4)
    with pytest.raises(InputError, match=r"target \(3, 1\)"):
        fit(x, y, [parts], start=0.1)
    with pytest.raises(InputError, match="0 rows"):
        fit(x, y, [], start=0.1)


def test_row_loader_orders_are_functions_of_seed_and_epoch():
    x = random_masks(101, 3)
    rows = np.arange(3, 100, 2)
    one = RowLoader(ArraySource(x, x), rows, batch_size=10, seed=5)
    two = RowLoader(ArraySource(x, x), rows[::-1], batch_size=10, seed=5)
    first, second = ([batch.idx.tolist() for batch in one] for _ in range(2))
    assert first != second
    assert [len(idx) for idx in first] == [10] * 4 + [9]
    assert sorted(itertools.chain(*first)) == rows.tolist()
    two.set_epoch(1)
    assert [batch.idx.tolist() for batch in two] == second
    other = RowLoader(ArraySource(x, x), rows, batch_size=10, seed=6)
    assert [batch.idx.tolist() for batch in other] != first
    assert len(one) == 5


def test_row_loader_reads_the_rows_that_it_names():
    x = np.arange(60, dtype=np.int32).reshape(20, 3)
    loader = RowLoader(
        ArraySource(x, x), np.arange(5, 18), batch_size=4, seed=0, targets=slice(1, 3)
    )
    for mask, target, idx in loader:
        np.testing.assert_array_equal(mask, x[idx.numpy()])
        np.testing.assert_array_equal(target, x[idx.numpy(), 1:3])


def test_row_loader_refuses_rows_that_are_not_there():
    source = ArraySource(random_masks(10, 3), np.zeros(10))
    for rows, message in ((np.array([2, 10]), "0 to 9"), (np.array([2, 4, 2]), "row 2 .* twice")):
        with pytest.raises(UsageError, match=message):
            RowLoader(source, rows, batch_size=2)
    with pytest.raises(UsageError, match="batch_size=0"):
        RowLoader(source, np.arange(3), batch_size=0)


# ---- reproducibility ----


def test_the_same_seed_gives_the_same_bytes_however_often_the_loader_was_used():
    x, y, val = split()
    loader = loader_of(x, y, seed=3)
    first = path(x, y, loader, val)
    again = path(x, y, loader, val)
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1].tobytes() == again[1].tobytes()
    for name, values in first[2].log.items():
        np.testing.assert_array_equal(values, again[2].log[name])


def test_another_seed_gives_the_same_solution():
    x, y, val = split()
    one, other = (fit(x, y, loader_of(x, y, seed=seed), val, start=0.1)[0] for seed in (1, 2))
    assert one.tobytes() != other.tobytes()
    np.testing.assert_allclose(one, other, atol=2e-5)


# ---- the path ----


def test_the_best_lambda_on_the_validation_rows_is_kept():
    x, y, val = split()
    weight, bias, result = path(x, y, val_loader=val, num_lambdas=20, min_lams_to_try=20)
    log = result.log
    best = log["val_mse"].argmin(axis=0)
    assert (best < 19).any()
    kept = np.take_along_axis(log["lambda"], best[None], axis=0)[0]
    np.testing.assert_allclose(result.lam, kept, rtol=1e-6)
    x_val, y_val = val.source.read(np.arange(val.source.n_rows))
    mse = ((x_val @ weight + bias - y_val) ** 2).mean(axis=0)
    np.testing.assert_allclose(mse, log["val_mse"].min(axis=0), rtol=1e-4)


def test_lambdas_fall_by_the_decay_and_a_path_ends_at_a_rise():
    x, y, val = split()
    _, _, result = path(x, y, val_loader=val, num_lambdas=20, min_lams_to_try=4)
    log = result.log
    for t in range(5):
        lam, mse = log["lambda"][:, t], log["val_mse"][:, t]
        done = int(np.isfinite(lam).sum())
        np.testing.assert_allclose(lam[1:done] / lam[: done - 1], 0.7)
        assert (log["status"][done:, t] == Status.NOT_RUN).all()
        assert (log["weight_nz"][done:, t] == -1).all()
        rises = (np.diff(mse[:done]) > 0) & (log["weight_nz"][1:done, t] > 1)
        assert not rises[2 : done - 2].any()  # the 4th lambda is the first at which a path may end
        assert done == 20 or rises[-1]
    assert (log["status"][-1] == Status.NOT_RUN).any()


def test_ended_targets_do_not_change_and_live_ones_do():
    x, y, val = split(t=6)
    weight, bias = torch.zeros(60, 6), torch.zeros(6)
    seen = []
    loader = loader_of(x, y)
    result = train_saga(
        weight, bias, loader, val, lr=None, start_lams=calc_max_lambda(loader), lam_decay=0.7,
        num_lambdas=20, min_lams_to_try=4, early_stop_eps=1e-6,
        progress=lambda _, done, __: seen.append((done, weight.clone())),
    )  # fmt: skip
    assert seen[-1][0] == 6
    assert len({done for done, _ in seen}) > 3  # they ended at different looks
    epochs = np.maximum(result.log["epochs"], 0).sum(axis=0)
    for t in range(6):
        at_end = seen[epochs[t] // 2 - 1][1][:, t]
        assert torch.equal(weight[:, t], at_end)


def test_a_target_comes_out_the_same_without_the_others():
    x, y, val = split(t=4)
    weight, _, result = path(x, y, val_loader=val, early_stop_eps=1e-10, min_lams_to_try=4)
    alone = loader_of(x, y, targets=slice(2, 3))
    x_val, y_val = val.source.read(np.arange(val.source.n_rows))
    other, _, one = path(
        x, y[:, 2:3], alone, loader_of(x_val, y_val[:, 2:3]),
        early_stop_eps=1e-10, min_lams_to_try=4,
    )  # fmt: skip
    np.testing.assert_allclose(one.log["lambda"][:, 0], result.log["lambda"][:, 2], rtol=1e-6)
    np.testing.assert_allclose(other[:, 0], weight[:, 2], atol=2e-4)


def test_weights_start_from_what_they_hold():
    x = random_masks(200, 30)
    y = outputs_of(x, 3)
    weight, bias, cold = fit(x, y)
    held, held_bias = torch.tensor(weight).float(), torch.tensor(bias).float()
    loader = loader_of(x, y)
    warm = train_saga(held, held_bias, loader, loader, lr=None, start_lams=cold.lam, lam_decay=1,
                      num_lambdas=1, **EXACTLY)  # fmt: skip
    assert (warm.log["epochs"] < cold.log["epochs"]).all()
    np.testing.assert_allclose(held, weight, atol=2e-5)


# ---- how it can fail ----


def test_divergence_is_a_status_and_leaves_the_best_so_far():
    x, y, val = split(t=3)
    weight, bias, result = path(x, y, val_loader=val, lr=30.0)
    assert result.log["status"][:3].T.tolist() == [[0, Status.NON_FINITE, Status.NOT_RUN]] * 3
    assert not weight.any()  # the solution at lambda_max
    np.testing.assert_allclose(bias, y.mean(axis=0), rtol=1e-6)
    weight, bias, result = path(x, y, val_loader=val, lr=30.0, start=0.01)
    assert (result.log["status"][0] == Status.NON_FINITE).all()
    assert torch.isnan(result.lam).all()
    assert not weight.any()
    assert not bias.any()


def test_too_few_passes_are_a_status():
    x = random_masks(200, 30)
    y = outputs_of(x, 3)
    _, _, result = fit(x, y, lr=1e-4, early_stop_freq=2, max_epochs=7, num_lambdas=3)
    assert (result.log["status"][0] == Status.ITERATION_LIMIT).all()
    assert (result.log["status"][1] == Status.NOT_RUN).all()
    assert (result.log["epochs"][0] == 8).all()


def test_a_safe_step_is_safe_for_batches_of_equal_rows_in_the_same_order():
    x = np.repeat(random_masks(10, 60), 30, axis=0)
    y = outputs_of(x, 2)
    loader = Rebatched(x, y, np.arange(300), [30] * 10)
    _, _, result = fit(x, y, loader, early_stop_eps=1e-5)
    assert (result.log["status"] == Status.CONVERGED).all()
    mse = result.log["train_mse"][0]
    assert (mse < 0.9 * y.var(axis=0)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr=0.0"),
        ({"lam_decay": 1.5}, "lam_decay=1.5"),
        ({"num_lambdas": 0}, "num_lambdas=0"),
        ({"early_stop_freq": 0}, "early_stop_freq=0"),
        ({"early_stop_eps": 0.0}, "early_stop_eps=0.0"),
        ({"start": -1.0}, "not negative"),
        ({"start": torch.ones(3)}, "3 values; there are 2 targets"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    x = random_masks(40, 5)
    with pytest.raises(UsageError, match=message):
        fit(x, outputs_of(x, 2), **options)


def test_weights_of_another_shape_are_refused():
    x = random_masks(40, 5)
    loader = loader_of(x, outputs_of(x, 2))
    with pytest.raises(UsageError, match=r"need \(5, 2\) and \(2,\)"):
        train_saga(torch.zeros(2, 5), torch.zeros(2), loader, loader, lr=None, start_lams=0.1,
                   lam_decay=1, num_lambdas=1)  # fmt: skip


def test_the_log_is_a_file_a_field_and_replaces_nothing(tmp_path):
    x, y, val = split()
    _, _, result = path(x, y, val_loader=val, logdir=tmp_path / "log")
    files = {file.stem: np.load(file) for file in (tmp_path / "log").iterdir()}
    assert set(files) == {"lambda", "train_mse", "val_mse", "weight_nz", "epochs", "status"}
    for name, values in files.items():
        assert values.shape == (12, 5)
        np.testing.assert_array_equal(values, result.log[name])
    with pytest.raises(ExistsError):
        path(x, y, val_loader=val, logdir=tmp_path / "log")


def test_a_folder_that_cannot_be_made_is_refused_before_training(tmp_path):
    (tmp_path / "file").touch()
    x, y, val = split()

    def stop(*_):
        pytest.fail("training began")

    with pytest.raises(DatamodelsError, match="cannot make the folder"):
        path(x, y, val_loader=val, logdir=tmp_path / "file" / "log", progress=stop)


# ---- the engine ----

LIMITS = Limits(tol=1e-4, max_sweeps=2000)


def engine_of(x, y, rows=None, **options):
    rows = np.arange(len(x)) if rows is None else rows
    source = ArraySource(x, y)
    options = {"batch_size": 41, "eps": 1e-12, "check_every": 5, **options}
    return SagaEngine(source, rows, **options), standardize(moments_of(source, rows))


def factors_of(p, t=1):
    """Penalty factors from 0.5 to 2, and one feature left out."""
    factors = np.random.default_rng(9).uniform(0.5, 2, (t, p))
    factors[:, 3] = np.inf
    return factors


@pytest.mark.parametrize("name", FEASIBLE)
def test_engine_solutions_have_small_gaps_and_say_how_large(name):
    problem = PROBLEMS[name]()
    exact = Exact.of(problem.x, problem.y)
    engine, standard = engine_of(problem.x, problem.y)
    t = problem.y.shape[1]
    block = engine.block(standard, slice(0, t), np.ones((1, problem.x.shape[1])), LIMITS)
    np.testing.assert_allclose(block.lambda_max() * np.sqrt(exact.yy), exact.lambda_max, rtol=1e-6)
    for share in (0.6, 0.2):
        lam = share * block.lambda_max()
        solved = block.solve(lam, np.arange(t))
        w = solved.weights.dense(problem.x.shape[1]).T * np.sqrt(exact.yy)
        gap = exact.relative_gap(w, lam * np.sqrt(exact.yy))
        assert (solved.status == Status.CONVERGED).all()
        assert gap.max() < 1e-5
        np.testing.assert_allclose(solved.gap, gap, rtol=1e-6, atol=1e-13)
        rr = ((exact.y - exact.z @ w) ** 2).mean(axis=0) / exact.yy
        np.testing.assert_allclose(solved.residual, rr, rtol=1e-10)


@pytest.mark.parametrize("each", [False, True])
def test_engine_factors_scale_the_penalty(each):
    x = random_masks(200, 30)
    y = outputs_of(x, 3)
    exact = Exact.of(x, y)
    factors = factors_of(30, 3 if each else 1)
    engine, standard = engine_of(x, y)
    block = engine.block(standard, slice(0, 3), factors, LIMITS)
    everyone = np.broadcast_to(factors, (3, 30))
    unit_y = exact.y / np.sqrt(exact.yy)
    c = np.abs(exact.z.T @ unit_y).T / 200
    np.testing.assert_allclose(block.lambda_max(), (c / everyone).max(axis=1), rtol=1e-9)
    lam = 0.1 * block.lambda_max()
    w = block.solve(lam, np.arange(3)).weights.dense(30)
    assert not w[:, 3].any()
    for t in range(3):
        model = Lasso(lam[t], fit_intercept=False, tol=1e-12, max_iter=100_000)
        theirs = model.fit(exact.z / everyone[t], unit_y[:, t]).coef_ / everyone[t]
        np.testing.assert_allclose(w[t], theirs, atol=2e-5)


def test_engine_solves_some_targets_of_a_slice_of_rows_and_outputs():
    x = random_masks(240, 25)
    y = outputs_of(x, 7)
    rows = np.arange(10, 220)
    source = ArraySource(x, y)
    engine = SagaEngine(source, rows, batch_size=50, eps=1e-12, targets=slice(1, 7))
    standard = standardize(moments_of(source, rows, targets=slice(1, 7)))
    block = engine.block(standard, slice(2, 6), np.ones((1, 25)), LIMITS)
    lam = block.lambda_max()
    block.solve(0.7 * lam, np.arange(4))
    block.solve(0.5 * lam[[0, 1, 3]], np.array([0, 1, 3]))
    which = np.array([3, 0])
    solved = block.solve(0.2 * lam[which], which)
    exact = Exact.of(x[rows], y[rows][:, which + 3])
    unit = np.sqrt(exact.yy)
    w = solved.weights.dense(25).T * unit
    assert exact.relative_gap(w, 0.2 * lam[which] * unit).max() < 1e-5


def test_engine_says_when_passes_did_not_suffice_or_diverged():
    x = random_masks(200, 30)
    y = outputs_of(x, 3)
    ones, everyone = np.ones((1, 30)), np.arange(3)
    engine, standard = engine_of(x, y, lr=1e-4)
    block = engine.block(standard, slice(0, 3), ones, Limits(tol=1e-4, max_sweeps=7))
    solved = block.solve(0.2 * block.lambda_max(), everyone)
    assert (solved.status == Status.ITERATION_LIMIT).all()
    assert (solved.iterations == 7).all()
    assert (solved.gap > 1e-4).all()
    engine, standard = engine_of(x, y, lr=30.0)
    block = engine.block(standard, slice(0, 3), ones, LIMITS)
    solved = block.solve(0.2 * block.lambda_max(), everyone)
    assert (solved.status == Status.NON_FINITE).all()
    assert np.isnan(solved.gap).all()
    assert np.isfinite(solved.weights.value).all()


def test_engine_is_repeatable_and_its_blocks_do_not_know_of_one_another():
    x = random_masks(200, 30)
    y = outputs_of(x, 4)
    engine, standard = engine_of(x, y, eps=1e-6)
    ones = np.ones((1, 30))

    def solve(targets):
        block = engine.block(standard, targets, ones, LIMITS)
        return block.solve(0.2 * block.lambda_max(), np.arange(2)).weights.dense(30)

    first = solve(slice(2, 4))
    solve(slice(0, 2))
    assert solve(slice(2, 4)).tobytes() == first.tobytes()


def test_engine_refuses_what_it_cannot_do():
    x = random_masks(60, 10)
    y = outputs_of(x, 2)
    engine, standard = engine_of(x, y)
    with pytest.raises(UsageError, match="cpu engine"):
        engine.block(standard, slice(0, 2), np.zeros((1, 10)), LIMITS)
    groups = np.arange(60) % 3
    source = ArraySource(x, y)
    grouped = standardize(moments_of(source, np.arange(60), groups=groups))
    with pytest.raises(UsageError, match="cpu engine"):
        engine.block(grouped, slice(0, 2), np.ones((1, 10)), LIMITS)
    with pytest.raises(UsageError, match="60 rows and the problem was made of 50"):
        engine.block(
            standardize(moments_of(source, np.arange(50))), slice(0, 2), np.ones((1, 10)), LIMITS
        )
    with pytest.raises(UsageError, match="lr=-1"):
        SagaEngine(source, np.arange(60), batch_size=8, lr=-1)
