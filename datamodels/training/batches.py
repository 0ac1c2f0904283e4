"""The order in which many copies of a network see the examples: copy i's by its own seed alone."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

_BLOCK = 2**20  # row numbers drawn at a time: 8 MB


class BatchOrder:
    """For every step, the rows of each copy's batch.

    The rows of copy i are consecutive pieces of an endless stream: all its rows in a random order,
    then all of them in another, and so on. A batch may hold the end of one order and the beginning
    of the next, so that all batches have one size and each row comes as often as any other, give
    or take one.
    """

    def __init__(
        self,
        rows: Sequence[Tensor] | int,
        generators: Sequence[torch.Generator],
        *,
        batch_size: int,
        steps: int,
    ) -> None:
        """
        Args:
            rows: the row numbers of each copy, or n: the rows 0 to n - 1 for every copy.
            generators: one a copy, used for nothing but ``torch.randperm`` over its rows.
            batch_size: rows a step and copy.
            steps: number of batches of each copy.
        """
        self._rows = rows
        self._generators = generators
        self._batch_size = batch_size
        self._steps = steps
        self._left = [torch.empty(0, dtype=torch.int64) for _ in generators]

    def __iter__(self) -> Iterator[Tensor]:
        """(m, batch_size) int64, ``steps`` times."""
        per_block = max(1, _BLOCK // (len(self._generators) * self._batch_size))
        for start in range(0, self._steps, per_block):
            steps = min(per_block, self._steps - start)
            streams = [
                self._take(copy, steps * self._batch_size) for copy in range(len(self._generators))
            ]
            block = torch.stack(streams).view(len(streams), steps, self._batch_size)
            yield from block.transpose(0, 1).contiguous()  # (steps, m, batch_size)

    def _take(self, copy: int, count: int) -> Tensor:
        """The next ``count`` rows of the copy's stream."""
        pieces = [self._left[copy]]
        have = len(pieces[0])
        while have < count:
            pieces.append(self._shuffled(copy))
            have += len(pieces[-1])
        stream = torch.cat(pieces)
        # clone: a view would keep the whole stream in memory
        self._left[copy] = stream[count:].clone()
        return stream[:count]

    def _shuffled(self, copy: int) -> Tensor:
        generator = self._generators[copy]
        if isinstance(self._rows, int):
            return torch.randperm(self._rows, generator=generator)
        own = self._rows[copy]
        return own[torch.randperm(len(own), generator=generator)]
