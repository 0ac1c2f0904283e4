"""What a loader is, and one over a :class:`RowSource` whose shuffles a seed repeats.

A loader can be iterated any number of times and yields batches of tensors (mask (b, p), target
(b, t) or (b,), idx (b,) or (b, 1)): torch's ``DataLoader`` and FFCV's ``Loader`` do. ``idx`` names
a row: any integer that is the same in every pass. Batches may differ in size and order.

A loader with a method ``set_epoch(number)`` is told which pass comes next.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodels.errors import InputError, UsageError
from datamodels.regression.blocks import Int64s
from datamodels.regression.row_source import RowSource
from datamodels.streams import checked_word, stream_words

Loader = Iterable[Sequence[Tensor]]


class Batch(NamedTuple):
    """Some rows as the loader yields them."""

    mask: Tensor  # (b, p)
    target: Tensor  # (b, t)
    idx: Tensor  # (b,)


def checked_batch(parts: Sequence[Tensor]) -> Batch:
    """A loader's batch in the one shape that the rest works on; InputError where it has none."""
    if len(parts) != 3:
        raise InputError(f"a batch has {len(parts)} parts; it must be (mask, target, idx)")
    mask, target, idx = parts
    target = target[:, None] if target.ndim == 1 else target
    shapes = f"mask {tuple(mask.shape)}, target {tuple(target.shape)}, idx {tuple(idx.shape)}"
    if mask.ndim != 2 or target.ndim != 2 or idx.numel() != len(mask) or len(target) != len(mask):
        raise InputError(
            f"a batch has {shapes}; of b rows they must be (b, features), (b, targets) and (b,)"
        )
    return Batch(mask, target, idx.reshape(-1))


class RowLoader:
    """Batches of some rows of a source, shuffled anew in each pass.

    The order of pass e is a function of (seed, e) alone. Passes count up from 0;
    ``set_epoch`` says where to go on. ``idx`` is the row's number in the source.

    Args:
        source: where the rows come from.
        rows: which of them (n,), each once.
        batch_size: rows a batch; the last batch of a pass has what is left.
        seed: 0 to 2^64 - 1.
        targets: which outputs.
    """

    def __init__(
        self,
        source: RowSource,
        rows: Int64s,
        *,
        batch_size: int,
        seed: int = 0,
        targets: slice = slice(None),
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size={batch_size}; a batch has at least 1 row")
        self.source = source
        self.rows = np.sort(np.asarray(rows, np.int64))
        self.batch_size = batch_size
        self.seed = checked_word("seed", seed)
        self.targets = targets
        self._epoch = 0
        _check_rows(self.rows, source.n_rows)

    def __len__(self) -> int:
        """Batches a pass."""
        return math.ceil(len(self.rows) / self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """The next pass is pass ``epoch``."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        epoch, self._epoch = self._epoch, self._epoch + 1
        return self._batches(self._order(epoch))

    def _order(self, epoch: int) -> Int64s:
        words = stream_words("saga", seed=self.seed, index=epoch, count=len(self.rows))
        order: Int64s = self.rows[np.argsort(words, kind="stable")]
        return order

    def _batches(self, order: Int64s) -> Iterator[Batch]:
        for start in range(0, len(order), self.batch_size):
            # Ascending within the batch: a file is then read in one direction.
            rows = np.sort(order[start : start + self.batch_size])
            masks, outputs = self.source.read(rows)
            yield Batch(_tensor(masks), _tensor(outputs[:, self.targets]), torch.from_numpy(rows))


def _check_rows(rows: Int64s, n_rows: int) -> None:
    if len(rows) and (rows[0] < 0 or rows[-1] >= n_rows):
        raise UsageError(
            f"rows {rows[0]} to {rows[-1]} are asked for; there are rows 0 to {n_rows - 1}"
        )
    repeated = rows[1:][np.diff(rows) == 0]
    if len(repeated):
        raise UsageError(f"row {repeated[0]} is asked for twice; name each row once")


def _tensor(values: NDArray[Any]) -> Tensor:
    """Bools, bytes and floats as they are, other integers as float64: torch lacks some of them."""
    small = values.dtype.kind == "b" or values.dtype == np.uint8
    native = values.dtype.newbyteorder("=") if small or values.dtype.kind == "f" else np.float64
    return torch.from_numpy(np.require(values, native, ["C", "W"]))
