"""Loss-aware sampling of steps (Nichol & Dhariwal 2021, Sec. 3.3).

A mean over steps can be estimated from steps drawn with any probabilities p_t,

    1/T sum_t L_t = E_{t ~ p} [ L_t / (T p_t) ]                                  (1)

with the least variance for p_t ~ sqrt(E[L_t^2]) (their Eq. 18). The second moments are
unknown; running means of them stay on the device from step to step of training:

    history = init_history(T)
    state, metrics = train_step(state, (batch, history))
    history = metrics.pop("history")
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jdiff.checks import check_num_steps
from jdiff.diffusion import Prediction, check_determined, q_sample
from jdiff.losses import Distance, Weight, l2_loss, snr_difference_weight
from jdiff.schedules import Schedule, log_snr

MEMORY = 10  # losses in the mean of a step
UNIFORM_FRACTION = 0.001  # of all draws, so that every step is drawn again


class LossHistory(NamedTuple):
    """Statistics of the losses at steps 1 .. T, which are at indices 0 .. T - 1.

    Attributes:
        second_moment: running mean of L_t^2, float32[T].
        visits: number of losses recorded, at most `MEMORY`, float32[T].
    """

    second_moment: jax.Array
    visits: jax.Array


def init_history(num_steps: int) -> LossHistory:
    """Returns the history before the first loss of a schedule of T = num_steps.

    Raises:
        ValueError: num_steps is outside [1, 100000].
    """
    check_num_steps(num_steps)
    return LossHistory(jnp.zeros(num_steps), jnp.zeros(num_steps))


def step_probabilities(history: LossHistory) -> jax.Array:
    """Returns p_t of steps 1 .. T, float32[T].

    p_t = 0.999 sqrt(E[L_t^2]) / sum_t sqrt(E[L_t^2]) + 0.001 / T

    It is uniform until every step was drawn 10 times (as in the paper and its code).
    """
    root = jnp.sqrt(history.second_moment)
    known = (jnp.min(history.visits) >= MEMORY) & (jnp.max(root) > 0)
    root = jnp.where(known, root, 1.0)
    uniform = UNIFORM_FRACTION / len(root)
    return (1.0 - UNIFORM_FRACTION) * root / jnp.sum(root) + uniform


def record_losses(history: LossHistory, t: jax.Array, losses: jax.Array) -> LossHistory:
    """Returns the history updated by the losses of a batch.

    The mean of L_t^2 up to the tenth, then a running mean in which a new one has weight
    1/10. (The paper keeps the last ten losses of each step.)

    Args:
        history: from `init_history` or this function.
        t: steps, int[B], in [1, T].
        losses: float[B].
    """
    none = jnp.zeros_like(history.visits)
    new = none.at[t - 1].add(1.0)
    square = none.at[t - 1].add(jnp.square(losses)) / jnp.maximum(new, 1.0)
    visits = history.visits + new
    rate = new / jnp.maximum(jnp.minimum(visits, MEMORY), jnp.maximum(new, 1.0))
    moment = history.second_moment + rate * (square - history.second_moment)
    return LossHistory(moment, jnp.minimum(visits, MEMORY))


def make_loss_aware_loss(
    apply: Callable[..., jax.Array],
    schedule: Schedule,
    prediction: Prediction,
    distance: Distance = l2_loss,
    weight: Weight = snr_difference_weight,
) -> Callable:
    """Returns the loss of a batch, (params, key, (batch, history)) -> (loss, metrics).

    By Eq. 1 it has the mean of `make_diffusion_loss`, and less variance. The updated
    history is metrics["history"].

    Args and Raises: as `make_diffusion_loss`. The default weight is that of the
    variational bound, because its losses differ most between steps.
    """
    check_determined(schedule, prediction)
    num_steps = len(schedule.alpha) - 1

    def corrupt(probabilities, key, x_0):
        key_t, key_eps = jax.random.split(key)
        t = 1 + jax.random.categorical(key_t, jnp.log(probabilities))
        eps = jax.random.normal(key_eps, x_0.shape, x_0.dtype)
        x_t = q_sample(schedule, x_0, t, eps)
        return x_t, t, prediction.target(schedule, x_0, eps, t)

    def loss_fn(params, key, inputs):
        batch, history = inputs
        probabilities = step_probabilities(history)
        keys = jax.random.split(key, len(batch.x))
        noised = jax.vmap(corrupt, (None, 0, 0))(probabilities, keys, batch.x)
        x_t, t, target = noised
        output = apply(params, x_t, log_snr(schedule, t), batch.label)
        weights = jax.vmap(lambda t: weight(schedule, prediction, t))(t)
        losses = weights * jax.vmap(distance)(output, target)
        loss = jnp.mean(losses / (num_steps * probabilities[t - 1]))
        history = record_losses(history, t, jax.lax.stop_gradient(losses))
        return loss, {"loss": loss, "history": history}

    return loss_fn
