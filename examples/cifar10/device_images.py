"""Images on the device that trains, as uint8, loaded once a process."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datamodels.errors import InputError
from examples.cifar10.augmentation import augment, pad
from examples.cifar10.images import LabelledImages
from examples.cifar10.network import LEAST_SIDE

_BLOCK = 1000  # images whose statistics are taken at a time


@dataclass(frozen=True, eq=False)
class Normalization:
    """Statistics of the training images, of each channel, (3,) each."""

    mean: Tensor  # float32
    std: Tensor  # float32
    fill: Tensor  # uint8, the mean colour: what augmentation shows where there is nothing

    @classmethod
    def of(cls, images: np.ndarray, device: torch.device) -> "Normalization":
        """The mean over all pixels of ``images`` (n, h, w, 3), and the mean over the images of the
        standard deviation of their pixels, which is what is customary for CIFAR-10.

        All training images count, whatever the subset, so that networks of different subsets get
        the same pictures to see.
        """
        means, deviations = [], []
        for start in range(0, len(images), _BLOCK):
            block = images[start : start + _BLOCK].astype(np.float64)
            means.append(block.mean(axis=(1, 2)))
            deviations.append(block.std(axis=(1, 2)))
        mean = torch.from_numpy(np.concatenate(means).mean(axis=0))
        std = torch.from_numpy(np.concatenate(deviations).mean(axis=0)).clamp(min=1)
        fill = mean.round().to(torch.uint8)
        return cls(mean.float().to(device), std.float().to(device), fill.to(device))

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (b, h, w, 3) to float32 (b, 3, h, w), in the memory layout of the former: channels
        last."""
        return ((images - self.mean) / self.std).permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class DeviceImages:
    """Training and test images, and their labels."""

    train: Tensor  # uint8 (n, h, w, 3)
    padded: Tensor  # uint8 (n, h + 4, w + 4, 3): the training images with a frame
    train_labels: Tensor  # int64 (n,)
    test: Tensor  # uint8 (m, h, w, 3)
    test_labels: Tensor  # int64 (m,)
    normalize: Normalization
    classes: int

    @classmethod
    def load(
        cls, train: LabelledImages, test: LabelledImages, device: torch.device
    ) -> "DeviceImages":
        """InputError where the two do not go together, or their images are too small."""
        sizes = [data.images.shape[1:3] for data in (train, test)]
        if sizes[0] != sizes[1] or (
            train.classes and test.classes and train.classes != test.classes
        ):
            raise InputError(
                f"training images are {sizes[0]} pixels of classes {train.classes}, test images "
                f"{sizes[1]} of {test.classes}: prepare both from one source"
            )
        if min(sizes[0]) < LEAST_SIDE:
            raise InputError(
                f"images of {sizes[0][0]} x {sizes[0][1]} pixels are too small for the network: it "
                f"needs {LEAST_SIDE} a side; make them larger"
            )
        images, test_images = (torch.from_numpy(data.images).to(device) for data in (train, test))
        labels, test_labels = (torch.from_numpy(data.labels).to(device) for data in (train, test))
        normalize = Normalization.of(train.images, device)
        classes = max(train.num_classes, test.num_classes)
        padded = pad(images, normalize.fill)
        return cls(images, padded, labels, test_images, test_labels, normalize, classes)

    def augmented(self, rows: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Training images (b, 3, h, w), augmented and normalised, and their labels (b,)."""
        images = augment(self.padded, rows, numbers, self.normalize.fill)
        return self.normalize(images), self.train_labels[rows]
