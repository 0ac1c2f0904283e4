"""How a network is trained: the options, checked, and the learning rate of every step."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from datamodels.errors import UsageError
from examples.cifar10.margins import margin

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
COMPILES = ("auto", "none", "graph", "compile")


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
        for name in ("epochs", "width"):
            self._check(name, getattr(self, name) >= 1, "at least 1")
        self._check("batch_size", self.batch_size >= 2, "at least 2, for BatchNorm")
        self._check("lr", self.lr > 0, "above 0")
        self._check(
            "lr_peak_epoch",
            0 <= self.lr_peak_epoch <= self.epochs,
            f"0 to training.epochs={self.epochs}",
        )
        self._check("momentum", 0 <= self.momentum < 1, "at least 0 and below 1")
        self._check("weight_decay", self.weight_decay >= 0, "at least 0")
        self._check("label_smoothing", 0 <= self.label_smoothing <= 1, "0 to 1")
        self._check("precision", self.precision in PRECISIONS, " or ".join(PRECISIONS))
        self._check("compile", self.compile in COMPILES, " or ".join(COMPILES))
        margin(self.margin)

    def _check(self, name: str, holds: bool, limit: str) -> None:
        if not holds:
            raise UsageError(f"training.{name}={getattr(self, name)} must be {limit}")

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
