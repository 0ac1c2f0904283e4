"""A part of a source: some classes, and some images of each."""

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, UsageError
from examples.cifar10.sources import Source


def select(
    source: Source, names: list[str] | None = None, per_class: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Rows of a source in its own order, their labels, and what the classes are called.

    Args:
        names: classes to keep, label i being ``names[i]``; all if None, numbered as they are.
            Where the source names no classes, they are numbers.
        per_class: how many of each class to keep, the first; all if None.

    Raises:
        UsageError: an unknown name, or one given twice.
        InputError: a class has fewer images than ``per_class``, or none.
    """
    numbers = _numbers(source)
    wanted = numbers if names is None else _chosen(names, numbers)
    rows_of = {
        name: np.flatnonzero(source.labels == number)[:per_class] for name, number in wanted.items()
    }
    if names is not None or per_class is not None:  # a class without images is nobody's fault
        _check_enough({name: len(rows) for name, rows in rows_of.items()}, per_class or 1)
    rows = np.sort(np.concatenate(list(rows_of.values())))
    labels = source.labels[rows]
    if names is None:
        return rows, labels, source.classes
    renumbered = np.zeros(max(wanted.values()) + 1, np.int64)
    renumbered[list(wanted.values())] = np.arange(len(wanted))
    return rows, renumbered[labels], tuple(wanted)


def _numbers(source: Source) -> dict[str, int]:
    """The label of each class, by its name."""
    if source.classes:
        return {name: label for label, name in enumerate(source.classes)}
    return {str(label): label for label in np.unique(source.labels).tolist()}


def _chosen(names: list[str], numbers: dict[str, int]) -> dict[str, int]:
    names = [name.strip() for name in names]
    unknown = [name for name in names if name not in numbers]
    if unknown or len(set(names)) < len(names):
        wrong = f"there is no {', '.join(unknown)}" if unknown else "one is named twice"
        raise UsageError(
            f"--prepare.classes={','.join(names)}: {wrong}. The classes are {', '.join(numbers)}"
        )
    return {name: numbers[name] for name in names}


def _check_enough(counts: dict[str, int], least: int) -> None:
    few = [f"{name} has {count}" for name, count in counts.items() if count < least]
    if few:
        raise InputError(
            f"{least} of each class are wanted, but {', '.join(few)}: lower --prepare.per_class, "
            "or name other classes by --prepare.classes"
        )
