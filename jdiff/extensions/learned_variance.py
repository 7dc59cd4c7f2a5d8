"""Reverse steps of learned variance (Nichol & Dhariwal 2021).

A reverse step p(x_s | x_t) has the mean of q(x_s | x_t, x_0) at the estimate of x_0.
Its best variance is known for two kinds of data (Ho et al. 2020, Sec. 3.2):

    lower = sigma_s^2 (1 - r)                   data is a single point           (1)
    upper = V_s / V_t sigma_t^2 (1 - r)         data is N(0, I)                  (2)

with r = SNR_t / SNR_s and V = alpha^2 + sigma^2, which is 1 on variance-preserving
paths; there, upper is beta_t for s = t - 1. For other data the network predicts a w for
every number of x_t, which interpolates between the two or extrapolates:

    variance = lower + w (upper - lower),  w = exp(v)                            (3)

Nichol & Dhariwal interpolate the logarithms (Eq. 15), with w = (v + 1) / 2. Then the
best w depends on s, and the logarithm of lower is -inf at s = 0. In Eq. 3 the best w is
Var[x_0 | x_t] divided by its value for N(0, I). It is the same for every s, so what is
learned at one step length holds for others (Bao et al. 2022), and for the last step.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jdiff.diffusion import (
    PREDICT_X_0,
    Gaussian,
    Prediction,
    q_posterior,
    q_sample,
    snr_ratio,
)
from jdiff.likelihood import (
    Bound,
    check_grid,
    gaussian_decoder,
    gaussian_divergence,
    noise_divergence,
)
from jdiff.losses import Distance, l2_loss, make_diffusion_loss
from jdiff.sampling import (
    Denoiser,
    Solver,
    SolverState,
    make_denoiser,
    start_from_noise,
)
from jdiff.schedules import Schedule


def split_output(output: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the prediction [..., C] and w = exp(v) [..., C] of an output [..., 2 C].

    v = 0 is the upper variance.

    Raises:
        ValueError: the size of the last axis is odd.
    """
    if output.shape[-1] % 2:
        raise ValueError(f"output's last axis must be even, got shape {output.shape}.")
    prediction, v = jnp.split(output, 2, axis=-1)
    return prediction, jnp.exp(v)


def learned_posterior(
    schedule: Schedule,
    x_t: jax.Array,
    x_0: jax.Array,
    w: jax.typing.ArrayLike,
    t: jax.typing.ArrayLike,
    s: jax.typing.ArrayLike,
) -> Gaussian:
    """Returns p(x_s | x_t), the reverse step from t to s, with the variance of Eq. 3.

    mean = that of `q_posterior`
    variance = sigma_s^2 (1 - r) + w (alpha_s (1 - r))^2 sigma_t^2 / V_t

    Exact for independent Gaussian numbers of variance c, with their posterior mean and
    w = c V_t / (alpha_t^2 c + sigma_t^2). At s = 0 it is the law of x_0 given x_t.

    Args and Raises: as `q_posterior`, with the estimate of x_0 for x_0; w is >= 0, a
    scalar or of the shape of x_t, and so is the variance.
    """
    alpha, sigma = schedule
    mean, lower = q_posterior(schedule, x_t, x_0, t, s)
    gain = jnp.square(alpha[s] * (1.0 - snr_ratio(schedule, t, s)))
    # Var[x_0 | x_t] of data that is N(0, I).
    unit = jnp.square(sigma[t]) / (jnp.square(alpha[t]) + jnp.square(sigma[t]))
    return Gaussian(mean, lower + w * gain * unit)


def make_learned_denoiser(
    apply: Callable[..., jax.Array],
    params: Any,
    schedule: Schedule,
    prediction: Prediction,
    label: jax.typing.ArrayLike | None = None,
    clip: float | None = None,
) -> tuple[Denoiser, Denoiser]:
    """Returns (denoise, predict_w) of a network, both (x_t, t) -> [..., C].

    Where both are called on the same x_t in one jit, the network is computed once.
    Args and Raises: as `make_denoiser`, for an output of twice as many channels.
    """

    def half(index):
        return lambda *inputs: split_output(apply(*inputs))[index]

    denoise = make_denoiser(half(0), params, schedule, prediction, label, clip)
    # PREDICT_X_0 returns the output unchanged.
    predict_w = make_denoiser(half(1), params, schedule, PREDICT_X_0, label, None)
    return denoise, predict_w


def learned_ddpm(schedule: Schedule, predict_w: Denoiser) -> Solver:
    """Returns ancestral sampling of learned variance: x_s ~ p(x_s | x_t).

    The last step also draws, from p(x_0 | x_t), as `learned_bound` assumes; Nichol &
    Dhariwal return its mean.

    Args:
        schedule: float32[T + 1] tables.
        predict_w: (x_t, t) -> w, from `make_learned_denoiser`; `lambda x_t, t: 1.0` is
            the upper variance.
    """

    def step(key, denoise, state, t, s):
        x_0, w = denoise(state.x, t), predict_w(state.x, t)
        posterior = learned_posterior(schedule, state.x, x_0, w, t, s)
        eps = jax.random.normal(key, state.x.shape, state.x.dtype)
        return SolverState(posterior.mean + jnp.sqrt(posterior.variance) * eps)

    return start_from_noise(schedule, SolverState, step)


def make_hybrid_loss(
    apply: Callable[..., jax.Array],
    schedule: Schedule,
    prediction: Prediction,
    null_label: int | None = None,
    label_dropout: float = 0.0,
    distance: Distance = l2_loss,
    vlb_weight: float = 0.001,
    back_to: Callable[[jax.Array], jax.Array] = lambda t: t // 2,
) -> Callable:
    """Returns the hybrid loss over a batch: (params, key, batch) -> (loss, metrics).

    L = L_simple + vlb_weight L_vlb               (Nichol & Dhariwal 2021, Eq. 16)
    L_vlb = T E_t KL(q(x_s | x_t, x_0) || p(x_s | x_t)),  in bits per dimension;
    -log p(x_0 | x_t) at s = 0

    L_vlb trains the variance alone: no gradient passes through the mean. The paper has
    s = t - 1. In steps so short lower and upper nearly agree, so their loss says little
    of w; the default steps, to t / 2, train it for short and long steps.

    Args: as `make_diffusion_loss`, but apply returns [B, ..., 2 C]; vlb_weight is > 0,
    and back_to is t -> s in [0, t - 1], in the paper `lambda t: t - 1`.

    Raises:
        ValueError: vlb_weight is not > 0, or as `make_diffusion_loss`.
    """
    if not vlb_weight > 0:
        raise ValueError(f"vlb_weight must be > 0, got {vlb_weight}.")
    scale = vlb_weight * (len(schedule.alpha) - 1) / math.log(2.0)

    def target(schedule, x_0, eps, t):
        return prediction.target(schedule, x_0, eps, t), x_0, eps, t

    def hybrid(output, targets):
        target, x_0, eps, t = targets
        output, w = split_output(output)
        x_t = q_sample(schedule, x_0, t, eps)
        estimate = prediction.x_0(schedule, x_t, jax.lax.stop_gradient(output), t)
        q = q_posterior(schedule, x_t, x_0, t, back_to(t))
        p = learned_posterior(schedule, x_t, estimate, w, t, back_to(t))
        return distance(output, target) + scale * jnp.mean(gaussian_divergence(q, p))

    both = Prediction(target, prediction.x_0)
    return make_diffusion_loss(
        apply, schedule, both, null_label, label_dropout, distance=hybrid
    )


def learned_bound(
    key: jax.Array,
    denoise: Denoiser,
    predict_w: Denoiser,
    schedule: Schedule,
    x_0: jax.Array,
    times: jax.typing.ArrayLike,
    decoder: Callable[..., jax.Array] = gaussian_decoder,
) -> Bound:
    """Returns an unbiased estimate of the bound with learned variance, in bits.

    `variational_bound` has the lower variance and a decoder whose std is the noise
    level; here the decoder's std is that of p(x_0 | x_t).

    Args and Raises: as `variational_bound`; predict_w as `learned_ddpm`.
    """
    check_grid(schedule, times, 1)
    key_diffusion, key_reconstruction = jax.random.split(key)
    times = jnp.asarray(times)
    unit = x_0.size * math.log(2.0)

    def steps_back(key, t, s):
        x_t = q_sample(schedule, x_0, t, jax.random.normal(key, x_0.shape, x_0.dtype))
        q = q_posterior(schedule, x_t, x_0, t, s)
        estimate, w = denoise(x_t, t), predict_w(x_t, t)
        return q, learned_posterior(schedule, x_t, estimate, w, t, s)

    def term(inputs):
        return jnp.sum(gaussian_divergence(*steps_back(*inputs)))

    keys = jax.random.split(key_diffusion, len(times) - 2)
    terms = jax.lax.map(term, (keys, times[:-2], times[1:-1]))
    _, last = steps_back(key_reconstruction, times[-2], times[-1])
    return Bound(
        noise_divergence(schedule, x_0, times[0]) / unit,
        jnp.sum(terms) / unit,
        -decoder(x_0, last.mean, jnp.sqrt(last.variance)) / unit,
    )
