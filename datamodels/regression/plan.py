"""What a fit will do, settled before it begins: engine, block sizes, and whether it fits in memory.

The outcome is a :class:`FitConfig` without open questions. A run keeps it while it is under way, so
that it does the same when it is resumed, whatever memory is free by then.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from datamodels.errors import InputError, UsageError
from datamodels.regression.devices import check_device, free_bytes, has_cuda
from datamodels.regression.fit_config import TABLE_ENGINES, FitConfig
from datamodels.regression.memory import memory_budget

# few_rows: a residual this much shorter than a row of the Gram matrix, and short in itself.
_FEW_ROWS_SHARE = 0.1
_FEW_ROWS = 2_000

_MAX_BLOCK, _MAX_DEVICE_BLOCK = 64, 2_048
_BYTES_PER_WEIGHT = 8 * 8  # of a block's targets: c, w, g and copies of them in float64
_BLOCK_SHARE = 0.125  # of the budget, for the state of a block of targets
_READ_SHARE, _MAX_READ = 0.05, 512 * 2**20  # of the budget, for a block of rows
_WORKING_SHARE = 0.25  # of the budget, for the tables of working sets

# Tables of folds are held in memory up to here, and in a file beyond.
_HELD_FOLDS = 256 * 2**20


@dataclass(frozen=True)
class Size:
    """The numbers that a fit's cost depends on."""

    n_train: int
    n_features: int
    n_targets: int
    pair_bytes: int = 4  # an entry of a table of pairs, see ``pair_bytes``
    folds: int = 0
    centred: bool = True

    @property
    def keeps_folds(self) -> bool:
        """Whether the tables of all folds are held, rather than one at a time read from a file."""
        if not self.folds:
            return True
        return (self.folds + 1) * self.pair_bytes * self.n_features**2 <= _HELD_FOLDS

    def table_bytes(self, config: FitConfig) -> int:
        """Tables of all pairs of features and the Gram matrix that is formed of them."""
        counted = self.pair_bytes == 4
        tables = 1
        if self.folds:
            tables = self.folds + 1 if self.keeps_folds else 2
            tables += 0 if counted else 1  # their difference: floats do not go there and back
        gram = 0 if counted and self.centred else 4  # counts lend their memory
        if config.needs_exact_gram:
            gram = 8
        return (tables * self.pair_bytes + gram) * self.n_features**2

    def product_bytes(self, n_targets: int) -> int:
        """X'Y of the training rows and of the others, float64."""
        return 2 * 8 * self.n_features * n_targets


def pair_bytes(mask_dtype: "np.dtype[Any]") -> int:
    """Bytes of an entry of a table of pairs: an int32 count of zeros and ones, or a float64
    product. Masks of floats may turn out to be zeros and ones, which takes less."""
    return 8 if mask_dtype.kind == "f" else 4


@dataclass(frozen=True)
class FromFile:
    """Moments that are used from a file, or made there."""

    path: Path
    n_targets: int  # of the source, all of which are kept there


@dataclass(frozen=True)
class Plan:
    """The settled options, and why."""

    config: FitConfig
    reason: str  # of the engine
    block_bytes: int  # for a block of rows
    table_bytes: int  # for tables of working sets; of few_rows and screened

    @property
    def engine(self) -> str:
        return self.config.engine


def make_plan(
    config: FitConfig,
    size: Size,
    *,
    zero_factors: bool,
    grouped: bool,
    moments: FromFile | None = None,
) -> Plan:
    """Settle what ``config`` leaves open for a fit of ``size``.

    InputError where it cannot fit in memory; UsageError for an engine that cannot do what is asked,
    or a device that is not there.
    """
    if config.device is not None:
        check_device(config.device)
    budget = memory_budget(config.memory_gb)
    engine, reason = config.engine, "as asked"
    if engine == "auto":
        engine, reason = _pick_engine(config, size, budget, zero_factors, moments)
    _check_abilities(engine, config.estimator, zero_factors, grouped, moments)
    device = _torch_device(config.device) if engine == "torch" else None
    settled = replace(config, engine=engine, device=device)
    if engine in TABLE_ENGINES:
        _check_table(settled, size, budget, moments)
    room = free_bytes(device) if device is not None and device != "cpu" else None
    if room is not None and _device_bytes(size, moments) > room:
        raise InputError(
            f"engine=torch: {_does_not_fit(size, moments, room)}. Use engine=cpu, or another device"
        )
    block = config.target_block or _target_block(engine, size, budget, room)
    return Plan(
        replace(settled, target_block=block),
        reason,
        block_bytes=int(min(_READ_SHARE * budget, _MAX_READ)),
        table_bytes=int(_WORKING_SHARE * budget),
    )


def _pick_engine(
    config: FitConfig, size: Size, budget: int, zero_factors: bool, moments: FromFile | None
) -> tuple[str, str]:
    n, p = size.n_train, size.n_features
    if config.estimator != "lasso":
        return "cpu", f"estimator={config.estimator}"
    if moments is None and n <= _FEW_ROWS and n <= _FEW_ROWS_SHARE * p:
        return "few_rows", f"{n} rows are far fewer than {p} features"
    engine, reason = _table_engine(config, size, zero_factors, moments)
    needed = size.table_bytes(replace(config, engine=engine))
    if moments is None and needed > budget:
        return "screened", (
            f"a table of all pairs of {p} features takes {needed / 2**30:.3g} GiB of the "
            f"{budget / 2**30:.3g} allowed"
        )
    return engine, reason


def _table_engine(
    config: FitConfig, size: Size, zero_factors: bool, moments: FromFile | None
) -> tuple[str, str]:
    on_cpu = "moments are given" if moments else "the table of all pairs fits in memory"
    device = "cpu" if zero_factors else _torch_device(config.device)
    if device == "cpu":
        return "cpu", on_cpu
    room = free_bytes(device)
    if _device_bytes(size, moments) > room:
        return "cpu", _does_not_fit(size, moments, room)
    return "torch", "there is a CUDA device"


def _device_bytes(size: Size, moments: FromFile | None) -> int:
    """The float32 Gram matrix on a device; while pairs are counted there, counts beside it."""
    counted = moments is None or not moments.path.exists()
    return (8 if counted else 4) * size.n_features**2


def _does_not_fit(size: Size, moments: FromFile | None, room: int) -> str:
    return (
        f"{size.n_features} features take {_device_bytes(size, moments) / 2**30:.3g} GiB on the "
        f"device, which has {room / 2**30:.3g} free"
    )


def _torch_device(device: str | None) -> str:
    if device is not None:
        return device
    return "cuda" if has_cuda() else "cpu"


def _check_abilities(
    engine: str, estimator: str, zero_factors: bool, grouped: bool, moments: FromFile | None
) -> None:
    if zero_factors and estimator == "ridge":
        raise UsageError("estimator=ridge takes no penalty factors of 0; use the lasso")
    if zero_factors and engine in ("torch", "saga"):
        raise UsageError(
            f"engine={engine} takes no penalty factors of 0 (unpenalized features); use engine=cpu"
        )
    if grouped and engine == "saga":
        raise UsageError("engine=saga takes no groups; use engine=cpu")
    if moments is not None and engine not in TABLE_ENGINES:
        raise UsageError(
            f"moments={moments.path}: engine={engine} works on the rows and uses no file of "
            "moments; leave it out, or use engine=cpu"
        )


def _check_table(config: FitConfig, size: Size, budget: int, moments: FromFile | None) -> None:
    table = size.table_bytes(config)
    n_targets = moments.n_targets if moments else size.n_targets
    needed = table + size.product_bytes(n_targets)
    if needed <= budget:
        return
    allowed = f"{budget / 2**30:.3g} GiB are allowed (memory_gb)"
    if table > budget:
        screened = config.estimator == "lasso" and moments is None
        remedy = "Use engine=screened, or a" if screened else "Use a"
        raise InputError(
            f"a table of all pairs of {size.n_features} features takes {table / 2**30:.3g} GiB; "
            f"{allowed}. {remedy} machine with more memory"
        )
    leave_out = ", without moments," if moments else ""
    raise InputError(
        f"{size.n_features} features and {n_targets} targets take {needed / 2**30:.3g} GiB; "
        f"{allowed}. Fit fewer targets at a time{leave_out} (target_start_ind, target_end_ind) "
        "and merge the results"
    )


def _target_block(engine: str, size: Size, budget: int, room: int | None) -> int:
    """Targets whose state fits the memory of the host and, if known, the ``room`` on a device."""
    most = _MAX_DEVICE_BLOCK if engine == "torch" else _MAX_BLOCK
    least = budget if room is None else min(budget, room)
    affordable = _BLOCK_SHARE * least / (_BYTES_PER_WEIGHT * size.n_features)
    return int(np.clip(affordable, 1, min(most, size.n_targets)))
