"""Multilayer perceptrons for points: the smallest networks that learn a density."""

import dataclasses
import functools
from collections.abc import Callable

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from jdiff.checks import check_label
from jdiff.networks.conditioning import (
    Condition,
    Conditioning,
    modulate,
    sinusoidal,
)
from jdiff.networks.layers import as_pair


@dataclasses.dataclass
class MLP(hk.Module):
    """Linear layers with GELU between them (Hendrycks & Gimpel 2016).

    The input is the concatenation of point, noise level and class. The last layer is
    initialised to 0, so training begins at the prediction 0.

    Attributes:
        num_classes: labels are 0 .. num_classes - 1; num_classes is the null label.
        num_features: width of the hidden layers.
        num_layers: number of hidden layers, >= 1.
        num_outputs: size of the output; by default that of a point.
        embed_log_snr: log_snr float[B] -> features float[B, F]: Fourier features
            (`sinusoidal`) or the number itself (`raw_log_snr`).
    """

    num_classes: int
    num_features: int = 128
    num_layers: int = 3
    num_outputs: int | None = None
    # A field: a function in the body of a Haiku module would become a method.
    embed_log_snr: Callable[..., jax.Array] = dataclasses.field(default=sinusoidal)
    name: str | None = None

    def __call__(
        self, x_t: jax.Array, log_snr: jax.Array, label: jax.Array
    ) -> jax.Array:
        """Returns the prediction, float[B, num_outputs].

        Args:
            x_t: noisy points, float[B, D].
            log_snr: log-SNR of each point, float[B].
            label: class of each point, int[B], in [0, num_classes].
        """
        chex.assert_rank([x_t, log_snr, label], [2, 1, 1])
        if self.num_layers < 1:
            raise ValueError(f"num_layers must be >= 1, got {self.num_layers}.")
        check_label(label, self.num_classes)
        classes = jax.nn.one_hot(label, self.num_classes + 1, dtype=x_t.dtype)
        h = jnp.concatenate([x_t, self.embed_log_snr(log_snr), classes], axis=-1)
        for _ in range(self.num_layers):
            h = jax.nn.gelu(hk.Linear(self.num_features)(h))
        num_outputs = x_t.shape[1] if self.num_outputs is None else self.num_outputs
        return hk.Linear(num_outputs, w_init=jnp.zeros)(h)


@dataclasses.dataclass
class ResidualMLP(hk.Module):
    """Layers h + W gelu(V (scale(c) norm(h) + shift(c))) with the condition c.

    Noise level and class act in every layer, and each layer is initialised to the
    identity (Peebles & Xie 2023, Sec. 3.2, without attention).

    Attributes:
        num_classes: labels are 0 .. num_classes - 1; num_classes is the null label.
        num_features: width of h; the hidden width of a layer is twice that.
        num_layers: number of layers, >= 1.
        num_conditions: width of c.
    """

    num_classes: int
    num_features: int = 256
    num_layers: int = 2
    num_conditions: int = 64
    name: str | None = None

    def __call__(
        self, x_t: jax.Array, log_snr: jax.Array, label: jax.Array | Condition
    ) -> jax.Array:
        """Returns the prediction, float[B, D]; arguments as of `MLP`, or a style."""
        chex.assert_rank([x_t, log_snr], [2, 1])
        if self.num_layers < 1:
            raise ValueError(f"num_layers must be >= 1, got {self.num_layers}.")
        c = Conditioning(self.num_classes, self.num_conditions)(log_snr, label)
        h = hk.Linear(self.num_features)(x_t)
        for _ in range(self.num_layers):
            normed = modulate(h, c)
            inside = jax.nn.gelu(hk.Linear(2 * self.num_features)(normed))
            h = h + hk.Linear(self.num_features, w_init=jnp.zeros)(inside)
        h = hk.LayerNorm(-1, True, True)(h)
        return hk.Linear(x_t.shape[1], w_init=jnp.zeros)(h)


@functools.cache
def make_mlp(
    num_classes: int,
    num_features: int = 128,
    num_layers: int = 3,
    num_outputs: int | None = None,
    embed_log_snr: Callable[[jax.Array], jax.Array] = sinusoidal,
) -> hk.Transformed:
    """Returns the multilayer perceptron for points as (init, apply); see `MLP`."""
    sizes = num_classes, num_features, num_layers, num_outputs
    return as_pair(MLP, *sizes, embed_log_snr)


@functools.cache
def make_residual_mlp(
    num_classes: int,
    num_features: int = 256,
    num_layers: int = 2,
    num_conditions: int = 64,
) -> hk.Transformed:
    """Returns the perceptron for latents as (init, apply); see `ResidualMLP`."""
    return as_pair(ResidualMLP, num_classes, num_features, num_layers, num_conditions)


@functools.cache
def make_stroke_classifier(num_classes: int, num_features: int) -> hk.Transformed:
    """Returns a classifier of arrays of strokes as (init, apply).

    init(key, x) -> params;  apply(params, x [B, ...]) -> logits [B, num_classes].
    """

    def network(x):
        sizes = num_features, num_features, num_classes
        return hk.nets.MLP(sizes, activation=jax.nn.gelu, name="judge")(hk.Flatten()(x))

    return hk.without_apply_rng(hk.transform(network))
