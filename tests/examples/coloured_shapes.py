"""Images that need no download: discs, squares and crosses of random colours and places."""

import numpy as np

from examples.cifar10.images import LabelledImages

CLASSES = ("disc", "square", "cross")
NOISE = 12  # standard deviation of each pixel, of 255


def coloured_shapes(n, *, side=16, classes=2, seed=0) -> LabelledImages:
    """``n`` images of ``side`` x ``side`` pixels, the classes in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    y, x = np.mgrid[:side, :side]
    images = np.empty((n, side, side, 3))
    for image, label in zip(images, labels, strict=True):
        radius = rng.uniform(0.15, 0.3) * side
        dy, dx = (np.abs(axis - rng.uniform(radius, side - radius)) for axis in (y, x))
        inside = (
            dy**2 + dx**2 < radius**2,
            np.maximum(dy, dx) < radius,
            (np.minimum(dy, dx) < radius / 3) & (np.maximum(dy, dx) < radius),
        )[label]
        background, colour = rng.uniform(0, 110, 3), rng.uniform(130, 255, 3)
        image[:] = np.where(inside[..., None], colour, background)
    images += rng.normal(0, NOISE, images.shape)
    return LabelledImages(
        images.clip(0, 255).astype(np.uint8), labels.astype(np.int64), CLASSES[:classes]
    )
