"""The variational bound of the likelihood, in bits per dimension.

    -log p(x_0) <= prior + diffusion + reconstruction                        (11)

(Ho et al. 2020, Eq. 5; Kingma et al. 2021, Eq. 11.) It is true with any number of
steps: few of them make it loose.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff.diffusion import q_sample
from jdiff.grids import check_times
from jdiff.sampling import Denoiser
from jdiff.schedules import Schedule

PIXEL = 2.0 / 255.0  # the distance of two grey levels in [-1, 1]


class Bound(NamedTuple):
    """A variational bound, in bits per dimension: `sum(bound)` of its three terms."""

    prior: jax.Array
    diffusion: jax.Array
    reconstruction: jax.Array


def gaussian_decoder(x_0: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Returns log N(x_0; mean, std^2 I) in nats, for densities."""
    return jnp.sum(jax.scipy.stats.norm.logpdf(x_0, mean, std))


def pixel_decoder(x_0: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """Returns the log probability of the pixels x_0, discrete (Ho et al. 2020, Eq. 13).

    P(x) = Phi((x + PIXEL / 2 - mean) / std) - Phi((x - PIXEL / 2 - mean) / std),
    with the ends of [-1, 1] open.
    """
    above = jnp.where(x_0 > 1.0 - PIXEL / 2, jnp.inf, (x_0 + PIXEL / 2 - mean) / std)
    below = jnp.where(x_0 < -1.0 + PIXEL / 2, -jnp.inf, (x_0 - PIXEL / 2 - mean) / std)
    # In the lower tail, where float32 can tell the two apart.
    flip = above + below > 0
    upper, lower = jnp.where(flip, -below, above), jnp.where(flip, -above, below)
    log_upper, log_lower = (jax.scipy.stats.norm.logcdf(x) for x in (upper, lower))
    return jnp.sum(log_upper + jnp.log(-jnp.expm1(log_lower - log_upper)))


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
    false one. Add log2(1 / PIXEL) to compare a density of dequantized pixels.

    Args:
        key: random key.
        denoise: (x_t, t) -> x_0, not clipped for densities beyond [-1, 1].
        schedule: float32[T + 1] tables.
        x_0: one example.
        times: descending steps, int[n + 1], to 0; step 1 above is the last but one.
        decoder: (x_0, mean, std) -> log p; `pixel_decoder` for pixels as they are.

    Raises:
        ValueError: times is not a grid that ends in 0.
    """
    check_grid(schedule, times, 1)
    key_diffusion, key_reconstruction = jax.random.split(key)
    times = jnp.asarray(times)
    level = schedule.sigma / schedule.alpha
    unit = x_0.size * math.log(2.0)

    def error(key, t):
        eps = jax.random.normal(key, x_0.shape, x_0.dtype)
        estimate = denoise(q_sample(schedule, x_0, t, eps), t)
        return estimate, jnp.sum(jnp.square(x_0 - estimate))

    def term(inputs):
        key, t, s = inputs
        # x / inf = 0: an SNR of 0 is no special case.
        gain = 1.0 / jnp.square(level[s]) - 1.0 / jnp.square(level[t])
        return 0.5 * gain * error(key, t)[1]

    keys = jax.random.split(key_diffusion, len(times) - 2)
    terms = jax.lax.map(term, (keys, times[:-2], times[1:-1]))
    estimate, _ = error(key_reconstruction, times[-2])
    return Bound(
        0.5 * jnp.sum(jnp.square(x_0)) / jnp.square(level[times[0]]) / unit,
        jnp.sum(terms) / unit,
        -decoder(x_0, estimate, level[times[-2]]) / unit,
    )


def check_grid(schedule: Schedule, times: jax.typing.ArrayLike, least: int) -> None:
    """Raises a ValueError unless times is a grid of `least` steps or more to 0."""
    check_times(times, len(schedule.alpha) - 1)
    if isinstance(times, jax.core.Tracer):
        return
    times = np.asarray(times)
    if times[-1] != 0 or len(times) <= least:
        raise ValueError(
            f"times must be at least {least} steps down to 0, got {times.tolist()}."
        )
