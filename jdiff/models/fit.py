"""From an array to a model of it, of the public parts in their order: a tutorial."""

import functools
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import diffusion, losses, networks, schedules, training
from jdiff.images import from_uint8
from jdiff.models.model import Model, init_params

BATCH_SIZE, LEARNING_RATE, EMA_DECAY, LABEL_DROPOUT = 256, 2e-3, 0.999, 0.1


def fit(
    x: Any, labels: Any = None, *, minutes: float, network: Any = None, seed: int = 0
) -> Model:
    """Returns a model of examples, trained for some minutes, for `generate`.

    Args:
        x: points [N, D], series [N, L, C], or images [N, H, W, C] in [-1, 1] or uint8.
            Points and series are standardised; `generate` brings them back.
        labels: of each example, ints or strings; None for a model without. Class k of
            the model is the k-th of them in order, `model.classes[k]`.
        minutes: of training, > 0, after compilation.
        network: (init, apply), such as `make_dit(10)` for images of ten classes; by
            default a perceptron, or the UNet for series or for images.
        seed: of weights and batches.

    Raises:
        ValueError: x has another rank, values that are not finite or images beyond
            [-1, 1]; labels are not N; minutes is not > 0.
    """
    import optax  # here, because sampling needs no optimizer

    x, scale = _standardize(x)
    names, index = np.unique([0] if labels is None else labels, return_inverse=True)
    classes = () if labels is None else tuple(map(str, names))
    if labels is not None and len(index) != len(x):
        raise ValueError(f"labels must be {len(x)}, one of each, got {len(index)}.")
    if not 0 < minutes < math.inf:
        raise ValueError(f"minutes must be > 0, got {minutes}.")
    data = training.Batch(jnp.asarray(x), jnp.resize(index, (len(x),)))
    key_params, key_state = jax.random.split(jax.random.key(seed))
    num_levels = 2 if all(size % 4 == 0 for size in x.shape[1:-1]) else 1
    make, sizes, num_steps = {
        2: (networks.make_mlp, (128, 4), 64),
        3: (networks.make_unet_1d, (64, 1, num_levels), 8),
        4: (networks.make_unet, (64, 1, num_levels), 1),  # see `make_train_step`
    }[x.ndim]
    network = network or make(len(classes), *sizes)
    schedule = schedules.cosine_schedule(1000)
    params = init_params(key_params, network, x.shape[1:])
    path, dropout = (schedule, diffusion.PREDICT_V), LABEL_DROPOUT * bool(classes)
    loss_fn = losses.make_diffusion_loss(network.apply, *path, len(classes), dropout)
    optimizer = optax.inject_hyperparams(optax.adam)(LEARNING_RATE, b2=0.99)
    train_step = training.make_train_step(loss_fn, optimizer, EMA_DECAY)
    epoch = training.make_epoch(train_step, BATCH_SIZE >> x.ndim - 2, num_steps)

    @functools.partial(jax.jit, donate_argnums=0)
    def train(state, progress, data):
        # The rate rises for a fiftieth of the time, then falls to 0 by a cosine.
        factor = jnp.minimum(50 * progress, 1.0) * (1 + jnp.cos(jnp.pi * progress)) / 2
        state.opt_state.hyperparams["learning_rate"] = factor * LEARNING_RATE
        return epoch(state, data)

    state = training.init_train_state(key_state, params, optimizer)
    state, _ = train(state, 0.0, data)  # compiles; a rate of 0 moves nothing
    began, progress = time.monotonic(), 0.0
    while progress < 1.0:
        state, metrics = train(state, progress, data)
        if not np.isfinite(metrics["loss"]).all():
            raise ValueError("the loss is not finite: x may hold extreme values.")
        progress = (time.monotonic() - began) / 60 / minutes
    params, decode = state.ema_params | scale, _restore if scale else None
    facts = network.apply, params, *path, classes, x.shape[1:]
    return Model(*facts, decode=decode, guidance=1.0)


def _standardize(x: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Returns float32 examples that suit a network, and what `_restore` needs."""
    x = np.asarray(x)
    x = from_uint8(x) if x.dtype == np.uint8 and x.ndim == 4 else x.astype(np.float32)
    if not 2 <= x.ndim <= 4 or x.size == 0:
        raise ValueError(f"x must be [N, D], [N, L, C] or [N, H, W, C], got {x.shape}.")
    if not np.isfinite(x).all() or x.ndim == 4 and abs(x).max() > 1.0:
        raise ValueError("x must be finite, and images within [-1, 1] or uint8.")
    if x.ndim == 4:
        return x, {}
    over = {"axis": tuple(range(x.ndim - 1)), "keepdims": True}
    mean, std = x.mean(**over), x.std(**over)
    std = np.where(std > 0, std, np.float32(1))
    return (x - mean) / std, {"scale": {"mean": mean[0], "std": std[0]}}


def _restore(params: Any, x: jax.Array) -> jax.Array:
    """Returns an example in the units of the data."""
    return params["scale"]["mean"] + params["scale"]["std"] * x
