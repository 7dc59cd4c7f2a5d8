"""Embeddings of the noise level, of the class label and of a style."""

import dataclasses
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from jdiff.checks import check_label

# Beyond this bound float32 images are all signal or all noise. It also gives t = T of
# the flow path (log-SNR = -inf) a finite embedding.
MAX_LOG_SNR = 15.0


def sinusoidal(log_snr: jax.Array, num_features: int = 32) -> jax.Array:
    """Returns Fourier features of the log-SNR, float[..., num_features] in [-1, 1].

    f = [sin(w_k lambda), cos(w_k lambda)],  w_k geometric from 2^-5 pi to 2 pi
    (Vaswani et al. 2017, Sec. 3.5, with the log-SNR in place of a position)

    Args:
        log_snr: float[...], any value; clipped to +-15.
        num_features: even, >= 2.
    """
    frequencies = np.geomspace(np.pi / 32, 2 * np.pi, num_features // 2)
    angles = jnp.clip(log_snr, -MAX_LOG_SNR, MAX_LOG_SNR)[..., None]
    angles = angles * frequencies.astype(np.float32).reshape(
        (1,) * log_snr.ndim + (-1,)
    )
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def raw_log_snr(log_snr: jax.Array) -> jax.Array:
    """Returns the log-SNR itself as one feature, float[..., 1] in [-1, 1].

    Args:
        log_snr: float[...], any value; clipped to +-15.
    """
    return jnp.clip(log_snr, -MAX_LOG_SNR, MAX_LOG_SNR)[..., None] / MAX_LOG_SNR


def modulate(x: jax.Array, condition: jax.Array) -> jax.Array:
    """Returns normed features [B, ..., D], scaled and shifted by c [B, ..., C].

    (1 + a) LayerNorm(x) + b,  with a and b affine in c, and 0 at first
    (Peebles & Xie 2023, Sec. 3.2). Call it inside a Haiku module.
    """
    film = hk.Linear(2 * x.shape[-1], w_init=jnp.zeros)(condition)
    scale, shift = jnp.split(film, 2, axis=-1)
    return hk.LayerNorm(-1, False, False)(x) * (1.0 + scale) + shift


class Condition(NamedTuple):
    """The class and the style of a glyph.

    Attributes:
        label: int[...].
        style: float[..., S], about [-3, 3]; numbers that are not given are NaN.
    """

    label: jax.Array
    style: jax.Array


@dataclasses.dataclass
class Conditioning(hk.Module):
    """The vector that conditions a network on noise level, class and style.

    Attributes:
        num_classes: labels are 0 .. num_classes - 1; num_classes is the null label.
        num_features: width of the vector.
    """

    num_classes: int
    num_features: int
    name: str | None = None

    def __call__(self, log_snr: jax.Array, label: jax.Array | Condition) -> jax.Array:
        """Returns float[B, num_features].

        Args:
            log_snr: float[B].
            label: int[B], in [0, num_classes]; or `Condition`, which adds a style.
        """
        label, style = label if isinstance(label, Condition) else (label, None)
        check_label(label, self.num_classes)
        noise = hk.Linear(self.num_features)(sinusoidal(log_snr, 64))
        noise = hk.Linear(self.num_features)(jax.nn.silu(noise))
        classes = hk.Embed(self.num_classes + 1, self.num_features)(label)
        condition = noise + classes
        if style is not None:
            given = ~jnp.isnan(style)
            numbers = jnp.concatenate([jnp.where(given, style, 0.0), given], axis=-1)
            features = jax.nn.silu(hk.Linear(self.num_features)(numbers))
            condition += hk.Linear(self.num_features)(features)
        return jax.nn.silu(condition)
