"""The torch engine solves what the exact way solves, however targets are grouped."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datamodels.errors import UsageError
from datamodels.regression.engines import batched, torch_gram
from datamodels.regression.engines.contract import Limits, Solved
from datamodels.regression.engines.torch_gram import TorchBlock, TorchEngine
from datamodels.regression.status import Status
from tests.regression.problems import PROBLEMS, Exact, Floats, Problem, outputs_of, random_masks

TOL = 1e-4
LIMITS = Limits(tol=TOL, max_sweeps=10_000)
SLACK = 1e-6  # of a gap summed from float32 weights and gradients


@dataclass(frozen=True)
class FromRows:
    """What the engine asks of a standardized problem, straight from the raw rows."""

    exact: Exact

    @property
    def unit(self) -> Floats:
        return np.sqrt(np.where(self.exact.yy > 0, self.exact.yy, 1))

    def unit_correlations(self, targets: slice) -> Floats:
        c = (self.exact.z.T @ self.exact.y / len(self.exact.y) / self.unit).T
        return np.ascontiguousarray(c[targets])


def gram_of(exact: Exact) -> torch.Tensor:
    return torch.from_numpy((exact.z.T @ exact.z / len(exact.z)).astype(np.float32))


def start(
    exact: Exact, factors: Floats | None = None, limits: Limits = LIMITS, **options: int
) -> TorchBlock:
    p, t = exact.z.shape[1], exact.y.shape[1]
    factors = np.ones((1, p)) if factors is None else factors
    engine = TorchEngine(gram_of(exact), **options)
    return engine.block(FromRows(exact), slice(0, t), factors, limits)  # type: ignore[arg-type]


def follow(block: TorchBlock, k: int = 20, eps: float = 0.01) -> list[tuple[Floats, Solved]]:
    """(lambda, solution) at each of k + 1 lambdas from lambda_max to lambda_max eps."""
    largest = block.lambda_max()
    every = np.arange(len(largest))
    lambdas = [largest * eps ** (i / k) for i in range(k + 1)]
    return [(lam, block.solve(lam, every)) for lam in lambdas]


def weights_of(solved: Solved, exact: Exact) -> Floats:
    """(p, t) in the units of y."""
    return solved.weights.dense(exact.z.shape[1]).T * FromRows(exact).unit


def exact_of(problem: Problem) -> Exact:
    return Exact.of(problem.x, problem.y)


@pytest.fixture(params=PROBLEMS)
def problem(request: pytest.FixtureRequest) -> Problem:
    return PROBLEMS[request.param]()


def check(solved: Solved, lam: Floats, exact: Exact, tol: float = TOL) -> None:
    """Converged, by the gap that the residuals give."""
    assert (solved.status == Status.CONVERGED).all()
    gap = exact.relative_gap(weights_of(solved, exact), lam * FromRows(exact).unit)
    assert (gap <= tol + SLACK).all()
    np.testing.assert_allclose(solved.gap, gap, atol=SLACK)


def test_gaps_along_the_path_hold_in_float64(problem: Problem) -> None:
    exact = exact_of(problem)
    for lam, solved in follow(start(exact)):
        check(solved, lam, exact)
        residual = exact.y - exact.z @ weights_of(solved, exact)
        np.testing.assert_allclose(
            solved.residual, (residual**2).mean(axis=0) / exact.yy, atol=1e-5
        )


def test_one_large_step_is_solved_too(problem: Problem) -> None:
    exact = exact_of(problem)
    block = start(exact)
    lam = block.lambda_max() / 100
    check(block.solve(lam, np.arange(len(lam))), lam, exact)


def test_smaller_tolerances_hold(problem: Problem) -> None:
    exact = exact_of(problem)
    for lam, solved in follow(start(exact, limits=Limits(1e-6, 10_000)), k=10):
        check(solved, lam, exact, tol=1e-6)


def test_path_is_that_of_scikit_learn() -> None:
    exact = exact_of(PROBLEMS["plain"]())
    path = follow(start(exact, limits=Limits(1e-6, 10_000)))
    for target in range(exact.y.shape[1]):
        unit = FromRows(exact).unit[target]
        expected = exact.sklearn_path(target, np.array([lam[target] for lam, _ in path]) * unit)
        for i, (_, solved) in enumerate(path):
            got = weights_of(solved, exact)[:, target]
            np.testing.assert_allclose(got, expected[:, i], atol=5e-3 * unit)


def test_weights_at_lambda_max_are_zero_and_just_below_they_are_not() -> None:
    exact = exact_of(PROBLEMS["plain"]())
    block = start(exact)
    largest = block.lambda_max()
    np.testing.assert_allclose(largest * FromRows(exact).unit, exact.lambda_max, rtol=1e-6)
    every = np.arange(len(largest))
    at = block.solve(largest, every)
    assert (at.weights.counts() == 0).all()
    assert (at.iterations == 0).all()
    assert (block.solve(0.9 * largest, every).weights.counts() > 0).all()


@pytest.mark.parametrize("budget", [1, 50_000, 2_000_000])
def test_solutions_do_not_depend_on_the_budget(budget: int) -> None:
    exact = Exact.of(x := random_masks(220, 90), outputs_of(x, 7))
    limits = Limits(1e-6, 10_000)
    whole, parts = start(exact, limits=limits), start(exact, limits=limits, budget_bytes=budget)
    for (lam, a), (_, b) in zip(follow(whole, 6), follow(parts, 6), strict=True):
        check(b, lam, exact, tol=1e-6)
        np.testing.assert_allclose(weights_of(a, exact), weights_of(b, exact), atol=2e-2)


def test_a_target_is_solved_alike_in_any_block() -> None:
    exact = Exact.of(x := random_masks(220, 90), outputs_of(x, 9))
    alone = Exact(exact.z, exact.y[:, 4:5], exact.mean_x, exact.scale, exact.mean_y[4:5])
    limits = Limits(1e-6, 10_000)
    together = follow(start(exact, limits=limits))
    for (_, a), (_, b) in zip(together, follow(start(alone, limits=limits)), strict=True):
        np.testing.assert_allclose(weights_of(a, exact)[:, 4:5], weights_of(b, alone), atol=2e-2)


def test_solutions_do_not_depend_on_the_threads() -> None:
    exact = exact_of(PROBLEMS["few_rows"]())
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for lam, solved in follow(start(exact), k=2, eps=0.1):
                check(solved, lam, exact)
    finally:
        torch.set_num_threads(before)


def test_targets_that_are_left_out_stay_behind_and_change_nobody() -> None:
    exact = exact_of(PROBLEMS["plain"]())
    block = start(exact)
    largest = block.lambda_max()
    kept = np.array([4, 1])  # any order
    block.solve(0.5 * largest, np.arange(5))
    solved = block.solve(0.1 * largest[kept], kept)
    gap = exact.relative_gap(
        np.stack([solved.weights.dense(60)[0]] * 5, axis=1) * FromRows(exact).unit,
        0.1 * largest * FromRows(exact).unit,
    )
    assert gap[4] <= TOL + SLACK
    assert solved.weights.n_rows == 2
    none = block.solve(np.zeros(0), np.zeros(0, np.int64))
    assert none.weights.n_rows == 0


def test_features_ascend_and_no_zero_is_kept() -> None:
    exact = exact_of(PROBLEMS["duplicate_columns"]())
    for _, solved in follow(start(exact)):
        assert (solved.weights.value != 0).all()
        for r in range(solved.weights.n_rows):
            assert (np.diff(solved.weights.row(r)[0]) > 0).all()


def random_factors(t: int, p: int) -> Floats:
    factors = np.random.default_rng(3).uniform(0.3, 3, (t, p))
    factors[:, ::7] = np.inf
    return factors


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("name", ["plain", "few_rows"])
def test_penalty_factors_are_columns_scaled(name: str, shared: bool) -> None:
    exact = exact_of(PROBLEMS[name]())
    p, t = exact.z.shape[1], exact.y.shape[1]
    factors = random_factors(1 if shared else t, p)
    path = follow(start(exact, factors))
    for target in range(t):
        v = factors[0 if shared else target]
        scaled = Exact(
            exact.z / v, exact.y[:, [target]], exact.mean_x, exact.scale, exact.mean_y[[target]]
        )
        unit = FromRows(exact).unit[target]
        np.testing.assert_allclose(path[0][0][target] * unit, scaled.lambda_max, rtol=1e-6)
        for lam, solved in path:
            w = weights_of(solved, exact)[:, target]
            assert (w[np.isinf(v)] == 0).all()
            u = np.where(np.isinf(v), 0, w * np.where(np.isinf(v), 0, v))[:, None]
            gap = scaled.relative_gap(u, lam[[target]] * unit)
            assert gap <= TOL + SLACK


def test_per_target_factors_of_equal_rows_are_shared_factors() -> None:
    exact = exact_of(PROBLEMS["plain"]())
    factors = random_factors(1, 60)
    shared, each = start(exact, factors), start(exact, np.repeat(factors, 5, axis=0))
    for (_, a), (_, b) in zip(follow(shared), follow(each), strict=True):
        np.testing.assert_array_equal(a.weights.dense(60), b.weights.dense(60))


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan])
def test_factors_that_are_not_positive_are_refused(factor: float) -> None:
    exact = exact_of(PROBLEMS["one_target"]())
    factors = np.ones((1, exact.z.shape[1]))
    factors[0, 2] = factor
    with pytest.raises(UsageError, match=r"factor .* the cpu engine"):
        start(exact, factors)


def with_targets(exact: Exact, y: Floats) -> Exact:
    return Exact(exact.z, y, exact.mean_x, exact.scale, y.mean(axis=0))


def test_constant_targets_keep_weight_zero() -> None:
    exact = exact_of(PROBLEMS["plain"]())
    block = start(with_targets(exact, np.column_stack([exact.y[:, 0], 0 * exact.y[:, 0]])))
    for lam, solved in follow(block):
        assert lam[1] == 0
        assert (solved.status == Status.CONVERGED).all()
        assert solved.weights.counts()[1] == 0


def test_a_target_that_is_not_finite_spoils_no_other() -> None:
    exact = exact_of(PROBLEMS["plain"]())
    y = exact.y.copy()
    y[3, 1] = np.nan
    spoilt = with_targets(exact, y)
    lam = np.sqrt(spoilt.yy) * 0 + 0.05
    solved = start(spoilt).solve(lam, np.arange(5))
    expected = np.full(5, Status.CONVERGED)
    expected[1] = Status.NON_FINITE
    np.testing.assert_array_equal(solved.status, expected)
    assert np.isfinite(solved.weights.value).all()


def test_too_few_sweeps_end_as_iteration_limit() -> None:
    exact = exact_of(PROBLEMS["few_rows"]())
    block = start(exact, limits=Limits(1e-6, 2))
    largest = block.lambda_max()
    solved = block.solve(largest / 50, np.arange(len(largest)))
    assert (solved.status == Status.ITERATION_LIMIT).all()
    assert (solved.gap > 1e-6).all()
    assert (solved.iterations == 2).all()


def test_a_tolerance_that_float32_cannot_certify_ends_soon_and_says_so() -> None:
    exact = exact_of(PROBLEMS["plain"]())
    block = start(exact, limits=Limits(1e-12, 1_000_000))
    solved = block.solve(lam := block.lambda_max() / 50, np.arange(5))
    assert (solved.status == Status.ITERATION_LIMIT).all()
    assert (solved.iterations < 10_000).all()
    assert (exact.relative_gap(weights_of(solved, exact), lam * FromRows(exact).unit) < 1e-5).all()


def test_sparse_and_dense_gradients_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = exact_of(PROBLEMS["plain"]())
    paths: list[list[NDArray[np.float64]]] = []
    for below in (0, 10**9):
        monkeypatch.setattr(torch_gram, "_DENSE_BELOW", below)
        paths.append([solved.weights.dense(60) for _, solved in follow(start(exact))])
    np.testing.assert_allclose(paths[0], paths[1], atol=1e-3)


def test_working_sets_may_grow_in_several_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_gram, "_FREE_GROWTH", 3)
    exact = exact_of(PROBLEMS["few_rows"]())
    block = start(exact)
    lam = block.lambda_max() / 30
    check(block.solve(lam, np.arange(len(lam))), lam, exact)


def test_gradient_steps_alone_converge_where_features_are_independent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(state: object) -> None:
        raise AssertionError("no Newton step is needed here")

    monkeypatch.setattr(batched, "_newton_step", forbidden)
    exact = Exact.of(x := random_masks(600, 100), outputs_of(x, 6))
    for lam, solved in follow(start(exact)):
        check(solved, lam, exact)


def test_the_caller_s_matrix_precision_is_restored() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        exact = exact_of(PROBLEMS["one_target"]())
        block = start(exact)
        block.solve(block.lambda_max() / 2, np.arange(1))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
