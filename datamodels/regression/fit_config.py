"""The options of a fit."""

from dataclasses import dataclass

from datamodels.errors import UsageError
from datamodels.regression.blocks import DEFAULT_BLOCK_BYTES


@dataclass(frozen=True)
class FitConfig:
    """Options of a fit, checked when built."""

    k: int  # lambdas on the path
    eps: float = 1e-5  # the path falls by eps^(1/k) a step
    tol: float = 1e-4  # relative duality gap along the path
    final_tol: float = 1e-7  # relative duality gap of the saved fit, in float64
    use_bias: bool = True  # False: glmnet's intercept=FALSE, nothing centred, bias 0
    end_early: bool = True  # end a target's path once its validation error has turned
    max_sweeps: int = 10_000  # at each lambda
    final_max_sweeps: int = 100_000  # of the saved fit
    target_block: int = 64  # targets solved at a time
    batch_size: int | None = None  # rows read at a time, at most; None: what block_bytes holds
    block_bytes: int = DEFAULT_BLOCK_BYTES  # memory for a block of rows
    threads: int | None = None  # None: all cores; more than there are: all

    def __post_init__(self) -> None:
        for name in ("k", "max_sweeps", "final_max_sweeps", "target_block", "block_bytes"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("batch_size", "threads"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "at least 1")
        for name in ("eps", "tol", "final_tol"):
            value = getattr(self, name)
            _require(0 < value < 1, name, value, "between 0 and 1, both excluded")


def _require(holds: bool, name: str, value: object, limit: str) -> None:
    if not holds:
        raise UsageError(f"{name}={value}; it must be {limit}")
