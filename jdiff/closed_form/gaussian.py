"""Gaussian data, for which everything about diffusion is known exactly.

If x_0 ~ N(m, C), then at every step of every schedule

    x_t ~ N(alpha_t m, alpha_t^2 C + sigma_t^2 I)                            (1)
    E[x_0 | x_t] = m + alpha_t C (alpha_t^2 C + sigma_t^2 I)^-1 (x_t - alpha_t m)  (2)

(Bishop 2006, Eq. 2.113-2.117). So the best denoiser is affine at each noise level, and
it is the best affine denoiser of ANY data with that mean and covariance. The
probability flow (Song et al. 2021, Eq. 13) keeps the whitened x_t constant:

    x_s = colour_s(whiten_t(x_t))                                            (3)

A covariance is stored as R orthonormal directions with their variances, and one
variance for all other directions (probabilistic PCA, Tipping & Bishop 1999a); Eq. 1
preserves that form. A mixture combines the denoisers of its cells by their posterior
weights,

    E[x_0 | x_t] = sum_k w_k(x_t) E_k[x_0 | x_t],  w_k ~ pi_k p_k(x_t)       (4)

All functions but the fit are for ONE example of any shape; `jax.vmap` makes batches.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jdiff.sampling import Denoiser, Solver
from jdiff.schedules import Schedule

_NO_WEIGHT = -1e4  # log weight of an empty cell: float16 has no -inf


class Normal(NamedTuple):
    """A Gaussian of any shape S, of low rank plus isotropic.

    N(mean, V diag(variances) V^T + remainder (I - V V^T))

    Attributes:
        mean: float[*S].
        vectors: orthonormal directions, V^T, float[R, *S], R from 0 to the size of S.
        variances: along the directions, float[R], > 0.
        remainder: variance in all other directions, float[], > 0.
    """

    mean: jax.Array
    vectors: jax.Array
    variances: jax.Array
    remainder: jax.Array


class Mixture(NamedTuple):
    """A mixture of K Gaussians.

    Attributes:
        log_weights: log of the probability of each cell, float[K].
        cells: a `Normal` whose arrays have a leading axis K.
    """

    log_weights: jax.Array
    cells: Normal


def from_covariance(mean: jax.Array, covariance: jax.Array) -> Normal:
    """Returns N(mean, covariance) by its eigendecomposition.

    Args:
        mean: float[*S], of size D.
        covariance: positive definite, float[D, D].
    """
    mean, covariance = jnp.asarray(mean), jnp.asarray(covariance)
    chex.assert_shape(covariance, (mean.size, mean.size))
    variances, vectors = jnp.linalg.eigh(covariance)
    return Normal(mean, vectors.T.reshape(-1, *mean.shape), variances, variances[0])


def marginal(normal: Normal, schedule: Schedule, t: jax.typing.ArrayLike) -> Normal:
    """Returns the law of x_t, by Eq. 1.

    Args:
        normal: the law of x_0.
        schedule: float32[T + 1] tables.
        t: scalar int in [0, T]; t = 0 returns the law of x_0.
    """
    alpha, sigma = schedule.alpha[t], schedule.sigma[t]
    return Normal(
        alpha * normal.mean,
        normal.vectors,
        alpha**2 * normal.variances + sigma**2,
        alpha**2 * normal.remainder + sigma**2,
    )


def colour(normal: Normal, eps: jax.Array) -> jax.Array:
    """Returns x = mean + C^(1/2) eps, a draw from the Gaussian if eps ~ N(0, I)."""
    roots = jnp.sqrt(normal.variances), jnp.sqrt(normal.remainder)
    return normal.mean + _scale(normal.vectors, eps, *roots)


def whiten(normal: Normal, x: jax.Array) -> jax.Array:
    """Returns eps = C^(-1/2) (x - mean), the inverse of `colour`."""
    roots = jax.lax.rsqrt(normal.variances), jax.lax.rsqrt(normal.remainder)
    return _scale(normal.vectors, x - normal.mean, *roots)


def log_density(normal: Normal, x: jax.Array) -> jax.Array:
    """Returns log N(x; mean, C) in nats; of x_t, `log_density(marginal(...), x_t)`."""
    eps = whiten(normal, x)
    num_others = x.size - len(normal.variances)
    log_det = jnp.log(normal.variances).sum()
    if num_others:
        log_det = log_det + num_others * jnp.log(normal.remainder)
    return -0.5 * (jnp.square(eps).sum() + log_det + x.size * jnp.log(2 * jnp.pi))


def posterior_mean(
    normal: Normal, schedule: Schedule, x_t: jax.Array, t: jax.typing.ArrayLike
) -> jax.Array:
    """Returns E[x_0 | x_t] by Eq. 2, the estimate of least squared error."""
    chex.assert_equal_shape([x_t, normal.mean])
    alpha = schedule.alpha[t]
    law = marginal(normal, schedule, t)
    gains = normal.variances / law.variances, normal.remainder / law.remainder
    return normal.mean + alpha * _scale(normal.vectors, x_t - law.mean, *gains)


def probability_flow(
    normal: Normal,
    schedule: Schedule,
    x_t: jax.Array,
    t: jax.typing.ArrayLike,
    s: jax.typing.ArrayLike,
) -> jax.Array:
    """Returns x_s by Eq. 3, the exact solution of the probability flow from x_t.

    DDIM and every other deterministic solver converge to it as steps become shorter.

    Args:
        normal: the law of x_0.
        schedule: float32[T + 1] tables.
        x_t: the example at step t.
        t: scalar int in [0, T].
        s: scalar int in [0, T], earlier or later.
    """
    return colour(
        marginal(normal, schedule, s), whiten(marginal(normal, schedule, t), x_t)
    )


def denoiser(normal: Normal, schedule: Schedule) -> Denoiser:
    """Returns the exact denoiser of Gaussian data, (x_t, t) -> E[x_0 | x_t].

    Examples:
        >>> import jax, jdiff
        >>> from jdiff.closed_form import gaussian
        >>> normal = gaussian.from_covariance(jax.numpy.ones(2), jax.numpy.eye(2))
        >>> denoise = gaussian.denoiser(normal, jdiff.flow_schedule(10))
        >>> denoise(jax.numpy.zeros(2), 10).tolist()   # pure noise: the mean remains
        [1.0, 1.0]
    """
    return lambda x_t, t: posterior_mean(normal, schedule, x_t, t)


def analytic_start(solver: Solver, schedule: Schedule, normal: Normal) -> Solver:
    """Returns a solver that can start at any step (Wang & Vastola 2024).

    x_t = colour_t(whiten_T(x_T)),  x_T ~ N(0, sigma_T^2 I)

    Eq. 3 replaces the first solver steps: a grid may start below T, and each step that
    it leaves out saves a call of the network.

    Args:
        solver: from `ddim`, `unipc`, ...
        schedule: float32[T + 1] tables.
        normal: mean and covariance of the data.

    Examples:
        >>> import jax, jdiff
        >>> from jdiff.closed_form import analytic_start, class_normal, mixtures
        >>> schedule = jdiff.cosine_schedule(1000)
        >>> model = mixtures.load(jdiff.models.SHIPPED["mixture"])
        >>> normal = class_normal(model, 3)
        >>> solver = analytic_start(jdiff.unipc(schedule), schedule, normal)
        >>> solver.prior(jax.random.key(0), (28, 28, 1), 800).shape
        (28, 28, 1)
    """
    last = len(schedule.alpha) - 1

    def prior(key, shape, t):
        x_T = solver.prior(key, shape, last)
        return probability_flow(normal, schedule, x_T, last, t)

    return solver._replace(prior=prior)


def mixture_log_densities(mixture: Mixture, x: jax.Array) -> jax.Array:
    """Returns log pi_k + log p_k(x) of each cell, float[K]; logsumexp is log p(x)."""
    densities = jax.vmap(log_density, (0, None))(mixture.cells, x)
    return mixture.log_weights + densities


def mixture_denoiser(mixture: Mixture, schedule: Schedule) -> Denoiser:
    """Returns the exact denoiser of data from a mixture of Gaussians, by Eq. 4."""

    def denoise(x_t, t):
        laws = jax.vmap(marginal, (0, None, None))(mixture.cells, schedule, t)
        log_densities = mixture_log_densities(mixture._replace(cells=laws), x_t)
        estimates = jax.vmap(posterior_mean, (0, None, None, None))(
            mixture.cells, schedule, x_t, t
        )
        return jnp.tensordot(jax.nn.softmax(log_densities), estimates, 1)

    return denoise


def draw_mixture(key: jax.Array, mixture: Mixture) -> jax.Array:
    """Returns an exact draw from a mixture: a cell, then a Gaussian, in one step."""
    key_cell, key_eps = jax.random.split(key)
    cell = jax.random.categorical(key_cell, mixture.log_weights)
    normal = jax.tree.map(lambda leaf: jnp.asarray(leaf)[cell], mixture.cells)
    return colour(normal, jax.random.normal(key_eps, normal.mean.shape))


def fit_mixture(
    rng: np.random.Generator,
    x: np.ndarray,
    num_cells: int,
    rank: int,
    shrinkage: float,
    min_variance: float = 1e-6,
) -> Mixture:
    """Returns a mixture of Gaussians fitted to the rows of x, in cells of a k-means.

    The covariance S of the n rows of a cell shrinks towards the mean over cells,
    C = (n S + n_0 S_mean) / (n + n_0). Its `rank` largest variances are kept, the
    others replaced by their mean (Tipping & Bishop 1999b).

    Args:
        rng: of the k-means.
        x: float[N, L].
        num_cells: K, >= 1; where N is smaller, further cells have no weight.
        rank: variances kept in each cell, in [1, L].
        shrinkage: n_0, > 0.
        min_variance: lower bound of all variances, > 0.
    """
    cell = _k_means(rng, x, min(num_cells, len(x)))
    counts = np.bincount(cell, minlength=num_cells)
    means = np.tile(x.mean(0), (num_cells, 1))
    sums = np.zeros((num_cells, x.shape[1], x.shape[1]))
    for c in np.flatnonzero(counts):
        means[c] = x[cell == c].mean(0)
        rows = x[cell == c] - means[c][None]
        sums[c] = rows.T @ rows
    pooled = sums.sum(0) / len(x)
    covariances = sums + shrinkage * pooled[None]
    covariances /= (counts + shrinkage)[:, None, None]
    variances, vectors = np.linalg.eigh(covariances)
    variances = np.maximum(variances, min_variance)
    others = variances[:, : x.shape[1] - rank]
    remainder = others.mean(1) if others.size else variances[:, 0]
    fractions = np.maximum(counts / len(x), 1e-30)
    leaves = (
        np.where(counts, np.log(fractions), _NO_WEIGHT),
        means,
        vectors[:, :, -rank:].transpose(0, 2, 1),
        variances[:, -rank:],
        remainder,
    )
    log_weights, *cells = (jnp.asarray(leaf, jnp.float32) for leaf in leaves)
    return Mixture(log_weights, Normal(*cells))


def _scale(
    vectors: jax.Array, x: jax.Array, along: jax.Array, across: jax.Array
) -> jax.Array:
    """Returns x scaled by `along` in the directions, by `across` in all others."""
    coordinates = jnp.tensordot(vectors, x, x.ndim)
    # A difference of vectors, because one of squared lengths would cancel.
    rest = x - jnp.tensordot(coordinates, vectors, 1)
    return across * rest + jnp.tensordot(along * coordinates, vectors, 1)


def _k_means(rng, x: np.ndarray, num_cells: int, num_rounds: int = 15) -> np.ndarray:
    """Returns the cell of each row (Lloyd 1982)."""
    centers = x[rng.choice(len(x), num_cells, replace=False)]
    for _ in range(num_rounds):
        cell = (np.square(centers).sum(1)[None] - 2 * x @ centers.T).argmin(1)
        members = np.eye(num_cells, dtype=np.float32)[cell]
        counts = members.sum(0)[:, None]
        centers = np.where(counts, members.T @ x / np.maximum(counts, 1), centers)
    return cell
