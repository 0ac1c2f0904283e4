"""Networks of the CIFAR-10 example: seconds a model, where they go, and models an hour.

    python -m benchmarks.cifar_gpu --train=cifar_train.npz --test=cifar_test.npz --models=20

on whatever trains there, a GPU if there is one. Without ``--train`` and ``--test`` images are noise
of the size of CIFAR-10, which takes the same time and says nothing about accuracy. The floor is the
time that the multiplications and additions alone would take at the rate that this device reaches in
a large matrix product of the same precision.
"""

import argparse
import gc
import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError

import numpy as np
import torch
from torch import Tensor, nn

from datamodels.training import row_seed, subset_mask
from examples.cifar10.device_images import DeviceImages
from examples.cifar10.devices import set_up, synchronize, training_device
from examples.cifar10.images import LabelledImages, read_images
from examples.cifar10.network import Network
from examples.cifar10.recipe import Recipe
from examples.cifar10.trainer import Trainer

ALPHA = 0.5
WARM_UP = 2  # models that are trained before the clock runs
REPEATS = 30  # of each part of a step
N_CLASSES = 10  # of noise
PASSES = 3  # forward, and backward to inputs and to weights
_start: Barrier  # of the processes that measure together


@dataclass(frozen=True)
class Case:
    """What is measured."""

    recipe: Recipe
    train: str | None
    test: str | None
    noise: tuple[int, int, int]  # training and test images, and their side, where none are named
    models: int

    def trainer(self) -> Trainer:
        """As a worker makes it."""
        device = training_device()
        set_up(device, deterministic=self.recipe.deterministic)
        n_train, n_test, side = self.noise
        train = read_images(self.train) if self.train else noise(n_train, side)
        test = read_images(self.test) if self.test else noise(n_test, side)
        return Trainer(DeviceImages.load(train, test, device), self.recipe)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print everything."""
    case, workers = parsed(arguments)
    began = time.perf_counter()
    trainer = case.trainer()
    device = trainer.images.padded.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(
        f"{name}, {trainer.precision}, compile={trainer.mode}, {torch.get_num_threads()} thread(s)"
    )
    for row in range(WARM_UP):
        one_model(trainer, row)
    synchronize(device)
    print(f"set-up and {WARM_UP} models before the clock: {time.perf_counter() - began:.1f} s")
    whole(trainer, case.models)
    parts_of_a_model(trainer)
    parts_of_a_step(trainer)
    del trainer
    release_memory(device)
    if workers:
        together(case, workers)


def parsed(arguments: Sequence[str] | None) -> tuple[Case, tuple[int, ...]]:
    """The case, and the numbers of workers to try."""
    default = Recipe()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--train", help="training images")
    parser.add_argument("--test", help="test images")
    parser.add_argument("--noise", default="50000,10000,32", help="sizes of noise, without them")
    parser.add_argument("--models", type=int, default=20, help="models that are timed")
    parser.add_argument("--workers", default="1,2,4", help="processes at a time; empty: none")
    for option in ("epochs", "lr_peak_epoch", "batch_size", "width", "precision", "compile"):
        value = getattr(default, option)
        parser.add_argument(f"--{option}", type=type(value), default=value)
    given = vars(parser.parse_args(arguments))
    train, test, models = given.pop("train"), given.pop("test"), given.pop("models")
    n_train, n_test, side = map(int, given.pop("noise").split(","))
    workers = tuple(int(number) for number in given.pop("workers").split(",") if number)
    return Case(Recipe(**given), train, test, (n_train, n_test, side), models), workers


def whole(trainer: Trainer, models: int) -> None:
    """Seconds a model, all included, against the floor."""
    device = trainer.images.padded.device
    began = time.perf_counter()
    accuracy = np.mean([one_model(trainer, WARM_UP + row) for row in range(models)])
    synchronize(device)
    seconds = (time.perf_counter() - began) / models
    rate = matmul_rate(device, trainer.precision)
    operations = operations_of_a_model(trainer)
    floor = operations / rate
    print(f"{seconds:.3f} s a model over {models} models, accuracy {accuracy:.4f}")
    print(f"floor {floor:.3f} s: {operations:.3g} operations at {rate / 1e12:.3g} T/s; "
          f"ratio {seconds / floor:.2f}")  # fmt: skip


def one_model(trainer: Trainer, row: int) -> float:
    """What a row of the store takes but for writing it; returns the accuracy."""
    images = trainer.images
    trainer.train(_mask(trainer, row), row_seed(row, seed=0))
    right = trainer.logits(images.test).argmax(1) == images.test_labels
    return float(right.float().mean())


def parts_of_a_model(trainer: Trainer) -> None:
    """One after the other, waiting for the device in between."""
    mask, seed = _mask(trainer, 0), row_seed(0, seed=0)
    plan = trainer.plan(mask, seed)
    step = trainer.step_of(plan.order.shape[1])

    def steps() -> None:
        for batch in zip(*plan, strict=True):
            step(*batch)

    parts: dict[str, Callable[[], object]] = {
        "mask": lambda: _mask(trainer, 1),
        "random numbers": lambda: trainer.plan(mask, seed),
        "initial weights": lambda: trainer.start_anew(seed),
        "steps": steps,
        "test images": lambda: trainer.logits(trainer.images.test),
    }
    table("a model", {name: timed(trainer, part, 1) for name, part in parts.items()}, 1, "s")


def parts_of_a_step(trainer: Trainer) -> None:
    """Each from the start of the step on; only the last as it is compiled."""
    images = trainer.images
    batch = trainer.recipe.batch_of(int(_mask(trainer, 0).sum()))
    plan = trainer.plan(_mask(trainer, 0), 0)
    rows, numbers, rate = (part[0] for part in plan)
    step = trainer.step_of(batch)
    trainer.start_anew(0)
    with torch.no_grad():
        parts = {
            "augmentation": timed(trainer, lambda: images.augmented(rows, numbers), REPEATS),
            "to the loss": timed(trainer, lambda: trainer.loss_of_batch(rows, numbers), REPEATS),
        }
    parts["all of it"] = timed(trainer, lambda: step(rows, numbers, rate), REPEATS)
    table(f"a step of {batch} images", parts, 1000, "ms")


def timed(trainer: Trainer, part: Callable[[], object], repeats: int) -> float:
    """Seconds of one call."""
    device = trainer.images.padded.device
    if repeats > 1:
        part()
    synchronize(device)
    began = time.perf_counter()
    for _ in range(repeats):
        part()
    synchronize(device)
    return (time.perf_counter() - began) / repeats


def table(title: str, parts: dict[str, float], factor: float, unit: str) -> None:
    print(f"{title}:")
    for name, seconds in parts.items():
        print(f"  {name:24}{seconds * factor:9.3f} {unit}")


def operations_of_a_model(trainer: Trainer) -> float:
    """Two for each multiplication and addition, of the training alone."""
    images = trainer.images
    shape = (1, 3, *images.train.shape[1:3])
    per_image = 2 * PASSES * multiply_adds(Network(images.classes, trainer.recipe.width), shape)
    size = round(ALPHA * len(images.train))
    return float(per_image) * trainer.recipe.steps(size) * trainer.recipe.batch_of(size)


def multiply_adds(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Of convolutions and linear layers, for one image of ``shape`` (1, 3, h, w)."""
    counts: list[int] = []

    def count(module: nn.Module, _: object, outputs: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        counts.append(outputs.numel() * weight[0].numel())

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network.eval()(torch.zeros(shape))
    return sum(counts)


def matmul_rate(device: torch.device, precision: torch.dtype) -> float:
    """Operations a second of a large matrix product."""
    side = 8192 if device.type == "cuda" else 512
    left, right = (torch.randn(side, side, device=device).to(precision) for _ in range(2))
    seconds = []
    for _ in range(10):
        synchronize(device)
        began = time.perf_counter()
        left @ right
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds)


def together(case: Case, workers: Sequence[int]) -> None:
    """Models an hour of several processes at a time."""
    for count in workers:
        rate = sum(3600 / each for each in at_once([case] * count))
        print(f"{count} worker(s): {rate:.0f} models an hour", flush=True)


def at_once(cases: Sequence[Case]) -> list[float]:
    """Seconds a model of each case, a process each, all of them timed at the same time.

    Raises what one of them raised, or BrokenProcessPool where one was killed: the others are not
    left waiting for it.
    """
    context = multiprocessing.get_context("spawn")
    shared = (context.Barrier(len(cases)), len(cases))
    with ProcessPoolExecutor(len(cases), context, prepare, shared) as pool:
        return list(pool.map(seconds_a_model, cases))


def prepare(barrier: Barrier, count: int) -> None:
    """In each process: its share of the threads, and the means to begin together."""
    global _start  # noqa: PLW0603 - how a pool's initializer hands over what cannot be pickled later
    _start = barrier
    torch.set_num_threads(max(1, torch.get_num_threads() // count))


def seconds_a_model(case: Case) -> float:
    """While the other processes train as well; NaN where one of these has failed."""
    try:
        trainer = case.trainer()
        for row in range(WARM_UP):
            one_model(trainer, row)
    except BaseException:
        _start.abort()
        raise
    try:
        _start.wait()
    except BrokenBarrierError:  # the other says why
        return math.nan
    began = time.perf_counter()
    for row in range(case.models):
        one_model(trainer, WARM_UP + row)
    return (time.perf_counter() - began) / case.models


def release_memory(device: torch.device) -> None:
    """Give the memory of a trainer that nobody refers to any more back to other processes."""
    torch.compiler.reset()  # compiled code may hold on to tensors
    gc.collect()  # a trainer and its methods refer to one another
    if device.type == "cuda":
        torch.cuda.empty_cache()


def noise(count: int, side: int) -> LabelledImages:
    """Images that take as long as others."""
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return LabelledImages(images, np.arange(count) % N_CLASSES, ())


def _mask(trainer: Trainer, row: int) -> Tensor:
    n_train = len(trainer.images.train)
    return torch.from_numpy(subset_mask(row, n_train, alpha=ALPHA, seed=0))


if __name__ == "__main__":
    main()
