"""Train networks on random parts of an image data set, CIFAR-10 say: a ``main`` for the worker.

    python -m datamodels.training.launch --launch.logdir=STORE \
        --launch.main_import=examples.cifar10.train_cifar \
        --data.train_dataset=cifar_train.npz --data.val_dataset=cifar_test.npz

Row ``index`` of the store is a function of (``training.seed``, ``index``) alone, to the rounding
of the device: its subset, the initial weights, the batches and the augmentation. In a store with a
plan the subset is the planned one. With ``training.repeats=r`` each subset is trained on r times,
by rows of the same ``index // r``.

A row has ``masks`` (training images,) and ``margins`` (test images,), and where the spec of the
store asks for them ``mask_id`` (which subset), ``accuracy`` (on the test images) and
``train_margins`` (training images,).
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from fastargs import Param, Section
from fastargs.decorators import param, section

from datamodels.errors import UsageError
from datamodels.training import Store, row_seed, subset_for
from datamodels.training.utils import make_config
from examples.cifar10.device_images import DeviceImages
from examples.cifar10.devices import set_up, training_device
from examples.cifar10.images import read_images
from examples.cifar10.margins import MARGINS
from examples.cifar10.recipe import LIMITS, Recipe
from examples.cifar10.trainer import Trainer

Section("data", "the images: .npz files of prepare_data.py, or .beton files").params(
    train_dataset=Param(str, "training images; must be given", default=""),
    val_dataset=Param(str, "test images, on which margins are taken; must be given", default=""),
)
Section("training", "how the networks are trained").params(
    alpha=Param(float, "share of the training images in each subset", default=0.5),
    seed=Param(int, "of subsets, initial weights, batches and augmentation", default=0),
    repeats=Param(int, "networks trained on each subset", default=1),
    lr=Param(LIMITS["lr"], "highest learning rate", default=0.5),
    epochs=Param(LIMITS["epochs"], "passes through the subset", default=24),
    lr_peak_epoch=Param(LIMITS["lr_peak_epoch"], "when the learning rate is highest", default=5),
    batch_size=Param(LIMITS["batch_size"], "images a step", default=512),
    momentum=Param(LIMITS["momentum"], "of SGD", default=0.9),
    weight_decay=Param(LIMITS["weight_decay"], "of SGD, for all weights", default=5e-4),
    label_smoothing=Param(
        LIMITS["label_smoothing"], "share of each label given to all classes", default=0.1
    ),
    num_workers=Param(
        int, "accepted, and ignored: the images lie on the device, nothing loads them", default=4
    ),
    lr_tta=Param(bool, "test on each image and its mirror image", default=True),
    margin=Param(LIMITS["margin"], "correct logit minus the largest other, or their logsumexp",
                 default="largest"),
    width=Param(
        LIMITS["width"], "channels of the first block; all layers are in proportion", default=64
    ),
    precision=Param(LIMITS["precision"], "auto: half on a GPU", default="auto"),
    compile=Param(
        LIMITS["compile"], "a CUDA graph, torch.compile (in a graph on a GPU), or neither",
        default="auto",
    ),
    deterministic=Param(bool, "only convolutions that always round alike (slower)", default=False),
)  # fmt: skip


@section("data")
@param("train_dataset")
@param("val_dataset")
def images(train_dataset: str, val_dataset: str) -> DeviceImages:
    """The images that the options name, on the device; UsageError where one is not named."""
    for name, path in (("train_dataset", train_dataset), ("val_dataset", val_dataset)):
        if not path:
            raise UsageError(
                f"--data.{name} is required: an .npz file of examples.cifar10.prepare_data, or a "
                ".beton"
            )
    return _images(train_dataset, val_dataset)


@cache  # once a process
def _images(train_dataset: str, val_dataset: str) -> DeviceImages:
    return DeviceImages.load(
        read_images(train_dataset), read_images(val_dataset), training_device()
    )


@cache
def _trainer(data: DeviceImages, recipe: Recipe) -> Trainer:
    set_up(data.padded.device, deterministic=recipe.deterministic)
    return Trainer(data, recipe)


def recipe(config: Any) -> Recipe:
    """The options of the section ``training`` that do not differ from row to row."""
    return Recipe(**{name: config[f"training.{name}"] for name in Recipe.names()})


@section("training")
@param("alpha")
@param("seed")
@param("repeats")
def train_row(
    trainer: Trainer, index: int, logdir: str, alpha: float, seed: int, repeats: int
) -> dict[str, Any]:
    """Everything that the store keeps of model ``index``."""
    data = trainer.images
    mask = subset_for(
        index, len(data.train), logdir=logdir, alpha=alpha, seed=seed, repeats=repeats
    )
    trainer.train(torch.from_numpy(mask), row_seed(index, seed=seed))
    logits = trainer.logits(data.test)
    margin_of = MARGINS[trainer.recipe.margin]
    values: dict[str, Callable[[], Any]] = {
        "masks": lambda: mask,
        "margins": lambda: margin_of(logits, data.test_labels).cpu(),
        "mask_id": lambda: index // repeats,
        "accuracy": lambda: (logits.argmax(1) == data.test_labels).float().mean().cpu(),
        "train_margins": lambda: margin_of(trainer.logits(data.train), data.train_labels).cpu(),
    }
    kept = _kept_keys(Path(logdir).parent.parent)  # <store>/workers/<index>
    return {key: value() for key, value in values.items() if key in kept}


@cache
def _kept_keys(store: Path) -> frozenset[str]:
    return frozenset(Store.open(store).spec.schema)


def main(*_: Any, index: int, logdir: str) -> dict[str, Any]:
    """What the worker calls."""
    config = make_config(quiet=True)
    return train_row(_trainer(images(), recipe(config)), index, logdir)
