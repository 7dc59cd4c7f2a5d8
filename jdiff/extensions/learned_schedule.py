"""A learned noise schedule (Kingma et al. 2021).

In continuous time u in [0, 1] a variance-preserving path is its log-SNR lambda(u):

    alpha^2 = sigmoid(lambda),  sigma^2 = sigmoid(-lambda)                       (1)
    L = -1/2 E_{u, eps} [ lambda'(u) SNR(u) |x_0 - D(x_u, u)|^2 ]                (2)

is the diffusion term of the variational bound (Eq. 17 there). It is an integral over
the SNR, so it depends on the ends of lambda alone. The rest of lambda decides the
variance of an estimate from one draw of u and eps, and is learned to reduce it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff.checks import MAX_STEPS
from jdiff.diffusion import Prediction, q_sample
from jdiff.schedules import Schedule, from_log_snr


class MonotoneLogSnr(NamedTuple):
    """The parameters of a log-SNR that falls with u for all their values.

    Attributes:
        ends: log-SNR at u = 0 and 1, float[2]: given, not learned.
        logits: of the weights of a line and of K sigmoids, float[K + 1].
        steepness: logarithms of the slopes of the sigmoids, float[K].
        centre: logits of where in [0, 1] they are, float[K].
    """

    ends: jax.Array
    logits: jax.Array
    steepness: jax.Array
    centre: jax.Array


def init_log_snr(
    log_snr_max: float = 10.0, log_snr_min: float = -10.0, num_features: int = 32
) -> MonotoneLogSnr:
    """Returns a path whose log-SNR falls from one end to the other nearly linearly.

    Args:
        log_snr_max: lambda(0): the less noise, the tighter the bound, and the more
            the estimate varies.
        log_snr_min: lambda(1), < log_snr_max: what signal is left.
        num_features: K, the number of sigmoids, evenly spaced, in [1, 10000]. The
            paper draws 1024 at random.

    Raises:
        ValueError: an argument is outside its range.
    """
    if not -math.inf < log_snr_min < log_snr_max < math.inf:
        raise ValueError(
            "log_snr_max and log_snr_min must be finite and the first the larger, "
            f"got {log_snr_max} and {log_snr_min}."
        )
    if not 1 <= num_features <= 10_000:
        raise ValueError(f"num_features must be in [1, 10000], got {num_features}.")
    centre = (np.arange(num_features) + 0.5) / num_features
    # The line has weight 1/2, and the sigmoids are as steep as they are close.
    steepness = math.log(2.0 * num_features + 2.0)
    return MonotoneLogSnr(
        jnp.array([log_snr_max, log_snr_min], jnp.float32),
        jnp.zeros(num_features + 1).at[0].set(math.log(num_features)),
        jnp.full(num_features, steepness),
        jnp.asarray(np.log(centre / (1.0 - centre)), jnp.float32),
    )


def learned_log_snr(path: MonotoneLogSnr, u: jax.typing.ArrayLike) -> jax.Array:
    """Returns lambda(u), which falls from ends[0] to ends[1] (Kingma et al., App. H).

    lambda(u) = lambda(0) + (lambda(1) - lambda(0)) (w_0 u + sum_k w_k h_k(u))
    h_k(u) = (f_k(u) - f_k(0)) / (f_k(1) - f_k(0)),  f_k(u) = sigmoid(a_k (u - c_k))
    w = softmax(logits),  a = exp(steepness),  c = sigmoid(centre)

    This is the paper's network of one hidden layer with positive weights. Each unit is
    normalised to [0, 1] by itself, because float32 could not normalise their sum.

    Args:
        path: the weights. No gradient reaches its ends.
        u: scalar, in [0, 1].
    """

    centre = jax.nn.sigmoid(path.centre)

    def bend(u):
        return jax.nn.sigmoid(jnp.exp(path.steepness) * (u - centre))

    bends = (bend(u) - bend(0.0)) / (bend(1.0) - bend(0.0))
    weights = jax.nn.softmax(path.logits)
    first, last = jax.lax.stop_gradient(path.ends)
    return first + (last - first) * (weights[0] * u + jnp.sum(weights[1:] * bends))


def as_schedule(path: MonotoneLogSnr, num_steps: int) -> Schedule:
    """Returns the tables of a learned path, for everything that takes a `Schedule`.

    Step t >= 1 is at u = (t - 1) / (T - 1); step 0 is data, as always.

    Args:
        path: the weights.
        num_steps: T, the number of noising steps, in [2, 100000].

    Raises:
        ValueError: num_steps is outside its range.
    """
    if not 2 <= num_steps <= MAX_STEPS:
        raise ValueError(f"num_steps must be in [2, {MAX_STEPS}], got {num_steps}.")
    u = np.linspace(0.0, 1.0, num_steps, dtype=np.float32)
    log_snr = np.asarray(jax.vmap(learned_log_snr, (None, 0))(path, u), np.float64)
    # Rounding must not make a flat path rise.
    return from_log_snr(np.minimum.accumulate(log_snr))


def make_continuous_loss(
    apply: Callable[..., jax.Array], prediction: Prediction
) -> Callable:
    """Returns the loss of Eq. 2 over a batch: (params, key, batch) -> (loss, metrics).

    In bits per dimension; params are a pair, of the network and a `MonotoneLogSnr`.
    The network descends the mean of the terms of a batch and the path the mean of their
    squares, whose gradient is that of their variance, because their mean does not
    depend on the path (Kingma et al. 2021, App. I.2, who square a batch's mean).

    The ends stay as they are: of a density, which has no finest level, the bound falls
    for ever as the log-SNR at u = 0 grows. (Weight decay would move them: keep it off
    the path.) The metric "variance" is that of a term.

    Args:
        apply: (params, x_u [B, ...], log_snr [B], label [B]) -> output [B, ...].
        prediction: what the network predicts.
    """

    def corrupt(path, key, x_0):
        key_u, key_eps = jax.random.split(key)
        u = jax.random.uniform(key_u)
        eps = jax.random.normal(key_eps, x_0.shape, x_0.dtype)
        log_snr, rate = jax.value_and_grad(learned_log_snr, 1)(path, u)
        roots = jnp.sqrt(jax.nn.sigmoid(jnp.stack([log_snr, -log_snr])))
        # One row of a schedule: u is its step 0.
        row = Schedule(roots[:1], roots[1:])
        return row, q_sample(row, x_0, 0, eps), log_snr, rate

    def terms(network, path, key, batch):
        keys = jax.random.split(key, len(batch.x))
        noised = jax.vmap(corrupt, (None, 0, 0))(path, keys, batch.x)
        row, x_u, log_snr, rate = noised
        output = apply(network, x_u, log_snr, batch.label)
        estimate = jax.vmap(prediction.x_0, (0, 0, 0, None))(row, x_u, output, 0)
        square = jax.vmap(jnp.mean)(jnp.square(batch.x - estimate))
        return -0.5 / math.log(2.0) * rate * jnp.exp(log_snr) * square

    def loss_fn(params: tuple[Any, MonotoneLogSnr], key, batch):
        network, path = params
        fixed_network, fixed_path = jax.lax.stop_gradient(params)
        losses = terms(network, fixed_path, key, batch)
        squares = jnp.mean(jnp.square(terms(fixed_network, path, key, batch)))
        loss = jnp.mean(losses)
        # Its gradient without its value.
        total = loss + squares - jax.lax.stop_gradient(squares)
        return total, {"loss": loss, "variance": jnp.var(losses)}

    return loss_fn
