"""A class-conditional UNet for small images.

The image enters as 2 x 2 patches, so nearly all arithmetic is 3 x 3 convolutions of 64
and more channels at half resolution and below. On a CPU those run near the
matrix-product peak; convolutions of few channels at full resolution do not. Inside,
activations are [H, W, B, C], so a convolution is a few plain matrix products
(`layers`).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import jmp

from jdiff.networks.conditioning import Conditioning
from jdiff.networks.layers import Conv2D, as_pair, depth_to_space, space_to_depth

# Limit of attention above the lowest level: its cost is quadratic in the positions.
MAX_POSITIONS = 16 * 16
_MAX_LEVELS = 8

# Of batches [H, W, B, C].
_to_patches = jax.vmap(space_to_depth, in_axes=2, out_axes=2)
_from_patches = jax.vmap(depth_to_space, in_axes=2, out_axes=2)


def _materialise(x: jax.Array) -> jax.Array:
    # XLA:CPU would compute x again in each operation that reads it.
    return jax.lax.optimization_barrier(x)


@dataclasses.dataclass
class ScaleShiftNorm(hk.Module):
    """Group normalisation whose scale and shift come from the conditioning.

    y = (1 + a(c)) (x - mean) / std + b(c)      (Wu & He 2018; FiLM, Perez et al.
    2018), for x [H, W, B, C] and c [B, D]. Moments are taken per channel and then
    pooled by group, which reads the activations once and lets XLA fuse the affine map
    with what follows; it is three times as fast as `hk.GroupNorm` on a CPU.
    """

    group_size: int = 16
    name: str | None = None

    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        b, c = x.shape[-2:]
        dtype = x.dtype
        x = x.astype(jnp.promote_types(dtype, jnp.float32))
        film = hk.Linear(2 * c, w_init=jnp.zeros)(condition).astype(x.dtype)
        scale, shift = jnp.split(film, 2, axis=-1)
        groups = (b, c // self.group_size, self.group_size)
        mean = x.mean((0, 1)).reshape(groups).mean(-1, keepdims=True)
        square = jnp.square(x).mean((0, 1)).reshape(groups).mean(-1, keepdims=True)
        inv_std = jax.lax.rsqrt(jnp.maximum(square - jnp.square(mean), 0.0) + 1e-5)
        mean, inv_std = (
            jnp.broadcast_to(m, groups).reshape(b, c) for m in (mean, inv_std)
        )
        scale = (1.0 + scale) * inv_std
        shift = shift - mean * scale
        return (x * scale[None, None] + shift[None, None]).astype(dtype)


class Grid(NamedTuple):
    """What examples are to a UNet: `IMAGES` here, `SERIES` in `unet1d`."""

    conv: type[Any]  # module of a convolution of [H, W, B, C] over three neighbours
    # [H, W, B, C] -> patches at half resolution, of their size times C channels.
    to_patches: Callable[[jax.Array], jax.Array]
    from_patches: Callable[[jax.Array], jax.Array]  # its inverse
    patch_size: int  # 4 for 2 x 2 pixels


IMAGES = Grid(Conv2D, _to_patches, _from_patches, 4)


@dataclasses.dataclass
class ResidualBlock(hk.Module):
    """x + Conv(silu(Norm(Conv(silu(Norm(x, c)), c)))), over 3 x 3 (Ho et al. 2020)."""

    grid: Grid = IMAGES
    name: str | None = None

    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        num_channels = x.shape[-1]
        h = jax.nn.silu(ScaleShiftNorm()(x, condition))
        h = self.grid.conv(num_channels)(h)
        h = jax.nn.silu(ScaleShiftNorm()(h, condition))
        h = self.grid.conv(num_channels, w_init=jnp.zeros)(h)
        return _materialise(x + h)


@dataclasses.dataclass
class SelfAttention(hk.Module):
    """x + Attention(Norm(x, c)) over all positions (Vaswani et al. 2017)."""

    num_heads: int = 4
    name: str | None = None

    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        h, w, b, c = x.shape
        tokens = ScaleShiftNorm()(x, condition).reshape(h * w, b, c)
        qkv = hk.Linear(3 * c, with_bias=False)(tokens)
        qkv = qkv.reshape(h * w, b, 3, self.num_heads, c // self.num_heads)
        query, key, value = qkv.transpose(2, 1, 0, 3, 4)
        out = jax.nn.dot_product_attention(query, key, value).swapaxes(0, 1)
        out = hk.Linear(c, w_init=jnp.zeros)(out.reshape(h * w, b, c))
        return _materialise(x + out.reshape(h, w, b, c))


@dataclasses.dataclass
class UNet(hk.Module):
    """A class-conditional UNet at one half of the resolution and below.

    Level k, at 1 / 2^k of the resolution, is k times as wide as the first (as in
    Dhariwal & Nichol 2021). The lowest level has attention; so have those from the
    second on where there are at most 16 x 16 positions.

    Attributes:
        num_classes: labels are 0 .. num_classes - 1; num_classes is the null label.
        num_channels: width at half resolution, a multiple of 16.
        num_blocks: residual blocks on each side of a level; the lowest level has twice
            as many before and after attention.
        num_levels: in [1, 8]; 2 is half and quarter resolution.
        remat: whether the gradient recomputes blocks and attention instead of storing
            their activations; the same function in less memory.
        dtype: of the arithmetic in the levels, such as bfloat16, with float32 weights;
            None takes that of the input. Conditioning, moments, softmax and the last
            convolution remain in float32.
        grid: of images or of series.
    """

    num_classes: int
    num_channels: int = 64
    num_blocks: int = 1
    num_levels: int = 2
    remat: bool = False
    dtype: jax.typing.DTypeLike | None = None
    grid: Grid = IMAGES
    name: str | None = None

    def __call__(
        self, x_t: jax.Array, log_snr: jax.Array, label: jax.Array
    ) -> jax.Array:
        """Returns the prediction, float[B, H, W, C].

        Args:
            x_t: noisy images, float[B, H, W, C]; H and W divisible by 2^num_levels.
            log_snr: log-SNR of each image, float[B].
            label: class of each image, int[B], in [0, num_classes].
        """
        chex.assert_rank([x_t, log_snr, label], [4, 1, 1])
        self._check_sizes(*x_t.shape[1:3])
        lowest = self.num_levels * self.num_channels
        condition = Conditioning(self.num_classes, lowest)(log_snr, label)
        dtype = self.dtype or x_t.dtype
        policy = jmp.Policy(
            param_dtype=x_t.dtype, compute_dtype=dtype, output_dtype=dtype
        )
        push_policy = hk.mixed_precision.push_policy
        conv, to_patches, from_patches, patch_size = self.grid
        with push_policy(conv, policy), push_policy(hk.Linear, policy):
            x = self._levels(to_patches(x_t.transpose(1, 2, 0, 3)), condition)
        x = x.astype(x_t.dtype)
        x = jax.nn.silu(ScaleShiftNorm()(x, condition))
        x = conv(patch_size * x_t.shape[-1], w_init=jnp.zeros)(x)
        return from_patches(x).transpose(2, 0, 1, 3)

    def _check_sizes(self, height: int, width: int) -> None:
        if not 1 <= self.num_levels <= _MAX_LEVELS:
            raise ValueError(
                f"num_levels must be in [1, {_MAX_LEVELS}], got {self.num_levels}."
            )
        divisor = 2**self.num_levels
        if height % divisor or (self.grid == IMAGES and width % divisor):
            raise ValueError(
                f"height and width must be divisible by {divisor}, "
                f"got {height} x {width}."
            )
        if self.num_channels < 16 or self.num_channels % 16:
            raise ValueError(
                f"num_channels must be a multiple of 16, got {self.num_channels}."
            )

    @hk.transparent
    def _levels(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        """[H / 2, W / 2, B, 4 C] -> [H / 2, W / 2, B, num_channels]."""
        conv, to_patches, from_patches, patch_size = self.grid
        x = conv(self.num_channels)(x)
        skips = []
        for level in range(1, self.num_levels):
            x = self._one_side(level, x, condition)
            skips.append(x)
            x = hk.Linear((level + 1) * self.num_channels)(_materialise(to_patches(x)))
        x = self._blocks(2 * self.num_blocks, x, condition)
        x = self._apply(SelfAttention(), x, condition)
        x = self._blocks(2 * self.num_blocks, x, condition)
        for level in reversed(range(1, self.num_levels)):
            x = hk.Linear(patch_size * level * self.num_channels)(x)
            x = _materialise(from_patches(_materialise(x)) + skips.pop())
            x = self._one_side(level, x, condition)
        return x

    @hk.transparent
    def _one_side(self, level: int, x: jax.Array, condition: jax.Array) -> jax.Array:
        x = self._blocks(self.num_blocks, x, condition)
        if level == 1 or x.shape[0] * x.shape[1] > MAX_POSITIONS:
            return x
        return self._apply(SelfAttention(), x, condition)

    @hk.transparent
    def _blocks(self, num: int, x: jax.Array, condition: jax.Array) -> jax.Array:
        for _ in range(num):
            x = self._apply(ResidualBlock(self.grid), x, condition)
        return x

    @hk.transparent
    def _apply(self, layer: Callable, x: jax.Array, condition: jax.Array) -> jax.Array:
        return (hk.remat(layer) if self.remat else layer)(x, condition)


@functools.cache
def make_unet(
    num_classes: int,
    num_channels: int,
    num_blocks: int,
    num_levels: int = 2,
    remat: bool = False,
    dtype: jax.typing.DTypeLike | None = None,
) -> hk.Transformed:
    """Returns the UNet as a pair of pure functions (init, apply).

    init(key, x_t, log_snr, label) -> params;  apply(params, x_t, log_snr, label).
    Equal arguments give the same pair, so compiled functions are reused. The sizes are
    those of `UNet`. `remat` and `dtype` change cost alone: parameters, and outputs up
    to rounding, stay the same.
    """
    sizes = num_classes, num_channels, num_blocks, num_levels
    return as_pair(UNet, *sizes, remat=remat, dtype=dtype)
