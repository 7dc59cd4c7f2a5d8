"""Schedules, predictions and denoisers that several test files speak of."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np

import jdiff

T = 40
SCHEDULES = {
    "linear": jdiff.linear_schedule(T, 1e-3, 0.5),
    "cosine": jdiff.cosine_schedule(T),
    "flow": jdiff.flow_schedule(T),
    "karras": jdiff.karras_schedule(T, sigma_min=0.01, sigma_max=20.0),
}
TARGETS = {
    "eps": jdiff.PREDICT_EPS,
    "x_0": jdiff.PREDICT_X_0,
    "v": jdiff.PREDICT_V,
    "score": jdiff.PREDICT_SCORE,
    "flow": jdiff.PREDICT_FLOW,
}
# The environment of scripts whose networks are tiny: it is compilation that takes time.
COMPILES_FAST = os.environ | {
    "XLA_FLAGS": "--xla_backend_optimization_level=0"
    " --xla_llvm_disable_expensive_passes=true"
}
POINT = np.array([0.7, -0.3], np.float32)
KEY = jax.random.key(0)


def point(x_t, t):
    """The exact denoiser of data that is a single point."""
    return jnp.asarray(POINT)


def bend(x_t, t):
    """A denoiser that is neither linear nor constant in t."""
    return jnp.tanh(x_t - 0.01 * t)


def shapes_of(network, size, num_channels=3):
    """Shapes of the weights of a network for images [size, size, C]."""
    init = functools.partial(
        jdiff.models.init_params,
        network=network,
        shape=(size, size, num_channels),
    )
    return jax.eval_shape(init, jax.random.key(0))


def save_still_network(path):
    """Writes weights of a network that predicts v = 0: its flow stands still."""
    network = jdiff.networks.make_unet(2, num_channels=16, num_blocks=0)
    params = jdiff.models.init_params(jax.random.key(0), network, (8, 8, 1))
    description = {"num_channels": 16, "num_blocks": 0, "image_shape": [8, 8, 1]}
    description |= {"chars": "ab", "num_steps": 100}
    description |= {"schedule": "cosine", "prediction": "v"}
    jdiff.storage.save_weights(path, params, description)
