"""Two small convolutional classifiers of characters that have little in common.

One normalises every image by its own moments; the other normalises its weights and no
image, so it is not blind to what the first one takes away. Both are pure functions of
an image: how one is read depends on no other.
"""

import dataclasses

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

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
class PatchClassifier(hk.Module):
    """A residual network on 2 x 2 patches that normalises each image.

    Its penultimate layer is a feature space. As in the UNet, patches make the
    arithmetic 3 x 3 convolutions of many channels on few positions, which is what a CPU
    is good at.

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


@dataclasses.dataclass
class StandardizedConv2D(hk.Module):
    """A 3 x 3 convolution whose weights are standardised for each output.

    W_hat = g (W - mean) / (std sqrt(fan_in)) keeps the variance of its input (Brock et
    al. 2021, Eq. 3), so a deep network trains without normalising what it looks at.
    """

    num_channels: int
    stride: int = 1
    name: str | None = None

    def __call__(self, x: jax.Array) -> jax.Array:
        fan_in = 9 * x.shape[-1]
        shape = (3, 3, x.shape[-1], self.num_channels)
        init = hk.initializers.RandomNormal(fan_in**-0.5)
        w = hk.get_parameter("w", shape, init=init)
        gain = hk.get_parameter("gain", shape[-1:], init=jnp.ones)
        offset = hk.get_parameter("offset", shape[-1:], init=jnp.zeros)
        axes = (0, 1, 2)
        centred = w - w.mean(axes, keepdims=True)
        variance = w.var(axes, keepdims=True) * fan_in
        w = centred * jax.lax.rsqrt(variance + 1e-4) * gain[None, None, None]
        names = ("NHWC", "HWIO", "NHWC")
        strides = (self.stride, self.stride)
        y = jax.lax.conv_general_dilated(x, w, strides, "SAME", dimension_numbers=names)
        return y + offset[None, None, None]


# What a rectified Gaussian has to be multiplied with to have variance 1.
_RELU_GAIN = float(np.sqrt(2 / (1 - 1 / np.pi)))


@dataclasses.dataclass
class PlainClassifier(hk.Module):
    """A plain stack of convolutions with strides that normalises no image.

    Its penultimate layer is a feature space.

    Attributes:
        num_classes: labels are 0 .. num_classes - 1.
        num_channels: width at full resolution; up to five times that below.
        num_features: width of the penultimate layer.
    """

    num_classes: int
    num_channels: int = 16
    num_features: int = 128
    name: str | None = None

    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns logits float[B, num_classes] and features float[B, num_features].

        Args:
            images: float[B, H, W, C] in [-1, 1].
        """
        chex.assert_rank(images, 4)
        x = images
        for width, stride in ((1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (5, 2)):
            x = StandardizedConv2D(width * self.num_channels, stride)(x)
            x = _RELU_GAIN * jax.nn.relu(x)
        features = jax.nn.relu(hk.Linear(self.num_features)(hk.Flatten()(x)))
        return hk.Linear(self.num_classes)(features), features
