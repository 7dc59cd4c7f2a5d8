"""The first part of the path by algebra instead of the network.

In loud noise all data look like the Gaussian of their mean and covariance, and the
flow of a Gaussian is known (`jdiff.gaussian`): sampling can begin where it leads to
(Wang & Vastola 2024, Sec. 5).
"""

import jax
import jax.numpy as jnp

from jdiff import mixtures
from jdiff.gaussian import Normal, from_covariance, probability_flow
from jdiff.sampling import Solver
from jdiff.schedules import Schedule


def analytic_start(solver: Solver, schedule: Schedule, normal: Normal) -> Solver:
    """Returns a solver that can begin anywhere on the path (Wang & Vastola 2024).

    x_t = colour_t(whiten_T(x_T)),  x_T ~ N(0, sigma_T^2 I)

    T itself costs nothing: a grid may leave out steps at its beginning, and each one
    saves a call of the network.

    Args:
        solver: from `ddim`, `unipc`, ...
        schedule: float32[T + 1] tables.
        normal: mean and covariance of the data that the denoiser is of.

    >>> import jax, jdiff
    >>> schedule = jdiff.cosine_schedule(1000)
    >>> mixtures = jdiff.mixtures.load(jdiff.models.SHIPPED["linear"])
    >>> normal = jdiff.class_normal(mixtures, 3)
    >>> solver = jdiff.analytic_start(jdiff.unipc(schedule), schedule, normal)
    >>> solver.prior(jax.random.key(0), (28, 28, 1), 800).shape
    (28, 28, 1)
    """
    last = len(schedule.alpha) - 1

    def prior(key, shape, t):
        x_T = solver.prior(key, shape, last)
        return probability_flow(normal, schedule, x_T, last, t)

    return solver._replace(prior=prior)


def class_normal(model: mixtures.MixtureModel, k: int) -> Normal:
    """Returns the Gaussian with the mean and covariance of class k of a model.

    m = sum_i pi_i m_i,  C = sum_i pi_i (C_i + (m_i - m)(m_i - m)^T)

    Args:
        model: from `mixtures.fit` or `mixtures.load`.
        k: scalar int in [0, number of classes).
    """
    mixture = mixtures.class_mixture(model, k)
    cells, shares = mixture.cells, jax.nn.softmax(mixture.log_weights)
    mean = shares @ cells.mean
    eye = jnp.eye(mean.size)

    def moment(cell):
        extra = cell.variances - cell.remainder
        inside = cell.vectors.T @ (extra[:, None] * cell.vectors)
        return inside + cell.remainder * eye + jnp.outer(cell.mean, cell.mean)

    square = jnp.tensordot(shares, jax.vmap(moment)(cells), 1)
    latent = from_covariance(mean, square - jnp.outer(mean, mean))
    return Normal(
        model.mean + jnp.tensordot(latent.mean, model.axes, 1),
        jnp.tensordot(latent.vectors, model.axes, 1),
        latent.variances,
        model.remainder,
    )
