"""What :func:`datamodels.training.train_copies` is given, checked before anything is trained."""

import math
import operator
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datamodels.errors import InputError, UsageError

# Of torch's own optimizers, those whose step for one number depends on others.
_MIXING: Final = ("LBFGS", "Muon", "Adafactor")
_BATCH_NORMS: Final = nn.modules.batchnorm._BatchNorm


def check_schedule(schedule: Any) -> None:
    """UsageError for a schedule that asks for a number at every step."""
    if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise UsageError(
            "scheduler=ReduceLROnPlateau follows a loss, and each copy has its own; take one that "
            "counts steps, e.g. torch.optim.lr_scheduler.OneCycleLR"
        )


def check_data(inputs: Any, targets: Any) -> None:
    """InputError unless both are tensors of as many rows, on one device."""
    for name, value in (("inputs", inputs), ("targets", targets)):
        if not isinstance(value, Tensor):
            raise InputError(
                f"{name} are {type(value).__name__}; pass a tensor, e.g. torch.as_tensor({name})"
            )
        if value.dim() == 0 or len(value) == 0:
            raise InputError(
                f"{name} have shape {tuple(value.shape)}; the first axis must hold at least one "
                "example"
            )
    if len(inputs) != len(targets):
        raise InputError(
            f"inputs hold {len(inputs)} examples and targets {len(targets)}; row i of both must "
            "belong to example i"
        )
    if inputs.device != targets.device:
        raise InputError(
            f"inputs are on {inputs.device} and targets on {targets.device}; move the targets: "
            "targets.to(inputs.device)"
        )


def checked_masks(masks: Any, n: int, device: torch.device) -> Tensor:
    """``masks`` as bool (m, n) on ``device``; InputError where shape or values are wrong."""
    if not isinstance(masks, Tensor):
        masks = torch.from_numpy(np.ascontiguousarray(masks))
    if masks.dim() != 2 or masks.shape[1] != n or len(masks) == 0:
        raise InputError(
            f"masks have shape {tuple(masks.shape)}; {n} examples need (copies, {n}), a row of 0 "
            "and 1 for each copy"
        )
    other = (masks != 0) & (masks != 1)
    if other.any():
        raise InputError(
            f"masks hold {masks[other][0].item()}; each entry must be 0 or 1: weights of examples "
            "belong into the loss"
        )
    checked: Tensor = masks.to(device=device, dtype=torch.bool)
    return checked


def checked_seeds(seeds: Sequence[int] | NDArray[np.integer], m: int) -> list[int]:
    """One integer a copy, in the range of ``torch.manual_seed``."""
    if len(seeds) != m:
        raise InputError(f"seeds hold {len(seeds)} numbers and masks {m} rows; pass one seed a row")
    checked = []
    for seed in seeds:
        try:
            number = operator.index(seed)
        except TypeError:
            raise UsageError(f"seed {seed!r} is not an integer") from None
        if not -(2**63) <= number < 2**64:
            raise UsageError(f"seed {number} is out of range: it must be within -2^63..2^64 - 1")
        checked.append(number)
    return checked


def subset_rows(counted: Tensor, batches: str, batch_size: int) -> list[Tensor] | int:
    """The rows that each copy's batches are drawn from; n where those are all."""
    m, n = counted.shape
    _at_least_one("batch_size", batch_size)
    if batches == "all":
        if batch_size > n:
            raise UsageError(
                f"batch_size={batch_size} is more than the {n} examples; lower it to {n} or less"
            )
        return int(n)
    if batches != "subset":
        raise UsageError(f"batches={batches!r} is unknown: it must be 'all' or 'subset'")
    rows = [mask.nonzero()[:, 0] for mask in counted.cpu()]
    smallest = min(range(m), key=lambda i: len(rows[i]))
    if len(rows[smallest]) < batch_size:
        raise UsageError(
            f"batch_size={batch_size} is more than the {len(rows[smallest])} examples of mask "
            f"{smallest}; lower it, or draw batches from all examples (batches='all')"
        )
    return rows


def training_lengths(
    rows: list[Tensor] | int, m: int, batch_size: int, *, steps: int | None, epochs: float | None
) -> list[int]:
    """Optimizer steps of each of m copies."""
    if (steps is None) == (epochs is None):
        raise UsageError(f"steps={steps} and epochs={epochs}: give one of the two")
    if steps is not None:
        _at_least_one("steps", steps)
        return [steps] * m
    if epochs is None or not 0 < epochs < math.inf:  # also refuses NaN
        raise UsageError(f"epochs={epochs} is out of range: it must be above 0 and finite")
    sizes = [rows] * m if isinstance(rows, int) else [len(own) for own in rows]
    return [math.ceil(epochs * size / batch_size) for size in sizes]


def check_modules(modules: Sequence[nn.Module], batches: str) -> None:
    """InputError where the copies cannot be stacked; UsageError where examples would leak."""
    for module in modules:
        _check_module(module)
    first = _shapes(modules[0])
    if not any(value.requires_grad for value in modules[0].parameters()):
        raise InputError("the module has no parameter to train: each has requires_grad=False")
    for i, module in enumerate(modules):
        if type(module) is not type(modules[0]) or _shapes(module) != first:
            raise InputError(
                f"make_module made another network for copy {i} than for copy 0; all copies must "
                "have the same layers: only their numbers may differ"
            )
    if batches == "all" and any(isinstance(part, _BATCH_NORMS) for part in modules[0].modules()):
        raise UsageError(
            "BatchNorm would normalize by examples outside the subset, which batches='all' draws "
            "too; take batches='subset', or GroupNorm in its place"
        )


def _check_module(module: Any) -> None:
    if not isinstance(module, nn.Module):
        raise InputError(
            f"make_module returned {type(module).__name__}; it must make a torch.nn.Module"
        )
    if any(nn.parameter.is_lazy(value) for value in module.parameters()):
        raise InputError(
            "the module has lazy layers, whose shapes are not known yet; name their sizes, e.g. "
            "Linear(64, 10) for LazyLinear(10)"
        )


def _shapes(module: nn.Module) -> dict[str, tuple[Any, ...]]:
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: (tuple(value.shape), value.dtype, value.requires_grad) for name, value in named}


def check_optimizer(optimizer: Any) -> None:
    """UsageError for torch's own optimizers that would mix copies."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(
            f"optimizer made {type(optimizer).__name__}; it must be a function from a list of "
            "parameters to a torch.optim.Optimizer, e.g. lambda params: torch.optim.SGD(params, "
            "lr=0.1)"
        )
    mixing = tuple(getattr(torch.optim, name) for name in _MIXING if hasattr(torch.optim, name))
    if isinstance(optimizer, mixing):
        raise UsageError(
            f"{type(optimizer).__name__} does not treat each number by itself, so that copies "
            "would not be what they are alone; take e.g. SGD, Adam, AdamW or RMSprop"
        )


def check_losses(losses: Any, batch_size: int) -> None:
    """InputError unless the loss function gave one number an example."""
    if not isinstance(losses, Tensor) or losses.shape != (batch_size,):
        came = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise InputError(
            f"the loss of a batch of {batch_size} has shape {came}; it must be the loss of each "
            f"example, ({batch_size},): e.g. reduction='none'"
        )


def _at_least_one(name: str, value: int) -> None:
    try:
        number = operator.index(value)
    except TypeError:
        raise UsageError(f"{name}={value!r} is not an integer") from None
    if number < 1:
        raise UsageError(f"{name}={value} is out of range: it must be at least 1")
