"""Denoising diffusion, the theory on one page.

All is written for ONE example of any shape and a scalar step t; `jax.vmap` makes
batches. The path from data to noise is

    x_t = alpha_t x_0 + sigma_t eps,    eps ~ N(0, I),  t = 0 .. T          (1)

with the tables alpha, sigma of a `Schedule`. The signal-to-noise ratio is
SNR_t = alpha_t^2 / sigma_t^2 and its logarithm lambda_t. The path is Markov, and for
any s < t, x_s is Gaussian given x_t and x_0:

    r = SNR_t / SNR_s
    q(x_s | x_t, x_0) = N(alpha_s x_0 + sigma_s sqrt(r) eps, sigma_s^2 (1 - r) I)   (2)
    with eps = (x_t - alpha_t x_0) / sigma_t

which is Ho et al. 2020, Eq. 6-7, for s = t - 1, and Kingma et al. 2021, Eq. 25-33,
for any s. At s = 0 the variance is 0 because sigma_0 = 0; no mask is needed.

A network is trained to predict one of five targets. Each is an affine function of x_0
and eps, so with x_t it gives an estimate of x_0:

    eps                         Ho et al. 2020                               (3)
    x_0                         Salimans & Ho 2022                           (4)
    v = alpha_t eps - sigma_t x_0      Salimans & Ho 2022, Eq. 9             (5)
    score = -eps / sigma_t      Song et al. 2021, of log p(x_t | x_0)        (6)
    flow = eps - x_0            Liu et al. 2022; Lipman et al. 2022          (7)

After training only the estimate of x_0 is used (`jdiff.sampling`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jdiff.checks import check_step, check_step_back
from jdiff.schedules import Schedule


class Gaussian(NamedTuple):
    """An isotropic Gaussian: mean of any shape, scalar variance."""

    mean: jax.Array
    variance: jax.Array


class Prediction(NamedTuple):
    """What a network predicts: a pair of pure functions.

    Attributes:
        target: (schedule, x_0, eps, t) -> the output that is learned.
        x_0: (schedule, x_t, output, t) -> the estimate of x_0 in that output. Affine
            in x_t and in output.
    """

    target: Callable[..., jax.Array]
    x_0: Callable[..., jax.Array]


def q_sample(
    schedule: Schedule, x_0: jax.Array, t: jax.typing.ArrayLike, eps: jax.Array
) -> jax.Array:
    """Returns x_t, the example x_0 with the noise of step t (Ho et al. 2020, Eq. 4).

    x_t = alpha_t x_0 + sigma_t eps

    Args:
        schedule: float32[T + 1] tables.
        x_0: one example, any shape.
        t: scalar int in [0, T]; t = 0 returns x_0.
        eps: standard normal noise, the shape of x_0.

    Raises:
        ValueError: a concrete t is outside its range.

    Examples:
        >>> import jax, jdiff
        >>> schedule = jdiff.cosine_schedule(1000)
        >>> x_0 = jax.numpy.ones(3)
        >>> jdiff.q_sample(schedule, x_0, 0, jax.numpy.zeros(3)).tolist()
        [1.0, 1.0, 1.0]
    """
    chex.assert_equal_shape([x_0, eps])
    chex.assert_rank(t, 0)
    check_step(schedule, t)
    return schedule.alpha[t] * x_0 + schedule.sigma[t] * eps


def noise(
    schedule: Schedule, x_t: jax.Array, x_0: jax.Array, t: jax.typing.ArrayLike
) -> jax.Array:
    """Returns the eps that turns x_0 into x_t at step t >= 1, from Eq. 1."""
    return (x_t - schedule.alpha[t] * x_0) / schedule.sigma[t]


def snr_ratio(
    schedule: Schedule, t: jax.typing.ArrayLike, s: jax.typing.ArrayLike
) -> jax.Array:
    """Returns SNR_t / SNR_s, in [0, 1] for s < t; exactly 0 at s = 0."""
    ratio = schedule.alpha[t] * schedule.sigma[s]
    return jnp.square(ratio / (schedule.alpha[s] * schedule.sigma[t]))


def q_posterior(
    schedule: Schedule,
    x_t: jax.Array,
    x_0: jax.Array,
    t: jax.typing.ArrayLike,
    s: jax.typing.ArrayLike,
) -> Gaussian:
    """Returns q(x_s | x_t, x_0), the reverse step from t to s given x_0.

    mean = alpha_s x_0 + sigma_s sqrt(r) eps,  variance = sigma_s^2 (1 - r),
    eps = (x_t - alpha_t x_0) / sigma_t,  r = SNR_t / SNR_s
    (Ho et al. 2020, Eq. 6-7 for s = t - 1; Kingma et al. 2021, Eq. 25-33.)

    Args:
        schedule: float32[T + 1] tables.
        x_t: the example at step t, any shape.
        x_0: the example at step 0, the shape of x_t.
        t: scalar int in [1, T].
        s: scalar int in [0, t - 1]; s = 0 returns x_0 with variance 0.

    Raises:
        ValueError: concrete steps are outside their ranges.
    """
    chex.assert_equal_shape([x_t, x_0])
    chex.assert_rank([t, s], 0)
    check_step_back(schedule, t, s)
    ratio = snr_ratio(schedule, t, s)
    eps = noise(schedule, x_t, x_0, t)
    mean = schedule.alpha[s] * x_0 + schedule.sigma[s] * jnp.sqrt(ratio) * eps
    return Gaussian(mean, jnp.square(schedule.sigma[s]) * (1.0 - ratio))


def convert_prediction(
    schedule: Schedule,
    trained: Prediction,
    wanted: Prediction,
    x_t: jax.Array,
    output: jax.Array,
    t: jax.typing.ArrayLike,
) -> jax.Array:
    """Returns a network's output converted to another prediction.

    wanted.target(x_0, eps)  with x_0 = trained.x_0(x_t, output) and eps from Eq. 1

    At a given x_t the five predictions are affine in one another, so a network trained
    on one gives all five, such as the score field of one trained on x_0.

    Args:
        schedule: float32[T + 1] tables.
        trained: what the output is.
        wanted: what to return.
        x_t: one example, any shape.
        output: the network's, the shape of x_t.
        t: scalar int in [1, T]. Where alpha_t = 0, eps and score determine neither x_0
            nor the others.
    """
    chex.assert_equal_shape([x_t, output])
    x_0 = trained.x_0(schedule, x_t, output, t)
    return wanted.target(schedule, x_0, noise(schedule, x_t, x_0, t), t)


PREDICT_EPS = Prediction(
    target=lambda schedule, x_0, eps, t: eps,
    x_0=lambda schedule, x_t, output, t: (
        (x_t - schedule.sigma[t] * output) / schedule.alpha[t]
    ),
)

PREDICT_X_0 = Prediction(
    target=lambda schedule, x_0, eps, t: x_0,
    x_0=lambda schedule, x_t, output, t: output,
)

# The divisor is 1 on variance-preserving paths, where Salimans & Ho define v.
PREDICT_V = Prediction(
    target=lambda schedule, x_0, eps, t: (
        schedule.alpha[t] * eps - schedule.sigma[t] * x_0
    ),
    x_0=lambda schedule, x_t, output, t: (
        (schedule.alpha[t] * x_t - schedule.sigma[t] * output)
        / (schedule.alpha[t] ** 2 + schedule.sigma[t] ** 2)
    ),
)

PREDICT_SCORE = Prediction(
    target=lambda schedule, x_0, eps, t: -eps / schedule.sigma[t],
    x_0=lambda schedule, x_t, output, t: (
        (x_t + schedule.sigma[t] ** 2 * output) / schedule.alpha[t]
    ),
)

PREDICT_FLOW = Prediction(
    target=lambda schedule, x_0, eps, t: eps - x_0,
    x_0=lambda schedule, x_t, output, t: (
        (x_t - schedule.sigma[t] * output) / (schedule.alpha[t] + schedule.sigma[t])
    ),
)


def check_determined(schedule: Schedule, prediction: Prediction) -> None:
    """Raises ValueError if the prediction does not determine x_0 at t = T.

    The noise and the score do not where alpha_T = 0. Traced tables pass unseen.
    """
    if any(isinstance(table, jax.core.Tracer) for table in schedule):
        return
    tables = jax.tree.map(lambda table: np.asarray(table)[-1:], schedule)
    with np.errstate(divide="ignore"), jax.ensure_compile_time_eval():
        factor = prediction.x_0(tables, np.float32(0), np.float32(1), 0)
    if not np.isfinite(factor):
        raise ValueError(
            "alpha must be > 0 at t = T for a network that predicts noise or score, "
            "which do not determine x_0 there, got 0: predict x_0, v or the flow."
        )


def precondition(
    apply: Callable[..., jax.Array], sigma_data: float = 0.5
) -> Callable[..., jax.Array]:
    """Returns apply with the preconditioning of Karras et al. 2022, Eq. 7 and Table 1.

    x_0 = c_skip x_t + c_out apply(params, c_in x_t, log_snr, ...),  sigma = sigma_t
    c_skip = sigma_data^2 / (sigma^2 + sigma_data^2)
    c_out = sigma sigma_data / sqrt(sigma^2 + sigma_data^2)
    c_in = 1 / sqrt(sigma^2 + sigma_data^2)

    For a variance-exploding path (alpha = 1), where sigma = exp(-log_snr / 2). The
    result estimates x_0: train it with `PREDICT_X_0` and `edm_weight`, and sample it
    with `PREDICT_X_0`. The paper's input c_noise = log(sigma) / 4 is -log_snr / 8;
    networks here embed the log-SNR, so it is passed on unchanged.

    Args:
        apply: (params, x_t [B, ...], log_snr [B], ...) -> output [B, ...].
        sigma_data: standard deviation of the data, > 0.

    Raises:
        ValueError: sigma_data is not > 0.
    """
    if not sigma_data > 0:
        raise ValueError(f"sigma_data must be > 0, got {sigma_data}.")

    def preconditioned(params: Any, x_t: jax.Array, log_snr: jax.Array, *condition):
        variance = jnp.exp(-log_snr).reshape(-1, *[1] * (x_t.ndim - 1))
        total = variance + sigma_data**2
        output = apply(params, x_t * jax.lax.rsqrt(total), log_snr, *condition)
        c_out = sigma_data * jnp.sqrt(variance / total)
        return sigma_data**2 / total * x_t + c_out * output

    return preconditioned
