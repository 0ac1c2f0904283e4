"""A ``.beton`` of FFCV with images and labels, or a folder of such, one a split."""

from pathlib import Path

from examples.cifar10.beton_images import BetonImages
from examples.cifar10.sources.source import Kind, Source, parts

SUFFIX = ".beton"


def splits(path: Path) -> tuple[str, ...] | None:
    """The betons of a folder; () for a file."""
    if path.is_dir():
        return parts(path, SUFFIX) or None
    return () if path.suffix == SUFFIX else None


def open_beton(path: Path, split: str | None) -> Source:
    """The images of one file; their classes have no names there."""
    beton = BetonImages.open(path if split is None else path / f"{split}{SUFFIX}")
    return Source(beton.labels, (), beton.read)


BETON = Kind(
    "beton", "FILE.beton with one RGB image and one int a sample, or such files in a folder",
    splits, open_beton,
)  # fmt: skip
