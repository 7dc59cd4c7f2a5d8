"""Images as arrays: bytes and floats, in batches, side by side, PNG files.

Images are uint8: grey [H, W] or RGB [H, W, 3], with leading axes for several.
"""

import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jdiff.storage import atomic_write, check_output


def from_uint8(images: Any) -> Any:
    """Returns bytes as images in [-1, 1], x / 127.5 - 1; `to_uint8` undoes it.

    Args:
        images: uint8, any shape, of NumPy or of JAX.

    Returns:
        float32 of the same kind and shape.
    """
    return images.astype(np.float32) / 127.5 - 1.0


def to_uint8(x: np.ndarray) -> np.ndarray:
    """Returns images in [-1, 1] as bytes, round(255 (x + 1) / 2) clipped to 0 .. 255.

    Args:
        x: float, any shape.

    Raises:
        ValueError: x has a NaN.
    """
    x = np.asarray(x, np.float32)
    if np.isnan(x).any():
        raise ValueError("images must be numbers in [-1, 1], got NaN.")
    return np.rint(127.5 * (np.clip(x, -1.0, 1.0) + 1.0)).astype(np.uint8)


def on_paper(ink: np.ndarray) -> np.ndarray:
    """Returns images of ink (255 is ink) as dark on white paper, or the reverse."""
    return 255 - np.asarray(ink, np.uint8)


def in_batches(
    function: Callable[..., Any], batch_size: int, *arrays: Any
) -> Iterator[Any]:
    """Yields what a function makes of rows of arrays, batch by batch, as NumPy arrays.

    Batches are of one size, so that it compiles once; copies of the last row fill the
    last one, which is then cut.

    Args:
        function: rows of each of the arrays -> a tree of arrays of as many rows.
        batch_size: >= 1.
        arrays: trees of arrays of N rows each, the first an array.
    """
    num = len(arrays[0])
    for start in range(0, num, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), num - 1)
        result = function(*jax.tree.map(lambda leaf, rows=rows: leaf[rows], arrays))
        left = num - start
        yield jax.tree.map(lambda leaf, left=left: np.asarray(leaf)[:left], result)


def tile(
    images: np.ndarray, num_columns: int | None = None, padding: int = 2
) -> np.ndarray:
    """Returns images side by side on a black ground, row after row.

    Args:
        images: uint8[N, H, W] or uint8[N, H, W, C], C is 1 or 3, N >= 1.
        num_columns: images in a row, >= 1; a square by default.
        padding: pixels around each image, >= 0.

    Returns:
        uint8[H', W'] or uint8[H', W', 3].

    Raises:
        ValueError: an argument is not as described.
    """
    images = np.asarray(images)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    check_images(images, "images", 3)
    if num_columns is None:
        num_columns = math.ceil(math.sqrt(len(images)))
    if num_columns < 1 or padding < 0:
        got = f"{num_columns} and {padding}"
        raise ValueError(f"num_columns must be >= 1, padding >= 0, got {got}.")
    num_columns = min(num_columns, len(images))
    colours = [(0, 0)] * (images.ndim - 3)
    num_blank = -len(images) % num_columns
    border = (padding, 0)
    images = np.pad(images, [(0, num_blank), border, border, *colours])
    height, width, *channels = images.shape[1:]
    rows = images.reshape(-1, num_columns, height, width, *channels)
    grid = rows.swapaxes(1, 2).reshape(-1, num_columns * width, *channels)
    return np.pad(grid, [border[::-1], border[::-1], *colours])


def save_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes an image as a PNG file, whole or not at all.

    Args:
        path: a name that ends in .png, in a folder that exists.
        image: uint8[H, W] or uint8[H, W, 3].

    Raises:
        ValueError: an argument is not as described.
    """
    from PIL import Image

    path = check_output(path, ".png")
    image = np.asarray(image)
    check_images(image, "image", 2)
    with atomic_write(path) as draft:
        Image.fromarray(image).save(draft, format="PNG", optimize=True)


def check_images(images: np.ndarray, name: str, rank: int) -> None:
    """Raises ValueError unless images are uint8, grey of a rank or RGB, not empty."""
    grey = images.ndim == rank
    colour = images.ndim == rank + 1 and images.shape[-1] == 3
    if images.dtype != np.uint8 or not (grey or colour) or images.size == 0:
        raise ValueError(
            f"{name} must be uint8, grey or RGB and not empty, "
            f"got {images.dtype}{list(images.shape)}."
        )
