"""Where the published files lie: keys in the bucket, and the same names below a folder.

A folder ``root`` mirrors the bucket: ``root/cifar/data/test_margins_50pct.npy``. What is not whole
yet lies at ``<name>.partial`` beside its journal ``<name>.partial.jsonl``
(:mod:`datamodels.published.partial_file`); only whole files carry the final name, beside
``<name>.jsonl``, the record of their download. A view of the files of one setting as a store is
``root/cifar/50pct``.
"""

from dataclasses import dataclass
from pathlib import Path

BUCKET = "madrylab-datamodels"
PARTIAL = ".partial"  # follows the final name
JOURNAL = ".partial.jsonl"
RECORD = ".jsonl"


def percent(alpha: float) -> int:
    """A fraction as names have it: 50 for 0.5."""
    return round(100 * alpha)


def key_of(dataset: str, alpha: float, kind: str, split: str) -> str:
    """The object's key, e.g. ``cifar/data/train_masks_50pct.npy``."""
    pct = f"{percent(alpha)}pct"
    if kind == "datamodels":
        return f"{dataset}/datamodels/{split}_{pct}.pt"
    return f"{dataset}/data/{split}_{kind}_{pct}.npy"


def partial_of(final: Path) -> Path:
    """The sparse file of what is there of ``final`` while it is not whole."""
    return final.with_name(final.name + PARTIAL)


def journal_of(final: Path) -> Path:
    """The journal of :func:`partial_of`."""
    return final.with_name(final.name + JOURNAL)


def record_of(final: Path) -> Path:
    """What the journal becomes once ``final`` is whole: the checksums of its bytes."""
    return final.with_name(final.name + RECORD)


def final_of(partial: Path) -> Path:
    """What the ``.partial`` file ``partial`` becomes once it is whole."""
    return partial.with_name(partial.name.removesuffix(PARTIAL))


@dataclass(frozen=True)
class PublishedLayout:
    """The published files, and views of them, in folder ``root``."""

    root: Path

    def file(self, key: str) -> Path:
        """The whole file of one key."""
        return self.root / key

    def view(self, dataset: str, alpha: float) -> Path:
        """The folder that shows the files of one setting as a store."""
        return self.root / dataset / f"{percent(alpha)}pct"
