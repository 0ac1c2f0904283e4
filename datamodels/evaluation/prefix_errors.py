"""How far scores of nested prefixes may lie from the law they follow, as the residuals tell.

Models that are learnt from are in all longer prefixes as well, so that scores of two sizes err
together. The score of a fit of the first n models errs by about the mean of n independent errors,
one a model, and such means have the covariance

    cov(e_i, e_j) = tau^2 / max(n_i, n_j).

Most of such an error looks like another curve of the law, and is fitted along: residuals r = M e,
M being what the fit leaves, are small beside it. With C the covariance for tau = 1 and A = M C M,

    E |r|^2 = tau^2 tr A,    |r|^2 / (tau^2 tr A) ~ chi^2_nu / nu,    nu = (tr A)^2 / tr A^2

the latter by Satterthwaite's approximation (Biometrics Bulletin 1946). nu is 2 to 4 for 5 to 9
sizes: few numbers tell tau, and its own uncertainty widens intervals as that of Student's t does.
"""

import numpy as np

from datamodels.regression.blocks import Float64s
from datamodels.streams import stream_words


def draw_errors(
    residuals: Float64s, sizes: Float64s, jacobian: Float64s, count: int, seed: int
) -> Float64s:
    """``count`` draws (count, m) of the errors of scores at ``sizes`` (m,), tau being drawn anew
    for each.

    ``residuals`` (m,) are those of a least squares fit whose values change by ``jacobian`` (m, k)
    with its k < m parameters.
    """
    m = len(sizes)
    left = np.eye(m) - jacobian @ np.linalg.pinv(jacobian)
    covariance = sizes.max() / np.maximum.outer(sizes, sizes)
    of_residuals = left @ covariance @ left
    trace = np.trace(of_residuals)
    freedom = max(1, round(float(trace**2 / np.trace(of_residuals @ of_residuals))))
    normal = _normal((count, m + freedom), seed)
    tau2 = (residuals @ residuals) / trace * freedom / (normal[:, m:] ** 2).sum(axis=1)
    errors: Float64s = normal[:, :m] @ np.linalg.cholesky(covariance).T
    errors *= np.sqrt(tau2)[:, None]
    return errors


def _normal(shape: tuple[int, int], seed: int) -> Float64s:
    """Standard normal values, by the method of Box and Muller."""
    words = stream_words("residual", seed=seed, index=0, count=2 * shape[0] * shape[1])
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) / 2**53
    radius, angle = np.sqrt(-2 * np.log(uniform[::2])), 2 * np.pi * uniform[1::2]
    values: Float64s = (radius * np.cos(angle)).reshape(shape)
    return values
