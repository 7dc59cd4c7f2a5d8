"""A synthetic EMNIST, drawn from fonts: training without data or a download.

The fonts come with matplotlib. Print differs from handwriting mostly in the stroke, so
each outline is thinned to its centre line, which is slanted, turned, squeezed and bent
by a smooth field, and drawn with a round pen. Then follows what EMNIST does to a scan
(Cohen et al. 2017, Fig. 1): fit the character to a box with its aspect kept, centre the
box, blur, stretch grey values to 255.

`printable` joins EMNIST with synthetic glyphs of the marks that it lacks: every
printable ASCII character but the space.
"""

import string
from functools import cache
from pathlib import Path

import numpy as np

from jdiff.data.dataset import EMNIST_CHARS, DataError, Dataset, installed
from jdiff.data.emnist import emnist

_SIDE = 28  # of an image, in pixels
_BOX = 22  # that a character fills: EMNIST's median at half ink
_EM = 64  # size of the font whose outlines are thinned, in pixels
_SMOOTHING = 3  # of them
_MARK_SCALE = 48.0  # pixels per em at most: no apostrophe fills the box

_UPRIGHT_FONTS = ("DejaVuSans", "STIXGeneral")
_FONTS = (*_UPRIGHT_FONTS, "DejaVuSans-Oblique", "STIXGeneralItalic")
# Computer Modern encodes letters and digits as ASCII does, but not the punctuation.
_ALPHANUMERIC_FONTS = (*_FONTS, "cmss10", "cmti10")
# Marks that a strong slant would close or turn into one another.
_UPRIGHT = "!%'()/:;@[\\]`{|}"

# Thickness of a stroke in pixels, from the finest pen to the broadest: about the middle
# nine tenths of EMNIST's. A broad pen would close the holes of marks of many strokes;
# dots are larger than the pen.
_PEN = (1.8, 3.9)
_PENS = {
    **dict.fromkeys("%&#$", (1.5, 2.8)),
    **dict.fromkeys("'\"", (2.2, 4.2)),
    "@": (1.3, 2.2),
    "*": (1.6, 3.2),
    ":": (3.0, 5.5),
    ";": (2.9, 4.8),
    ".": (3.0, 6.5),
}
_BLUR = (1.4, 2.4)  # pixels from paper to full ink across an edge


PRINTABLE_CHARS = EMNIST_CHARS + string.punctuation  # 62 and 32, in code order


_NUM_PER_MARK = {"train": 1000, "test": 200}


def glyphs(
    num_per_char: int = 100, seed: int = 0, chars: str = EMNIST_CHARS
) -> Dataset:
    """Returns characters like EMNIST's, drawn from fonts.

    Glyph i of a character depends on `seed`, the character and i alone, not on the
    number of glyphs or on other characters.

    Args:
        num_per_char: at least 1.
        seed: not negative.
        chars: distinct printable ASCII characters, the classes in this order.

    Returns:
        images uint8[num_per_char * len(chars), 28, 28, 1], sorted by class. The larger
        of a character's height and width is 22 pixels; small marks stay small.

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


def printable(
    split: str = "train",
    data_dir: str | Path | None = None,
    num_per_mark: int | None = None,
) -> Dataset:
    """Returns EMNIST by class, then synthetic glyphs of the 32 punctuation marks.

    Args:
        split: "train" or "test". The marks for the test are other glyphs of the same
            fonts.
        data_dir: of EMNIST, see `emnist`.
        num_per_mark: glyphs of each mark, at least 1; by default 1,000 to train with
            and 200 to test with.

    Returns:
        images uint8[N + 32 num_per_mark, 28, 28, 1]: the N of `emnist` with their
        labels, then the marks, sorted by class. The classes are `PRINTABLE_CHARS`.

    Raises:
        DataError: what `emnist` or `glyphs` raises.
    """
    letters = emnist("byclass", split, data_dir)
    num = _NUM_PER_MARK[split] if num_per_mark is None else num_per_mark
    marks = glyphs(num, seed_of(split), string.punctuation)
    return Dataset(
        np.concatenate([letters.images, marks.images]),
        np.concatenate([letters.labels, marks.labels + len(letters.classes)]),
        PRINTABLE_CHARS,
    )


def seed_of(split: str) -> int:
    """Returns the seed of the glyphs of a split, "train" or "test"."""
    return ("train", "test").index(split)


def _draw_class(char: str, num: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, ord(char)])
    # Row i is drawn before row i + 1, so that `num` does not change a glyph.
    draws = rng.random((num, 14))
    fonts: tuple[str, ...] = _FONTS
    freedom, max_scale = 1.0, _MARK_SCALE
    if char.isalnum():
        fonts, max_scale = _ALPHANUMERIC_FONTS, np.inf
    if char in _UPRIGHT:
        fonts, freedom = _UPRIGHT_FONTS, 0.3
    fine, broad = _PENS.get(char, _PEN)
    images = np.zeros((num, _SIDE, _SIDE), np.uint8)
    for image, draw in zip(images, draws, strict=True):
        font, pen, blur = draw[11:]
        line = _centre_line(char, fonts[int(font * len(fonts))])
        if not line.size:  # a space
            continue
        bent = _bend(line, draw[:11], freedom)
        radius = (fine + (broad - fine) * pen) / 2
        edge = _BLUR[0] + (_BLUR[1] - _BLUR[0]) * blur
        image[:] = _ink(bent, max_scale, radius, edge)
    return images


@cache
def _centre_line(char: str, font: str) -> np.ndarray:
    """Returns the centre line of a character, (x, y) in ems from its middle, [N, 2].

    y points down. A space has no points.
    """
    from PIL import Image, ImageDraw, ImageFont  # readers of files need no Pillow

    face = ImageFont.truetype(str(_font_folder() / f"{font}.ttf"), _EM)
    left, top, right, bottom = face.getbbox(char)
    # One pixel of margin, so that thinning can look at every neighbour.
    outline = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(outline).text((1 - left, 1 - top), char, 255, face)
    middle = (np.array(outline.size) - 1) / 2
    pixels = np.argwhere(_thin(np.asarray(outline) > 127))[:, ::-1] - middle
    # Pixels make steps: each point is the mean of the pixels around it.
    near = ((pixels[:, None] - pixels) ** 2).sum(-1) <= _SMOOTHING**2
    return near @ pixels / np.maximum(near.sum(1, keepdims=True), 1) / _EM


def _thin(mask: np.ndarray) -> np.ndarray:
    """Returns the centre line, about one pixel wide, of a mask that is False around.

    Pixels are removed from two sides in turn, unless one ends a line or connects its
    parts (Guo & Hall 1989; the rule of Zhang and Suen erases dots and some diagonals).
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
    with installed("matplotlib, whose fonts the glyphs are drawn from,"):
        import matplotlib
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def _bend(line: np.ndarray, draws: np.ndarray, freedom: float) -> np.ndarray:
    """Returns the points (x, y) of a line distorted as by a hand, float[N, 2] in ems.

    Draws, uniform in [0, 1), are squeeze, slant, turn, then for either axis the
    strength of the bend, its frequency along x and y, and its phase. Freedom in [0, 1]
    is that of slant, turn and bend.
    """
    squeeze, slant, turn = draws[:3] - 0.5
    x, y = line.T * [[2.0 ** (0.7 * squeeze)], [1.0]]
    # EMNIST leans to the right, where the top goes: y points down.
    x = x - freedom * (0.1 + 0.7 * slant) * y
    angle = freedom * 0.25 * turn
    x, y = np.cos(angle) * np.array([x, y]) + np.sin(angle) * np.array([-y, x])
    bend = [_wave(x, y, draws[3:7]), _wave(x, y, draws[7:])]
    return np.transpose([x, y] + 0.12 * freedom * np.array(bend))


def _wave(x: np.ndarray, y: np.ndarray, draws: np.ndarray) -> np.ndarray:
    strength, along_x, along_y, phase = draws
    turns = 0.67 * (along_x * x + along_y * y) + phase
    return strength * np.sin(2 * np.pi * turns)


def _ink(line: np.ndarray, max_scale: float, radius: float, blur: float) -> np.ndarray:
    """Returns a line, float[N, 2] in ems, drawn with a round pen, uint8[28, 28].

    It is scaled to the box, to at most max_scale pixels per em, and centred; radius and
    blur, from paper to full ink, are in pixels. The most ink is 255.
    """
    low, high = line.min(0), line.max(0)
    extent = max((high - low).max(), 1e-6)
    scale = min((_BOX - 2 * radius) / extent, max_scale)
    places = scale * (line - (low + high) / 2) + _SIDE / 2
    steps = np.arange(_SIDE) + 0.5
    across, down = ((places.T[..., None] - steps) ** 2).astype(np.float32)
    nearest = np.sqrt((down[:, :, None] + across[:, None, :]).min(0))
    ramp = ((radius - nearest) / blur + 0.5).clip(0.0, 1.0)
    ink = ramp * ramp * (3.0 - 2.0 * ramp)
    return np.rint(255.0 * ink / ink.max()).astype(np.uint8)
