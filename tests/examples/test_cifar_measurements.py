"""The measurements of the CIFAR-10 example run wherever there is no GPU, too."""

from benchmarks.cifar_gpu import main, multiply_adds
from examples.cifar10.network import Network
from tests.examples.test_cifar_network import hand_counts


def test_the_floor_counts_operations_as_by_hand():
    for width, classes in ((64, 10), (5, 3)):
        _, operations = hand_counts(width, classes)
        assert multiply_adds(Network(classes, width), (1, 3, 32, 32)) == operations


def test_everything_is_measured(capsys):
    main(["--noise=40,10,12", "--models=2", "--width=2", "--epochs=2", "--lr_peak_epoch=1",
          "--batch_size=8", "--workers="])  # fmt: skip
    said = capsys.readouterr().out
    for words in ("s a model over 2 models", "floor", "random numbers", "augmentation", "ratio"):
        assert words in said
