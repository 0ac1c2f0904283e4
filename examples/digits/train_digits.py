"""Train one small network on a random part of the digits: a ``main`` for the worker.

    python -m datamodels.training.worker --worker.logdir=STORE --worker.indices=0-999 \
        --worker.main_import=examples.digits.train_digits

Row ``index`` of the store is a function of (``digits.seed``, ``index``) alone: its subset, the
initial weights and the order of the batches.
"""

from functools import cache
from typing import Any

import torch
from fastargs import Param, Section
from fastargs.decorators import param, section
from torch import Tensor, nn
from torch.nn import functional

from datamodels.training import row_seed, subset_mask
from datamodels.training.utils import make_config
from examples.digits.data import load_digits

Section("digits", "how the small networks are trained").params(
    alpha=Param(float, "share of the training images in each subset", default=0.5),
    seed=Param(int, "seed of subsets, initial weights and batches", default=0),
    hidden=Param(int, "hidden units", default=32),
    steps=Param(int, "SGD steps", default=150),
    batch_size=Param(int, "training images a step, those outside the subset included", default=256),
    lr=Param(float, "learning rate", default=0.5),
    momentum=Param(float, "momentum", default=0.9),
)


@cache
def tensors() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Flattened images (n, 64) and labels (n,) of both parts; made once a process."""
    digits = load_digits()
    train, test = (
        torch.from_numpy(images).flatten(1) for images in (digits.train_images, digits.test_images)
    )
    return train, torch.from_numpy(digits.train_labels), test, torch.from_numpy(digits.test_labels)


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
    model = nn.Sequential(nn.Linear(images.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, 10))
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


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Correct logit minus the logsumexp of the others, (n,): the log odds of the correct class."""
    correct = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return correct - others.logsumexp(1)


@section("digits")
@param("alpha")
@param("seed")
def train_row(index: int, alpha: float, seed: int) -> dict[str, Any]:
    """Everything the store keeps of model ``index``."""
    train_images, train_labels, test_images, test_labels = tensors()
    mask = subset_mask(index, len(train_images), alpha=alpha, seed=seed)
    model = train(torch.from_numpy(mask).float(), row_seed(index, seed=seed))
    with torch.inference_mode():
        test_logits = model(test_images)
        return {
            "masks": mask,
            "margins": margins(test_logits, test_labels),
            "train_margins": margins(model(train_images), train_labels),
            "accuracy": (test_logits.argmax(1) == test_labels).float().mean(),
        }


def main(*_: Any, index: int, logdir: str) -> dict[str, Any]:
    """What the worker calls."""
    make_config(quiet=True)
    return train_row(index)
