"""The network of the example: a small ResNet with nine layers of weights, for images of 11 pixels
a side and more.

    block 3 -> w             3x3
    block w -> 2w            5x5, stride 2
    residual pair 2w         3x3, twice
    block 2w -> 4w           3x3, then max-pool 2
    residual pair 4w         3x3, twice
    block 4w -> 2w           3x3, without padding, then the maximum over the image
    linear 2w -> classes     without bias, times 0.2

A block is convolution, BatchNorm and ReLU. At w = 64, ten classes and images of 32 x 32 pixels
these are 2.3 million parameters, and 0.29 billion multiplications and additions an image.
"""

import torch
from torch import Tensor, nn

CHANNELS = 3  # RGB
LEAST_SIDE = 11  # pixels: the last block needs 3 x 3 of what two halvings leave
OUTPUT_SCALE = (
    0.2  # keeps the first logits small, as there is no normalisation after the last layer
)


def block(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1
) -> nn.Sequential:
    """Convolution without bias, which BatchNorm would take away, then BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class ResidualPair(nn.Module):
    """Two blocks, and what went in added to what comes out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(block(channels, channels), block(channels, channels))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.blocks(inputs)


class Network(nn.Module):
    """From images (b, 3, h, w), normalised, to float32 logits (b, classes).

    Args:
        classes: number of logits.
        width: channels of the first block; all other layers are in proportion.
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            block(CHANNELS, width),
            block(width, 2 * width, kernel=5, stride=2, padding=2),
            ResidualPair(2 * width),
            block(2 * width, 4 * width),
            nn.MaxPool2d(2),
            ResidualPair(4 * width),
            block(4 * width, 2 * width, padding=0),
        )
        self.head = nn.Linear(2 * width, classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.features(images).amax((2, 3))  # (b, 2w)
        # Margins are differences of logits: eight bits of bfloat16 would blur what masks explain.
        with torch.autocast(pooled.device.type, enabled=False):
            return self.head(pooled.float()) * OUTPUT_SCALE
