"""A ``main`` whose outputs are linear in the mask, with a little noise of the row's own."""

import numpy as np

from datamodels.training import row_seed, subset_for, subsets_for

N_TRAIN, N_TARGETS = 40, 6
NOISE = 0.05


def true_weight() -> np.ndarray:
    """(n_train, n_targets); each target has strong examples, weak ones and some without weight."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((N_TRAIN, N_TARGETS))
    weight[rng.random(weight.shape) < 0.3] = 0
    return weight


def true_bias() -> np.ndarray:
    """So that outputs of the full training set are above 0, but not too far."""
    weight = true_weight()
    return 1.5 - weight.sum(axis=0) + np.arange(N_TARGETS) / 2


def outputs(masks, index):
    noise = np.random.default_rng(row_seed(index, seed=5)).standard_normal(N_TARGETS)
    return masks @ true_weight() + true_bias() + NOISE * noise


def main(*_, index, logdir):
    mask = subset_for(index, N_TRAIN, logdir=logdir, alpha=0.5, seed=0)
    return {"masks": mask, "margins": outputs(mask, index)}


def main_batch(*_, indices, logdir):
    masks = subsets_for(indices, N_TRAIN, logdir=logdir, alpha=0.5, seed=0)
    rows = [outputs(mask, index) for mask, index in zip(masks, indices, strict=True)]
    return {"masks": masks, "margins": np.array(rows)}
