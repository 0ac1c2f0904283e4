"""A training step as a CUDA graph: all its kernels started by one call."""

from collections.abc import Callable

import torch
from torch import Tensor

from examples.cifar10.augmentation import NUMBERS

_WARM_UP = 3  # steps before the capture: libraries choose algorithms and compilers compile


class CapturedStep:
    """``step`` captured for batches of one size; called with new arguments, it replays.

    What ``step`` changes must keep its place in memory, and nothing in it may depend on values that
    the CPU reads. The steps before the capture change weights: start them anew afterwards.

    Args:
        step: from rows (b,), numbers (b, 5) and learning rate ().
        batch: b.
    """

    def __init__(
        self, step: Callable[[Tensor, Tensor, Tensor], None], batch: int, device: torch.device
    ) -> None:
        self._inputs = (
            torch.zeros(batch, dtype=torch.int64, device=device),
            torch.zeros(batch, NUMBERS, dtype=torch.int16, device=device),
            torch.zeros((), device=device),
        )
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                step(*self._inputs)
        torch.cuda.current_stream(device).wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # The outer one puts the stream back where a capture fails, which the inner one does not.
        with torch.cuda.stream(torch.cuda.current_stream(device)), torch.cuda.graph(self._graph):
            step(*self._inputs)

    def __call__(self, *values: Tensor) -> None:
        for own, value in zip(self._inputs, values, strict=True):
            own.copy_(value)
        self._graph.replay()
