"""Validation errors of solutions, from the rows themselves and from their moments alone."""

import numpy as np
import pytest

from datamodels.regression.blocks import Block
from datamodels.regression.moment_pass import MomentAccumulator
from datamodels.regression.row_source import ArraySource
from datamodels.regression.rows_in_memory import load_rows
from datamodels.regression.scoring import HeldOutMoments, HeldOutRows
from datamodels.regression.sparse_rows import to_sparse
from datamodels.regression.standardized import standardize
from tests.regression.problems import outputs_of, random_masks

N_TRAIN, N_HELD, P, T = 101, 37, 23, 5


def masks_of(kind):
    bits = random_masks(N_TRAIN + N_HELD, P)
    if kind == "bits":
        return bits
    noise = np.random.default_rng(3).standard_normal(bits.shape)
    return {"floats": bits + 0.1 * noise, "offset": bits + 1e3 + 0.1 * noise}[kind]


def labels_of(groups):
    """Labels of training and held-out rows; group 9 has no training row."""
    if not groups:
        return None
    labels = np.random.default_rng(4).choice([2, 5, 7], N_TRAIN + N_HELD)
    labels[N_TRAIN : N_TRAIN + 6] = 9
    labels[N_TRAIN + 6] = 1
    return labels


def moments_of(x, y, labels):
    sums = MomentAccumulator(P, T)
    sums.add(Block(x, y, np.arange(len(x)), labels))
    return sums.finish()


def explicit_errors(x, y, labels, weights, use_bias):
    """Mean squared errors by hand of raw ``weights`` (r, p), one a target."""
    train = np.arange(len(x)) < N_TRAIN
    mean_x = x[train].mean(axis=0) * use_bias
    mean_y = y[train].mean(axis=0) * use_bias
    errors = np.zeros((N_HELD, len(weights)))
    for row in range(N_HELD):
        i, centre_x, centre_y = N_TRAIN + row, mean_x, mean_y
        if labels is not None and (mine := train & (labels == labels[i])).any():
            centre_x, centre_y = x[mine].mean(axis=0), y[mine].mean(axis=0)
        errors[row] = (y[i] - centre_y) - weights @ (x[i] - centre_x)
    return (errors**2).mean(axis=0)


CASES = [
    (kind, groups, use_bias)
    for kind in ("bits", "floats", "offset")
    for groups, use_bias in ((False, True), (False, False), (True, True))
    if not (kind == "offset" and not use_bias)  # x'x near 1e6 a row: nothing is left of 1e-9
]


@pytest.mark.parametrize("by", ["rows", "moments"])
@pytest.mark.parametrize(("kind", "groups", "use_bias"), CASES)
def test_errors_are_the_mean_squares_of_what_is_left(kind, groups, use_bias, by):
    x, labels = masks_of(kind), labels_of(groups)
    y = outputs_of(random_masks(len(x), P), T).astype(np.float64) + 5.0
    train, held = slice(N_TRAIN), slice(N_TRAIN, None)
    parts = [None if labels is None else labels[part] for part in (train, held)]
    problem = standardize(moments_of(x[train], y[train], parts[0]), use_bias)
    if by == "moments":
        scorer = HeldOutMoments(moments_of(x[held], y[held], parts[1]))
    else:
        rows = load_rows(
            ArraySource(x, y), np.arange(N_TRAIN, len(x)), slice(None), block_bytes=2**20,
            max_rows=7, groups=labels, centred=use_bias,
        )  # fmt: skip
        scorer = HeldOutRows(rows.design, rows.outputs, rows.groups)

    targets, which = slice(1, 5), np.array([3, 0, 2])  # of the block
    weights = np.random.default_rng(6).standard_normal((3, P))
    weights[np.random.default_rng(7).random((3, P)) < 0.6] = 0
    weights[2] = 0
    got = scorer.block(problem, targets).mean_square_errors(to_sparse(weights), which)

    units = problem.units(targets)[which]
    raw = np.zeros((T, P))
    raw[which + 1] = weights * problem.inv_scale * units[:, None]
    expected = explicit_errors(x, y, labels, raw, use_bias)[which + 1]
    np.testing.assert_allclose(got, expected, rtol=1e-7 if kind == "offset" else 1e-10)
