"""Augmentation of a whole batch, against a loop over its images."""

import numpy as np
import pytest
import torch

from examples.cifar10.augmentation import CUTOUT, TRANSLATION, Draws, augment, draw, pad

FILL = torch.tensor([10, 120, 230], dtype=torch.uint8)


def one_by_one(images, rows, numbers, fill):
    """The slow way: each image flipped, moved on a larger canvas, and painted over."""
    _, height, width, _ = images.shape
    out = []
    for row, (flip, down, right, top, left) in zip(rows, numbers.tolist(), strict=True):
        image = images[row][:, ::-1] if flip else images[row]
        canvas = np.empty((height + 2 * TRANSLATION, width + 2 * TRANSLATION, 3), np.uint8)
        canvas[:] = fill
        canvas[TRANSLATION : TRANSLATION + height, TRANSLATION : TRANSLATION + width] = image
        image = canvas[down : down + height, right : right + width].copy()
        image[top : top + CUTOUT, left : left + CUTOUT] = fill
        out.append(image)
    return np.stack(out)


def images_of(height, width, n=9):
    return np.random.default_rng(0).integers(0, 256, (n, height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (11, 14)])
@pytest.mark.parametrize("seed", range(3))
def test_a_batch_equals_its_images_one_by_one(height, width, seed):
    images = images_of(height, width)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(images), (50,), generator=generator)
    numbers = draw((50,), height, width, generator)
    batch = augment(pad(torch.from_numpy(images), FILL), rows, numbers, FILL)
    assert batch.dtype == torch.uint8
    np.testing.assert_array_equal(batch.numpy(), one_by_one(images, rows, numbers, FILL.numpy()))


def test_nothing_drawn_changes_nothing_but_the_cutout():
    images = images_of(12, 13, n=2)
    numbers = torch.tensor([[0, TRANSLATION, TRANSLATION, 8, 9]] * 2)
    batch = augment(pad(torch.from_numpy(images), FILL), torch.arange(2), numbers, FILL).numpy()
    np.testing.assert_array_equal(batch[:, :8], images[:, :8])
    np.testing.assert_array_equal(batch[:, :, :9], images[:, :, :9])
    assert (batch[:, 8:, 9:] == FILL.numpy()).all()


def test_every_number_is_drawn_as_often():
    height, width = 12, 15
    draws = Draws(*draw((4000,), height, width, torch.Generator().manual_seed(1)).unbind(-1))
    ends = (2, 2 * TRANSLATION + 1, 2 * TRANSLATION + 1, height - CUTOUT + 1, width - CUTOUT + 1)
    for numbers, end in zip(draws, ends, strict=True):
        counts = torch.bincount(numbers.long(), minlength=end)
        assert len(counts) == end
        expected = 4000 / end
        assert (counts - expected).abs().max() < 5 * expected**0.5


def test_shape_and_order_of_what_is_drawn_depend_on_the_generator_alone():
    first, again = (draw((3, 4), 16, 16, torch.Generator().manual_seed(5)) for _ in range(2))
    assert first.shape == (3, 4, 5)
    assert torch.equal(first, again)
