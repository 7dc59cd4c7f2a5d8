"""Pages as files: their colours, PNG, and animations as GIF, APNG and WebP.

A page is grey, uint8[H, W], and dark on white: in a file its black becomes ink and its
white becomes paper. An animation is a sequence of pages, which may be made one by one;
while it is written, each takes one byte a pixel.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jdiff.storage import atomic_write, check_output

if TYPE_CHECKING:
    from PIL import Image

Colour = tuple[int, int, int, int]  # red, green, blue, alpha, each in [0, 255]
BLACK: Colour = (0, 0, 0, 255)
WHITE: Colour = (255, 255, 255, 255)

ANIMATIONS = {".gif": "GIF", ".apng": "PNG", ".webp": "WEBP"}  # by Pillow's names

# More greys make noise, which hardly compresses, far larger.
_GIF_GREYS = 8
_GREYS = 16
_LONGEST_SIDE = {".gif": 65_535, ".webp": 16_383}  # pixels that they can count
_FRAME_MS = 80
_COUNTER_SIZE = 13  # of the step counter's letters, in pixels
_COUNTER_GREY = 120


def parse_colour(name: str) -> Colour:
    """Returns the colour that a name or #rrggbb stands for, opaque.

    Raises:
        ValueError: it stands for none.

    Examples:
        >>> parse_colour("navy"), parse_colour("#fff8e7")
        ((0, 0, 128, 255), (255, 248, 231, 255))
    """
    from PIL import ImageColor

    rgb: tuple[int, ...] = ()
    with contextlib.suppress(ValueError):
        rgb = ImageColor.getrgb(name)
    if len(rgb) != 3 or max(rgb) > 255:
        raise ValueError(
            f"a colour must be a name, as navy, or #rrggbb, as #fff8e7, got {name!r}."
        )
    return rgb[0], rgb[1], rgb[2], 255


def colour_ramp(ink: Colour, paper: Colour, num_colours: int = 256) -> np.ndarray:
    """Returns the colours from ink to paper, uint8[num_colours, 4].

    They are mixed by weight and opacity, so the edge of ink on transparent paper has
    the colour of the ink alone.
    """
    fraction = np.linspace(1.0, 0.0, num_colours)[:, None]
    ink_part, paper_part = fraction * ink[3], (1.0 - fraction) * paper[3]
    alpha = ink_part + paper_part
    mixed = ink_part * ink[:3] + paper_part * paper[:3]
    mixed = np.where(alpha > 0, mixed / np.maximum(alpha, 1e-6), ink[:3])
    return np.rint(np.hstack([mixed, alpha])).astype(np.uint8)


def colour_page(page: np.ndarray, colours: np.ndarray) -> "Image.Image":
    """Returns a grey page uint8[H, W] as an image in a ramp of colours uint8[n, 4]."""
    from PIL import Image

    check_grey(page)
    nearest = np.rint(np.arange(256) * ((len(colours) - 1) / 255.0)).astype(np.uint8)
    image = Image.fromarray(nearest[page])
    image.putpalette(colours[:, :3].tobytes())
    if colours[:, 3].min() < 255:
        image.info["transparency"] = colours[:, 3].tobytes()
    return image


def check_size(size: tuple[int, ...], suffix: str) -> None:
    """Raises ValueError if width and height in pixels are too many for a format."""
    longest = _LONGEST_SIDE.get(suffix, max(size))
    if max(size) > longest:
        raise ValueError(
            f"a {suffix} file is at most {longest} pixels wide and high, "
            f"got {size[0]} x {size[1]}."
        )


def check_dpi(dpi: float | None, suffix: str) -> None:
    """Raises ValueError if dpi is outside [1, 10000] or the format does not know it."""
    if dpi is not None and not 1 <= dpi <= 10_000:
        raise ValueError(f"dpi must be in [1, 10000], got {dpi}.")
    if dpi is not None and suffix in (".gif", ".webp"):
        raise ValueError(f"dpi is for .png, .apng and .svg, got {suffix}.")


def check_grey(page: np.ndarray) -> None:
    """Raises ValueError if a page is not grey, uint8[H, W], and not empty."""
    if page.dtype != np.uint8 or page.ndim != 2 or page.size == 0:
        got = f"{page.dtype}{list(page.shape)}"
        raise ValueError(f"a page must be grey, uint8[H, W], not empty, got {got}.")


def write_png(
    path: Path, page: np.ndarray, ink: Colour, paper: Colour, dpi: float | None
) -> None:
    """Writes a page as a PNG file; arguments as of `save_page`."""
    from PIL import Image

    if (ink, paper) == (BLACK, WHITE):
        picture = Image.fromarray(page)
    else:
        picture = colour_page(page, colour_ramp(ink, paper))
    options = {} if dpi is None else {"dpi": (dpi, dpi)}
    picture.save(path, format="PNG", optimize=True, **options)


def save_animation(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray],
    steps: Sequence[int] | None = None,
    hold: int = 20,
    ink: Colour = BLACK,
    paper: Colour = WHITE,
    dpi: float | None = None,
) -> None:
    """Writes frames as an animation that loops for ever, whole or not at all.

    A pixel of a GIF is either opaque or transparent. So even on transparent paper the
    edges of the ink are mixed with the paper's colour.

    Args:
        path: a name that ends in .gif, .apng or .webp, in a folder that exists.
        frames: dark on white, uint8[F, H, W], F >= 1.
        steps: int[F]; if given, a strip under each frame says `t = 250`.
        hold: the last frame lasts as long as this many frames, >= 1.
        ink: what black becomes.
        paper: what white becomes; transparent if its alpha is 0, in a GIF below 128.
        dpi: pixels per inch, in [1, 10000], for an APNG.

    Raises:
        ValueError: an argument is not as described, or the frames are too large for
            the format.
    """
    path = check_output(path, *ANIMATIONS)
    suffix = path.suffix.lower()
    check_dpi(dpi, suffix)
    if hold < 1:
        raise ValueError(f"hold must be >= 1, got {hold}.")
    colours = colour_ramp(ink, paper, _GREYS)
    options: dict[str, Any] = {} if dpi is None else {"dpi": (dpi, dpi)}
    if suffix == ".gif":
        colours = colour_ramp((*ink[:3], 255), (*paper[:3], 255), _GIF_GREYS)
    if suffix == ".gif" and paper[3] < 128:
        # Each frame begins with a blank page, or old ink would shine through.
        options = {"transparency": _GIF_GREYS - 1, "disposal": 2}
    if suffix == ".webp":
        # An effort above 20 of 100 takes three times as long and saves 1%.
        options = {"lossless": True, "quality": 20}
    frames = frames if steps is None else _numbered(frames, steps)
    images = [colour_page(frame, colours) for frame in frames]
    if len({image.size for image in images}) != 1:
        raise ValueError(f"frames must be of one size, got {len(images)} frames.")
    check_size(images[0].size, suffix)
    options |= {"save_all": True, "append_images": images[1:], "loop": 0}
    durations = [_FRAME_MS] * (len(images) - 1) + [_FRAME_MS * hold]
    with atomic_write(path) as draft:
        images[0].save(draft, format=ANIMATIONS[suffix], duration=durations, **options)


def _numbered(
    frames: Iterable[np.ndarray], steps: Sequence[int]
) -> Iterator[np.ndarray]:
    """Returns the frames with a strip of paper below each that says its step."""
    from PIL import Image, ImageDraw, ImageFont

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
