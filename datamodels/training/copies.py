"""What :func:`datamodels.training.train_copies` returns: many trained copies of one network."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from datamodels.errors import InputError, UsageError
from datamodels.training.features_first import FeaturesFirst


class TrainedCopies:
    """m copies of one module; entry i of every stacked tensor is copy i's.

    Attributes:
        params: name of each parameter -> tensor (m, *shape).
        buffers: the same for the buffers; empty for modules without.
    """

    def __init__(
        self, skeleton: nn.Module, params: dict[str, Tensor], buffers: dict[str, Tensor]
    ) -> None:
        self.params = {name: value.detach() for name, value in params.items()}
        self.buffers = {name: value.detach() for name, value in buffers.items()}
        self._skeleton = copy.deepcopy(skeleton).eval()

    def __len__(self) -> int:
        """m, the number of copies."""
        return len(next(iter(self.params.values())))

    def module(self, i: int) -> nn.Module:
        """Copy ``i`` as an ordinary module of its own, in evaluation mode."""
        if not 0 <= i < len(self):
            raise UsageError(f"copy {i} does not exist: there are copies 0 to {len(self) - 1}")
        module = copy.deepcopy(self._skeleton)
        own = dict(module.named_parameters()) | dict(module.named_buffers())
        with torch.no_grad():
            for name, value in (self.params | self.buffers).items():
                own[name].copy_(value[i])
        return module

    def predict(self, inputs: Tensor, *, batch_size: int = 1024) -> Tensor:
        """What every copy returns for every input, in evaluation mode and without gradients.

        Args:
            inputs: (n, ...) on the copies' device.
            batch_size: inputs at a time; m times as many intermediate results are in memory.

        Returns:
            (m, n, ...)

        Raises:
            UsageError: ``batch_size`` is below 1.
            InputError: ``inputs`` is empty.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size} is out of range: it must be at least 1")
        if len(inputs) == 0:
            raise InputError("inputs hold no example: predict needs at least one")
        forward = self._forward()
        with torch.no_grad(), FeaturesFirst():
            outputs = [
                forward(self.params, self.buffers, part) for part in torch.split(inputs, batch_size)
            ]
        return torch.cat(outputs, dim=1)

    def _forward(self) -> Callable[[dict[str, Tensor], dict[str, Tensor], Tensor], Tensor]:
        def one(params: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
            outputs: Tensor = functional_call(self._skeleton, (params, buffers), (inputs,))
            return outputs

        forward: Callable[..., Tensor] = vmap(one, in_dims=(0, 0, None), randomness="different")
        return forward


class FinishedCopies:
    """The state of each copy at its own last step; the longer ones train on beside it."""

    def __init__(self, lengths: list[int]) -> None:
        self._lengths = torch.tensor(lengths)
        self._ends = set(lengths)
        self.state: dict[str, Tensor] = {}

    def keep(self, step: int, live: dict[str, Tensor]) -> None:
        """Copy what the copies that end with this step have become."""
        if step not in self._ends:
            return
        with torch.no_grad():
            for name, value in live.items():
                kept = self.state.setdefault(name, torch.empty_like(value, requires_grad=False))
                ended = (self._lengths == step).nonzero()[:, 0].to(value.device)
                kept[ended] = value[ended]
