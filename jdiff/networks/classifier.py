"""A small convolutional classifier of characters.

Like the UNet it takes the image as 2 x 2 patches, so that its arithmetic is 3 x 3
convolutions of many channels on few positions, which is what a CPU is good at.
"""

import dataclasses

import chex
import haiku as hk
import jax

from jdiff.networks.layers import space_to_depth


@dataclasses.dataclass
class ImageNorm(hk.Module):
    """Normalisation of each image by its own moments, then scale and shift by channel.

    A group normalisation with one group (Wu & He 2018). Unlike a batch
    normalisation it makes no image depend on the others that are read with it.
    """

    name: str | None = None

    def __call__(self, x: jax.Array) -> jax.Array:
        axes = (-3, -2, -1)
        norm = hk.LayerNorm(axes, True, True, use_fast_variance=True, param_axis=-1)
        return norm(x)


@dataclasses.dataclass
class ConvBlock(hk.Module):
    """x + silu(Norm(Conv(x))), 3 x 3."""

    name: str | None = None

    def __call__(self, x: jax.Array) -> jax.Array:
        h = hk.Conv2D(x.shape[-1], 3, with_bias=False)(x)
        return x + jax.nn.silu(ImageNorm()(h))


@dataclasses.dataclass
class Classifier(hk.Module):
    """A classifier whose penultimate layer is a feature space.

    Attributes:
        num_classes: labels are 0 .. num_classes - 1.
        num_channels: width at half resolution; doubled at quarter resolution.
        num_features: width of the penultimate layer.
    """

    num_classes: int
    num_channels: int = 32
    num_features: int = 128
    name: str | None = None

    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns logits float[B, num_classes] and features float[B, num_features].

        Args:
            images: float[B, H, W, C] in [-1, 1]; H and W divisible by 4.
        """
        chex.assert_rank(images, 4)
        height, width = images.shape[1:3]
        if height % 4 or width % 4:
            raise ValueError(
                f"height and width must be divisible by 4, got {height} x {width}."
            )
        x = jax.vmap(space_to_depth)(images)
        x = hk.Conv2D(self.num_channels, 3, with_bias=False)(x)
        x = ConvBlock()(jax.nn.silu(ImageNorm()(x)))
        x = hk.Linear(2 * self.num_channels)(jax.vmap(space_to_depth)(x))
        for _ in range(3):
            x = ConvBlock()(x)
        # Few channels at every position, not a mean: where a stroke is tells b from d.
        x = hk.Linear(24, with_bias=False)(x)
        x = hk.Flatten()(jax.nn.silu(ImageNorm()(x)))
        features = jax.nn.silu(hk.Linear(self.num_features)(x))
        return hk.Linear(self.num_classes)(features), features
