"""A synthetic EMNIST, drawn from fonts: training with neither data nor network.

The fonts come with matplotlib. What tells print from handwriting is mostly the stroke,
so each font's outline is thinned to its centre line and drawn again with a round pen,
after the line was slanted, turned, squeezed and bent by a smooth field. The rest is
what EMNIST does to a scan (Cohen et al. 2017, Fig. 1): fit the character to a box with
its aspect kept, centre that box, blur.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jdiff.data.dataset import EMNIST_CHARS, DataError, Dataset

if TYPE_CHECKING:  # whoever only reads files needs no Pillow
    from PIL.Image import Image as PILImage

_SIDE = 28  # of an image, in pixels
_BOX = 20  # that a character fills
_OVERSAMPLING = 2
_FONT_SIZE = 32 * _OVERSAMPLING  # the outline that is thinned; half of it on the canvas
_CANVAS = 96  # in which a character is bent; leaves room around the widest one
_CELLS = 6  # of the bending mesh, along one side; divides the canvas
_MAX_SCALE = 1.3  # keeps a full stop from being blown up to a full box
_LEVELS = 16  # grey levels for one pixel of distance

_FONTS = ("DejaVuSans", "DejaVuSans-Oblique", "STIXGeneral", "STIXGeneralItalic")
# Computer Modern encodes letters and digits as ASCII does, but not the punctuation.
_ALPHANUMERIC_FONTS = ("cmss10", "cmti10")


def glyphs(
    num_per_char: int = 100, seed: int = 0, chars: str = EMNIST_CHARS
) -> Dataset:
    """Characters like EMNIST's, drawn from fonts.

    Glyph i of a character depends on `seed`, the character and i alone: asking for more
    glyphs or other characters does not change it.

    Args:
        num_per_char: at least 1.
        seed: not negative.
        chars: distinct printable ASCII characters, the classes in this order.

    Returns:
        images uint8 [num_per_char * len(chars), 28, 28, 1], sorted by class. The
        larger of a character's height and width is 20 pixels; small marks stay small.

    Raises:
        DataError: an argument outside its range, or matplotlib is missing.
    """
    if num_per_char < 1:
        raise DataError(f"num_per_char must be at least 1, got {num_per_char}.")
    if seed < 0:
        raise DataError(f"seed must not be negative, got {seed}.")
    printable = chars.isascii() and chars.isprintable()
    if not chars or not printable or len(set(chars)) != len(chars):
        raise DataError(
            f"chars must be distinct printable ASCII characters, got {chars!r}."
        )
    images = np.concatenate([_draw_class(char, num_per_char, seed) for char in chars])
    labels = np.repeat(np.arange(len(chars), dtype=np.int32), num_per_char)
    return Dataset(images[..., None], labels, chars)


def _draw_class(char: str, num: int, seed: int) -> np.ndarray:
    from PIL import Image, ImageFilter

    rng = np.random.default_rng([seed, ord(char)])
    # Row i is drawn before row i + 1, so that `num` does not change a glyph.
    draws = rng.random((num, 14))
    meshes = _meshes(draws[:, :11])
    fonts = _FONTS + _ALPHANUMERIC_FONTS if char.isalnum() else _FONTS
    bilinear = Image.Resampling.BILINEAR
    images = np.empty((num, _SIDE, _SIDE), np.uint8)
    for i, (font, pen, blur) in enumerate(draws[:, 11:].tolist()):
        distance = _distance(char, fonts[int(font * len(fonts))])
        # The distance is bent, not the stroke: a bent pen would change its width.
        bent = distance.transform(
            distance.size, Image.Transform.MESH, meshes[i], bilinear, fillcolor=255
        )
        ink = 1.6 + 1.6 * pen - np.asarray(bent) / _LEVELS
        stroke = Image.fromarray((255 * ink.clip(0, 1)).astype(np.uint8))
        blurred = _fit(stroke).filter(ImageFilter.GaussianBlur(0.4 + 0.3 * blur))
        images[i] = np.asarray(blurred)
    return images


@cache
def _distance(char: str, font: str) -> "PILImage":
    """How far each pixel of the canvas is from the character's centre line."""
    from PIL import Image, ImageDraw, ImageFont

    face = ImageFont.truetype(str(_font_folder() / f"{font}.ttf"), _FONT_SIZE)
    left, top, right, bottom = face.getbbox(char)
    # One pixel of margin, so that thinning can look at every neighbour.
    outline = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(outline).text((1 - left, 1 - top), char, 255, face)
    middle = (np.array([outline.height, outline.width]) - 1) / 2
    line = (np.argwhere(_thin(np.asarray(outline) > 127)) - middle) / _OVERSAMPLING
    if not line.size:  # a space
        return Image.new("L", (_CANVAS, _CANVAS), 255)
    steps = np.arange(_CANVAS, dtype=np.float32) - (_CANVAS - 1) / 2
    y, x = line.astype(np.float32).T
    down, right = (steps[:, None] - y) ** 2, (steps[:, None] - x) ** 2
    nearest = np.sqrt((down[:, None] + right[None]).min(axis=-1))
    return Image.fromarray((_LEVELS * nearest).clip(0, 255).astype(np.uint8))


def _thin(mask: np.ndarray) -> np.ndarray:
    """The mask's centre line, about one pixel wide.

    Z. Guo, R. Hall. Parallel thinning with two-subiteration algorithms. 1989. A pixel
    is peeled off, from two sides in turns, unless it ends a line or the line would fall
    apart. (Zhang and Suen's better known rule erases dots and some diagonals.)

    Args:
        mask: bool [H, W], False on the border.
    """
    # The eight neighbours' places, clockwise from the north.
    ring = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
    side, unchanged = 0, 0
    while unchanged < 2:
        around = np.stack([np.roll(mask, (-i, -j), (0, 1)) for i, j in ring])
        # Seen from the other side the ring starts half a turn later.
        a = np.roll(around, 4 * side, axis=0)
        straight, diagonal = a[::2], a[1::2]
        clockwise = np.roll(straight, -1, axis=0)
        parts = (~straight & (diagonal | clockwise)).sum(0)
        size = np.minimum((straight | diagonal).sum(0), (diagonal | clockwise).sum(0))
        kept = (a[4] | a[5] | ~a[7]) & a[6]
        peel = mask & (parts == 1) & (size >= 2) & (size <= 3) & ~kept
        mask = mask & ~peel
        side, unchanged = 1 - side, 0 if peel.any() else unchanged + 1
    return mask


@cache
def _font_folder() -> Path:
    try:
        import matplotlib
    except ImportError as error:
        raise DataError(
            "matplotlib, whose fonts the glyphs are drawn from, must be installed, got "
            f"{error}: pip install 'jdiff[train]'."
        ) from error
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def _meshes(draws: np.ndarray) -> list[list[tuple[tuple[int, ...], tuple[float, ...]]]]:
    """Where each cell of a bent glyph is taken from, one PIL mesh for each glyph.

    Args:
        draws: uniform in [0, 1), [N, 11]: slant, turn, squeeze, then for either axis
            the strength of the bend, its frequency along x and y, and its phase.
    """
    slant, turn, squeeze, *bends = draws.T[:, :, None, None]
    slant = 0.15 + 0.5 * (slant - 0.5)  # EMNIST leans to the right
    turn = 0.25 * (turn - 0.5)
    squeeze = 2.0 ** (0.7 * (squeeze - 0.5))
    corners = np.linspace(-0.5, 0.5, _CELLS + 1)
    x, y = np.meshgrid(corners, corners)
    bent_x, bent_y = x + _bend(x, y, bends[:4]), y + _bend(x, y, bends[4:])
    turned_x = np.cos(turn) * bent_x - np.sin(turn) * bent_y
    turned_y = np.sin(turn) * bent_x + np.cos(turn) * bent_y
    # PIL asks where an output pixel comes from, so this is the inverse: y points down,
    # and the top, which moves right, is taken from the left.
    from_x = (turned_x + slant * turned_y) * squeeze
    grid = (np.stack([from_x, turned_y], axis=-1) + 0.5) * _CANVAS
    # A quadrilateral's corners in PIL's order: NW, SW, SE, NE.
    quads = np.concatenate(
        [grid[:, :-1, :-1], grid[:, 1:, :-1], grid[:, 1:, 1:], grid[:, :-1, 1:]], -1
    )
    step = _CANVAS // _CELLS
    starts = range(0, _CANVAS, step)
    cells = [(j, i, j + step, i + step) for i in starts for j in starts]
    return [
        list(zip(cells, map(tuple, glyph.reshape(-1, 8).tolist()), strict=True))
        for glyph in quads
    ]


def _bend(x: np.ndarray, y: np.ndarray, draws: list[np.ndarray]) -> np.ndarray:
    strength, along_x, along_y, phase = draws
    wave = np.sin(2 * np.pi * (2 * along_x * x + 2 * along_y * y + phase))
    return 0.04 * strength * wave


def _fit(image: "PILImage") -> "PILImage":
    """The image's ink, scaled to the box and centred, at the final size."""
    box = image.point(lambda ink: 255 * (ink > 127)).getbbox()
    if box is None:  # a space
        return image.resize((_SIDE, _SIDE))
    left, top, right, bottom = box
    scale = min(_BOX / max(right - left, bottom - top), _MAX_SCALE)
    x, y, half = (left + right) / 2, (top + bottom) / 2, _SIDE / scale / 2
    region = (x - half, y - half, x + half, y + half)
    return image.resize((_SIDE, _SIDE), box=region)  # bicubic
