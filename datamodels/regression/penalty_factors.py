"""Penalty factors v_j: how dear each feature's weight is, for all targets or for each."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datamodels.errors import InputError
from datamodels.npy_file import open_map
from datamodels.regression.blocks import Float64s

_CHECKED_AT_ONCE = 1 << 22  # factors


class PenaltyFactors:
    """Factors (p,) of each feature, or (p, t) of each feature and target, in [0, infinity].

    1 is the usual penalty, 0 leaves a feature unpenalized, infinity leaves it out.
    """

    def __init__(self, values: ArrayLike, n_features: int, n_targets: int) -> None:
        array = np.asanyarray(values)
        wanted = ((n_features,), (n_features, n_targets))
        if array.shape not in wanted or array.dtype.kind not in "buif":
            raise InputError(
                f"penalty factors have shape {array.shape} and dtype {array.dtype}; give one "
                f"number a feature, {wanted[0]}, or one a feature and target, {wanted[1]}"
            )
        self._values: NDArray[Any] = array.reshape(n_features, -1)  # (p, 1) or (p, t)
        self.has_zeros = self._check()

    @classmethod
    def read(cls, path: str | Path, n_features: int, n_targets: int) -> "PenaltyFactors":
        """Those of an ``.npy`` file, which stays on disk."""
        return cls(open_map(Path(path)), n_features, n_targets)

    @classmethod
    def ones(cls, n_features: int) -> "PenaltyFactors":
        """The usual penalty."""
        return cls(np.ones(n_features), n_features, 1)

    def targets(self, part: slice) -> "PenaltyFactors":
        """Those of some targets."""
        some = object.__new__(PenaltyFactors)
        some._values = self._values if self._values.shape[1] == 1 else self._values[:, part]
        some.has_zeros = self.has_zeros
        return some

    def block(self, targets: slice) -> Float64s:
        """Factors (1, p) of all, or (t, p) of the targets of a block."""
        values = self._values if self._values.shape[1] == 1 else self._values[:, targets]
        return np.ascontiguousarray(values.T, np.float64)

    def _check(self) -> bool:
        """Whether some factor is zero; InputError for one that is negative or NaN."""
        zeros = False
        size = max(1, _CHECKED_AT_ONCE // max(1, self._values.shape[1]))
        for first in range(0, len(self._values), size):  # as they lie in a file, each page once
            block = self._values[first : first + size]
            wrong = ~(block >= 0)
            if wrong.any():
                j, t = np.argwhere(wrong)[0]
                raise InputError(
                    f"the penalty factor of feature {first + j} is {block[j, t]}; factors are 0 "
                    "(unpenalized) or more, and infinity leaves a feature out"
                )
            zeros = zeros or bool((block == 0).any())
        return zeros
