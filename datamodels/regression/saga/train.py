"""``calc_max_lambda`` and ``train_saga``: the public solver's two functions, on any device."""

import math
import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datamodels.errors import UsageError
from datamodels.regression.blocks import Float64s
from datamodels.regression.logs import Fields
from datamodels.regression.row_source import Progress, silent
from datamodels.regression.saga.gradient import full_gradient
from datamodels.regression.saga.loader import Loader
from datamodels.regression.saga.paths import (
    PathRules,
    Solution,
    TargetPaths,
    log_files,
    write_log,
)
from datamodels.regression.saga.rows import TrainingRows, start_pass, validation_errors
from datamodels.regression.saga.scaling import Measured, Scaling, measure
from datamodels.regression.saga.state import SagaState
from datamodels.regression.saga.step_size import safe_step
from datamodels.regression.status import Status

# Ended targets are carried along until they are this share of the columns: each removal copies all.
_DROP_SHARE = 1 / 8
_TARGETS_AT_ONCE = 256  # whose weights are brought to float64 for the bias


@dataclass(frozen=True, eq=False)
class SagaResult:
    """What a run leaves besides the weights: lam (t,), of the least validation error, or NaN where
    none was solved; and the log, (num_lambdas, t) each,

        lambda      in the units of y
        train_mse   mean squared residual as stored, each at most one pass old, in units of y^2
        val_mse     mean squared error on the validation rows
        weight_nz   non-zero weights
        epochs      passes at this lambda
        status      see ``Status``; CONVERGED means that the weights came to rest
    NaN, and -1 for integers, where the target's path had ended before.
    """

    lam: Tensor
    log: Fields


@torch.no_grad()
def calc_max_lambda(loader: Loader, *, update_bias: bool = True) -> Tensor:
    """Smallest lambda of each target at which all weights are zero: max_j |z_j.y| / n (t,).

    Of the standardized problem that :func:`train_saga` solves (there it was that of raw masks), in
    the units of y. ``update_bias=False``: of the problem without an intercept and a bias of zero.
    On the device of the loader's masks; two passes.
    """
    start_pass(loader, 0)
    measured = measure(loader)
    scaling = measured.scaling(None if update_bias else torch.zeros_like(measured.y.mean))
    rows = _rows(loader, scaling, measured)
    columns = torch.arange(len(scaling.unit), device=rows.device)
    cross = scaling.unit.new_zeros(len(scaling.inv_scale), len(columns))  # (p, t) float64
    for z, y, _ in rows.batches(columns, torch.float64):
        cross.addmm_(z.T, y)
    largest = cross.abs_().amax(dim=0).mul_(scaling.unit / measured.n)
    return torch.where(scaling.varies, largest, 0.0).float()


@torch.no_grad()
def train_saga(
    weight: Tensor,
    bias: Tensor,
    loader: Loader,
    val_loader: Loader,
    *,
    lr: float | None,
    start_lams: Tensor | float,
    lam_decay: float,
    num_lambdas: int,
    early_stop_freq: int = 2,
    early_stop_eps: float = 1e-5,
    logdir: str | os.PathLike[str] | None = None,
    update_bias: bool = True,
    min_lams_to_try: int = 10,
    max_epochs: int = 10_000,
    progress: Progress = silent,
) -> SagaResult:
    """Follow the path of lambdas of every target, and keep its best solution on held-out rows.

    ``weight`` and ``bias`` are overwritten with the solution of the least validation error so far,
    in RAW units: ``mask @ weight + bias`` predicts the outputs (there, ``weight`` was left in units
    of standardized features). What they hold at first is the starting point. A target none of whose
    lambdas was solved keeps both as they were.

    Each target goes to its next lambda once its weights have come to rest at this one, and ends
    after ``num_lambdas`` of them, or when its validation error rises while more than one weight is
    non-zero and ``min_lams_to_try`` lambdas are done, or where a lambda is not solved.

    Args:
        weight: (n_features, n_targets). Everything is computed on its device, in float32.
        bias: (n_targets,).
        loader, val_loader: rows to fit and rows to choose lambda (see ``loader``).
        lr: step size; None takes one that is safe for the data, at the cost of one more pass.
        start_lams: the first lambda, (n_targets,) or one for all, in the units of y.
        lam_decay: each lambda is this times the one before.
        early_stop_freq: passes between two looks at the weights.
        early_stop_eps: a lambda is solved when max_j (change of w_j)^2 var(x_j) since the last look
            is below this, in the units of y^2; w_j is the standardized weight where var(x_j) = 1.
        logdir: a folder for the log, one ``.npy`` file a field.
        update_bias: False leaves ``bias`` as it is and fits ``y - bias`` by masks that are scaled
            but not centred (glmnet's ``intercept=FALSE, standardize=TRUE``).
        max_epochs: passes at one lambda before its status is ITERATION_LIMIT.
    """
    rules = PathRules(
        lam_decay, num_lambdas, early_stop_freq, early_stop_eps, min_lams_to_try, max_epochs
    )
    files = None if logdir is None else log_files(logdir)
    start_pass(loader, 0)
    measured = measure(loader, weight.device)
    _check_shapes(weight, bias, measured)
    lams = _start_lams(start_lams, len(bias))
    scaling = measured.scaling(None if update_bias else bias)
    rows = _rows(loader, scaling, measured)
    step = safe_step(rows) if lr is None else _checked_step(lr)
    solution = _BestSolution(weight, bias, scaling, update_bias)
    state = _start(rows, solution, step)
    paths = TargetPaths(lams, scaling.varies.cpu().numpy(), rules)
    _set_penalty(state, paths, scaling)
    while not paths.ended.all():
        for _ in range(early_stop_freq):
            state.epoch(rows.batches(state.column))
        _look(state, paths, val_loader, scaling, solution)
        progress("path", int(paths.ended.sum()), len(lams))
    if files is not None:
        write_log(files, paths.log)
    return SagaResult(torch.from_numpy(paths.best_lam).float().to(weight.device), paths.log)


def _look(
    state: SagaState,
    paths: TargetPaths,
    val_loader: Loader,
    scaling: Scaling,
    solution: "_BestSolution",
) -> None:
    """Score the targets that have come to rest and send them on; drop those that have ended."""
    targets = state.column.cpu().numpy()
    paths.epochs[targets] += paths.rules.early_stop_freq
    unit = scaling.unit[state.column]
    status = paths.settled(targets, (state.change() * unit**2).cpu().numpy())
    at_rest = np.flatnonzero(status != Status.NOT_RUN)
    if not len(at_rest):
        return
    places = torch.from_numpy(at_rest).to(state.column.device)
    columns, w, unit = state.column[places], state.w[:, places], unit[places]
    val_mse = validation_errors(val_loader, scaling, columns, w) * unit**2
    better = paths.record(
        targets[at_rest],
        Solution(
            status[at_rest],
            (state.mean_squares()[places] * unit**2).cpu().numpy(),
            val_mse.cpu().numpy(),
            w.count_nonzero(dim=0).cpu().numpy(),
        ),
    )
    new = torch.from_numpy(better).to(places.device)
    solution.write(columns[new], w[:, new])
    _set_penalty(state, paths, scaling)
    _drop_ended(state, paths)


def _drop_ended(state: SagaState, paths: TargetPaths) -> None:
    ended = paths.ended[state.column.cpu().numpy()]
    if ended.mean() >= _DROP_SHARE:
        state.keep(torch.from_numpy(np.flatnonzero(~ended)).to(state.column.device))


def _set_penalty(state: SagaState, paths: TargetPaths, scaling: Scaling) -> None:
    lam = torch.from_numpy(paths.lam).to(scaling.unit) / scaling.unit  # (t,)
    state.set_penalty(lam[None, state.column])


class _BestSolution:
    """The user's two tensors, in raw units."""

    def __init__(self, weight: Tensor, bias: Tensor, scaling: Scaling, update_bias: bool) -> None:
        self.weight = weight  # (p, t)
        self.bias = bias  # (t,)
        self.scaling = scaling
        self.update_bias = update_bias

    def standardized(self) -> Tensor:
        """The weights as the solver sees them (p, t) float32, zero where nothing varies."""
        inv_scale, unit = self.scaling.inv_scale.float(), self.scaling.unit.float()
        scale = torch.where(inv_scale > 0, 1 / inv_scale, 0.0)[:, None]
        w = self.weight.float() * scale / unit
        return torch.where(self.scaling.varies, w, 0.0)

    def write(self, columns: Tensor, w: Tensor) -> None:
        """raw weight_j = w_j / s_j in the units of y; bias = mean of y - mean of x . weight."""
        scaling = self.scaling
        for start in range(0, len(columns), _TARGETS_AT_ONCE):
            some = slice(start, start + _TARGETS_AT_ONCE)
            part = columns[some]
            raw = w[:, some].double() * scaling.inv_scale[:, None] * scaling.unit[part]
            raw = raw.to(self.weight.dtype)  # the bias belongs to the weights as they are stored
            self.weight[:, part] = raw
            if self.update_bias:
                mean = scaling.mean_y[part] - scaling.mean_x @ raw.double()
                self.bias[part] = mean.to(self.bias.dtype)


def _start(rows: TrainingRows, solution: _BestSolution, lr: float) -> SagaState:
    w = solution.standardized()
    columns = torch.arange(w.shape[1], device=w.device)
    start = full_gradient(rows, columns, w, w.dtype)
    return SagaState(columns, w, start, lr, rows.largest_batch)


def _rows(loader: Loader, scaling: Scaling, measured: Measured) -> TrainingRows:
    return TrainingRows(loader, scaling, measured.idx, measured.largest_batch, first_pass=1)


def _checked_step(lr: float) -> float:
    if not (math.isfinite(lr) and lr > 0):
        raise UsageError(f"lr={lr}; a step size is above 0 (None: one that is safe for the data)")
    return lr


def _start_lams(start_lams: Tensor | float, n_targets: int) -> Float64s:
    lams = torch.as_tensor(start_lams, dtype=torch.float64).detach().cpu().numpy().reshape(-1)
    if len(lams) not in (1, n_targets):
        raise UsageError(f"start_lams has {len(lams)} values; there are {n_targets} targets")
    if not (np.isfinite(lams) & (lams >= 0)).all():
        raise UsageError("start_lams must be finite and not negative")
    return np.broadcast_to(lams, (n_targets,)).copy()


def _check_shapes(weight: Tensor, bias: Tensor, measured: Measured) -> None:
    p, t = len(measured.x.mean), len(measured.y.mean)
    if weight.shape != (p, t) or bias.shape != (t,):
        raise UsageError(
            f"weight {tuple(weight.shape)} and bias {tuple(bias.shape)}; the loader's {p} features "
            f"and {t} targets need ({p}, {t}) and ({t},)"
        )
    for name, values in (("weight", weight), ("bias", bias)):
        if not (values.is_floating_point() and bool(values.isfinite().all())):
            raise UsageError(f"{name}, where the fit starts, must hold finite floats")
