"""Which training examples to take away: the counterfactuals that datamodels are asked about."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError, UsageError
from datamodels.regression.result import top_examples
from datamodels.streams import stream_words

METHODS = ("helpful", "harmful", "random", "nearest")

# Features of training and of test examples; row c of the latter is of output c of the store.
Features = tuple[NDArray[np.generic], NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Removal:
    """Training examples that are taken away together, to see what becomes of one target."""

    target: int  # of the datamodels
    column: int  # of the store's outputs
    method: str  # how they were chosen
    k: int  # how many were asked for
    examples: NDArray[np.int64]  # best first


def choose_removals(
    weight: NDArray[np.floating],
    columns: NDArray[np.int64],
    targets: Sequence[int],
    *,
    sizes: Sequence[int],
    methods: Sequence[str],
    candidates: NDArray[np.bool_],
    features: Features | None = None,
    n_outputs: int | None = None,
    seed: int = 0,
) -> list[Removal]:
    """For every target and method the first k examples in the method's order, for every k.

    - ``helpful``: largest weights first, positive ones only; ``harmful``: most negative first.
    - ``random``: every order equally likely, a function of (seed, target) alone.
    - ``nearest``: least Euclidean distance to the target's test example in ``features`` first.

    Fewer than k where there are no more; a set that is no larger than the one before is left out.

    Args:
        weight: (n_train, n_targets).
        columns: (n_targets,), the place of each target among the store's outputs.
        targets: of the datamodels.
        sizes: the numbers k.
        candidates: (n_train,), examples that may be removed.
        features: arrays (n_train, ...) and (n_outputs, ...); needed for ``nearest``.
        n_outputs: of the store; None: as many as there are targets.

    Raises:
        UsageError: an unknown method, a k below 1 or above the number of candidates, or no
            features for ``nearest``. InputError: features that do not fit.
    """
    _check_choice(sizes, methods, int(candidates.sum()), features)
    n_outputs = len(columns) if n_outputs is None else n_outputs
    distances = (
        _Distances(features, len(weight), n_outputs) if "nearest" in methods and features else None
    )

    def order_of(method: str, target: int) -> NDArray[np.int64]:
        largest = max(sizes)
        if method == "random":
            words = stream_words("removals", seed=seed, index=target, count=len(weight))
            order = np.argsort(words, kind="stable")
        elif method == "nearest":
            assert distances is not None
            order = np.argsort(distances.to(int(columns[target])), kind="stable")
        else:
            weights = np.where(candidates, weight[:, target], 0)
            top = top_examples(weights, largest)
            return (top.helpful if method == "helpful" else top.harmful).examples
        return order[candidates[order]][:largest]

    return list(_removals(order_of, columns, targets, sorted(set(sizes)), methods))


def _removals(
    order_of: Callable[[str, int], NDArray[np.int64]],
    columns: NDArray[np.int64],
    targets: Sequence[int],
    sizes: Sequence[int],
    methods: Sequence[str],
) -> Iterator[Removal]:
    for target in targets:
        for method in methods:
            order = order_of(method, target)
            before = 0
            for k in sizes:
                if min(k, len(order)) > before:
                    yield Removal(target, int(columns[target]), method, k, order[:k])
                    before = min(k, len(order))


class _Distances:
    """Squared Euclidean distances from test examples to all training examples."""

    def __init__(self, features: Features, n_train: int, n_outputs: int) -> None:
        train, test = (_flat(array) for array in features)
        if (len(train), len(test)) != (n_train, n_outputs) or train.shape[1] != test.shape[1]:
            raise InputError(
                f"features of shape {features[0].shape} for training and {features[1].shape} for "
                f"test examples: expected ({n_train}, ...), and ({n_outputs}, ...) of the same "
                "size, a row for every output of the store"
            )
        self._train, self._test = train, test
        self._squares = np.einsum("ij,ij->i", train, train)

    def to(self, column: int) -> NDArray[np.float64]:
        """(n_train,), less what is the same for all."""
        distances: NDArray[np.float64] = self._squares - 2 * (self._train @ self._test[column])
        return distances


def _flat(array: NDArray[np.generic]) -> NDArray[np.float64]:
    if array.ndim < 2 or array.dtype.kind not in "biuf":
        raise InputError(
            f"features of shape {array.shape} and dtype {array.dtype}: expected numbers, a row an "
            "example"
        )
    return array.reshape(len(array), -1).astype(np.float64)


def _check_choice(
    sizes: Sequence[int], methods: Sequence[str], n_candidates: int, features: Features | None
) -> None:
    unknown = [method for method in methods if method not in METHODS]
    if unknown or not methods:
        raise UsageError(f"method {(unknown or [''])[0]!r} is unknown: name {', '.join(METHODS)}")
    wrong = [k for k in sizes if not 1 <= k <= n_candidates]
    if wrong or not sizes:
        raise UsageError(
            f"k={wrong[0] if wrong else None} examples cannot be removed: from 1 to {n_candidates}"
        )
    if "nearest" in methods and features is None:
        raise UsageError("nearest needs features of the training and of the test examples")
