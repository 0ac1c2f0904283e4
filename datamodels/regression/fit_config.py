"""The options of a fit."""

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import UsageError
from datamodels.near_miss import nearest

ENGINES = ("auto", "cpu", "torch", "few_rows", "screened", "saga")
TABLE_ENGINES = ("cpu", "torch")  # those that work on a table of all pairs of features
ESTIMATORS = ("lasso", "ridge", "difference")
RULES = ("min", "1se")

NO_LAMBDA = "estimator=difference has no lambda: leave lam out"

FLOAT32_TOL = 1e-5  # gaps on a float32 Gram matrix were seen to err by up to 3e-7

_KINDS: dict[type, tuple[type, str]] = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "a string"),
    bool: (bool, "True or False"),  # or 1 or 0
}


@dataclass(frozen=True)
class FitConfig:
    """Options of a fit, checked when built. Those that may be None are settled by ``plan``."""

    k: int = 100  # lambdas on the path
    eps: float = 1e-5  # the path falls by eps^(1/k) a step
    tol: float = 1e-4  # relative duality gap along the path
    final_tol: float = 1e-7  # relative duality gap of the saved fit, in float64
    estimator: str = "lasso"  # or the baselines: ridge, difference (of means)
    engine: str = "auto"  # which solver follows the path
    device: str | None = None  # of the torch engine, e.g. cuda:1; None: CUDA where there is one
    use_bias: bool = True  # False: glmnet's intercept=FALSE, nothing centred, bias 0
    folds: int | None = None  # choose lambda by cross-validation over so many folds
    rule: str = "min"  # least validation error; 1se (with folds): within a standard error of it
    end_early: bool = True  # end a target's path once its validation error has turned
    max_sweeps: int = 10_000  # at each lambda
    final_max_sweeps: int = 100_000  # of the saved fit
    target_block: int | None = None  # targets solved at a time; None: what memory_gb allows
    batch_size: int | None = None  # rows read at a time, at most; of saga: rows a step
    memory_gb: float | None = None  # None: 60% of what is free
    threads: int | None = None  # None: all cores; more than there are: all
    lr: float | None = None  # saga: step size; None: from the data
    check_every: int = 2  # saga: epochs between checks
    change_eps: float = 1e-5  # saga: glmnet's rule, see SagaEngine
    seed: int = 0  # of folds and of saga's order of rows

    def __post_init__(self) -> None:
        for option in fields(self):
            _check_type(option.name, option.type, getattr(self, option.name))
        for name in ("k", "max_sweeps", "final_max_sweeps", "check_every"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("batch_size", "threads", "target_block"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "at least 1")
        for name in ("eps", "tol", "final_tol"):
            value = getattr(self, name)
            _require(0 < value < 1, name, value, "between 0 and 1, both excluded")
        for name in ("memory_gb", "lr", "change_eps"):
            value = getattr(self, name)
            holds = value is None or 0 < value < math.inf
            _require(holds, name, value, "above 0, and finite")
        _require(self.folds is None or self.folds >= 2, "folds", self.folds, "at least 2")
        _one_of("engine", self.engine, ENGINES)
        _one_of("estimator", self.estimator, ESTIMATORS)
        _one_of("rule", self.rule, RULES)
        if self.rule == "1se" and self.folds is None:
            raise UsageError(
                "rule=1se needs the standard errors that folds give; set folds=5, or rule=min"
            )
        if self.estimator != "lasso" and self.engine not in ("auto", "cpu"):
            raise UsageError(
                f"engine={self.engine} fits the lasso; estimator={self.estimator} has a solver of "
                "its own: leave the engine out"
            )

    @property
    def needs_exact_gram(self) -> bool:
        """Whether the path asks for gaps that a Gram matrix in float32 does not hold."""
        return self.engine == "cpu" and self.estimator == "lasso" and self.tol < FLOAT32_TOL


def check_whole_number(name: str, value: object) -> None:
    """UsageError unless ``value`` is an integer."""
    _check_type(name, int, value)


def _check_type(name: str, annotation: Any, value: object) -> None:
    kinds = get_args(annotation) or (annotation,)
    if value is None and type(None) in kinds:
        return
    accepted, words = _KINDS[kinds[0]]
    is_switch = kinds[0] is bool and value in (0, 1)
    if not is_switch and (not isinstance(value, accepted) or isinstance(value, bool)):
        raise UsageError(f"{name}={value!r}; it must be {words}")


def _require(holds: bool, name: str, value: object, limit: str) -> None:
    if not holds:
        raise UsageError(f"{name}={value}; it must be {limit}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value in known:
        return
    close = (
        "torch" if value in ("gpu", "cuda") and name == "engine" else nearest(value, list(known))
    )
    hint = f"; did you mean {close}?" if close else ""
    raise UsageError(f"{name}={value}; it must be one of {', '.join(known)}{hint}")


def are_lambdas(values: NDArray[Any]) -> bool:
    """Whether all of ``values`` are numbers above 0, and finite."""
    return values.dtype.kind in "iuf" and bool((np.isfinite(values) & (values > 0)).all())
