"""Images as arrays, and arrays as PNG files, in any two colours.

Images are uint8: grey [H, W] or RGB [H, W, 3], with leading axes for several. A page
is a grey one, and dark on white: in a file its black becomes ink, its white paper.
"""

import contextlib
import math
import os

import numpy as np
from PIL import Image, ImageColor

from jdiff.storage import atomic_write, check_output

Colour = tuple[int, int, int, int]  # red, green, blue, alpha, each in [0, 255]
BLACK: Colour = (0, 0, 0, 255)
WHITE: Colour = (255, 255, 255, 255)


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


def parse_colour(name: str) -> Colour:
    """Returns the colour that a name or #rrggbb stands for, opaque.

    Raises:
        ValueError: it stands for none.

    >>> parse_colour("navy"), parse_colour("#fff8e7")
    ((0, 0, 128, 255), (255, 248, 231, 255))
    """
    rgb: tuple[int, ...] = ()
    with contextlib.suppress(ValueError):
        rgb = ImageColor.getrgb(name)
    if len(rgb) != 3:
        raise ValueError(
            f"a colour must be a name, as navy, or #rrggbb, as #fff8e7, got {name!r}."
        )
    return rgb[0], rgb[1], rgb[2], 255


def colour_ramp(ink: Colour, paper: Colour, num_levels: int = 256) -> np.ndarray:
    """Returns the colours from ink to paper, uint8[num_levels, 4].

    They are mixed by weight and opacity, so that the edge of ink on paper that lets
    the ground shine through has the colour of ink alone.
    """
    share = np.linspace(1.0, 0.0, num_levels)[:, None]
    ink_part, paper_part = share * ink[3], (1.0 - share) * paper[3]
    alpha = ink_part + paper_part
    mixed = ink_part * ink[:3] + paper_part * paper[:3]
    mixed = np.where(alpha > 0, mixed / np.maximum(alpha, 1e-6), ink[:3])
    return np.rint(np.hstack([mixed, alpha])).astype(np.uint8)


def colour_page(page: np.ndarray, colours: np.ndarray) -> Image.Image:
    """Returns a grey page uint8[H, W] as an image in a ramp of colours uint8[n, 4]."""
    levels = np.rint(np.arange(256) * ((len(colours) - 1) / 255.0)).astype(np.uint8)
    image = Image.fromarray(levels[page])
    image.putpalette(colours[:, :3].tobytes())
    if colours[:, 3].min() < 255:
        image.info["transparency"] = colours[:, 3].tobytes()
    return image


def save_png(
    path: str | os.PathLike,
    image: np.ndarray,
    ink: Colour = BLACK,
    paper: Colour = WHITE,
    dpi: float | None = None,
) -> None:
    """Writes an image as a PNG file, whole or not at all.

    Args:
        path: a name that ends in .png, in a folder that exists.
        image: uint8[H, W] or uint8[H, W, 3].
        ink: what black becomes; for grey images only.
        paper: what white becomes; with an alpha of 0 it is transparent.
        dpi: pixels per inch, in [1, 10000], written to the file.

    Raises:
        ValueError: an argument is not as described.
    """
    path = check_output(path, ".png")
    image = np.asarray(image)
    check_images(image, "image", 2)
    options = dpi_option(dpi)
    if (ink, paper) == (BLACK, WHITE):
        picture = Image.fromarray(image)
    else:
        check_grey(image)
        picture = colour_page(image, colour_ramp(ink, paper))
    with atomic_write(path) as draft:
        picture.save(draft, format="PNG", optimize=True, **options)


def dpi_option(dpi: float | None) -> dict[str, tuple[float, float]]:
    """Returns Pillow's argument for a PNG of so many pixels per inch.

    Raises:
        ValueError: dpi is not in [1, 10000].
    """
    if dpi is None:
        return {}
    if not 1 <= dpi <= 10_000:
        raise ValueError(f"dpi must be in [1, 10000], got {dpi}.")
    return {"dpi": (dpi, dpi)}


def check_grey(page: np.ndarray) -> None:
    """Raises ValueError if a page is not grey, uint8[H, W], and not empty."""
    if page.dtype != np.uint8 or page.ndim != 2 or page.size == 0:
        raise ValueError(
            f"a page must be grey, uint8[H, W], and not empty, "
            f"got {page.dtype}{list(page.shape)}."
        )


def check_images(images: np.ndarray, name: str, rank: int) -> None:
    """Raises a ValueError unless images are uint8, grey of that rank or RGB, not empty.

    Args:
        images: what should be images.
        name: what the message calls them.
        rank: of grey ones; RGB has one axis more, of length 3.
    """
    grey = images.ndim == rank
    colour = images.ndim == rank + 1 and images.shape[-1] == 3
    if images.dtype != np.uint8 or not (grey or colour) or images.size == 0:
        raise ValueError(
            f"{name} must be uint8, grey or RGB and not empty, "
            f"got {images.dtype}{list(images.shape)}."
        )
