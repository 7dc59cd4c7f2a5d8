"""A diffusion transformer for small images (Peebles & Xie 2023).

Patches are tokens. Noise level and class act through adaLN-zero: each block computes

    x + g_1 Attention(Norm_1(x)),  x + g_2 MLP(Norm_2(x)),
    Norm_k(x) = (1 + a_k) LayerNorm(x) + b_k

with a, b, g affine in the condition and 0 at first, so a block begins as the identity.
"""

import dataclasses
import functools

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from jdiff.networks.conditioning import Conditioning, modulate
from jdiff.networks.layers import as_pair


@dataclasses.dataclass
class DiTBlock(hk.Module):
    """Self-attention and a perceptron with adaLN-zero, of tokens [B, N, D]."""

    num_heads: int
    name: str | None = None

    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        batch, num_tokens, width = x.shape
        film = hk.Linear(6 * width, w_init=jnp.zeros)(condition)[:, None]
        a_1, b_1, g_1, a_2, b_2, g_2 = jnp.split(film, 6, axis=-1)
        normed = hk.LayerNorm(-1, False, False)(x) * (1.0 + a_1) + b_1
        qkv = hk.Linear(3 * width)(normed)
        qkv = qkv.reshape(batch, num_tokens, 3, self.num_heads, -1)
        mixed = jax.nn.dot_product_attention(*jnp.moveaxis(qkv, 2, 0))
        x = x + g_1 * hk.Linear(width)(mixed.reshape(x.shape))
        normed = hk.LayerNorm(-1, False, False)(x) * (1.0 + a_2) + b_2
        return x + g_2 * hk.Linear(width)(jax.nn.gelu(hk.Linear(4 * width)(normed)))


@dataclasses.dataclass
class DiT(hk.Module):
    """A class-conditional transformer of patches.

    Attributes:
        num_classes: labels are 0 .. num_classes - 1; num_classes is the null label.
        num_features: width of a token, a multiple of 4 * num_heads.
        num_layers: number of blocks.
        num_heads: of the attention.
        patch: side of a patch, which divides height and width.
    """

    num_classes: int
    num_features: int = 128
    num_layers: int = 4
    num_heads: int = 4
    patch: int = 4
    name: str | None = None

    def __call__(
        self, x_t: jax.Array, log_snr: jax.Array, label: jax.Array
    ) -> jax.Array:
        """Returns the prediction, float[B, H, W, C]; arguments as of `UNet`."""
        chex.assert_rank([x_t, log_snr, label], [4, 1, 1])
        batch, height, width, channels = x_t.shape
        p = self.patch
        if height % p or width % p:
            raise ValueError(
                f"height and width must be divisible by {p}, got {height} x {width}."
            )
        rows, columns = height // p, width // p
        c = Conditioning(self.num_classes, self.num_features)(log_snr, label)
        x = x_t.reshape(batch, rows, p, columns, p, channels).swapaxes(2, 3)
        x = hk.Linear(self.num_features)(x.reshape(batch, rows * columns, -1))
        x = x + positions(rows, columns, self.num_features)[None]
        for _ in range(self.num_layers):
            x = DiTBlock(self.num_heads)(x, c)
        x = modulate(x, c[:, None])
        x = hk.Linear(p * p * channels, w_init=jnp.zeros)(x)
        x = x.reshape(batch, rows, columns, p, p, channels).swapaxes(2, 3)
        return x.reshape(x_t.shape)


def positions(rows: int, columns: int, num_features: int) -> np.ndarray:
    """Returns sines and cosines of row and column, float32[rows * columns, D].

    sin(i w_k), cos(i w_k), and of the column j,  w_k = 10000^(-k / (D / 4))
    (Vaswani et al. 2017, Sec. 3.5)
    """
    frequency = 10_000.0 ** -(np.arange(num_features // 4) / (num_features // 4))
    places = np.indices((rows, columns)).reshape(2, -1)
    angles = places[:, :, None] * frequency[None, None]
    features = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
    return np.concatenate([*features], axis=-1).astype(np.float32)


@functools.cache
def make_dit(
    num_classes: int,
    num_features: int = 128,
    num_layers: int = 4,
    num_heads: int = 4,
    patch: int = 4,
) -> hk.Transformed:
    """Returns the diffusion transformer as (init, apply); see `DiT`."""
    return as_pair(DiT, num_classes, num_features, num_layers, num_heads, patch)
