"""The 3 x 3 convolution of the UNet, on a CPU by Winograd's minimal filtering.

A product of two polynomials is determined by its values at as many points as it has
coefficients. So n outputs of a filter with three taps need n + 2 multiplications in
place of 3 n, and a tile of 7 x 7 outputs 81 in place of 441. Each multiplication is a
matrix product, channels by channels; the transforms to values and back are products
with small constant matrices. All is matrix products, and so are the gradients, which
run near the peak of the machine.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

_NUM_TAPS = 3
_MAX_TILE = 7  # each further pixel halves the precision in float32
MIN_CHANNELS = 16  # with fewer, the transforms cost more than they save


def winograd_matrices(num_outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns A^T [n, m], G [m, 3] and B^T [m, m], where m = n + 2.

    y = A^T ((G g) * (B^T d))       (Lavin & Gray 2016, Eq. 6)

    for outputs y_i = g_0 d_i + g_1 d_(i+1) + g_2 d_(i+2). The usual points are 0, 1,
    -1, 2, -2, ... and infinity. Here they are m evenly spaced angles, at which k
    coefficients have the value sum_j c_j cos^(k-1-j) sin^j. The error in float32 is as
    small as that of the best points tried.
    """
    num_points = num_outputs + _NUM_TAPS - 1
    angle = np.pi * (np.arange(num_points) + 0.5) / num_points

    def values(num: int) -> np.ndarray:
        power = np.arange(num)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        return cos ** (num - 1 - power) * sin**power

    # The transpose of a product of polynomials is a filter (Winograd 1980).
    return values(num_outputs).T, values(_NUM_TAPS), np.linalg.inv(values(num_points)).T


def winograd(x: jax.Array, w: jax.Array) -> jax.Array:
    """Returns the convolution with zeros around, float[H, W, B, O].

    Y = A^T [(G g G^T) * (B^T d B)] A      (Lavin & Gray 2016, Eq. 8)

    with d the tiles of x [H, W, B, C] with their borders; in the code A (x) A, G (x) G
    and B (x) B multiply from one side. Positions come first, so that every product is
    of plain matrices. The relative error in float32 is about 2e-5.
    """
    height, width, batch, num_channels = x.shape
    counts = [-(-size // _MAX_TILE) for size in (height, width)]
    sizes = [-(-height // counts[0]), -(-width // counts[1])]
    factors = [winograd_matrices(size) for size in sizes]
    if counts == [1, 1]:  # the border of a single tile is zero
        factors = [(a, g, b[:, 1:-1]) for a, g, b in factors]
    else:
        x = _overlapping_tiles(x, sizes, counts)
    a, g, b = (
        jnp.asarray(np.kron(first, second), x.dtype)
        for first, second in zip(*factors, strict=True)
    )
    # XLA would otherwise compute x in this flat form, which is slow.
    d = jax.lax.optimization_barrier(x).reshape(b.shape[1], -1)
    values = (b @ d).reshape(len(b), -1, num_channels)
    filters = (g @ w.reshape(_NUM_TAPS**2, -1)).reshape(len(g), num_channels, -1)
    y = a @ (values @ filters).reshape(len(b), -1)
    y = y.reshape(*sizes, *counts, batch, -1)
    y = y.transpose(2, 0, 3, 1, 4, 5)
    y = y.reshape(counts[0] * sizes[0], counts[1] * sizes[1], batch, -1)
    return y[:height, :width]


def _overlapping_tiles(x: jax.Array, sizes: list[int], counts: list[int]) -> jax.Array:
    """[H, W, B, C] -> [h + 2, w + 2, rows * columns, B, C]: tiles and their borders."""
    (h, w), (rows, columns) = sizes, counts
    ends = (1, 1 + rows * h - x.shape[0]), (1, 1 + columns * w - x.shape[1])
    x = jnp.pad(x, (*ends, (0, 0), (0, 0)))
    parts = [
        x[i * h : i * h + h + 2, j * w : j * w + w + 2]
        for i in range(rows)
        for j in range(columns)
    ]
    return jnp.stack(parts, 2)


def convolve(x: jax.Array, w: jax.Array) -> jax.Array:
    """Returns the convolution with zeros around, float[H, W, B, O].

    It is `winograd` on a CPU with enough channels and precision, else XLA's own.

    Args:
        x: images, float[H, W, B, C].
        w: the filter, float[3, 3, C, O].
    """
    is_exact_enough = jnp.promote_types(x.dtype, w.dtype).itemsize >= 4
    is_wide_enough = min(w.shape[2:]) >= MIN_CHANNELS
    # Accelerators have libraries of their own.
    if jax.default_backend() == "cpu" and is_exact_enough and is_wide_enough:
        return winograd(x, w)
    # XLA:CPU has a fast path for this layout alone.
    x = x.transpose(2, 0, 1, 3)
    layout = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=layout)
    return y.transpose(1, 2, 0, 3)


@dataclasses.dataclass
class Conv2D(hk.Module):
    """`hk.Conv2D(num_channels, 3)` of images [H, W, B, C], with the same parameters."""

    num_channels: int
    w_init: hk.initializers.Initializer | None = None
    name: str | None = None

    def __call__(self, x: jax.Array) -> jax.Array:
        shape = _NUM_TAPS, _NUM_TAPS, x.shape[-1], self.num_channels
        fan_in = np.prod(shape[:-1])
        w_init = self.w_init or hk.initializers.TruncatedNormal(1.0 / np.sqrt(fan_in))
        w = hk.get_parameter("w", shape, x.dtype, w_init)
        b = hk.get_parameter("b", shape[-1:], x.dtype, jnp.zeros)
        y = convolve(x, w)
        return y + jnp.broadcast_to(b, y.shape)


def as_pair(module: Callable[..., hk.Module], *sizes: Any, **options: Any) -> Any:
    """Returns a module of these sizes and options as pure functions, (init, apply)."""

    def network(*inputs):
        return module(*sizes, **options)(*inputs)  # type: ignore[operator]

    return hk.without_apply_rng(hk.transform(network))


def space_to_depth(x: jax.Array) -> jax.Array:
    """[2H, 2W, C] -> [H, W, 4C]: each 2 x 2 patch becomes channels."""
    h, w, c = x.shape
    x = x.reshape(h // 2, 2, w // 2, 2, c)
    return x.transpose(0, 2, 1, 3, 4).reshape(h // 2, w // 2, 4 * c)


def depth_to_space(x: jax.Array) -> jax.Array:
    """[H, W, 4C] -> [2H, 2W, C]: the inverse of `space_to_depth`."""
    h, w, c = x.shape
    x = x.reshape(h, w, 2, 2, c // 4)
    return x.transpose(0, 2, 1, 3, 4).reshape(2 * h, 2 * w, c // 4)
