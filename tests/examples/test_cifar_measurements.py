"""The measurements of the CIFAR-10 example run wherever there is no GPU, too."""

import dataclasses
import gc
import weakref

import pytest
import torch

from benchmarks.cifar_gpu import Case, at_once, main, multiply_adds, release_memory
from datamodels.errors import MissingFileError
from examples.cifar10.network import Network
from examples.cifar10.recipe import Recipe
from tests.examples.test_cifar_network import hand_counts

SMALL = Case(Recipe(width=2, epochs=2, lr_peak_epoch=1, batch_size=8), None, None, (40, 10, 12), 2)


def test_the_floor_counts_operations_as_by_hand():
    for width, classes in ((64, 10), (5, 3)):
        _, operations = hand_counts(width, classes)
        assert multiply_adds(Network(classes, width), (1, 3, 32, 32)) == operations


def test_everything_is_measured(capsys):
    main(["--noise=40,10,12", "--models=2", "--width=2", "--epochs=2", "--lr_peak_epoch=1",
          "--batch_size=8", "--workers=2"])  # fmt: skip
    said = capsys.readouterr().out
    for words in ("s a model over 2 models", "floor", "random numbers", "augmentation", "ratio",
                  "2 worker(s): "):  # fmt: skip
        assert words in said


def test_a_process_that_fails_ends_those_that_wait_for_it():
    broken = dataclasses.replace(SMALL, train="nowhere.npz")
    with pytest.raises(MissingFileError, match=r"nowhere\.npz"):
        at_once([SMALL, broken])


def test_a_trainer_that_nobody_refers_to_takes_no_memory():
    trainer = SMALL.trainer()
    trainer._loss = torch.compile(trainer.loss_of_batch, backend="eager")
    trainer.train(torch.ones(40, dtype=torch.bool), 0)
    device, kept = trainer.images.padded.device, weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        release_memory(device)
        assert kept() is None
    finally:
        gc.enable()
