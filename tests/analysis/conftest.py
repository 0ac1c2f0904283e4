"""Datamodels that the tests of the analysis share."""

import numpy as np
import pytest

from datamodels import Datamodels


def as_datamodels(weight):
    weight = np.asarray(weight, np.float32)
    zeros = np.zeros(weight.shape[1], np.float32)
    return Datamodels(weight, zeros, zeros)


def sparse_noise(n_train, n_targets, share=0.2, seed=0):
    """Weights as LASSO leaves them of noise: a share of exponential sizes, of either sign."""
    rng = np.random.default_rng(seed)
    sizes = rng.exponential(size=(n_train, n_targets)) * rng.choice([-1, 1], (n_train, n_targets))
    return np.where(rng.random((n_train, n_targets)) < share, sizes, 0)


@pytest.fixture
def two_groups():
    """Datamodels (60, 40): examples 0 to 19 help the even targets and harm the odd ones, examples
    20 to 39 the other way round, 40 to 59 do little."""
    rng = np.random.default_rng(0)
    weight = 0.1 * sparse_noise(60, 40)
    sides = np.where(np.arange(40) % 2, -1, 1)
    weight[:20] += sides * rng.uniform(0.5, 1, (20, 1))
    weight[20:40] -= sides * rng.uniform(0.5, 1, (20, 1))
    return as_datamodels(weight)
