"""Rows held in memory, masks as bits where they are zeros and ones: these need no table."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.regression.blocks import Float64s, Int64s, read_blocks
from datamodels.regression.design import Design, DesignBuilder
from datamodels.regression.moment_pass import MomentAccumulator
from datamodels.regression.moment_sums import Moments
from datamodels.regression.row_source import Outputs, Progress, RowSource
from datamodels.regression.standardized import Standardized, standardize


@dataclass(frozen=True, eq=False)
class RowsInMemory:
    """Some rows of a source."""

    design: Design
    outputs: Outputs  # (n, t)
    groups: Int64s | None  # (n,) labels
    sums: Moments  # without X'X and X'Y

    def standardized(self, use_bias: bool) -> Standardized:
        """Their problem; X'Y is formed for those targets that are asked for."""
        shift = self.sums.shift if use_bias else np.zeros_like(self.sums.shift)
        return standardize(self.sums, use_bias, RowProducts(self.design, self.outputs, shift))

    def moments(self) -> Moments:
        """Their moments without X'X."""
        products = RowProducts(self.design, self.outputs, self.sums.shift)
        return replace(self.sums, xy=products[:, :])


class RowProducts:
    """X'Y (p, t) of rows in memory, y less ``shift`` (t,), X as the design holds it."""

    def __init__(self, design: Design, outputs: Outputs, shift: Float64s) -> None:
        self._design, self._outputs, self._shift = design, outputs, shift

    def __getitem__(self, key: tuple[slice, slice]) -> Float64s:
        rows, targets = key
        y = self._outputs[:, targets] - self._shift[targets]  # (n, t) float64
        return self._design.cross(y)[rows]


def load_rows(
    source: RowSource,
    rows: Int64s,
    targets: slice,
    *,
    block_bytes: int,
    max_rows: int | None = None,
    groups: Int64s | None = None,
    centred: bool = True,
    report: Progress | None = None,
) -> RowsInMemory:
    """Read ``rows`` of ``source`` into memory; ``groups`` (source.n_rows,) are labels.

    Unless the masks will be ``centred``, no shift may be taken off them.
    """
    start, stop, _ = targets.indices(source.n_targets)
    design = DesignBuilder(len(rows), source.n_features, shifted=centred)
    sums = MomentAccumulator(source.n_features, stop - start, table=False, products=False)
    outputs: list[NDArray[Any]] = []
    done = 0
    for block in read_blocks(
        source, rows, targets=targets, block_bytes=block_bytes, max_rows=max_rows, groups=groups
    ):
        design.add(block.masks)
        sums.add(block)
        outputs.append(block.outputs)
        done += len(block.masks)
        if report:
            report("rows", done, len(rows))
    held = design.finish()
    return RowsInMemory(
        held,
        np.concatenate(outputs),
        None if groups is None else groups[rows],
        sums.finish().shifted_x(held.shift),
    )
