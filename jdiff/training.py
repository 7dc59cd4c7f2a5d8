"""The train step: gradient, optimizer update, moving average of the weights."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    import optax

Params = Any
Metrics = dict[str, jax.Array]
LossFn = Callable[[Params, jax.Array, "Batch"], tuple[jax.Array, Metrics]]


class Batch(NamedTuple):
    """A batch of examples.

    Attributes:
        x: float[B, ...], such as images float[B, H, W, C] in [-1, 1].
        label: int[B], or another pytree that the network takes, such as
            `jdiff.networks.Condition`; None for a network without labels.
    """

    x: jax.Array
    label: Any = None


class TrainState(NamedTuple):
    """All that a run needs to continue, bit for bit.

    Attributes:
        params: the weights that the optimizer updates.
        ema_params: their exponential moving average; sample with these.
        opt_state: the optimizer's state.
        key: the random key of the next steps.
        step: number of steps done, int scalar.
    """

    params: Params
    ema_params: Params
    opt_state: Any
    key: jax.Array
    step: jax.Array


class BalancedData(NamedTuple):
    """A data set on the device, with its images sorted by class.

    Attributes:
        images: uint8[N, H, W, C].
        starts: index of the first image of each class that has images, int[K].
        counts: number of images of each such class, int[K].
        labels: label of each such class, int[K].
    """

    images: jax.Array
    starts: jax.Array
    counts: jax.Array
    labels: jax.Array


def init_train_state(
    key: jax.Array, params: Params, optimizer: "optax.GradientTransformation"
) -> TrainState:
    """Returns the state before the first step; the EMA starts at the weights."""
    copy = jax.tree.map(jnp.copy, params)
    return TrainState(
        params, copy, optimizer.init(params), key, jnp.zeros((), jnp.int32)
    )


def ema_decay_at(step: jax.typing.ArrayLike, ema_decay: float) -> jax.Array:
    """Returns the fraction of the OLD average kept at step n.

    d_n = min(ema_decay, (1 + n) / (10 + n))

    The warm-up forgets the initial weights quickly (as in TensorFlow's
    ExponentialMovingAverage with num_updates = n).

    Args:
        step: n, the number of steps done, int scalar >= 0.
        ema_decay: the limit of d_n, in [0, 1).
    """
    return jnp.minimum(ema_decay, (1.0 + step) / (10.0 + step))


def make_train_step(
    loss_fn: LossFn, optimizer: "optax.GradientTransformation", ema_decay: float
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Returns one step of training: (state, batch) -> (state, metrics). Jit it.

    On a CPU call the jitted step of a convolutional network in a Python loop: inside
    `jax.lax.scan` XLA computes the weight gradients of convolutions a hundred times
    slower. For networks without convolutions there is `make_epoch`.

    ema <- d ema + (1 - d) params,  d = `ema_decay_at(step, ema_decay)`

    Args:
        loss_fn: (params, key, batch) -> (scalar, metrics), from `make_diffusion_loss`.
        optimizer: any optax gradient transformation.
        ema_decay: fraction of the old average kept at each step, in [0, 1).

    Raises:
        ValueError: ema_decay is outside [0, 1).
    """
    import optax  # here, because sampling needs no optimizer

    if not 0.0 <= ema_decay < 1.0:
        raise ValueError(f"ema_decay must be in [0, 1), got {ema_decay}.")

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key, key_loss = jax.random.split(state.key)
        grads, metrics = jax.grad(loss_fn, has_aux=True)(state.params, key_loss, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = ema_decay_at(state.step, ema_decay)
        ema_params = optax.incremental_update(params, state.ema_params, 1.0 - decay)
        metrics = metrics | {"gradient_norm": optax.tree.norm(grads)}
        return TrainState(params, ema_params, opt_state, key, state.step + 1), metrics

    return train_step


def draw_uniformly(key: jax.Array, data: Batch, batch_size: int) -> Batch:
    """Returns a random batch, with replacement, so it may be larger than the data."""
    rows = jax.random.randint(key, (batch_size,), 0, len(data.x))
    return jax.tree.map(lambda leaf: leaf[rows], data)


def make_epoch(
    train_step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
    batch_size: int,
    num_steps: int,
    draw: Callable[[jax.Array, Any, int], Batch] = draw_uniformly,
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
    """Returns many steps as one program: (state, data) -> (state, metrics). Jit it.

    The data stay on the device and batches are drawn there. Between two steps nothing
    returns to Python.

    Args:
        train_step: (state, batch) -> (state, metrics), from `make_train_step`.
        batch_size: examples in a batch, >= 1.
        num_steps: steps in an epoch, >= 1.
        draw: (key, data, batch_size) -> batch.

    Returns:
        A function of the state and of all the data, a `Batch` unless `draw` takes
        something else. Its metrics have a leading axis, [num_steps].

    Raises:
        ValueError: batch_size or num_steps is below 1.
    """
    for name, number in (("batch_size", batch_size), ("num_steps", num_steps)):
        if number < 1:
            raise ValueError(f"{name} must be >= 1, got {number}.")

    def epoch(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        def step(state, key):
            return train_step(state, draw(key, data, batch_size))

        key, key_rows = jax.random.split(state.key)
        keys = jax.random.split(key_rows, num_steps)
        return jax.lax.scan(step, state._replace(key=key), keys)

    return epoch


def balance(images: np.ndarray, labels: np.ndarray) -> BalancedData:
    """Returns the data set on the device, ready for `draw_batch`.

    Args:
        images: uint8[N, H, W, C].
        labels: int[N].
    """
    order = np.argsort(labels, kind="stable")
    present, starts, counts = np.unique(
        labels[order], return_index=True, return_counts=True
    )
    tables = (jnp.asarray(table, jnp.int32) for table in (starts, counts, present))
    return BalancedData(jnp.asarray(images[order]), *tables)


def draw_batch(key: jax.Array, data: BalancedData, batch_size: int) -> Batch:
    """Returns a random batch in which every class is equally likely.

    A class is drawn, then an image of it, so rare letters are seen as often as common
    ones. It runs inside a compiled step, which converts uint8 to [-1, 1].

    Args:
        key: random key.
        data: from `balance`.
        batch_size: B, >= 1.
    """
    key_class, key_image = jax.random.split(key)
    index = jax.random.randint(key_class, (batch_size,), 0, len(data.labels))
    offset = jax.random.uniform(key_image, (batch_size,)) * data.counts[index]
    rows = data.starts[index] + offset.astype(jnp.int32)
    images = data.images[rows].astype(jnp.float32) / 127.5 - 1.0
    return Batch(images, data.labels[index])
