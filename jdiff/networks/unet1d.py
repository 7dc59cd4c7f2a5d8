"""A class-conditional UNet for series, of the blocks of the UNet for images.

A series [B, L, C] is an image of width 1. Its patches are pairs of neighbours, and its
convolution over three of them is one matrix product.
"""

import dataclasses
import functools

import haiku as hk
import jax
import jax.numpy as jnp

from jdiff.networks.unet import Grid, UNet


@dataclasses.dataclass
class Conv1D(hk.Module):
    """`hk.Conv1D(num_channels, 3)`, with zeros around, of series [L, 1, B, C]."""

    num_channels: int
    w_init: hk.initializers.Initializer | None = None
    name: str | None = None

    def __call__(self, x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, ((1, 1), (0, 0), (0, 0), (0, 0)))
        x = jnp.concatenate([padded[:-2], x, padded[2:]], axis=-1)
        return hk.Linear(self.num_channels, w_init=self.w_init)(x)


def _to_pairs(x: jax.Array) -> jax.Array:
    """[2L, 1, B, C] -> [L, 1, B, 2C]."""
    return jnp.concatenate([x[::2], x[1::2]], axis=-1)


def _from_pairs(x: jax.Array) -> jax.Array:
    """[L, 1, B, 2C] -> [2L, 1, B, C]: the inverse of `_to_pairs`."""
    pairs = jnp.stack(jnp.split(x, 2, axis=-1), axis=1)
    return pairs.reshape(-1, *pairs.shape[2:])


SERIES = Grid(Conv1D, _to_pairs, _from_pairs, 2)


@functools.cache
def make_unet_1d(
    num_classes: int, num_channels: int = 64, num_blocks: int = 1, num_levels: int = 2
) -> hk.Transformed:
    """Returns the UNet for series as (init, apply); sizes are those of `make_unet`.

    apply(params, x_t [B, L, C], log_snr [B], label [B]) -> [B, L, C], with L divisible
    by 2^num_levels.
    """
    sizes = num_classes, num_channels, num_blocks, num_levels

    def network(x_t, log_snr, label):
        x_t = x_t[:, :, None]
        return UNet(*sizes, grid=SERIES)(x_t, log_snr, label)[:, :, 0]

    return hk.without_apply_rng(hk.transform(network))
