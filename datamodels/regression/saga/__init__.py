"""Minibatch proximal SAGA: the LASSO path from a loader of batches, without a Gram matrix.

For each target, on features standardized over the loader's n rows (population deviation s_j),

    minimize over w, b:  1/(2n) |y - b - Z w|^2 + lambda |w|_1,   z_ij = (x_ij - mu_j) / s_j

    lam = calc_max_lambda(loader)  # (n_targets,)
    result = train_saga(weight, bias, loader, val_loader, lr=None, start_lams=lam, lam_decay=0.9,
                        num_lambdas=50)
    mask @ weight + bias  # in the outputs' own units

- ``loader``: what a loader is, and ``RowLoader``, whose shuffles a seed repeats
- ``scaling``: the first pass, means and deviations
- ``rows``: standardized batches of a loader
- ``gradient``: the full gradient at given weights
- ``state``: weights, stored residuals and average gradient of the live targets; one SAGA step
- ``step_size``: a step that is safe for the data
- ``paths``: which lambda each target is at, its best one so far, the log
- ``train``: ``calc_max_lambda`` and ``train_saga``

Defazio, Bach, Lacoste-Julien: SAGA, a fast incremental gradient method with support for
non-strongly convex composite objectives. NeurIPS 2014.
"""

from datamodels.regression.saga.loader import RowLoader
from datamodels.regression.saga.train import SagaResult, calc_max_lambda, train_saga

__all__ = ["RowLoader", "SagaResult", "calc_max_lambda", "train_saga"]
