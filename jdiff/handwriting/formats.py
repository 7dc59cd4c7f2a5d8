"""Animations of a page as files: GIF, APNG, WebP.

An animation is a sequence of pages, dark on white, which may be made one by one.
While it is written, each takes one byte a pixel.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jdiff.images import (
    BLACK,
    WHITE,
    Colour,
    check_grey,
    colour_page,
    colour_ramp,
    dpi_option,
)
from jdiff.storage import atomic_write, check_output

# More levels make noise, which hardly compresses, far larger.
_GIF_LEVELS = 8
_LEVELS = 16
_LONGEST_SIDE = {".gif": 65_535, ".webp": 16_383}  # pixels that they can count
_COUNTER_SIZE = 13  # of the step counter's letters, in pixels
_COUNTER_GREY = 120


def save_gif(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray],
    steps: Sequence[int] | None = None,
    hold: int = 20,
    frame_ms: int = 80,
    ink: Colour = BLACK,
    paper: Colour = WHITE,
) -> None:
    """Writes frames as an animation that repeats for ever, whole or not at all.

    A pixel of a GIF is transparent or is not: where paper is, the edges of the ink
    are mixed with the paper's colour nonetheless.

    Args:
        path: a name that ends in .gif, in a folder that exists.
        frames: dark on white, uint8[F, H, W], F >= 1.
        steps: int[F]; if given, a strip under each frame says `t = 250`.
        hold: the last frame lasts as long as this many frames, >= 1.
        frame_ms: duration of a frame, a multiple of 10; browsers refuse < 20.
        ink: what black becomes.
        paper: what white becomes; transparent if its alpha is below 128.

    Raises:
        ValueError: an argument is not as described.
    """
    path = check_output(path, ".gif")
    colours = colour_ramp((*ink[:3], 255), (*paper[:3], 255), _GIF_LEVELS)
    options: dict[str, Any] = {}
    if paper[3] < 128:
        # Each frame begins with a blank page, or old ink would shine through.
        options = {"transparency": _GIF_LEVELS - 1, "disposal": 2}
    images = _images(frames, steps, colours)
    check_size(images[0].size, ".gif")
    options |= _timing(images, hold, frame_ms)
    with atomic_write(path) as draft:
        images[0].save(draft, format="GIF", **options)


def save_apng(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray],
    steps: Sequence[int] | None = None,
    hold: int = 20,
    frame_ms: int = 80,
    ink: Colour = BLACK,
    paper: Colour = WHITE,
    dpi: float | None = None,
) -> None:
    """Writes frames as an animated PNG that repeats for ever, whole or not at all.

    Args:
        path: a name that ends in .apng or .png, in a folder that exists.
        frames: dark on white, uint8[F, H, W], F >= 1.
        steps: int[F]; if given, a strip under each frame says `t = 250`.
        hold: the last frame lasts as long as this many frames, >= 1.
        frame_ms: duration of a frame, a multiple of 10, >= 20.
        ink: what black becomes.
        paper: what white becomes; with an alpha of 0 it is transparent.
        dpi: pixels per inch, in [1, 10000], written to the file.

    Raises:
        ValueError: an argument is not as described.
    """
    path = check_output(path, ".apng", ".png")
    options: dict[str, Any] = dpi_option(dpi)
    images = _images(frames, steps, colour_ramp(ink, paper, _LEVELS))
    options |= _timing(images, hold, frame_ms)
    with atomic_write(path) as draft:
        images[0].save(draft, format="PNG", **options)


def save_webp(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray],
    steps: Sequence[int] | None = None,
    hold: int = 20,
    frame_ms: int = 80,
    ink: Colour = BLACK,
    paper: Colour = WHITE,
) -> None:
    """Writes frames as a lossless WebP animation that repeats for ever.

    The file is written whole or not at all.

    Args:
        path: a name that ends in .webp, in a folder that exists.
        frames: dark on white, uint8[F, H, W], F >= 1, H and W <= 16383.
        steps: int[F]; if given, a strip under each frame says `t = 250`.
        hold: the last frame lasts as long as this many frames, >= 1.
        frame_ms: duration of a frame, a multiple of 10, >= 20.
        ink: what black becomes.
        paper: what white becomes; with an alpha of 0 it is transparent.

    Raises:
        ValueError: an argument is not as described.
    """
    path = check_output(path, ".webp")
    images = _images(frames, steps, colour_ramp(ink, paper, _LEVELS))
    check_size(images[0].size, ".webp")
    # Without loss; more effort than 20 of 100 takes thrice the time and saves 1%.
    options = _timing(images, hold, frame_ms) | {"lossless": True, "quality": 20}
    with atomic_write(path) as draft:
        images[0].save(draft, format="WEBP", **options)


def check_size(size: tuple[int, int], suffix: str) -> None:
    """Raises ValueError if width and height in pixels are too many for a format."""
    longest = _LONGEST_SIDE.get(suffix, max(size))
    if max(size) > longest:
        raise ValueError(
            f"a {suffix} file is at most {longest} pixels wide and high, "
            f"got {size[0]} x {size[1]}."
        )


def _images(
    frames: Iterable[np.ndarray],
    steps: Sequence[int] | None,
    colours: np.ndarray,
) -> list[Image.Image]:
    """Returns the frames in a ramp of colours, with their steps below them."""
    images = []
    for frame in frames if steps is None else _numbered(frames, steps):
        check_grey(np.asarray(frame))
        images.append(colour_page(frame, colours))
    if len({image.size for image in images}) != 1:
        raise ValueError(f"frames must be of one size, got {len(images)} frames.")
    return images


def _timing(images: list[Image.Image], hold: int, frame_ms: int) -> dict[str, Any]:
    """Returns the arguments with which Pillow writes an animation."""
    if hold < 1 or frame_ms < 20 or frame_ms % 10:
        got = f"{hold} and {frame_ms}"
        raise ValueError(f"hold must be >= 1, frame_ms 20, 30, 40 ..., got {got}.")
    durations = [frame_ms] * (len(images) - 1) + [frame_ms * hold]
    options = {"append_images": images[1:], "duration": durations, "loop": 0}
    return {"save_all": True} | options


def _numbered(
    frames: Iterable[np.ndarray], steps: Sequence[int]
) -> Iterator[np.ndarray]:
    """Returns the frames with a strip of paper below each that says its step."""
    font = ImageFont.load_default(_COUNTER_SIZE)
    num_frames = 0
    for num_frames, frame in enumerate(frames, 1):
        check_grey(frame)
        strip = Image.new("L", (frame.shape[1], 2 * _COUNTER_SIZE), 255)
        if num_frames <= len(steps):
            place = (_COUNTER_SIZE // 2, _COUNTER_SIZE // 4)
            label = f"t = {steps[num_frames - 1]}"
            ImageDraw.Draw(strip).text(place, label, fill=_COUNTER_GREY, font=font)
        yield np.concatenate([frame, np.asarray(strip)])
    if num_frames != len(steps):
        raise ValueError(f"got {len(steps)} steps for {num_frames} frames.")
