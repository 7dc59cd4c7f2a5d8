"""From characters to the code of the hand that wrote them.

The network stays as it is. Its loss on the characters, plus how far the code lies from
those of the writers that the network knows, is made small by Adam:

    L(c) = E |v - v_theta(x_t, t, label, c)|^2 + (pull / k) |(c - mean) / std|^2     (1)

of k characters. So few characters leave the code near the mean one.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import losses, models, networks, training

MIN_CHARS = 5
NUM_STEPS, BATCH, RATE = 200, 64, 0.1
PULL = 0.001


class _Static(NamedTuple):
    """What of the model is compiled into the program."""

    apply: Any
    prediction: Any
    num_steps: int


def fit_hand(
    model: models.PenModel,
    arrays: np.ndarray,
    labels: np.ndarray,
    num_steps: int = NUM_STEPS,
    seed: int = 0,
) -> models.Hand:
    """Returns the hand in which the model draws characters like the given ones.

    Args:
        model: from `load_pen`.
        arrays: of characters, float[k, 60, 3], from `encode_strokes`.
        labels: int[k], indices into model.classes.
        num_steps: of Adam.
        seed: of batches and noise.

    Raises:
        ValueError: there are fewer than MIN_CHARS characters.
    """
    if len(labels) < MIN_CHARS:
        raise ValueError(
            f"a hand must be learned from at least {MIN_CHARS} characters, "
            f"got {len(labels)}."
        )
    static = _Static(model.apply, model.prediction, num_steps)
    given = jnp.asarray(arrays, jnp.float32), jnp.asarray(labels, jnp.int32)
    known = model.hands.mean(0), model.hands.std(0) + 1e-3
    tables = model.params, model.schedule, *known
    return models.own_hand(
        np.asarray(_fit(jax.random.key(seed), given, tables, static))
    )


@functools.partial(jax.jit, static_argnames="static")
def _fit(key, given, tables, static):
    import optax

    x, label = given
    params, schedule, mean, std = tables

    def apply(code, x_t, log_snr, label):
        # What is not in the code is hidden, or that of the writer's mean character.
        hand = models.own_hand(jnp.broadcast_to(code, (len(x_t), code.size)))
        condition = networks.Condition(label, models.stroke_style(hand))
        return static.apply(params, x_t, log_snr, condition)

    loss = losses.make_diffusion_loss(apply, schedule, static.prediction)

    def objective(code, key):
        key_row, key_loss = jax.random.split(key)
        rows = jax.random.randint(key_row, (BATCH,), 0, len(x))
        strayed = jnp.square((code - mean) / std).sum()
        error = loss(code, key_loss, training.Batch(x[rows], label[rows]))[0]
        return error + PULL / len(x) * strayed

    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, static.num_steps))

    def step(state, key):
        code, opt_state = state
        updates, opt_state = optimizer.update(jax.grad(objective)(code, key), opt_state)
        return (optax.apply_updates(code, updates), opt_state), None

    keys = jax.random.split(key, static.num_steps)
    return jax.lax.scan(step, (mean, optimizer.init(mean)), keys)[0][0]
