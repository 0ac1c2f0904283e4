"""Many copies of a small network trained in one call, each on its own subset.

One step of a small network is mostly the cost of starting it. :func:`train_copies` stacks the
parameters of m copies and takes the step of all of them at once (``torch.func.vmap``). Result i is
that of copy i trained alone, to floating-point tolerance: its initial weights and the order of its
batches are functions of its seed, and no number of one copy reaches another. (Adam makes whole
steps of rounding where a gradient is zero but for it, as that of a bias in front of BatchNorm.)

On a CPU about 32 copies in a call are best for networks of some thousand parameters (the numbers
of a step should stay in the caches), more for smaller ones, with one thread a process
(``OMP_NUM_THREADS=1``) and as many processes as cores. Convolutions gain little there: once a
batch holds enough work for the core, stacking adds nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from datamodels.errors import InputError
from datamodels.training.batches import BatchOrder
from datamodels.training.copies import FinishedCopies, TrainedCopies
from datamodels.training.features_first import FeaturesFirst
from datamodels.training.many_checks import (
    check_data,
    check_losses,
    check_modules,
    check_optimizer,
    check_schedule,
    checked_masks,
    checked_seeds,
    subset_rows,
    training_lengths,
)

_State = dict[str, Tensor]
Batches = Literal["all", "subset"]
Loss = Callable[[Any, Tensor], Tensor]
OptimizerOf = Callable[[list[Tensor]], torch.optim.Optimizer]
SchedulerOf = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """The cross entropy of each example: logits (b, classes) and int64 labels (b,) give (b,).

    What ``torch.nn.functional.cross_entropy(..., reduction="none")`` computes, which is slow for
    few classes: there the softmax runs along the classes, here along the batch.
    """
    if labels.is_floating_point():
        raise InputError(
            f"targets are {labels.dtype}; the default loss needs the number of each example's "
            "class: targets.long(), or pass a loss of your own"
        )
    if outputs.dim() != 2:
        raise InputError(
            f"the network returns shape {tuple(outputs.shape)} for a batch; the default loss needs "
            "logits of shape (batch, classes): reshape them, or pass a loss of your own"
        )
    log_shares = outputs.transpose(0, 1).log_softmax(0)  # (classes, b)
    return -log_shares.gather(0, labels[None].long())[0]


def train_copies(
    make_module: Callable[[], nn.Module],
    inputs: Tensor,
    targets: Tensor,
    masks: Tensor | NDArray[Any],
    seeds: Sequence[int] | NDArray[np.integer],
    *,
    optimizer: OptimizerOf,
    batch_size: int,
    steps: int | None = None,
    epochs: float | None = None,
    batches: Batches = "subset",
    loss: Loss = cross_entropy,
    scheduler: SchedulerOf | None = None,
) -> TrainedCopies:
    """Train copy i of a network on the examples where ``masks[i]`` is 1.

    The loss of copy i in one step is the sum over its batch of mask * loss / max(sum of mask, 1).
    Copy i alone would be trained as follows, and that is what it equals::

        torch.manual_seed(seeds[i])
        module = make_module()
        step = optimizer(list(module.parameters()))
        for rows in ...:  # consecutive pieces of torch.randperm(...), torch.randperm(...), ...

    Args:
        make_module: makes a fresh module; called once a copy.
        inputs: (n, ...). All work is done on their device.
        targets: (n, ...), e.g. int64 labels.
        masks: (m, n) of 0 and 1, any dtype.
        seeds: m integers, as ``torch.manual_seed`` takes them.
        optimizer: from a list of parameters to an optimizer. It gets the stacked parameters,
            (m, *shape) each, and must treat each number by itself: SGD with momentum, Adam, AdamW,
            RMSprop, ... do. What mixes coordinates (LBFGS, Muon, Adafactor, Shampoo, clipping by
            norm) would mix copies; of these only torch's own are refused.
        batch_size: examples a step and copy, at most as many as there are to draw from.
        steps: optimizer steps of every copy; or
        epochs: how often each copy goes through its examples, in ceil(epochs * size / batch_size)
            steps. Copies of smaller subsets end earlier.
        batches: what batches are drawn from. ``"subset"``: from the copy's own subset, so that
            each example of a batch counts. ``"all"``: from all n examples, those outside the
            subset not counting, so that each step costs as much as it would with all examples.
        loss: from what the network returns for a batch, and the batch's targets, to the loss of
            each example (b,), which may depend on that example alone. Runs under ``vmap``.
        scheduler: from the optimizer to a learning rate schedule, advanced after every step. It
            is the same for all copies.

    Returns:
        The trained copies, in the order of ``masks``.

    Raises:
        UsageError: an argument is out of its range, or an optimizer is known to mix copies.
        InputError: shapes or values do not fit together.

    The module may do whatever ``torch.func.vmap`` can: no recurrent layers and no branches on
    values. Dropout draws numbers that depend on all ``seeds`` together, and differ from those of a
    run alone. BatchNorm needs ``batches="subset"``, for it would see the examples outside the
    subset otherwise. With ``batches="all"`` a loss that is not finite spoils its copy, also where
    the example is outside the subset. The state of torch's random number generators is as before
    afterwards.
    """
    check_data(inputs, targets)
    counted = checked_masks(masks, len(inputs), inputs.device)  # (m, n) bool
    own_rows = subset_rows(counted, batches, batch_size)
    lengths = training_lengths(own_rows, len(counted), batch_size, steps=steps, epochs=epochs)
    own_seeds = checked_seeds(seeds, len(counted))
    with _kept_random_state(inputs.device):
        modules, generators = _fresh_copies(make_module, own_seeds)
        check_modules(modules, batches)
        torch.manual_seed(sum(own_seeds) % 2**63)  # of what is drawn while they train
        modules = [module.to(inputs.device) for module in modules]
        params, buffers = stack_module_state(modules)
        trained = [value for value in params.values() if value.requires_grad]
        update = optimizer(trained)
        check_optimizer(update)
        schedule = None if scheduler is None else scheduler(update)
        check_schedule(schedule)

        losses_of_batch = _losses_of_batch(modules[0], loss)
        finished = FinishedCopies(lengths)
        order = BatchOrder(own_rows, generators, batch_size=batch_size, steps=max(lengths))
        for step, drawn in enumerate(order, start=1):
            rows = drawn.to(inputs.device)  # (m, b)
            losses, changed = losses_of_batch(
                params, buffers, _pick(inputs, rows), _pick(targets, rows)
            )
            total = _total_loss(losses, counted.gather(1, rows) if batches == "all" else None)
            update.zero_grad()
            total.backward()  # type: ignore[no-untyped-call]
            update.step()
            buffers.update({name: value.detach() for name, value in changed.items()})
            if schedule is not None:
                schedule.step()
            finished.keep(step, params | buffers)
    state = finished.state
    return TrainedCopies(
        modules[0], {name: state[name] for name in params}, {name: state[name] for name in buffers}
    )


@contextmanager
def _kept_random_state(device: torch.device) -> Iterator[None]:
    """Give torch's random number generators back as they were, also those of ``device`` and, where
    it is in use, of CUDA, which ``manual_seed`` seeds as well."""
    kind = "cuda" if device.type == "cpu" and torch.cuda.is_initialized() else device.type  # type: ignore[no-untyped-call]
    count = 0 if kind == "cpu" else torch.get_device_module(kind).device_count()
    with torch.random.fork_rng(range(count), device_type="cuda" if kind == "cpu" else kind):
        yield


def _fresh_copies(
    make_module: Callable[[], nn.Module], seeds: list[int]
) -> tuple[list[nn.Module], list[torch.Generator]]:
    """The copies as made, and for each a generator that goes on where making it has ended."""
    modules, generators = [], []
    for seed in seeds:
        torch.manual_seed(seed)
        modules.append(make_module())
        generators.append(torch.Generator().set_state(torch.get_rng_state()))
    return modules, generators


def _losses_of_batch(skeleton: nn.Module, loss: Loss) -> Callable[..., Any]:
    """From stacked state and batches (m, b, ...) to losses (m, b) and the buffers afterwards."""

    def of_one(params: _State, buffers: _State, inputs: Tensor, targets: Tensor) -> Any:
        state = params | buffers  # functional_call puts in what the module has assigned anew
        losses = loss(functional_call(skeleton, state, (inputs,)), targets)
        check_losses(losses, len(inputs))
        return losses, {name: state[name] for name in buffers}

    of_all = vmap(of_one, randomness="different")

    def of_batch(*stacked: Any) -> Any:
        with FeaturesFirst():
            return of_all(*stacked)

    return of_batch


def _pick(values: Tensor, rows: Tensor) -> Tensor:
    """``values[rows]`` in one copy: (n, ...) and (m, b) give (m, b, ...)."""
    return values.index_select(0, rows.view(-1)).view(*rows.shape, *values.shape[1:])


def _total_loss(losses: Tensor, counted: Tensor | None) -> Tensor:
    """The sum of all copies' losses: each copy's gradient is that of its own."""
    if counted is None:
        return losses.mean(1).sum()
    counts = counted.to(losses.dtype)  # (m, b)
    return ((losses * counts).sum(1) / counts.sum(1).clamp(min=1)).sum()
