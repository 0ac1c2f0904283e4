"""Moments: all that a fit needs to know of its rows, and they add up.

    n,  sum x (p,),  sum x^2 (p,),  X'X (p, p),  X'Y (p, t),  sum y (t,),  sum y^2 (t,)

Masks of zeros and ones give exact integers; other masks float64 products. Outputs enter as
y - shift, shift being the first row's y: the sums of a target whose mean is far from zero do not
cancel, and those of a constant target are zero to the bit. Moments of two sets of rows merge by
``+`` and part by ``-``: shards of a store, training and validation rows, folds, models trained
later. Solvers that have the rows at hand do without X'X, or without X'Y too.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.errors import InputError
from datamodels.regression.blocks import Float64s, Int64s

_MAX_COUNT = np.iinfo(np.int32).max


@dataclass(frozen=True, eq=False)
class Groups:
    """Sums of the rows of each group, where rows come in groups that differ by an effect."""

    labels: Int64s  # (q,) ascending
    n: Int64s  # (q,)
    sum_x: NDArray[Any]  # (q, p) of x - shift_x; int64 for counts
    sum_y: Float64s  # (q, t) of y - shift

    def combined(self, other: "Groups", sign: int) -> "Groups":
        """Both sets of rows together (sign 1), or these without those of ``other`` (-1)."""
        labels = np.union1d(self.labels, other.labels)
        mine, theirs = np.searchsorted(labels, self.labels), np.searchsorted(labels, other.labels)

        def merged(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
            total = np.zeros((len(labels), *a.shape[1:]), np.result_type(a, b))
            total[mine] += a
            total[theirs] += sign * b
            return total

        parts = (merged(getattr(self, f), getattr(other, f)) for f in ("n", "sum_x", "sum_y"))
        n, sum_x, sum_y = parts
        held = n > 0  # a group may have lost all of its rows
        return Groups(labels[held], n[held], sum_x[held], sum_y[held])


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over ``n`` rows of masks x - shift_x (p,) and outputs y - shift (t,).

    Masks of zeros and ones have shift_x = 0 and exact integers.
    """

    n: int
    sum_x: NDArray[Any]  # (p,) int64 counts, or float64
    squares_x: NDArray[Any]  # (p,) the diagonal of xx, same kind as sum_x
    xx: NDArray[Any] | None  # (p, p) symmetric; int32 (int64 from 2^31 rows on), or float64
    xy: Float64s | None  # (p, t) sum of (x - shift_x) (y - shift)
    sum_y: Float64s  # (t,) sum of y - shift
    sum_yy: Float64s  # (t,) sum of (y - shift)^2
    shift: Float64s  # (t,) in the units of y
    shift_x: Float64s  # (p,) in the units of x; zeros for counts
    groups: Groups | None = None

    @property
    def counted(self) -> bool:
        """Whether the masks were all zeros and ones, so that ``sum_x`` and ``xx`` are exact."""
        return bool(self.sum_x.dtype.kind == "i")

    @property
    def n_features(self) -> int:
        return len(self.sum_x)

    @property
    def n_targets(self) -> int:
        return len(self.sum_y)

    def targets(self, part: slice) -> "Moments":
        """The moments of some of the targets; the table of pairs is shared."""
        groups = self.groups and replace(self.groups, sum_y=self.groups.sum_y[:, part])
        return replace(
            self,
            xy=None if self.xy is None else self.xy[:, part],
            sum_y=self.sum_y[part],
            sum_yy=self.sum_yy[part],
            shift=self.shift[part],
            groups=groups,
        )

    def without_table(self) -> "Moments":
        """All but the table of pairs."""
        return replace(self, xx=None)

    def shifted(self, shift: Float64s) -> "Moments":
        """The same rows, outputs measured from another ``shift`` (t,)."""
        d = self.shift - shift  # y - shift = (y - self.shift) + d
        if not d.any():
            return self
        groups = self.groups
        if groups:
            groups = replace(groups, sum_y=groups.sum_y + np.outer(groups.n, d))
        return replace(
            self,
            xy=None if self.xy is None else self.xy + np.outer(self.sum_x, d),
            sum_y=self.sum_y + self.n * d,
            sum_yy=self.sum_yy + 2 * d * self.sum_y + self.n * d**2,
            shift=shift,
            groups=groups,
        )

    def shifted_x(self, shift_x: Float64s) -> "Moments":
        """The same rows, masks measured from another ``shift_x`` (p,)."""
        d = self.shift_x - shift_x
        if not d.any():
            return self
        xx, groups = self.xx, self.groups
        if xx is not None:
            cross = np.outer(d, self.sum_x)
            xx = xx + cross + cross.T + self.n * np.outer(d, d)
        if groups:
            groups = replace(groups, sum_x=groups.sum_x + np.outer(groups.n, d))
        return replace(
            self,
            sum_x=self.sum_x + self.n * d,
            squares_x=self.squares_x + 2 * d * self.sum_x + self.n * d**2,
            xx=xx,
            xy=None if self.xy is None else self.xy + np.outer(d, self.sum_y),
            shift_x=shift_x,
            groups=groups,
        )

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of both sets of rows together; counts add exactly."""
        return self.combined(other, 1)

    def __sub__(self, other: "Moments") -> "Moments":
        """Moments of these rows without those of ``other``, which are among them."""
        return self.combined(other, -1)

    def combined(self, other: "Moments", sign: int) -> "Moments":
        """``self + other`` (sign 1) or ``self - other`` (-1)."""
        mine, theirs = ((m.n_features, m.n_targets) for m in (self, other))
        if mine != theirs:
            raise InputError(
                f"moments of {mine} (features, targets) and of {theirs} do not merge; both must "
                "come from the same features and targets"
            )
        if (self.groups is None) != (other.groups is None):
            raise InputError(
                "moments with and without groups do not merge; make both with the same groups"
            )
        other = other.shifted(self.shift)
        # Zeros and ones may be measured from anywhere; other masks keep what does not cancel.
        shift_x = other.shift_x if self.counted else self.shift_x
        return self.shifted_x(shift_x)._merged(other.shifted_x(shift_x), sign)

    def _merged(self, other: "Moments", sign: int) -> "Moments":
        n = self.n + sign * other.n
        groups = None
        if self.groups and other.groups:
            groups = self.groups.combined(other.groups, sign)
        return replace(
            self,
            n=n,
            sum_x=self.sum_x + sign * other.sum_x,
            squares_x=self.squares_x + sign * other.squares_x,
            xx=combined_tables(self.xx, other.xx, sign, n),
            xy=None if self.xy is None or other.xy is None else self.xy + sign * other.xy,
            sum_y=self.sum_y + sign * other.sum_y,
            sum_yy=self.sum_yy + sign * other.sum_yy,
            groups=groups,
        )


def combined_tables(
    a: NDArray[Any] | None, b: NDArray[Any] | None, sign: int, n: int
) -> NDArray[Any] | None:
    """a + sign * b, of ``n`` rows in all; exact for counts, None where either is missing."""
    if a is None or b is None:
        return None
    combine = np.add if sign > 0 else np.subtract
    total: NDArray[Any]
    if a.dtype.kind == b.dtype.kind == "i":
        total = combine(a, b, dtype=np.int32 if n <= _MAX_COUNT else np.int64)
    else:
        total = combine(a, b, dtype=np.float64)
    return total
