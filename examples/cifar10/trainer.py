"""Trains one network after the other in the same memory.

What takes long to set up is set up once a process: images on the device, compiled code, CUDA
graphs. A new network is copied into the place of the last, so that all of that stays valid.
Everything random is drawn by the CPU from the seed of the row, so that networks on different
devices differ by rounding alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from datamodels.cli.runner import warn
from datamodels.streams import stream_words
from datamodels.training.process_faults import spoils_process
from examples.cifar10.augmentation import draw
from examples.cifar10.device_images import DeviceImages
from examples.cifar10.devices import captures_steps, compile_mode, precision_of
from examples.cifar10.graph import CapturedStep
from examples.cifar10.network import Network
from examples.cifar10.recipe import Recipe, batches
from examples.cifar10.weights import Weights

FLOAT16_LOSS_SCALE = 1024.0  # lifts gradients above what float16 rounds to zero

Step = Callable[[Tensor, Tensor, Tensor], None]  # rows (b,), numbers (b, 5), learning rate ()


class Plan(NamedTuple):
    """The batches of a training, step by step."""

    order: Tensor  # int64 (steps, b): rows of the training images
    numbers: Tensor  # int16 (steps, b, 5): what was drawn for their augmentation
    rates: Tensor  # float32 (steps,): learning rates


class Trainer:
    """Networks of one recipe, on subsets of the same images.

    Args:
        images: on the device that is to train.
        recipe: how.

    Attributes:
        network: the one that was trained last.
    """

    def __init__(self, images: DeviceImages, recipe: Recipe) -> None:
        device = images.padded.device
        self.images = images
        self.recipe = recipe
        self.precision = precision_of(device, recipe.precision)
        self.mode = compile_mode(device, recipe.compile)
        self.network = Network(images.classes, recipe.width).to(device)
        self._weights = Weights(self.network)
        self._loss: Callable[[Tensor, Tensor], Tensor] = (
            torch.compile(self.loss_of_batch, dynamic=False)
            if self.mode == "compile"
            else self.loss_of_batch
        )
        # Whether compiling is worth trying and has not been tried yet: nobody asked for it.
        self._tries_to_compile = self.mode == "compile" and recipe.compile == "auto"
        self._steps: dict[int, Step] = {}  # by batch size

    def train(self, mask: Tensor, seed: int) -> Network:
        """The network of this seed trained on the images where ``mask`` (n,) is True.

        It is overwritten by the next.
        """
        plan = self.plan(mask, seed)
        step = self.step_of(plan.order.shape[1])
        self.start_anew(seed)
        for batch in zip(*plan, strict=True):
            step(*batch)
        return self.network.eval()

    def plan(self, mask: Tensor, seed: int) -> Plan:
        """All that is random of a training but the initial weights, on the device."""
        rows = mask.cpu().nonzero()[:, 0]
        batch, steps = self.recipe.batch_of(len(rows)), self.recipe.steps(len(rows))
        generator = torch.Generator().manual_seed(_seed_of("batches", seed))
        order = batches(rows, batch, steps, generator)
        height, width = self.images.train.shape[1:3]
        numbers = draw(order.shape, height, width, generator)
        plan = Plan(order, numbers, self.recipe.learning_rates(len(rows)))
        return Plan(*(tensor.to(self.images.padded.device) for tensor in plan))

    def start_anew(self, seed: int) -> None:
        """An untrained network in the place of the last, ready to be trained."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(_seed_of("weights", seed))
            self._weights.start_from(Network(self.images.classes, self.recipe.width))
        self.network.train()

    def step_of(self, batch: int) -> Step:
        """What trains on one batch of this size, compiled and captured as asked for. Making it
        spoils the weights that are there: start anew afterwards."""
        if batch not in self._steps:
            self.network.train()
            device = self.images.padded.device
            captured = captures_steps(device, self.mode)
            self._steps[batch] = CapturedStep(self._step, batch, device) if captured else self._step
        return self._steps[batch]

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """What the network says of images (m, h, w, 3) of any number: float32 (m, classes).

        With ``lr_tta`` the mean of what it says of each image and of its mirror image.
        """
        self.network.eval()
        return torch.cat([self._logits(batch) for batch in images.split(self.recipe.batch_size)])

    def _logits(self, images: Tensor) -> Tensor:
        with self._autocast():
            logits = self.network(self.images.normalize(images))
            if self.recipe.lr_tta:
                logits = (logits + self.network(self.images.normalize(mirrored(images)))) / 2
        return logits

    def _step(self, rows: Tensor, numbers: Tensor, lr: Tensor) -> None:
        recipe = self.recipe
        scale = FLOAT16_LOSS_SCALE if self.precision == torch.float16 else 1.0
        self._find_gradients(rows, numbers, scale)
        self._weights.step(
            lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, loss_scale=scale
        )

    def _find_gradients(self, rows: Tensor, numbers: Tensor, scale: float) -> None:
        """Those of the loss times ``scale``; without torch.compile where nobody asked for it and it
        fails the first time."""
        self._weights.clear_gradients()
        try:
            (self._loss(rows, numbers) * scale).backward()
        except Exception as error:  # of the compilers that torch calls: no two are alike
            if not self._tries_to_compile or spoils_process(error):
                raise
            reason = str(error).strip().partition("\n")[0]
            warn(f"torch.compile does not work here ({type(error).__name__}: {reason}); going on "
                 "with --training.compile=graph")  # fmt: skip
            self.mode, self._loss, self._tries_to_compile = "graph", self.loss_of_batch, False
            self._find_gradients(rows, numbers, scale)
        self._tries_to_compile = False

    def loss_of_batch(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """The mean loss of one batch of a :class:`Plan`, a tensor (); not compiled."""
        images, labels = self.images.augmented(rows, numbers)
        with self._autocast():
            logits = self.network(images)
        return functional.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)

    def _autocast(self) -> torch.autocast:
        # No cache of converted weights: a CUDA graph would hold on to those of its capture.
        return torch.autocast(
            self.images.padded.device.type,
            dtype=self.precision,
            enabled=self.precision != torch.float32,
            cache_enabled=False,
        )


def _seed_of(stream: str, seed: int) -> int:
    """A seed of torch's for one use of a row's ``seed``: equal seeds would tie weights and batches,
    as both are drawn from one sequence of numbers then."""
    return int(stream_words(stream, seed=seed, index=0, count=1)[0] >> np.uint64(1))


def mirrored(images: Tensor) -> Tensor:
    """Images (m, h, w, 3), left and right exchanged."""
    return images.flip(2)
