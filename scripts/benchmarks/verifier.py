"""A verifier of hands: whether two sets of characters are of one writer.

A perceptron maps a character and its class to a point; a set of characters is the mean
of theirs. It learns from hands that write pairs of sets, half of them of one hand, and
is asked about other hands.
"""

from collections.abc import Callable
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

NUM_CHARS = 94
SET_SIZE = 8  # characters of each of two sets
NUM_FEATURES, NUM_OUTPUTS = 256, 32
BATCH = 128


class Characters(NamedTuple):
    """Characters of several hands."""

    arrays: np.ndarray  # float32[N, 60, 3], from `jdiff.handwriting.encode_strokes`
    labels: np.ndarray  # int[N], in [0, 94)
    writers: np.ndarray  # int[N]


def select(characters: Characters, keep: np.ndarray) -> Characters:
    """Returns some of the characters, by bool[N] or int[n]."""
    return Characters(*(array[keep] for array in characters))


def fit_verifier(
    characters: Characters, num_steps: int, seed: int = 0
) -> Callable[[Characters], np.ndarray]:
    """Returns characters -> float32[N, 32], near to one another in one hand."""
    random = np.random.default_rng(seed)
    network = hk.without_apply_rng(hk.transform(_embed))
    optimizer = optax.adamw(
        optax.cosine_decay_schedule(1e-3, num_steps), weight_decay=0.05
    )
    x, y = jnp.asarray(characters.arrays), jnp.asarray(characters.labels)
    params = network.init(jax.random.key(seed), x[:1], y[:1])
    params = {"verifier": params, "bias": jnp.zeros(())}

    def loss(params, rows, is_same):
        points = network.apply(params["verifier"], x[rows], y[rows])
        means = points.reshape(-1, 2, SET_SIZE, NUM_OUTPUTS).mean(2)
        apart = jnp.square(means[:, 0] - means[:, 1]).sum(1)
        return optax.sigmoid_binary_cross_entropy(
            params["bias"] - apart, is_same
        ).mean()

    @jax.jit
    def step(params, state, rows, is_same):
        grads = jax.grad(loss)(params, rows, is_same)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    hands = rows_of_hands(characters)
    is_same = np.arange(BATCH) % 2
    for _ in range(num_steps):
        pairs = [draw_pair(hands, bool(same), random) for same in is_same]
        rows = np.stack(pairs).reshape(-1)
        params, state = step(params, state, rows, is_same.astype(np.float32))
    apply = jax.jit(network.apply)
    return lambda some: np.asarray(
        apply(params["verifier"], some.arrays, jnp.asarray(some.labels))
    )


def rows_of_hands(characters: Characters) -> list[np.ndarray]:
    """Returns the rows of each hand that wrote enough for two sets."""
    writers = np.unique(characters.writers)
    hands = [np.flatnonzero(characters.writers == writer) for writer in writers]
    return [rows for rows in hands if len(rows) >= 2 * SET_SIZE]


def draw_pair(hands, is_same: bool, random: np.random.Generator) -> np.ndarray:
    """Returns the rows of two sets of different characters, int[2, SET_SIZE]."""
    first, second = random.choice(len(hands), 2, replace=False)
    if is_same:
        drawn = random.choice(hands[first], 2 * SET_SIZE, replace=False)
        return drawn.reshape(2, SET_SIZE)
    sets = [random.choice(hands[k], SET_SIZE, replace=False) for k in (first, second)]
    return np.stack(sets)


def distances(points: np.ndarray, hands, is_same: bool, num_pairs: int) -> np.ndarray:
    """Returns how far apart pairs of sets of points float[N, 32] are, float[num_pairs].

    They are of one hand each, or of two; `rows_of_hands` finds the hands.
    """
    random = np.random.default_rng(0)
    rows = np.stack([draw_pair(hands, is_same, random) for _ in range(num_pairs)])
    means = points[rows].mean(2)
    return np.linalg.norm(means[:, 0] - means[:, 1], axis=1)


def area_under_curve(same: np.ndarray, other: np.ndarray) -> float:
    """Returns the chance that a pair of one hand is nearer than one of two hands."""
    wins = stats.mannwhitneyu(other, same).statistic  # ties count half
    return float(wins / (len(same) * len(other)))


def _embed(x, label):
    classes = jax.nn.one_hot(label, NUM_CHARS)
    h = jnp.concatenate([x.reshape(len(x), -1), classes], 1)
    return hk.nets.MLP([NUM_FEATURES] * 2 + [NUM_OUTPUTS], activation=jax.nn.gelu)(h)
