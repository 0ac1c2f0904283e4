"""Where images may come from: one small module for each kind of source."""

from pathlib import Path

from datamodels.errors import InputError, MissingFileError, UsageError
from examples.cifar10.sources.batches import BINARY, PYTHON, TORCHVISION
from examples.cifar10.sources.beton import BETON
from examples.cifar10.sources.folders import FOLDERS
from examples.cifar10.sources.npz import NPZ
from examples.cifar10.sources.source import Kind, Source

KINDS = {kind.name: kind for kind in (TORCHVISION, PYTHON, BINARY, FOLDERS, NPZ, BETON)}


def choose_kind(path: Path, name: str | None = None) -> Kind:
    """The kind of a source: the one named, or the only one that it looks like.

    Raises :class:`MissingFileError` where there is nothing, :class:`UsageError` for an unknown
    name, :class:`InputError` where the source is not of that kind, of none or of several.
    """
    if name is not None and name not in KINDS:
        raise UsageError(f"--prepare.kind={name} is none of {', '.join(KINDS)}")
    if not path.exists():
        raise MissingFileError(
            f"{path} does not exist. For CIFAR-10 itself, --prepare.kind=torchvision and "
            "--prepare.download let torchvision, where it is installed, download it there"
        )
    wanted = list(KINDS.values()) if name is None else [KINDS[name]]
    found = [kind for kind in wanted if kind.splits(path) is not None]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(kind.name for kind in found)
        raise InputError(f"{path} may be any of {names}: say which by --prepare.kind")
    looked_for = "\n".join(f"- {kind.name}: {kind.looked_for}" for kind in wanted)
    raise InputError(f"{path} is no source of images that is known. Looked for:\n{looked_for}")


def open_source(path: Path, kind: Kind, split: str | None) -> Source:
    """One part of a source; UsageError unless ``split`` names one exactly where there are any."""
    splits = kind.splits(path) or ()
    if split is None and len(splits) > 1:
        raise UsageError(f"{path} has {', '.join(splits)}: choose one by --prepare.split")
    if split is not None and not splits:
        raise UsageError(
            f"{path} is one set of images, without --prepare.split={split}; leave that out"
        )
    if split is not None and split not in splits:
        raise UsageError(f"--prepare.split={split} is none of those of {path}: {', '.join(splits)}")
    source = kind.open(path, split if split is not None or not splits else splits[0])
    _check_labels(source, path)
    return source


def _check_labels(source: Source, path: Path) -> None:
    labels, n_classes = source.labels, len(source.classes)
    if not labels.size:
        raise InputError(f"{path} holds no images")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or (n_classes and highest >= n_classes):
        named = f" and {n_classes} classes have names" if n_classes else ""
        raise InputError(f"{path} has labels {lowest} to {highest}, but they count from 0{named}")


__all__ = ["KINDS", "Kind", "Source", "choose_kind", "open_source"]
