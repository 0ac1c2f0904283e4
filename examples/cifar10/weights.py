"""All weights of a network in one vector, and SGD on it."""

import torch
from torch import Tensor, nn


class Weights:
    """The parameters of a network as pieces of one vector, with their gradients and momentum.

    A step of SGD is then a handful of operations whatever the number of layers, and a network
    starts anew by copying into the very same memory, which compiled code and CUDA graphs hold on
    to. Convolutions keep their weights channels last.

    Args:
        network: on its device; its parameters and their gradients are moved into the vectors.
    """

    def __init__(self, network: nn.Module) -> None:
        parameters = list(network.parameters())
        count = sum(parameter.numel() for parameter in parameters)
        self._network = network
        self._values = torch.empty(count, device=parameters[0].device)
        self._gradients = torch.zeros_like(self._values)
        self._momenta = torch.zeros_like(self._values)
        at = 0
        for parameter in parameters:
            piece = slice(at, at + parameter.numel())
            values = _shaped(self._values[piece], parameter.shape)
            values.copy_(parameter.detach())
            parameter.data = values
            parameter.grad = _shaped(self._gradients[piece], parameter.shape)
            at = piece.stop

    def __len__(self) -> int:
        return len(self._values)

    @torch.no_grad()
    def start_from(self, fresh: nn.Module) -> None:
        """Take over the parameters and buffers of a network of the same layout; forget momentum."""
        others = fresh.state_dict()
        for name, own in self._network.state_dict().items():
            own.copy_(others[name])
        self._momenta.zero_()

    def clear_gradients(self) -> None:
        """Before a backward pass, which adds to them."""
        self._gradients.zero_()

    @torch.no_grad()
    def step(
        self, lr: Tensor, *, momentum: float, weight_decay: float, loss_scale: float = 1.0
    ) -> None:
        """One step, as ``torch.optim.SGD`` takes it with these options and ``dampening=0``.

        ``lr`` is a tensor () on the device, which a CUDA graph can read anew each time. Gradients
        are of the loss times ``loss_scale``; where that is not 1 and one of them has overflowed,
        neither weights nor momentum change. The device decides so by itself: a CUDA graph cannot
        ask the CPU.
        """
        if loss_scale == 1:
            self._descend(lr, momentum, weight_decay)
            return
        before = self._values.clone(), self._momenta.clone()
        self._gradients.div_(loss_scale)
        are_finite = self._gradients.isfinite().all()
        self._descend(lr, momentum, weight_decay)
        for now, then in zip((self._values, self._momenta), before, strict=True):
            torch.where(are_finite, now, then, out=now)

    def _descend(self, lr: Tensor, momentum: float, weight_decay: float) -> None:
        self._gradients.add_(self._values, alpha=weight_decay)
        self._momenta.mul_(momentum).add_(self._gradients)
        self._values.addcmul_(self._momenta, lr, value=-1)


def _shaped(piece: Tensor, shape: torch.Size) -> Tensor:
    """A piece of a vector as a tensor of ``shape``, channels last where it has four axes."""
    if len(shape) != 4:
        return piece.view(shape)
    outputs, inputs, height, width = shape
    return piece.view(outputs, height, width, inputs).permute(0, 3, 1, 2)
