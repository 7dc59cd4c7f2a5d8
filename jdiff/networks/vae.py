"""Encoders and decoders of variational autoencoders for small images.

An encoder maps images to the moments of q(z | x), a decoder maps latents to the moments
of p(x | z). Both take batches.
"""

import dataclasses
import math

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from jdiff.networks.layers import depth_to_space, space_to_depth


@dataclasses.dataclass
class Encoder(hk.Module):
    """A perceptron from pixels to latents.

    Attributes:
        num_latents: L.
        widths: of the hidden layers.
    """

    num_latents: int
    widths: tuple[int, ...] = (256, 128)
    name: str | None = None

    def __call__(self, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns mean and log variance of q(z | x), float[B, L] each.

        Args:
            image: float[B, H, W, C] in [-1, 1].
        """
        chex.assert_rank(image, 4)
        h = hk.Flatten()(image)
        for width in self.widths:
            h = jax.nn.gelu(hk.Linear(width)(h))
        mean, log_variance = jnp.split(hk.Linear(2 * self.num_latents)(h), 2, axis=-1)
        return mean, log_variance


@dataclasses.dataclass
class Decoder(hk.Module):
    """A perceptron from latents to pixels, the mirror image of `Encoder`.

    Attributes:
        image_shape: (H, W, C).
        widths: of the hidden layers.
    """

    image_shape: tuple[int, int, int]
    widths: tuple[int, ...] = (128, 256)
    name: str | None = None

    def __call__(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns mean float[B, H, W, C] in [-1, 1] and std float[B] of p(x | z).

        Args:
            z: float[B, L].
        """
        chex.assert_rank(z, 2)
        h = z
        for width in self.widths:
            h = jax.nn.gelu(hk.Linear(width)(h))
        h = hk.Linear(math.prod(self.image_shape))(h)
        return jnp.tanh(h.reshape(-1, *self.image_shape)), _std(len(z))


@dataclasses.dataclass
class ConvEncoder(hk.Module):
    """3 x 3 convolutions on 2 x 2 and 4 x 4 patches, then a linear layer.

    Attributes:
        num_latents: L.
        widths: number of channels at half and at quarter resolution.
    """

    num_latents: int
    widths: tuple[int, int] = (32, 64)
    name: str | None = None

    def __call__(self, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        """As `Encoder`; H and W divisible by 4."""
        chex.assert_rank(image, 4)
        h = image
        for width in self.widths:
            h = jax.nn.gelu(hk.Conv2D(width, 3)(jax.vmap(space_to_depth)(h)))
        h = hk.Linear(2 * self.num_latents)(hk.Flatten()(h))
        mean, log_variance = jnp.split(h, 2, axis=-1)
        return mean, log_variance


@dataclasses.dataclass
class ConvDecoder(hk.Module):
    """The mirror image of `ConvEncoder`.

    Attributes:
        image_shape: (H, W, C); H and W divisible by 4.
        widths: number of channels at quarter and at half resolution.
    """

    image_shape: tuple[int, int, int]
    widths: tuple[int, int] = (64, 32)
    name: str | None = None

    def __call__(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """As `Decoder`."""
        chex.assert_rank(z, 2)
        height, width, channels = self.image_shape
        wide, narrow = self.widths
        h = jax.nn.gelu(hk.Linear(height // 4 * (width // 4) * wide)(z))
        h = h.reshape(-1, height // 4, width // 4, wide)
        h = jax.vmap(depth_to_space)(hk.Conv2D(4 * narrow, 3)(h))
        h = hk.Conv2D(4 * channels, 3)(jax.nn.gelu(h))
        return jnp.tanh(jax.vmap(depth_to_space)(h)), _std(len(z))


def _std(batch_size: int) -> jax.Array:
    # One scale for all pixels, because that of a pixel without ink would tend to 0.
    log_std = hk.get_parameter("log_std", (1,), init=hk.initializers.Constant(-1.5))
    return jnp.broadcast_to(jnp.exp(log_std), (batch_size,))
