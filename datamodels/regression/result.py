"""Datamodels: the fitted linear models, and their file ``datamodels.pt``."""

import operator
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.errors import InputError, UsageError
from datamodels.files import new_file
from datamodels.npy_file import open_map
from datamodels.regression.result_file import KEYS, read_arrays

_BLOCK_ROWS = 4096
_BLOCK_VALUES = 2**24
_ARRAY_REMEDY = (
    "Give a full array of numbers: .float() of a bfloat16 tensor, .to_dense() or .toarray() of a "
    "sparse one, lists of lists of one length"
)

Units = Literal["raw", "standardized"]


class Ranked(NamedTuple):
    """Training examples in order of importance, and their weights in the units of the output."""

    examples: NDArray[np.int64]
    weights: NDArray[np.float32]


class TopExamples(NamedTuple):
    """The training examples that matter most to one target."""

    helpful: Ranked  # largest weights first, all > 0
    harmful: Ranked  # most negative weights first, all < 0


@dataclass(frozen=True, eq=False, repr=False)
class Datamodels:
    """Linear models from a training subset to outputs: ``mask @ weight + bias`` predicts them.

    ``weight[j, t]`` is the change of output t, in its own units, when training example j joins the
    training set. ``lam[t]`` is the penalty of the fit, on standardized features, in the units of
    output t.
    """

    weight: NDArray[np.float32]  # (n_train_examples, n_targets)
    bias: NDArray[np.float32]  # (n_targets,)
    lam: NDArray[np.float32]  # (n_targets,)

    def __post_init__(self) -> None:
        n_targets = self.weight.shape[1] if self.weight.ndim == 2 else -1
        if n_targets < 0 or self.bias.shape != (n_targets,) or self.lam.shape != (n_targets,):
            raise InputError(
                f"weight {self.weight.shape}, bias {self.bias.shape} and lam {self.lam.shape} do "
                "not belong together; they must be (n_train, n_targets), (n_targets,), (n_targets,)"
            )

    def __repr__(self) -> str:
        return f"Datamodels({self.n_train_examples} training examples, {self.n_targets} targets)"

    @property
    def n_train_examples(self) -> int:
        return int(self.weight.shape[0])

    @property
    def n_targets(self) -> int:
        return int(self.weight.shape[1])

    def predict(self, masks: ArrayLike) -> NDArray[np.float32]:
        """Predicted outputs (n, n_targets) of models trained on the subsets ``masks`` (n, n_train).

        One mask (n_train,) gives one row of outputs (n_targets,).
        """
        x = as_numpy(masks)
        if x.ndim not in (1, 2) or x.shape[-1] != self.n_train_examples:
            raise InputError(
                f"masks have shape {x.shape}; these datamodels take {self.n_train_examples} "
                f"training examples: give (n, {self.n_train_examples})"
            )
        predictions: NDArray[np.float32] = x.astype(np.float32) @ self.weight + self.bias
        return predictions

    def residuals(self, masks: ArrayLike, outputs: ArrayLike) -> NDArray[np.float64]:
        """Outputs (n, n_targets) minus what is predicted from ``masks`` (n, n_train)."""
        predicted = self.predict(masks)
        y = as_numpy(outputs)
        if y.ndim == 1 and predicted.ndim == 2 and self.n_targets == 1:
            y = y[:, None]
        if y.shape != predicted.shape:
            raise InputError(
                f"outputs have shape {y.shape}; of these masks and datamodels they have "
                f"{predicted.shape}"
            )
        residual: NDArray[np.float64] = y.astype(np.float64) - predicted
        return residual

    def score(self, masks: ArrayLike, outputs: ArrayLike) -> NDArray[np.float64]:
        """R^2 of each target (n_targets,): 1 - mean squared residual / variance of the outputs.

        NaN for an output that does not vary. Give models that took no part in the fit.
        """
        residual = np.atleast_2d(self.residuals(masks, outputs))
        y = as_numpy(outputs).astype(np.float64).reshape(residual.shape)
        spread = ((y - y.mean(axis=0)) ** 2).mean(axis=0)
        left = (residual**2).mean(axis=0)
        share = np.full(len(left), np.nan)
        np.divide(left, spread, out=share, where=spread > 0)
        return 1 - share

    def top(self, target: int, k: int) -> TopExamples:
        """At most ``k`` training examples that raise output ``target`` most, and ``k`` that lower
        it most; examples of weight zero are in neither list. ``target`` counts as in numpy."""
        target = operator.index(target)
        if not -self.n_targets <= target < self.n_targets:
            raise UsageError(f"target={target}; these datamodels have {self.n_targets} targets")
        if k < 0:
            raise UsageError(f"k={k}; ask for at least 0 examples")
        return top_examples(self.weight[:, target], k)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a torch file of ``weight``, ``bias`` and ``lam``, whole or not at all.

        An existing file is never overwritten.
        """
        import torch

        arrays = {key: np.ascontiguousarray(getattr(self, key)) for key in KEYS}
        with new_file(Path(path)) as temporary:
            tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
            with temporary.open("wb") as file:  # by its name, the bytes would depend on it
                torch.save(tensors, file)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        units: Units = "raw",
        masks: "ArrayLike | str | os.PathLike[str] | None" = None,
    ) -> "Datamodels":
        """Read a file of ``weight``, ``bias`` and ``lam``; code in it is never run.

        Files of the public code are in standardized units, prediction = ((mask - mu) / s) @ weight
        + bias with mu and s the mean and population standard deviation of the training masks:
        ``units="standardized"`` brings them to raw units with those ``masks`` (an array, or the
        path of an ``.npy`` file). Columns that never change get weight 0.

        A large file is not read but mapped: its weights take memory as they are used.
        """
        datamodels = cls(**read_arrays(Path(path)))
        if units == "raw":
            return datamodels
        if units != "standardized":
            raise UsageError(f"units={units!r}; they are 'raw' or 'standardized'")
        if masks is None:
            raise UsageError("units='standardized' needs masks=, the masks of the training rows")
        return datamodels.from_standardized(
            *_mean_and_deviation(_as_masks(masks, datamodels.n_train_examples))
        )

    def from_standardized(self, mean: ArrayLike, deviation: ArrayLike) -> "Datamodels":
        """The same in raw units, where these are of standardized masks.

        Args:
            mean, deviation: of the training masks, (n_train_examples,), or one number for all.
                Examples of deviation 0 get weight 0.
        """
        shape = (self.n_train_examples,)
        try:
            means, scales = (
                np.broadcast_to(np.asarray(x, np.float64), shape) for x in (mean, deviation)
            )
        except ValueError:
            raise InputError(
                f"means of shape {np.shape(mean)} and deviations of shape {np.shape(deviation)}: "
                f"these datamodels are of {shape[0]} training examples"
            ) from None
        inverse = np.divide(1.0, scales, out=np.zeros(shape), where=scales > 0)
        weight = np.empty(self.weight.shape, np.float32)
        bias = self.bias.astype(np.float64)
        step = max(1, _BLOCK_VALUES // max(1, self.n_targets))
        for start in range(0, len(weight), step):  # in float64 the whole would take thrice the room
            rows = slice(start, start + step)
            block = self.weight[rows] * inverse[rows, None]  # (b, n_targets) float64
            weight[rows] = block
            bias -= means[rows] @ block
        return Datamodels(weight, bias.astype(np.float32), self.lam)


def as_numpy(values: Any) -> NDArray[Any]:
    """An array of anything that numpy takes, and of torch tensors on any device."""
    try:
        if hasattr(values, "detach"):
            values = values.detach().cpu()
        array: NDArray[Any] = np.asanyarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"this makes no array: {error}. {_ARRAY_REMEDY}") from None
    if array.dtype.kind == "O":
        raise InputError(f"{type(values).__name__} makes no array of numbers. {_ARRAY_REMEDY}")
    return array


def top_examples(weights: NDArray[Any], k: int) -> TopExamples:
    """At most ``k`` examples of the largest positive and of the most negative ``weights``
    (n_train,) of one target; ties by index."""
    return TopExamples(_ranked(weights, 1, k), _ranked(weights, -1, k))


def _ranked(weights: NDArray[Any], sign: int, k: int) -> Ranked:
    order = np.argsort(-sign * weights, kind="stable")[:k]
    order = order[sign * weights[order] > 0]
    return Ranked(order, weights[order])


def _as_masks(masks: "ArrayLike | str | os.PathLike[str]", n_train: int) -> NDArray[Any]:
    if isinstance(masks, str | os.PathLike):
        masks = open_map(Path(masks))
    array = as_numpy(masks)
    if array.ndim != 2 or array.shape[1] != n_train or not len(array):
        raise InputError(
            f"masks have shape {array.shape}; give the training rows, (models, {n_train})"
        )
    return array


def _mean_and_deviation(masks: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population standard deviation of the columns, in blocks of rows."""
    blocks = [slice(i, i + _BLOCK_ROWS) for i in range(0, len(masks), _BLOCK_ROWS)]
    mean = sum(masks[rows].sum(axis=0, dtype=np.float64) for rows in blocks) / len(masks)
    squares = sum(((masks[rows] - mean) ** 2).sum(axis=0) for rows in blocks)
    return mean, np.sqrt(squares / len(masks))
