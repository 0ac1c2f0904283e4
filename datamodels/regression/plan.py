"""What a fit will do, settled before it begins: engine, block sizes, and whether it fits in memory.

The outcome is a :class:`FitConfig` without open questions. A run keeps it while it is under way, so
that it does the same when it is resumed, whatever memory is free by then.
"""

from dataclasses import dataclass, replace

import numpy as np

from datamodels.errors import InputError, UsageError
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.memory import available_bytes

_SHARE_OF_FREE = 0.6
_DEFAULT_FREE = 8 * 2**30  # where the system does not say what is free

# few_rows: a residual this much shorter than a row of the Gram matrix, and short in itself.
_FEW_ROWS_SHARE = 0.1
_FEW_ROWS = 2_000

_MAX_BLOCK, _MAX_DEVICE_BLOCK = 64, 2_048
_BYTES_PER_WEIGHT = 8 * 8  # of a block's targets: c, w, g and copies of them in float64
_BLOCK_SHARE = 0.125  # of the budget, for the state of a block of targets
_READ_SHARE, _MAX_READ = 0.05, 512 * 2**20  # of the budget, for a block of rows


@dataclass(frozen=True)
class Size:
    """The numbers that a fit's cost depends on."""

    n_train: int
    n_features: int
    n_targets: int
    mask_bytes: int  # an element of the masks
    n_tables: int = 1  # tables of pairs that are held at once: 2 with folds
    exact_gram: bool = False  # a Gram matrix of float64 beside the table

    @property
    def table_bytes(self) -> int:
        """All pairs of features: counts, in whose memory the Gram matrix stands, or float64
        products and a float32 Gram matrix."""
        gram = 8 if self.exact_gram else 0 if self.mask_bytes == 1 else 4
        pair = (4 if self.mask_bytes == 1 else 8) * self.n_tables + gram
        return pair * self.n_features**2

    @property
    def product_bytes(self) -> int:
        """X'Y of the training rows and of the others, float64."""
        return 2 * 8 * self.n_features * self.n_targets


@dataclass(frozen=True)
class Plan:
    """The settled options, and why."""

    config: FitConfig
    reason: str  # of the engine
    block_bytes: int  # for a block of rows

    @property
    def engine(self) -> str:
        return self.config.engine


def make_plan(config: FitConfig, size: Size, *, zero_factors: bool, grouped: bool) -> Plan:
    """Settle what ``config`` leaves open for a fit of ``size``.

    InputError where it cannot fit in memory; UsageError for an engine that cannot do what is asked.
    """
    budget = memory_budget(config)
    engine, reason = config.engine, "as asked"
    if engine == "auto":
        engine, reason = _pick_engine(config, size, budget, zero_factors)
    _check_abilities(engine, config.estimator, zero_factors, grouped)
    if engine in ("cpu", "torch"):
        _check_table(size, budget, config.estimator)
    settled = replace(
        config,
        engine=engine,
        device=_torch_device(config.device) if engine == "torch" else None,
        target_block=config.target_block or _target_block(engine, size, budget),
    )
    return Plan(settled, reason, int(min(_READ_SHARE * budget, _MAX_READ)))


def memory_budget(config: FitConfig) -> int:
    """Bytes that a fit may take."""
    if config.memory_gb is not None:
        return int(config.memory_gb * 2**30)
    free = available_bytes()
    return int(_SHARE_OF_FREE * (free if free is not None else _DEFAULT_FREE))


def _pick_engine(config: FitConfig, size: Size, budget: int, zero_factors: bool) -> tuple[str, str]:
    n, p = size.n_train, size.n_features
    if config.estimator != "lasso":
        return "cpu", f"estimator={config.estimator}"
    if n <= _FEW_ROWS and n <= _FEW_ROWS_SHARE * p:
        return "few_rows", f"{n} rows are far fewer than {p} features"
    if size.table_bytes > budget:
        return "screened", (
            f"a table of all pairs of {p} features takes {size.table_bytes / 2**30:.3g} GiB of the "
            f"{budget / 2**30:.3g} allowed"
        )
    if not zero_factors and _has_cuda(config.device):
        return "torch", "there is a CUDA device"
    return "cpu", "the table of all pairs fits in memory"


def _torch_device(device: str | None) -> str:
    if device is not None:
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _has_cuda(device: str | None) -> bool:
    if device is not None:
        return device.startswith("cuda")
    import torch

    return torch.cuda.is_available()


def _check_abilities(engine: str, estimator: str, zero_factors: bool, grouped: bool) -> None:
    if zero_factors and estimator == "ridge":
        raise UsageError("estimator=ridge takes no penalty factors of 0; use the lasso")
    if zero_factors and engine in ("torch", "saga"):
        raise UsageError(
            f"engine={engine} takes no penalty factors of 0 (unpenalized features); use engine=cpu"
        )
    if grouped and engine == "saga":
        raise UsageError("engine=saga takes no groups; use engine=cpu")


def _check_table(size: Size, budget: int, estimator: str) -> None:
    if size.table_bytes + size.product_bytes <= budget:
        return
    allowed = f"{budget / 2**30:.3g} GiB are allowed (memory_gb)"
    if size.table_bytes > budget:
        screened = "Use engine=screened, or a" if estimator == "lasso" else "Use a"
        raise InputError(
            f"a table of all pairs of {size.n_features} features takes "
            f"{size.table_bytes / 2**30:.3g} GiB; {allowed}. {screened} machine with more memory"
        )
    raise InputError(
        f"{size.n_features} features and {size.n_targets} targets take "
        f"{(size.table_bytes + size.product_bytes) / 2**30:.3g} GiB; {allowed}. Fit fewer targets "
        "at a time (target_start_ind, target_end_ind) and merge the results"
    )


def _target_block(engine: str, size: Size, budget: int) -> int:
    most = _MAX_DEVICE_BLOCK if engine == "torch" else _MAX_BLOCK
    affordable = _BLOCK_SHARE * budget / (_BYTES_PER_WEIGHT * size.n_features)
    return int(np.clip(affordable, 1, min(most, size.n_targets)))
