"""Images as arrays, and arrays as PNG and GIF files.

Images are uint8: grey [H, W] or RGB [H, W, 3], with leading axes for several.
"""

import math
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jdiff.files import atomic_write, check_output

_GREYS = 8  # of an animation: more make noise, which hardly compresses, far larger
_COUNTER_SIZE = 13  # of the step counter's letters, in pixels
_COUNTER_GREY = 120


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
    """Returns images of ink (255 is ink) as dark on white paper, and back again."""
    return 255 - np.asarray(ink, np.uint8)


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
    _check(images, "images", 3)
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
    path = check_output(path, ".png")
    image = np.asarray(image)
    _check(image, "image", 2)
    with atomic_write(path) as draft:
        Image.fromarray(image).save(draft, format="PNG", optimize=True)


def save_gif(
    path: str | os.PathLike,
    frames: np.ndarray,
    steps: Sequence[int] | None = None,
    hold: int = 20,
    frame_ms: int = 80,
) -> None:
    """Writes frames as an animation that repeats for ever, whole or not at all.

    Args:
        path: a name that ends in .gif, in a folder that exists.
        frames: dark on white, uint8[F, H, W], F >= 1.
        steps: int[F]; if given, a strip under each frame says `t = 250`.
        hold: the last frame lasts as long as this many frames, >= 1.
        frame_ms: duration of a frame, a multiple of 10; browsers refuse < 20.

    Raises:
        ValueError: an argument is not as described.
    """
    path = check_output(path, ".gif")
    frames = np.asarray(frames)
    _check(frames, "frames", 3)
    if frames.ndim != 3:
        raise ValueError(f"frames must be grey, got {list(frames.shape)}.")
    if hold < 1 or frame_ms < 20 or frame_ms % 10:
        got = f"{hold} and {frame_ms}"
        raise ValueError(f"hold must be >= 1, frame_ms 20, 30, 40 ..., got {got}.")
    if steps is not None:
        frames = _numbered(frames, steps)
    images = [_few_greys(frame) for frame in frames]
    durations = [frame_ms] * (len(images) - 1) + [frame_ms * hold]
    options = {"append_images": images[1:], "duration": durations, "loop": 0}
    with atomic_write(path) as draft:
        images[0].save(draft, format="GIF", save_all=True, **options)


def _check(images: np.ndarray, name: str, rank: int) -> None:
    grey = images.ndim == rank
    colour = images.ndim == rank + 1 and images.shape[-1] == 3
    if images.dtype != np.uint8 or not (grey or colour) or images.size == 0:
        raise ValueError(
            f"{name} must be uint8, grey or RGB and not empty, "
            f"got {images.dtype}{list(images.shape)}."
        )


def _numbered(frames: np.ndarray, steps: Sequence[int]) -> np.ndarray:
    """Returns the frames with a strip of paper below each that says its step."""
    if len(steps) != len(frames):
        raise ValueError(f"got {len(steps)} steps for {len(frames)} frames.")
    font = ImageFont.load_default(_COUNTER_SIZE)
    strips = []
    for step in steps:
        strip = Image.new("L", (frames.shape[2], 2 * _COUNTER_SIZE), 255)
        place = (_COUNTER_SIZE // 2, _COUNTER_SIZE // 4)
        ImageDraw.Draw(strip).text(place, f"t = {step}", fill=_COUNTER_GREY, font=font)
        strips.append(np.asarray(strip))
    return np.concatenate([frames, np.stack(strips)], axis=1)


def _few_greys(frame: np.ndarray) -> Image.Image:
    """Returns a frame in a palette of greys from black to white."""
    greys = np.linspace(0, 255, _GREYS).round().astype(np.uint8)
    levels = np.rint(frame / 255.0 * (_GREYS - 1)).astype(np.uint8)
    image = Image.fromarray(levels)
    image.putpalette(np.repeat(greys, 3).tobytes())
    return image
