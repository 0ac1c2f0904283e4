"""The table of pairs lends its memory out and has every count back."""

import numpy as np
import pytest

from datamodels.regression.moment_pass import moments_of
from datamodels.regression.pair_table import PairTable
from datamodels.regression.row_source import ArraySource
from datamodels.regression.standardized import standardize
from tests.regression.problems import PROBLEMS, outputs_of, random_masks

BOOL_PROBLEMS = [name for name in PROBLEMS if name not in ("float_masks", "rank_deficient")]


def standardized(x, y, groups=None, use_bias=True):
    return standardize(moments_of(ArraySource(x, y), np.arange(len(x)), groups=groups), use_bias)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", BOOL_PROBLEMS)
def test_counts_come_back_exactly(name, grouped):
    problem = PROBLEMS[name]()
    x, y = problem.x.copy(), problem.y
    groups = np.arange(len(x)) // 40 if grouped else None
    if grouped:
        x[:, 5] = np.arange(len(x)) < 80  # constant within every group
    found = standardized(x, y, groups)
    expected, copy = found.xx.copy(), found.gram()
    table = PairTable(found.xx)
    lent = table.lend_gram(found)
    assert np.shares_memory(lent, found.xx)
    np.testing.assert_array_equal(lent, copy)
    np.testing.assert_array_equal(table.take_back(), expected)


@pytest.mark.parametrize("use_bias", [False, True])
def test_tables_that_cannot_come_back_are_copied(use_bias):
    x = random_masks(70, 9)
    x = x if not use_bias else x * 0.5
    found = standardized(x, outputs_of(x, 2), use_bias=use_bias)
    table = PairTable(found.xx)
    lent = table.lend_gram(found)
    assert not np.shares_memory(lent, found.xx)
    np.testing.assert_array_equal(table.counts, found.xx)


def test_counts_are_refused_while_the_gram_matrix_is_lent():
    x = random_masks(70, 9)
    found = standardized(x, outputs_of(x, 2))
    table = PairTable(found.xx)
    table.lend_gram(found)
    with pytest.raises(RuntimeError):
        _ = table.counts


def test_counts_of_many_rows_come_back():
    """Rare and common features of so many rows that counts have eight digits."""
    rng = np.random.default_rng(0)
    n = 30_000_000
    n_i = rng.integers(1, n, 40)
    low = np.maximum(0, n_i[:, None] + n_i - n)
    xx = (low + (np.minimum.outer(n_i, n_i) - low) * rng.random((40, 40))).astype(np.int32)
    xx = np.triu(xx, 1) + np.triu(xx, 1).T + np.diag(n_i).astype(np.int32)
    from datamodels.regression.moment_sums import Moments

    zero = np.zeros(1)
    m = Moments(n=n, sum_x=n_i, squares_x=n_i, xx=xx, xy=np.zeros((40, 1)), sum_y=zero,
                sum_yy=np.ones(1), shift=zero, shift_x=np.zeros(40))  # fmt: skip
    problem = standardize(m)
    table = PairTable(xx.copy())
    table.lend_gram(problem)
    np.testing.assert_array_equal(table.take_back(), xx)
