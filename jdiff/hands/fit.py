"""From characters to the hand that wrote them.

Of the network its biases alone are changed (Ben-Zaken et al. 2022), besides the code of
the hand. The loss of the characters, plus how far both lie from where they begin, is
made small by Adam:

    L(c, b) = E |v - v_theta+b(x_t, t, label, c)|^2
              + (pull / k) (|(c - mean) / std|^2 + |b / BIAS|^2)                     (1)

of k characters; mean and std are of the writers that the network knows. So few
characters leave the hand near the mean one.
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
BIAS = 0.1  # of a bias, what is 1 of a code


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
    tables = models.take_network(model.params), model.schedule, *known
    return models.own_hand(
        *jax.device_get(_fit(jax.random.key(seed), given, tables, static))
    )


@functools.partial(jax.jit, static_argnames="static")
def _fit(key, given, tables, static):
    import optax

    x, label = given
    params, schedule, mean, std = tables

    def unpack(fitted):
        code, biases = fitted
        return mean + std * code, jax.tree.map(lambda b: BIAS * b, biases)

    def apply(fitted, x_t, log_snr, label):
        # What is not in the code is hidden, or that of the writer's mean character.
        code, biases = unpack(fitted)
        hand = models.own_hand(jnp.broadcast_to(code, (len(x_t), code.size)))
        condition = networks.Condition(label, models.stroke_style(hand))
        return static.apply(
            models.shift_biases(params, biases), x_t, log_snr, condition
        )

    loss = losses.make_diffusion_loss(apply, schedule, static.prediction)

    def objective(fitted, key):
        key_row, key_loss = jax.random.split(key)
        rows = jax.random.randint(key_row, (BATCH,), 0, len(x))
        error = loss(fitted, key_loss, training.Batch(x[rows], label[rows]))[0]
        strayed = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(fitted))
        return error + PULL / len(x) * strayed

    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, static.num_steps))

    def step(state, key):
        fitted, opt_state = state
        grads = jax.grad(objective)(fitted, key)
        updates, opt_state = optimizer.update(grads, opt_state, fitted)
        return (optax.apply_updates(fitted, updates), opt_state), None

    start = jax.tree.map(jnp.zeros_like, (mean, models.take_biases(params)))
    keys = jax.random.split(key, static.num_steps)
    (fitted, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), keys)
    return unpack(fitted)
