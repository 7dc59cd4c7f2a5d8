"""Variational bounds of the likelihood, of a diffusion model and of an autoencoder.

    -log p(x_0) <= prior + diffusion + reconstruction                        (1)
    log p(x) >= E_q(z|x)[log p(x | z)] - KL(q(z | x) || N(0, I))             (2)

Eq. 1 (Ho et al. 2020, Eq. 5; Kingma et al. 2021, Eq. 11), in bits per dimension, holds
with any number of steps; few steps make it loose. Eq. 2 (Kingma & Welling 2014, Eq. 3)
is in nats. Both share three decoders, log p(x | mean, std): `gaussian_decoder` for
densities, `pixel_decoder` for discrete pixels, `bernoulli_decoder` as in the first
VAEs. All but the loss is for ONE example of any shape.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jdiff.checks import check_times
from jdiff.diffusion import Gaussian, q_sample
from jdiff.sampling import Denoiser
from jdiff.schedules import Schedule

PIXEL = 2.0 / 255.0  # the distance of two grey values in [-1, 1]


# The largest mean whose distance from 1 float32 can hold with some precision.
_ALMOST_1 = 1.0 - 2e-6


class Bound(NamedTuple):
    """The three terms of Eq. 1, in bits per dimension; the bound is `sum(bound)`."""

    prior: jax.Array
    diffusion: jax.Array
    reconstruction: jax.Array


class Elbo(NamedTuple):
    """The two terms of Eq. 2, in nats; the bound is reconstruction - divergence."""

    reconstruction: jax.Array
    divergence: jax.Array


def gaussian_decoder(x_0: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Returns log N(x_0; mean, std^2 I) in nats, for densities."""
    return jnp.sum(jax.scipy.stats.norm.logpdf(x_0, mean, std))


def pixel_decoder(x_0: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Returns the log probability of the pixels x_0, discrete (Ho et al. 2020, Eq. 13).

    P(x) = Phi((x + PIXEL / 2 - mean) / std) - Phi((x - PIXEL / 2 - mean) / std)

    -1 and 1 take the tails beyond them.

    Args:
        x_0: one of 256 grey values in [-1, 1], any shape.
        mean: of its shape.
        std: > 0, of its shape or a scalar.
    """
    above = jnp.where(x_0 > 1.0 - PIXEL / 2, jnp.inf, (x_0 + PIXEL / 2 - mean) / std)
    below = jnp.where(x_0 < -1.0 + PIXEL / 2, -jnp.inf, (x_0 - PIXEL / 2 - mean) / std)
    # In the lower tail, where float32 resolves their difference.
    flip = above + below > 0
    upper, lower = jnp.where(flip, -below, above), jnp.where(flip, -above, below)
    log_upper, log_lower = (jax.scipy.stats.norm.logcdf(x) for x in (upper, lower))
    return jnp.sum(log_upper + jnp.log(-jnp.expm1(log_lower - log_upper)))


def bernoulli_decoder(
    x_0: jax.Array, mean: jax.Array, std: jax.typing.ArrayLike = 0.0
) -> jax.Array:
    """Returns log p of Bernoulli pixels (Kingma & Welling 2014, Appendix C.1), in nats.

    sum p log q + (1 - p) log(1 - q),  p = (x_0 + 1) / 2,  q = (mean + 1) / 2

    Grey values p count as probabilities of white. Over numbers between 0 and 1 this is
    not a density: it does not integrate to 1 (Loaiza-Ganem & Cunningham 2019).

    Args:
        x_0: image in [-1, 1].
        mean: of its shape, in [-1, 1].
        std: unused; it gives all decoders one signature.
    """
    chex.assert_equal_shape([x_0, mean])
    mean = jnp.clip(mean, -_ALMOST_1, _ALMOST_1)
    p = 0.5 * (x_0 + 1.0)
    log_q, log_not_q = jnp.log1p(mean), jnp.log1p(-mean)
    return jnp.sum(p * log_q + (1.0 - p) * log_not_q - math.log(2.0))


def gaussian_divergence(q: Gaussian, p: Gaussian) -> jax.Array:
    """Returns KL(q || p) of each number, in nats.

    ((m_q - m_p)^2 / v_p + v_q / v_p - 1 - log(v_q / v_p)) / 2

    Where v_q = 0 it returns -log p(m_q) instead, which is what a bound has there.

    Args:
        q: mean and variance, of one shape or scalars.
        p: likewise, variance > 0.
    """
    point = 1.0 / (2.0 * math.pi * math.e)
    reference = jnp.where(q.variance > 0, q.variance, point)
    error = jnp.square(q.mean - p.mean) / p.variance
    return 0.5 * (
        error + q.variance / p.variance - 1.0 - jnp.log(reference / p.variance)
    )


def prior_divergence(posterior: Gaussian) -> jax.Array:
    """Returns KL(posterior || N(0, I)) in nats, a scalar.

    sum (mean^2 + variance - 1 - log variance) / 2
    (Kingma & Welling 2014, Appendix B)

    Args:
        posterior: mean and variance > 0, of one shape.
    """
    chex.assert_equal_shape([posterior.mean, posterior.variance])
    standard = Gaussian(jnp.zeros(()), jnp.ones(()))
    return jnp.sum(gaussian_divergence(posterior, standard))


def noise_divergence(
    schedule: Schedule, x_0: jax.Array, t: jax.typing.ArrayLike
) -> jax.Array:
    """Returns KL(q(x_t | x_0) || N(0, sigma_t^2 I)) = SNR_t |x_0|^2 / 2, in nats."""
    noise_level = schedule.sigma[t] / schedule.alpha[t]
    return 0.5 * jnp.sum(jnp.square(x_0)) / jnp.square(noise_level)


def variational_bound(
    key: jax.Array,
    denoise: Denoiser,
    schedule: Schedule,
    x_0: jax.Array,
    times: jax.typing.ArrayLike,
    decoder: Callable[..., jax.Array] = gaussian_decoder,
) -> Bound:
    """Returns an unbiased estimate of the variational bound (Ho et al. 2020, Eq. 5).

    prior           KL(q(x_T | x_0) || N(0, sigma_T^2 I))
                    = alpha_T^2 |x_0|^2 / (2 sigma_T^2)
    diffusion       sum over steps of E KL(q(x_s | x_t, x_0) || q(x_s | x_t, D(x_t)))
                    = (SNR_s - SNR_t) / 2 E |x_0 - D(x_t)|^2   (Kingma et al., Eq. 13)
    reconstruction  -E log p(x_0 | x_1), with std sigma_1 / alpha_1 around D(x_1)

    Each expectation is over one draw of the noise. Few steps give a loose bound, not a
    wrong one. Add log2(1 / PIXEL) to a density of dequantized pixels to compare it with
    discrete ones.

    Args:
        key: random key.
        denoise: (x_t, t) -> x_0, not clipped for densities beyond [-1, 1].
        schedule: float32[T + 1] tables.
        x_0: one example.
        times: descending steps, int[n + 1], to 0; the last but one is x_1 above.
        decoder: (x_0, mean, std) -> log p; `pixel_decoder` for discrete pixels.

    Raises:
        ValueError: times is not a grid that ends in 0.
    """
    check_grid(schedule, times, 1)
    key_diffusion, key_reconstruction = jax.random.split(key)
    times = jnp.asarray(times)
    noise_level = schedule.sigma / schedule.alpha
    unit = x_0.size * math.log(2.0)

    def error(key, t):
        eps = jax.random.normal(key, x_0.shape, x_0.dtype)
        estimate = denoise(q_sample(schedule, x_0, t, eps), t)
        return estimate, jnp.sum(jnp.square(x_0 - estimate))

    def term(inputs):
        key, t, s = inputs
        # 1 / inf = 0: an SNR of 0 is no special case.
        gain = 1.0 / jnp.square(noise_level[s]) - 1.0 / jnp.square(noise_level[t])
        return 0.5 * gain * error(key, t)[1]

    keys = jax.random.split(key_diffusion, len(times) - 2)
    terms = jax.lax.map(term, (keys, times[:-2], times[1:-1]))
    estimate, _ = error(key_reconstruction, times[-2])
    return Bound(
        noise_divergence(schedule, x_0, times[0]) / unit,
        jnp.sum(terms) / unit,
        -decoder(x_0, estimate, noise_level[times[-2]]) / unit,
    )


def reparametrize(key: jax.Array, posterior: Gaussian) -> jax.Array:
    """Returns a draw of a Gaussian, differentiable in its moments.

    z = mean + sqrt(variance) eps,  eps ~ N(0, I)    (Kingma & Welling 2014, Sec. 2.4)

    Args:
        key: random key.
        posterior: mean of any shape; variance of that shape, or a scalar.
    """
    mean, variance = posterior
    return mean + jnp.sqrt(variance) * jax.random.normal(key, mean.shape, mean.dtype)


def evidence_bound(
    key: jax.Array, posterior: Gaussian, log_likelihood: Callable[..., jax.Array]
) -> Elbo:
    """Returns an unbiased estimate of Eq. 2 (Kingma & Welling 2014, Eq. 10).

    The expectation is over one draw of z. The divergence is exact.

    Args:
        key: random key.
        posterior: q(z | x).
        log_likelihood: z -> log p(x | z) in nats, a scalar.
    """
    z = reparametrize(key, posterior)
    return Elbo(log_likelihood(z), prior_divergence(posterior))


def make_elbo_loss(
    encode: Callable[[Any, jax.Array], Gaussian],
    log_likelihood: Callable[[Any, jax.Array, jax.Array], jax.Array],
    beta: float = 1.0,
) -> Callable:
    """Returns the loss of a batch: (params, key, batch) -> (loss, metrics).

    L = mean over the batch of beta divergence - reconstruction   (Higgins et al. 2017)

    At beta = 1 it is the negative bound. With a smaller beta latents hold more of the
    image and follow the prior less, which costs nothing where a diffusion model learns
    their distribution.

    Args:
        encode: (params, image) -> q(z | image).
        log_likelihood: (params, image, z) -> log p(image | z).
        beta: weight of the divergence, >= 0.

    Raises:
        ValueError: beta is negative or not finite.
    """
    if not 0.0 <= beta < math.inf:
        raise ValueError(f"beta must be a number >= 0, got {beta}.")

    def loss_fn(params, key, batch):
        def one(key, image):
            known = functools.partial(log_likelihood, params, image)
            return evidence_bound(key, encode(params, image), known)

        terms = jax.vmap(one)(jax.random.split(key, len(batch.x)), batch.x)
        reconstruction, divergence = (jnp.mean(term) for term in terms)
        loss = beta * divergence - reconstruction
        bound = reconstruction - divergence
        return loss, {"loss": loss, "elbo": bound, "divergence": divergence}

    return loss_fn


def check_grid(schedule: Schedule, times: jax.typing.ArrayLike, least: int) -> None:
    """Raises ValueError unless times is a grid of at least `least` steps to 0."""
    check_times(times, len(schedule.alpha) - 1)
    if isinstance(times, jax.core.Tracer):
        return
    times = np.asarray(times)
    if times[-1] != 0 or len(times) <= least:
        raise ValueError(
            f"times must be at least {least} steps down to 0, got {times.tolist()}."
        )
