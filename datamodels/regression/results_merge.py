"""Results of slices of the targets, put together as one run over all of them would leave them."""

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodels.errors import InputError
from datamodels.regression.lambda_path import PathLog
from datamodels.regression.logs import Fields
from datamodels.regression.result import Datamodels
from datamodels.regression.results import Results

# What may differ between slices: where a run found itself, not what it computed.
_MAY_DIFFER = {
    "target_start_ind", "target_end_ind", "engine_reason", "data_path", "moments",
    "memory_gb", "threads", "target_block", "device",
}  # fmt: skip


class _Slice(NamedTuple):
    """The results in a folder."""

    path: Path
    results: Results

    @property
    def start(self) -> int:
        return self.results.config.target_start_ind

    @property
    def stop(self) -> int:
        return self.start + self.results.datamodels.n_targets


def merge_results(inputs: list[Path], out: Path) -> None:
    """Write the results of consecutive target slices ``inputs``, in any order, as ``out``.

    InputError unless they are of the same rows and options and their targets follow one another.
    """
    slices = sorted((_Slice(path, Results.read(path)) for path in inputs), key=lambda s: s.start)
    for before, after in pairwise(slices):
        _check_consecutive(before, after)
        _check_alike(before, after)
    parts = [part.results for part in slices]
    Results(
        datamodels=_joined_datamodels([part.datamodels for part in parts]),
        path=_joined_paths([part.path for part in parts]),
        final=_joined([part.final for part in parts]),
        config=dataclasses.replace(parts[0].config, target_end_ind=parts[-1].config.target_end_ind),
        rows=parts[0].rows,
    ).save(out)


def _check_consecutive(before: _Slice, after: _Slice) -> None:
    if before.stop != after.start:
        raise InputError(
            f"{before.path} has targets {before.start} to {before.stop - 1} and {after.path} "
            f"targets {after.start} to {after.stop - 1}: they must follow one another without gap "
            "or overlap. Fit the missing targets, or leave one out"
        )


def _check_alike(before: _Slice, after: _Slice) -> None:
    one, other = _comparable(before), _comparable(after)
    for name, value in one.items():
        if other[name] != value:
            raise InputError(
                f"{before.path} was fitted with {name}={value} and {after.path} with "
                f"{name}={other[name]}; only slices of one and the same fit merge"
            )
    rows = [part.results.rows for part in (before, after)]
    if not np.array_equal(rows[0].rows, rows[1].rows) or not np.array_equal(
        rows[0].first_masks, rows[1].first_masks
    ):
        raise InputError(
            f"{before.path} and {after.path} were fitted on different models; fit both on the same"
        )
    shapes = [part.results.datamodels.n_train_examples for part in (before, after)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"{before.path} has {shapes[0]} training examples, {after.path} {shapes[1]}"
        )


def _comparable(part: _Slice) -> dict[str, object]:
    options = part.results.config.options()
    return {name: value for name, value in options.items() if name not in _MAY_DIFFER}


def _joined_datamodels(parts: list[Datamodels]) -> Datamodels:
    return Datamodels(
        np.concatenate([part.weight for part in parts], axis=1),
        np.concatenate([part.bias for part in parts]),
        np.concatenate([part.lam for part in parts]),
    )


def _joined(parts: list[Fields]) -> Fields:
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def _joined_paths(parts: list[Fields]) -> Fields:
    """Logs of paths side by side; shorter ones are filled up as if their targets had ended."""
    k = max(len(part["lambda"]) for part in parts)
    empty = PathLog.empty(k, 1)
    filled = []
    for part in parts:
        longer = {}
        for name, values in part.items():
            ended = getattr(empty, "lam" if name == "lambda" else name, empty.val_mse)
            missing = ended[len(values) :]
            longer[name] = np.concatenate([values, np.repeat(missing, values.shape[1], axis=1)])
        filled.append(longer)
    return _joined(filled)
