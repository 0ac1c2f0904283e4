"""Options, learning rates, batches, margins and weights of the CIFAR-10 example."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from datamodels.errors import UsageError
from examples.cifar10.margins import over_largest, over_logsumexp
from examples.cifar10.network import Network
from examples.cifar10.recipe import Recipe, batches
from examples.cifar10.weights import Weights


@given(
    epochs=st.integers(1, 30),
    share=st.floats(0, 1),
    size=st.integers(2, 2000),
    batch_size=st.integers(2, 512),
)
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(epochs, share, size, batch_size):
    peak = round(share * epochs)
    recipe = Recipe(lr=0.5, epochs=epochs, lr_peak_epoch=peak, batch_size=batch_size)
    rates = recipe.learning_rates(size).double().numpy()
    steps = recipe.steps(size)
    assert rates.shape == (steps,)
    epoch = (np.arange(steps) + 0.5) / steps * epochs
    known = np.unique([0, peak, epochs])
    heights = [0.5 if place == peak else 0.0 for place in known]
    np.testing.assert_allclose(rates, np.interp(epoch, known, heights), rtol=1e-5, atol=1e-7)
    assert (rates > 0).all()


def test_the_defaults_are_the_public_recipe():
    recipe = Recipe()
    assert recipe.steps(25_000) == 1171  # 24 epochs of half of 50,000 images
    rates = recipe.learning_rates(25_000)
    assert rates.argmax() == pytest.approx(5 / 24 * 1171, abs=1)
    assert rates.max() == pytest.approx(0.5, abs=2e-3)


@given(
    size=st.integers(2, 60), batch=st.integers(2, 60), epochs=st.integers(1, 5), seed=st.integers(0)
)
def test_every_image_comes_as_often_as_any_other(size, batch, epochs, seed):
    recipe = Recipe(epochs=epochs, lr_peak_epoch=0, batch_size=batch)
    rows = 3 * torch.arange(size) + 1
    generator = torch.Generator().manual_seed(seed % 2**63)
    order = batches(rows, recipe.batch_of(size), recipe.steps(size), generator)
    assert order.shape == (recipe.steps(size), min(batch, size))
    numbers, counts = np.unique(order.numpy(), return_counts=True)
    assert set(numbers) <= set(rows.tolist())
    if order.numel() >= size:
        assert len(numbers) == size
        assert counts.max() - counts.min() <= 1
    assert epochs * size - order.numel() < order.shape[1]  # less than a batch is left over


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": 0.0}, "training.lr=0.0 must be a number above 0"),
        ({"epochs": 0, "lr_peak_epoch": 0}, "training.epochs=0 must be an integer of at least 1"),
        ({"lr": float("nan")}, "training.lr=nan must be a number above 0"),
        ({"lr_peak_epoch": -1}, "at least 0"),
        ({"epochs": 3}, "training.lr_peak_epoch=5 must be at most training.epochs=3"),
        ({"batch_size": 1}, "BatchNorm"),
        ({"momentum": 1.0}, "below 1"),
        ({"label_smoothing": 1.5}, "0 to 1"),
        ({"precision": "half"}, "auto or float32 or bfloat16 or float16"),
        ({"compile": "yes"}, "auto or none or graph or compile"),
        ({"margin": "correct"}, "training.margin=correct must be largest or logsumexp"),
        ({"width": 0}, "training.width=0 must be an integer of at least 1"),
        ({"weight_decay": -1.0}, "at least 0"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        Recipe(**options)


def test_a_subset_of_one_image_is_refused():
    with pytest.raises(UsageError, match=r"training\.alpha"):
        Recipe().batch_of(1)


def test_margins_one_image_at_a_time():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(20, 5)), rng.integers(0, 5, 20)
    largest = over_largest(torch.from_numpy(logits), torch.from_numpy(labels))
    logsumexp = over_logsumexp(torch.from_numpy(logits), torch.from_numpy(labels))
    for image, (row, label) in enumerate(zip(logits, labels, strict=True)):
        others = np.delete(row, label)
        assert largest[image] == pytest.approx(row[label] - others.max())
        assert logsumexp[image] == pytest.approx(row[label] - np.log(np.exp(others).sum()))
        assert (largest[image] > 0) == (row.argmax() == label)


def test_of_two_classes_both_margins_are_the_same():
    logits, labels = torch.randn(6, 2), torch.tensor([0, 1, 1, 0, 0, 1])
    torch.testing.assert_close(over_largest(logits, labels), over_logsumexp(logits, labels))


@pytest.mark.parametrize("loss_scale", [1.0, 64.0])
def test_steps_are_those_of_torchs_sgd(loss_scale):
    torch.manual_seed(0)
    ours, theirs = Network(3, 2), Network(3, 2)
    theirs.load_state_dict(ours.state_dict())
    weights = Weights(ours)
    assert len(weights) == sum(p.numel() for p in ours.parameters())
    sgd = torch.optim.SGD(theirs.parameters(), lr=1.0, momentum=0.9, weight_decay=5e-4)
    for rate in (0.1, 0.3, 0.2):
        images, labels = torch.randn(8, 3, 12, 12), torch.randint(3, (8,))
        weights.clear_gradients()
        (nn.functional.cross_entropy(ours(images), labels) * loss_scale).backward()
        weights.step(torch.tensor(rate), momentum=0.9, weight_decay=5e-4, loss_scale=loss_scale)
        sgd.param_groups[0]["lr"] = rate
        sgd.zero_grad()
        nn.functional.cross_entropy(theirs(images), labels).backward()
        sgd.step()
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("overflow", [float("inf"), float("nan")])
def test_a_step_whose_gradients_overflowed_is_not_taken(overflow):
    torch.manual_seed(0)
    network = Network(3, 2)
    weights = Weights(network)
    options = {"momentum": 0.9, "weight_decay": 5e-4, "loss_scale": 64.0}

    def step(share):
        weights.clear_gradients()
        network(torch.randn(8, 3, 12, 12)).square().mean().backward()
        next(network.parameters()).grad[0, 0, 0, 0] += share
        weights.step(torch.tensor(0.1), **options)
        return [parameter.detach().clone() for parameter in network.parameters()]

    first, skipped = step(0.0), step(overflow)
    for before, after in zip(first, skipped, strict=True):
        assert torch.equal(before, after)
    for before, after in zip(skipped, step(0.0), strict=True):
        assert torch.isfinite(after).all()  # momentum is what it was, too
        assert not torch.equal(before, after)


def test_starting_anew_takes_over_everything_and_moves_nothing():
    network, fresh = Network(3, 2), Network(3, 2)
    weights = Weights(network)
    places = [tensor.data_ptr() for tensor in network.state_dict().values()]
    network(torch.randn(4, 3, 12, 12)).sum().backward()
    weights.step(torch.tensor(0.1), momentum=0.9, weight_decay=0.0)
    weights.start_from(fresh)
    for own, other in zip(network.state_dict().values(), fresh.state_dict().values(), strict=True):
        assert torch.equal(own, other)
    assert [tensor.data_ptr() for tensor in network.state_dict().values()] == places
    weights.clear_gradients()
    weights.step(torch.tensor(1.0), momentum=0.9, weight_decay=0.0)  # without momentum: no change
    assert torch.equal(next(network.parameters()), next(fresh.parameters()))
    for parameter in network.parameters():
        if parameter.dim() == 4:
            assert parameter.is_contiguous(memory_format=torch.channels_last)
