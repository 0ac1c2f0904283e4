"""Train small networks on random parts of the digits: a ``main`` for the worker.

    python -m datamodels.training.worker --worker.logdir=STORE --worker.indices=0-999 \
        --worker.main_import=examples.digits.train_digits

Row ``index`` of the store is a function of (``digits.seed``, ``index``) alone: its subset, the
initial weights and the order of the batches. With ``digits.repeats=r`` each subset is trained on r
times, by rows of the same ``index // r``, which is their ``mask_id``: a store of spec_repeats.json
keeps it. ``main_batch`` makes the rows of many indices at once,
in a quarter of the time or less; they equal those of ``main`` but for rounding.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from fastargs import Param, Section
from fastargs.decorators import param, section
from torch import Tensor, nn
from torch.nn import functional

from datamodels.training import TrainedCopies, row_seed, subset_mask, subset_masks, train_copies
from datamodels.training.utils import make_config
from examples.digits.planted import plant_faults

N_PIXELS = 64

Section("digits", "how the small networks are trained").params(
    alpha=Param(float, "share of the training images in each subset", default=0.5),
    seed=Param(int, "seed of subsets, initial weights and batches", default=0),
    repeats=Param(int, "networks trained on each subset; above 1 rows have a mask_id", default=1),
    hidden=Param(int, "hidden units", default=32),
    steps=Param(int, "SGD steps", default=150),
    batch_size=Param(int, "training images a step, those outside the subset included", default=256),
    lr=Param(float, "learning rate", default=0.5),
    momentum=Param(float, "momentum", default=0.9),
    flip=Param(float, "share of the training labels that are made wrong", default=0.0),
    plant=Param(int, "training images replaced by copies of test images", default=0),
    canaries=Param(int, "such copies, a wrong label common to both", default=0),
)


@section("digits")
@param("flip")
@param("plant")
@param("canaries")
@param("seed")
def tensors(
    flip: float, plant: int, canaries: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Flattened images (n, 64) and labels (n,) of both parts, faults planted as asked for."""
    return _tensors(flip, plant, canaries, seed)


@cache  # once a process
def _tensors(
    flip: float, plant: int, canaries: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    digits = plant_faults(flip, plant, canaries, seed).digits
    train, test = (
        torch.from_numpy(images).flatten(1) for images in (digits.train_images, digits.test_images)
    )
    return train, torch.from_numpy(digits.train_labels), test, torch.from_numpy(digits.test_labels)


def network(hidden: int) -> nn.Module:
    """Untrained, for flattened images."""
    return nn.Sequential(nn.Linear(N_PIXELS, hidden), nn.ReLU(), nn.Linear(hidden, 10))


@section("digits")
@param("hidden")
@param("steps")
@param("batch_size")
@param("lr")
@param("momentum")
def train(
    mask: Tensor,
    torch_seed: int,
    hidden: int,
    steps: int,
    batch_size: int,
    lr: float,
    momentum: float,
) -> nn.Module:
    """A network trained on the images where ``mask`` (n_train,) is 1."""
    images, labels, _, _ = tensors()
    torch.manual_seed(torch_seed)
    model = network(hidden)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < batch_size:
            order = torch.cat([order, torch.randperm(len(images))])
        batch, order = order[:batch_size], order[batch_size:]
        losses = functional.cross_entropy(model(images[batch]), labels[batch], reduction="none")
        counts = mask[batch]  # images outside the subset do not count
        loss = (losses * counts).sum() / counts.sum().clamp(min=1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@section("digits")
@param("hidden")
@param("steps")
@param("batch_size")
@param("lr")
@param("momentum")
def train_many(
    masks: Any,
    torch_seeds: Sequence[int],
    hidden: int,
    steps: int,
    batch_size: int,
    lr: float,
    momentum: float,
) -> TrainedCopies:
    """For every mask (m, n_train) and seed the network that ``train`` makes, all at once."""
    images, labels, _, _ = tensors()
    return train_copies(
        lambda: network(hidden),
        images,
        labels,
        masks,
        torch_seeds,
        optimizer=lambda params: torch.optim.SGD(params, lr=lr, momentum=momentum),
        steps=steps,
        batch_size=batch_size,
        batches="all",
    )


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Correct logit minus the logsumexp of the others: the log odds of the correct class.

    Logits (..., n, 10) and labels (n,) give (..., n).
    """
    chosen = labels[:, None].expand(*logits.shape[:-1], 1)
    correct = logits.gather(-1, chosen)[..., 0]
    others = logits.scatter(-1, chosen, -torch.inf)
    return correct - others.logsumexp(-1)


@section("digits")
@param("alpha")
@param("seed")
@param("repeats")
def train_row(index: int, alpha: float, seed: int, repeats: int) -> dict[str, Any]:
    """Everything the store keeps of model ``index``."""
    train_images, train_labels, test_images, test_labels = tensors()
    mask = subset_mask(index // repeats, len(train_images), alpha=alpha, seed=seed)
    model = train(torch.from_numpy(mask).float(), row_seed(index, seed=seed))
    with torch.inference_mode():
        test_logits = model(test_images)
        return {
            "masks": mask,
            "margins": margins(test_logits, test_labels),
            "train_margins": margins(model(train_images), train_labels),
            "accuracy": (test_logits.argmax(1) == test_labels).float().mean(),
            **mask_ids(index, repeats),
        }


def mask_ids(index: Any, repeats: int) -> dict[str, Any]:
    """Which subset a row has, where several rows share one."""
    return {"mask_id": index // repeats} if repeats > 1 else {}


@section("digits")
@param("alpha")
@param("seed")
@param("repeats")
def train_rows(indices: Sequence[int], alpha: float, seed: int, repeats: int) -> dict[str, Any]:
    """What ``train_row`` makes of each index, each array with one more axis in front."""
    train_images, train_labels, test_images, test_labels = tensors()
    subsets = [index // repeats for index in indices]
    masks = subset_masks(subsets, len(train_images), alpha=alpha, seed=seed)
    copies = train_many(masks, [row_seed(index, seed=seed) for index in indices])
    test_logits = copies.predict(test_images)
    return {
        "masks": masks,
        "margins": margins(test_logits, test_labels),
        "train_margins": margins(copies.predict(train_images), train_labels),
        "accuracy": (test_logits.argmax(-1) == test_labels).float().mean(-1),
        **mask_ids(np.array(indices), repeats),
    }


def main(*_: Any, index: int, logdir: str) -> dict[str, Any]:
    """What the worker calls."""
    make_config(quiet=True)
    return train_row(index)


def main_batch(*_: Any, indices: Sequence[int], logdir: str) -> dict[str, Any]:
    """What the worker calls for many rows at once, given ``--worker.batch``; 32 or 64 are best."""
    make_config(quiet=True)
    return train_rows(indices)
