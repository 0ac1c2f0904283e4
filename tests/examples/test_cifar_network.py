"""The network of the CIFAR-10 example: its size, its arithmetic and its numbers."""

import pytest
import torch
from torch import nn

from examples.cifar10.network import LEAST_SIDE, Network

# Of each convolution: inputs, outputs (in units of the width, 0 for the three colours), kernel, and
# the side of what comes out of it for images of 32 pixels.
CONVOLUTIONS = [(0, 1, 3, 32), (1, 2, 5, 16), (2, 2, 3, 16), (2, 2, 3, 16),
                (2, 4, 3, 16), (4, 4, 3, 8), (4, 4, 3, 8), (4, 2, 3, 6)]  # fmt: skip


def hand_counts(width, classes):
    """(parameters, multiplications and additions of one image of 32 x 32)."""
    parameters = operations = 2 * width * classes
    for inputs, outputs, kernel, side in CONVOLUTIONS:
        weights = (inputs * width or 3) * outputs * width * kernel**2
        parameters += weights + 2 * outputs * width  # and scale and shift of BatchNorm
        operations += weights * side**2
    return parameters, operations


def multiply_adds(network, images):
    counts = []

    def count(module, _, outputs):
        per_output = module.weight[0].numel()
        counts.append(outputs.numel() * per_output)

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    network(images)
    return sum(counts)


@pytest.mark.parametrize(("width", "classes"), [(64, 10), (5, 3)])
def test_size_and_arithmetic_are_those_counted_by_hand(width, classes):
    network = Network(classes, width).eval()
    parameters, operations = hand_counts(width, classes)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert multiply_adds(network, torch.zeros(1, 3, 32, 32)) == operations


def test_at_full_width_a_model_takes_1e15_operations():
    parameters, operations = hand_counts(64, 10)
    assert (parameters, operations) == (2_274_880, 291_308_800)
    # two for each multiplication and addition, three for forward and backward, 24 epochs of half
    assert 2 * 3 * operations * 24 * 25_000 == pytest.approx(1.05e15, rel=0.01)


@pytest.mark.parametrize("side", [LEAST_SIDE, 16, 32, 45])
def test_any_side_gives_float32_logits(side):
    images = torch.randn(2, 3, side, side + 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = Network(7, 2)(images)
    assert logits.shape == (2, 7)
    assert logits.dtype == torch.float32


def test_smaller_images_do_not_fit():
    with pytest.raises(RuntimeError):
        Network(2, 2)(torch.randn(2, 3, LEAST_SIDE - 1, LEAST_SIDE - 1))
