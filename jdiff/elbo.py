"""The evidence lower bound of a variational autoencoder, in nats.

    log p(x) >= E_q(z|x)[log p(x | z)] - KL(q(z | x) || N(0, I))             (1)

(Kingma & Welling 2014, Eq. 3.) Everything but the loss is written for ONE example of
any shape. log p(x | z) is any function of z: `gaussian_decoder` for images with a
learned scale, whose bound is of a density and can be set beside that of other models,
or `bernoulli_decoder`, as the first VAEs have it.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jdiff.diffusion import Gaussian


class Elbo(NamedTuple):
    """The two terms of Eq. 1, in nats: the bound is reconstruction - divergence."""

    reconstruction: jax.Array
    divergence: jax.Array


def reparametrize(key: jax.Array, posterior: Gaussian) -> jax.Array:
    """Returns a draw of a Gaussian that its moments have gradients through.

    z = mean + sqrt(variance) eps,  eps ~ N(0, I)    (Kingma & Welling 2014, Sec. 2.4)

    Args:
        key: random key.
        posterior: mean of any shape; variance of that shape, or a scalar.
    """
    mean, variance = posterior
    return mean + jnp.sqrt(variance) * jax.random.normal(key, mean.shape, mean.dtype)


def prior_divergence(posterior: Gaussian) -> jax.Array:
    """Returns KL(N(mean, variance) || N(0, I)) in nats, a scalar.

    sum (mean^2 + variance - 1 - log variance) / 2        (ibid., Appendix B)

    Args:
        posterior: mean and variance of one shape.
    """
    mean, variance = posterior
    chex.assert_equal_shape([mean, variance])
    return 0.5 * jnp.sum(jnp.square(mean) + variance - 1.0 - jnp.log(variance))


def bernoulli_decoder(
    x_0: jax.Array, mean: jax.Array, std: jax.typing.ArrayLike = 0.0
) -> jax.Array:
    """Returns log p of pixels as coin tosses, in nats (ibid., Appendix C.1).

    sum p log q + (1 - p) log(1 - q),  p = (x_0 + 1) / 2,  q = (mean + 1) / 2

    The grey levels p are read as probabilities of white. Over numbers between 0 and 1
    this is no density: it does not integrate to 1 (Loaiza-Ganem & Cunningham 2019).

    Args:
        x_0: image in [-1, 1].
        mean: of its shape, in [-1, 1].
        std: not used; the other decoders of `jdiff.bound` have one.
    """
    chex.assert_equal_shape([x_0, mean])
    mean = jnp.clip(mean, -_ALMOST_1, _ALMOST_1)
    p = 0.5 * (x_0 + 1.0)
    log_q, log_not_q = jnp.log1p(mean), jnp.log1p(-mean)
    return jnp.sum(p * log_q + (1.0 - p) * log_not_q - math.log(2.0))


# Further from 0 float32 has no room for a mean's distance from 1.
_ALMOST_1 = 1.0 - 2e-6


def evidence_bound(
    key: jax.Array, posterior: Gaussian, log_likelihood: Callable[..., jax.Array]
) -> Elbo:
    """Returns an unbiased estimate of the bound of one example (ibid., Eq. 10).

    The expectation is over one draw of z, the divergence is exact.

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

    beta divergence - reconstruction, the mean over the batch    (Higgins et al. 2017)

    At beta = 1 it is the negative bound. Below, latents say more of the image and
    follow the prior less, which costs nothing where diffusion is to learn their law.

    Args:
        encode: (params, image) -> q(z | image).
        log_likelihood: (params, image, z) -> log p(image | z).
        beta: weight of the divergence, >= 0.

    Raises:
        ValueError: beta is negative or not finite.
    """
    if not 0.0 <= beta < float("inf"):
        raise ValueError(f"beta must be a number >= 0, got {beta}.")

    def loss_fn(params, key, batch):
        def one(key, image):
            known = functools.partial(log_likelihood, params, image)
            return evidence_bound(key, encode(params, image), known)

        terms = jax.vmap(one)(jax.random.split(key, len(batch.image)), batch.image)
        reconstruction, divergence = (jnp.mean(term) for term in terms)
        loss = beta * divergence - reconstruction
        bound = reconstruction - divergence
        return loss, {"loss": loss, "elbo": bound, "divergence": divergence}

    return loss_fn
