"""The table of pairs, held once: counts, or in the same memory the float32 correlations of them.

At 50,000 features either takes 10 GB. Nothing is lost by the conversion: with the centring and the
scales of ``standardized``, an entry of the Gram matrix is

    G_ij = (n_ij - U_i . U_j) e_i e_j,   |G_ij| <= 1,   e = 1 / (sqrt(n) s)

and 1 / (e_i e_j) <= n / 4 for zeros and ones. Rounded to float32, a G_ij of at most 1 is off by at
most 2^-25, which moves the count by at most n 2^-27: below 2^26 rows, rounding to the nearest
integer gives the count back exactly.
"""

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from datamodels.regression.standardized import Standardized, fill_gram

_MAX_ROWS = 2**25  # half of what the bound above allows


class PairTable:
    """A table of pairs that can be lent out as a Gram matrix."""

    def __init__(self, xx: NDArray[Any]) -> None:
        self._xx = xx
        self._lent: Standardized | None = None  # whose Gram matrix the memory now holds

    @property
    def counts(self) -> NDArray[Any]:
        """X'X; not while the Gram matrix is lent."""
        if self._lent is not None:
            raise RuntimeError("the table holds a Gram matrix; take it back first")
        return self._xx

    def lend_gram(self, problem: Standardized) -> NDArray[np.float32]:
        """The Gram matrix of ``problem``, whose counts these are, until :meth:`take_back`.

        It is a copy where the counts could not be had back: of other masks than zeros and ones,
        and without an intercept, where nothing tells the counts of a constant column.
        """
        counts = self.counts
        if counts.dtype != np.int32 or problem.n > _MAX_ROWS or not problem.basis.shape[1]:
            return problem.gram()
        self._lent = problem
        gram = counts.view(np.float32)
        fill_gram(counts, problem.basis, problem.scale_inverse, gram)
        return gram

    def take_back(self) -> NDArray[Any]:
        """The counts, after a loan; the lent matrix is void."""
        if self._lent is not None:
            gram = self._xx.view(np.float32)
            _gram_to_counts(gram, self._xx, self._lent.basis, self._lent.scale_inverse)
            self._lent = None
        return self._xx


@njit(parallel=True, cache=True)
def _gram_to_counts(gram, counts, basis, scale_inverse):  # type: ignore[no-untyped-def]
    """Where a column is constant (scale 0), n_ij is what its mean says: U_i . U_j."""
    p, q = basis.shape
    for i in prange(p):
        e_i = scale_inverse[i]
        for j in range(p):
            scale = e_i * scale_inverse[j]
            count = gram[i, j] / scale if scale > 0 else 0.0
            for a in range(q):
                count += basis[i, a] * basis[j, a]
            counts[i, j] = np.int32(np.rint(count))
