"""Likelihood of data under the probability flow, in bits per dimension.

`flow_bits` is the likelihood of the model that the flow defines (Song et al. 2021,
Eq. 13 and 39), which `variational_bound` bounds from above:

    log p(x_0) = log N(x_T; 0, sigma_T^2 I) + int_0^T div(dx/dt) dt          (10)

With too few steps the integral is wrong, and the "likelihood" can be better than any
true one. So every integral is computed twice, the second time with half the steps, and
`mean_bits` refuses a result that changes too much.

Pixels are discrete, densities are not. `dequantize` adds uniform noise as wide as the
distance of two grey values, and the bits of the density bound those of the pixels from
above (Theis et al. 2016, Sec. 3.1). All but `mean_bits` is for ONE example; `jax.vmap`
makes batches.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff.diffusion import noise
from jdiff.likelihood.bounds import PIXEL, check_grid, gaussian_decoder
from jdiff.sampling import Denoiser
from jdiff.schedules import Schedule

# (key, function, x) -> function(x) and the trace of its Jacobian at x.
Trace = Callable[..., tuple[jax.Array, jax.Array]]


class FlowBits(NamedTuple):
    """Bits per dimension of the probability flow, and with half the steps."""

    bits: jax.Array
    bits_half: jax.Array


class MeanBits(NamedTuple):
    """Mean bits per dimension with its two errors: of sampling, and of integration."""

    bits: float
    standard_error: float
    integration_error: float


def dequantize(key: jax.Array, x_0: jax.Array, width: float = PIXEL) -> jax.Array:
    """Returns x_0 + width u, u ~ U(-1/2, 1/2): discrete values become intervals."""
    return x_0 + width * jax.random.uniform(key, x_0.shape, x_0.dtype, -0.5, 0.5)


def exact_trace(
    key: jax.Array, function: Callable[..., jax.Array], x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns function(x) and tr(J) exactly, by x.size products with J."""
    basis = jnp.eye(x.size, dtype=x.dtype).reshape(-1, *x.shape)
    value, product = jax.linearize(function, x)
    return value, jnp.sum(jax.lax.map(product, basis) * basis)


def hutchinson_trace(
    key: jax.Array, function: Callable[..., jax.Array], x: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns function(x) and z^T J z, z = +-1, of mean tr(J) (Hutchinson 1990)."""
    z = jax.random.rademacher(key, x.shape, x.dtype)
    value, product = jax.jvp(function, (x,), (z,))
    return value, jnp.sum(z * product)


def flow_bits(
    key: jax.Array,
    denoise: Denoiser,
    schedule: Schedule,
    x_0: jax.Array,
    times: jax.typing.ArrayLike,
    trace: Trace = hutchinson_trace,
    width: float = 1.0,
) -> FlowBits:
    """Returns bits per dimension by the probability flow, Eq. 10.

    Heun's method from 0 to T; the first step, where the score is finite but eps is
    not, is uniform in the noise's variance. Two calls of the denoiser a step.

    Args:
        key: random key of the trace, one probe for all steps (Grathwohl et al. 2019).
        denoise: (x_t, t) -> x_0, not clipped, because a clipped flow has no density.
        schedule: float32[T + 1] tables.
        x_0: one example; of pixels, `dequantize(key, x_0)`.
        times: descending steps, int[n + 1], from T to 0, n even and at least 4.
        trace: (key, function, x) -> value, trace: `hutchinson_trace` or `exact_trace`.
        width: distance of two values, `PIXEL` for pixels; 1 gives the density's bits.

    Raises:
        ValueError: times is not such a grid.
    """
    check_grid(schedule, times, 4)
    num_steps = np.shape(times)[0] - 1
    if num_steps % 2:
        raise ValueError(f"times must have an even number of steps, got {num_steps}.")
    upwards = jnp.asarray(times)[::-1]

    def integrate(steps):
        x_T, log_det = flow_upwards(key, denoise, schedule, x_0, steps, trace)
        sigma_T = schedule.sigma[steps[-1]]
        log_prior = gaussian_decoder(x_T, jnp.zeros_like(x_T), sigma_T)
        log_p = log_prior + log_det + x_0.size * math.log(width)
        return -log_p / (x_0.size * math.log(2.0))

    return FlowBits(integrate(upwards), integrate(upwards[::2]))


def mean_bits(flow: FlowBits, tolerance: float = 0.01) -> MeanBits:
    """Returns the mean of many likelihoods, if the integrals have converged.

    The integration error is the change when the steps are halved. Heun's method is of
    order 2, so the remaining error is about a third of it.

    Args:
        flow: of N examples, each leaf float[N], from a vmap of `flow_bits`.
        tolerance: largest change when the steps are halved, in bits per dimension, > 0.

    Raises:
        ValueError: the change is larger, or not finite.
    """
    bits, half = (np.asarray(leaf, np.float64).reshape(-1) for leaf in flow)
    change = float(np.abs(bits - half).mean())
    if not change <= tolerance:
        raise ValueError(
            f"times must have more steps: half of them change the likelihood by "
            f"{change:.2g} bits per dimension, and at most {tolerance:g} is allowed."
        )
    error = float(bits.std() / math.sqrt(len(bits)))
    return MeanBits(float(bits.mean()), error, change)


def flow_upwards(
    key: jax.Array | None,
    denoise: Denoiser,
    schedule: Schedule,
    x_0: jax.Array,
    steps: jax.Array,
    trace: Trace,
) -> tuple[jax.Array, jax.Array]:
    """Returns x at steps[-1] and the log determinant of the map from x_0 to it.

    Args: as `flow_bits`, but steps ascend from 0, int[n + 1], n >= 2.
    """
    alpha, sigma = schedule

    def change(x_t, t, rates):
        estimate = denoise(x_t, t)
        return rates[0] * estimate + rates[1] * noise(schedule, x_t, estimate, t)

    # dx = -1/2 score d(n^2), n = sigma / alpha, for the first step in x / alpha. The
    # score (D - x) / n^2 is taken at its end, because it is infinite at its start.
    t = steps[1]
    first, log_det = trace(key, lambda x: 0.5 * (x - denoise(alpha[t] * x, t)), x_0)
    x_t = alpha[t] * (x_0 + first)
    log_det = log_det + x_0.size * jnp.log(alpha[t])

    def step(carry, ends):
        x_t, log_det = carry
        t, s = ends
        rates = alpha[s] - alpha[t], sigma[s] - sigma[t]
        here, trace_here = trace(key, lambda x: change(x, t, rates), x_t)
        there, trace_there = trace(key, lambda x: change(x, s, rates), x_t + here)
        x_s = x_t + 0.5 * (here + there)
        return (x_s, log_det + 0.5 * (trace_here + trace_there)), None

    (x_T, log_det), _ = jax.lax.scan(step, (x_t, log_det), (steps[1:-1], steps[2:]))
    return x_T, log_det
