"""How a network is trained: the options, checked, and the learning rate of every step."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar

import numpy as np
import torch
from fastargs.validation import Checker
from torch import Tensor

from datamodels.errors import UsageError
from examples.cifar10.margins import MARGINS

T = TypeVar("T")


class Limits(Checker):  # type: ignore[misc]
    """What an option may be. fastargs asks ``check`` before the first row is run.

    Args:
        kind: the type that a text becomes.
        holds: whether a value is within the limits.
        words: the limits, in words, for ``--help`` and messages.
    """

    def __init__(self, kind: Callable[[Any], T], holds: Callable[[T], bool], words: str) -> None:
        self._kind, self._holds, self._words = kind, holds, words

    def check(self, value: Any) -> Any:
        """The value as its type; ValueError where it is out of the limits."""
        typed = self._kind(value)
        if not self._holds(typed):
            raise ValueError(f"{value} is not {self._words}")
        return typed

    def help(self) -> str:
        """The limits in words."""
        return self._words


def integer(least: int, why: str = "") -> Limits:
    """An integer of at least ``least``."""
    return Limits(int, lambda number: number >= least, f"an integer of at least {least}{why}")


def one_of(names: Collection[str]) -> Limits:
    """One of some words."""
    return Limits(str, names.__contains__, " or ".join(names))


# Of the options of the section ``training``, by name: those of a recipe that have any.
LIMITS: Final = {
    "lr": Limits(float, lambda rate: 0 < rate < math.inf, "a number above 0"),
    "epochs": integer(1),
    "lr_peak_epoch": integer(0),
    "batch_size": integer(2, ", for BatchNorm"),
    "momentum": Limits(float, lambda share: 0 <= share < 1, "a number from 0 to below 1"),
    "weight_decay": Limits(float, lambda factor: 0 <= factor < math.inf, "a number of at least 0"),
    "label_smoothing": Limits(float, lambda share: 0 <= share <= 1, "a number from 0 to 1"),
    "margin": one_of(MARGINS),
    "width": integer(1),
    "precision": one_of(("auto", "float32", "bfloat16", "float16")),
    "compile": one_of(("auto", "none", "graph", "compile")),
}


@dataclass(frozen=True)
class Recipe:
    """The options of a training that do not differ from row to row, under the names that the
    command line has in the section ``training``.

    Raises UsageError for values out of range.
    """

    lr: float = 0.5
    epochs: int = 24
    lr_peak_epoch: int = 5
    batch_size: int = 512
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    lr_tta: bool = True
    margin: str = "largest"
    width: int = 64
    precision: str = "auto"
    compile: str = "auto"
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name, limits in LIMITS.items():
            try:
                limits.check(getattr(self, name))
            except ValueError:
                raise UsageError(
                    f"training.{name}={getattr(self, name)} must be {limits.help()}"
                ) from None
        if self.lr_peak_epoch > self.epochs:
            raise UsageError(
                f"training.lr_peak_epoch={self.lr_peak_epoch} must be at most "
                f"training.epochs={self.epochs}"
            )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The options, in order."""
        return tuple(field.name for field in fields(cls))

    def batch_of(self, size: int) -> int:
        """Images a step for a subset of ``size`` images; UsageError where BatchNorm has too few."""
        if size < 2:
            raise UsageError(
                f"a subset of {size} training images is too small for BatchNorm: raise "
                "training.alpha"
            )
        return min(self.batch_size, size)

    def steps(self, size: int) -> int:
        """Steps for a subset of ``size`` images: as many as are full in ``epochs`` passes."""
        return max(1, self.epochs * size // self.batch_of(size))

    def learning_rates(self, size: int) -> Tensor:
        """The learning rate of every step, float32 (steps,): from 0 up to ``lr`` at
        ``lr_peak_epoch`` and down to 0 at ``epochs``, in straight lines, read at the middle of each
        step (so that no step is of no effect)."""
        steps = self.steps(size)
        epochs = (np.arange(steps) + 0.5) / steps * self.epochs
        peak = self.lr_peak_epoch
        up = epochs / peak if peak else np.inf
        down = (self.epochs - epochs) / (self.epochs - peak) if peak < self.epochs else np.inf
        rates = self.lr * np.minimum(np.minimum(up, down), 1.0)
        return torch.from_numpy(np.broadcast_to(rates, (steps,)).astype(np.float32))


def batches(rows: Tensor, batch: int, steps: int, generator: torch.Generator) -> Tensor:
    """The training images of every step, int64 (steps, batch).

    All ``rows`` in a random order, then all of them in another, and so on, cut into batches: one
    may hold the end of one order and the beginning of the next. So every batch has the same size,
    which compiled code needs, and no image is left out more often than another, as it would be if
    what is left at the end of each epoch were dropped.
    """
    orders = -(-steps * batch // len(rows))  # rounded up
    stream = [rows[torch.randperm(len(rows), generator=generator)] for _ in range(orders)]
    return torch.cat(stream)[: steps * batch].view(steps, batch)
