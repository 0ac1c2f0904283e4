"""The SAGA engine: paths from shuffled minibatches of the training rows, without a table of pairs.

A target counts as solved by glmnet's rule, max_j (change of w_j)^2 below eps since the last look
(y in units of its rms). That is a rule on steps, not a bound: the duality gap, which one pass in
float64 then gives, is reported beside it.
"""

import numpy as np
import torch
from torch import Tensor

from datamodels.errors import UsageError
from datamodels.regression.blocks import Float64s, Int64s
from datamodels.regression.engines.contract import Limits, Solved
from datamodels.regression.row_source import RowSource
from datamodels.regression.saga.gradient import FullGradient, full_gradient
from datamodels.regression.saga.loader import RowLoader
from datamodels.regression.saga.rows import TrainingRows
from datamodels.regression.saga.scaling import Scaling
from datamodels.regression.saga.state import SagaState
from datamodels.regression.saga.step_size import safe_step
from datamodels.regression.sparse_rows import to_sparse
from datamodels.regression.standardized import Standardized
from datamodels.regression.status import Status


class SagaEngine:
    """Starts SAGA paths; see ``contract.Engine``.

    Args:
        source, rows: the training rows (n,) that the problem was made of.
        batch_size: rows a step.
        lr: step size; None takes one that is safe for the data.
        check_every: passes between two looks at the weights.
        eps: see above.
        seed: of the shuffles.
        targets: the source's outputs that are the problem's targets.
    """

    def __init__(
        self,
        source: RowSource,
        rows: Int64s,
        *,
        batch_size: int,
        lr: float | None = None,
        check_every: int = 2,
        eps: float = 1e-5,
        seed: int = 0,
        targets: slice = slice(None),
    ) -> None:
        if lr is not None and not 0 < lr < np.inf:
            raise UsageError(f"lr={lr}; a step size is above 0 (None: one safe for the data)")
        if check_every < 1 or not eps > 0:
            raise UsageError(f"check_every={check_every}, eps={eps}; give at least 1 and above 0")
        self.loader = RowLoader(source, rows, batch_size=batch_size, seed=seed, targets=targets)
        self.lr = lr
        self.check_every = check_every
        self.eps = eps

    def block(
        self, problem: Standardized, targets: slice, factors: Float64s, limits: Limits
    ) -> "SagaPath":
        """See ``contract.Engine``. Groups and factors of zero are refused."""
        _check_problem(problem, factors, len(self.loader.rows))
        return SagaPath(self, problem, targets, factors, limits)

    def rows(self, scaling: Scaling, targets: slice) -> TrainingRows:
        """The training rows with a block's outputs; its shuffles do not depend on other blocks."""
        whole = self.loader
        columns = range(whole.source.n_targets)[whole.targets][targets]
        loader = RowLoader(
            whole.source,
            whole.rows,
            batch_size=whole.batch_size,
            seed=whole.seed,
            targets=slice(columns.start, columns.stop),
        )
        return TrainingRows(loader, scaling, whole.rows, min(whole.batch_size, len(whole.rows)))


class SagaPath:
    """The paths of one block's targets; see ``contract.BlockPath``."""

    def __init__(
        self,
        engine: SagaEngine,
        problem: Standardized,
        targets: slice,
        factors: Float64s,
        limits: Limits,
    ) -> None:
        self.engine = engine
        self.limits = limits
        correlations = np.abs(problem.unit_correlations(targets))  # (t, p)
        self._lambda_max: Float64s = (correlations / factors).max(axis=1)
        self.rows = engine.rows(_scaling(problem, targets), targets)
        self.factors = torch.tensor(factors.T, device=self.rows.device)  # (p, 1) or (p, t)
        self.lr = safe_step(self.rows) if engine.lr is None else engine.lr
        columns = torch.arange(len(correlations), device=self.rows.device)
        w = torch.zeros(correlations.T.shape, dtype=torch.float32, device=self.rows.device)
        self.state = self._state(columns, w, full_gradient(self.rows, columns, w, w.dtype))

    def lambda_max(self) -> Float64s:
        """max_j |c_j| / v_j (t,)."""
        return self._lambda_max

    def solve(self, lam: Float64s, which: Int64s) -> Solved:
        """See ``contract.BlockPath``."""
        self.state.keep(self._places(which))
        columns = self.state.column
        penalty = self._penalty(lam, columns)
        w, epochs, status = self._descend(penalty)
        start = full_gradient(self.rows, columns, w, torch.float64)
        gap = _duality_gap(start, w, self._column_factors(columns), _on(w, lam))
        self.state = self._state(columns, w, start)
        failed = status == Status.NON_FINITE
        return Solved(
            weights=to_sparse(w.T.cpu().numpy()),
            gap=np.where(failed, np.nan, gap.cpu().numpy()),
            iterations=epochs,
            status=status,
            residual=np.where(failed, np.nan, start.rr.cpu().numpy()),
        )

    def _descend(self, penalty: Tensor) -> tuple[Tensor, Int64s, Int64s]:
        """Passes until every target has come to rest: w (p, r), passes (r,), status (r,).

        Each leaves the state when it does. One that diverges is left with the weights that it came
        with.
        """
        state = self.state
        state.set_penalty(penalty)
        w = state.w.clone()
        epochs = np.zeros(w.shape[1], np.int64)
        status = np.full(w.shape[1], Status.NOT_RUN, np.int64)
        live = np.arange(w.shape[1])
        while len(live):
            passes = min(self.engine.check_every, self.limits.max_sweeps - int(epochs[live[0]]))
            for _ in range(passes):
                state.epoch(self.rows.batches(state.column))
            epochs[live] += passes
            status[live] = self._settled(state.change().cpu().numpy(), epochs[live])
            finite = _flags(w, status[live] != Status.NON_FINITE)
            places = torch.from_numpy(live).to(w.device)
            w[:, places[finite]] = state.w[:, finite]
            running = np.flatnonzero(status[live] == Status.NOT_RUN)
            if len(running) < len(live):
                state.keep(torch.from_numpy(running).to(w.device))
            live = live[running]
        return w, epochs, status

    def _settled(self, change: Float64s, epochs: Int64s) -> Int64s:
        status = np.full(len(change), Status.NOT_RUN, np.int64)
        status[epochs >= self.limits.max_sweeps] = Status.ITERATION_LIMIT
        status[change < self.engine.eps] = Status.CONVERGED
        status[~np.isfinite(change)] = Status.NON_FINITE
        return status

    def _state(self, columns: Tensor, w: Tensor, start: FullGradient) -> SagaState:
        return SagaState(columns, w, start, self.lr, self.rows.largest_batch)

    def _places(self, which: Int64s) -> Tensor:
        """Columns of the state where targets ``which`` are."""
        held = self.state.column.cpu().numpy()
        order = np.argsort(held)
        return torch.from_numpy(order[np.searchsorted(held[order], which)]).to(self.rows.device)

    def _column_factors(self, columns: Tensor) -> Tensor:
        """v_j (p, 1), or (p, r) where each target has its own."""
        return self.factors if self.factors.shape[1] == 1 else self.factors[:, columns]

    def _penalty(self, lam: Float64s, columns: Tensor) -> Tensor:
        """lambda v_j (1, r) or (p, r)."""
        if bool((self.factors == 1).all()):
            return _on(self.factors, lam)[None]
        factors = self._column_factors(columns)
        return torch.where(factors.isinf(), factors, factors * _on(factors, lam))


def _duality_gap(start: FullGradient, w: Tensor, factors: Tensor, lam: Tensor) -> Tensor:
    """The gap of contract's docstring (r,), float64; g = -gradient, yy = 1."""
    # Over v_j: zero for features that are left out, whose weights are zero.
    largest = (start.gradient.abs() / factors).amax(dim=0)
    norm = (w.double().abs() * torch.where(factors.isinf(), 0.0, factors)).sum(dim=0)
    s = torch.where(largest > lam, lam / largest, 1.0)
    return start.rr / 2 + lam * norm - (s * start.yr - s**2 * start.rr / 2)


def _scaling(problem: Standardized, targets: slice) -> Scaling:
    unit = problem.units(targets)
    return Scaling(
        mean_x=torch.tensor(problem.mean_x),
        inv_scale=torch.tensor(problem.inv_scale),
        mean_y=torch.tensor(problem.mean_y[targets]),
        unit=torch.tensor(unit),
        varies=torch.tensor(problem.yy[targets] > 0),
    )


def _on(like: Tensor, values: Float64s) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)


def _flags(like: Tensor, values: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> Tensor:
    return torch.from_numpy(values).to(like.device)


def _check_problem(problem: Standardized, factors: Float64s, n_rows: int) -> None:
    if problem.groups is not None:
        raise UsageError(
            "the saga engine does not centre rows within groups; use the cpu engine for them"
        )
    if not (factors > 0).all():
        raise UsageError(
            "the saga engine takes penalty factors above 0; use the cpu engine for unpenalized "
            "features (factor 0)"
        )
    if problem.n != n_rows:
        raise UsageError(
            f"the saga engine reads {n_rows} rows and the problem was made of {problem.n}; both "
            "must be the training rows"
        )
