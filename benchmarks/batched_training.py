"""Networks trained a second: one by one, and many copies in one call of ``train_copies``.

    python -m benchmarks.batched_training

Four trainings on halves of the digits: the example's network (64 -> 32 -> 10) on batches drawn from
all images, as the example draws them, and on batches of half the size from the subset alone, which
count as many images a step; a small convolutional network; and a linear one, where a step is
hardly more than its start. On the CPU by one and by two processes of one torch thread each, in CPU
seconds, which other work on the machine disturbs less; and on a CUDA device where there is one, in
seconds. Best of three runs; making masks and predictions is left out.
"""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from datamodels.training import subset_masks, train_copies
from datamodels.training.many import Batches
from examples.digits.data import load_digits

COPIES = (8, 32, 128)  # in one call
COPIES_CUDA = (128, 512, 2048)
ALONE = 3  # models of a run one by one
REPEATS = 3
_start: Barrier  # of the processes that measure together


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.GroupNorm(2, 16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


@dataclass(frozen=True)
class Training:
    """One way to train a network; ``copies`` = 0 stands for an ordinary loop over one network."""

    network: Callable[[], nn.Module]
    batches: Batches
    batch_size: int
    steps: int
    lr: float
    copies: int = 0
    device: str = "cpu"

    def optimizer(self, params: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr=self.lr, momentum=0.9)


TRAININGS = {
    "digits MLP, 256 of all": Training(mlp, "all", 256, 150, 0.5),
    "digits MLP, 128 of subset": Training(mlp, "subset", 128, 150, 0.5),
    "convolutional, 32 of subset": Training(convolutional, "subset", 32, 100, 0.1),
    "linear, 32 of subset": Training(linear, "subset", 32, 100, 0.5),
}


def main() -> None:
    """Print models a second."""
    for processes in (1, 2):
        print(f"models a second, {processes} process(es) of one thread")
        table(COPIES, processes, "cpu")
    if torch.cuda.is_available():
        print(f"models a second on {torch.cuda.get_device_name()}, one process")
        table(COPIES_CUDA, 1, "cuda")


def table(copies: tuple[int, ...], processes: int, device: str) -> None:
    """A line for each training: one by one, then each number of copies in a call."""
    print(
        f"  {'':28}{'one by one':>11}" + "".join(f"{count:>9}" for count in copies) + "  best ratio"
    )
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    with context.Pool(processes, initializer=prepare, initargs=(barrier,)) as pool:
        for name, case in TRAININGS.items():
            rates = []
            for count in (0, *copies):
                this = replace(case, copies=count, device=device)
                seconds = pool.map(seconds_a_model, [this] * processes, chunksize=1)
                rates.append(sum(1 / each for each in seconds))
            rest = "".join(f"{rate:9.1f}" for rate in rates[1:])
            print(f"  {name:28}{rates[0]:11.1f}{rest}{max(rates) / rates[0]:12.1f}", flush=True)


def prepare(barrier: Barrier) -> None:
    """In each process: one thread, and the means to begin together."""
    global _start  # noqa: PLW0603 - how a pool's initializer hands over what cannot be pickled later
    _start = barrier
    torch.set_num_threads(1)


def seconds_a_model(case: Training) -> float:
    """Best of ``REPEATS``, all processes measuring at the same time."""
    digits = load_digits()
    images = torch.from_numpy(digits.train_images)[:, None].to(case.device)  # (n, 1, 8, 8)
    labels = torch.from_numpy(digits.train_labels).to(case.device)
    count = case.copies or ALONE
    clock = time.process_time if case.device == "cpu" else time.perf_counter
    masks = torch.from_numpy(subset_masks(range(count), len(images), alpha=0.5, seed=0))
    seconds = []
    for _ in range(REPEATS):
        _start.wait()
        began = clock()
        if case.copies:
            train_together(case, images, labels, masks)
        else:
            for mask in masks:
                train_alone(case, images, labels, mask)
        if case.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(clock() - began)
    return min(seconds) / count


def train_together(case: Training, images: Tensor, labels: Tensor, masks: Tensor) -> None:
    train_copies(
        case.network,
        images,
        labels,
        masks,
        range(len(masks)),
        optimizer=case.optimizer,
        batch_size=case.batch_size,
        steps=case.steps,
        batches=case.batches,
    )


def train_alone(case: Training, images: Tensor, labels: Tensor, mask: Tensor) -> None:
    """An ordinary loop, from one seed whatever the mask: only its time is of interest."""
    torch.manual_seed(0)
    module = case.network().to(case.device)
    optimizer = case.optimizer(module.parameters())
    rows = torch.arange(len(images)) if case.batches == "all" else mask.nonzero()[:, 0]
    order = torch.empty(0, dtype=torch.int64)
    counted = mask.float().to(case.device)
    for _ in range(case.steps):
        if len(order) < case.batch_size:
            order = torch.cat([order, rows[torch.randperm(len(rows))]])
        batch, order = order[: case.batch_size].to(case.device), order[case.batch_size :]
        losses = functional.cross_entropy(module(images[batch]), labels[batch], reduction="none")
        counts = counted[batch]
        loss = (losses * counts).sum() / counts.sum().clamp(min=1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


if __name__ == "__main__":
    main()
