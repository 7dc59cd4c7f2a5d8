"""Characters to labels and back, and glyph images to a typeset page.

EMNIST scales every character to one box: 'a' is as tall as 'A', 'g' sits as high as
'x'. `typeset` measures the finished glyphs and gives each its place; `compose` draws
them there, or any earlier state of them, so that nothing moves in an animation:

    layout = typeset(text, glyphs)             # from the finished glyphs
    page = compose(layout, glyphs)             # uint8[H, W]
    frames = compose(layout, path)             # uint8[F, N, h, w] -> uint8[F, H, W]

0 is background and 255 is ink.
"""

import math
from itertools import groupby
from typing import NamedTuple

import numpy as np

EMNIST_CHARS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BLANKS = str.maketrans("", "", " \t\r\n")

# Lengths in units of the height of a capital, as in a schoolbook of handwriting.
X_HEIGHT = 0.66
ASCENT = 1.05
DESCENT = 0.36
LINE_HEIGHT = 1.75
WORD_SPACE = 0.42
BEARING = 0.075  # white on either side of the ink
MARGIN = 0.6
PEN = 0.115  # thickness of a stroke

# How far the ink reaches below and above the baseline, and how wide it may be: a
# flat capital, scaled to its height, would be wider than the ones beside it.
_CAPITAL = (0.0, 1.0, 0.95)
_SHAPES = {
    **dict.fromkeys("0123456789", (0.0, 0.96, 0.8)),
    **dict.fromkeys("aceonrsuvxz", (0.0, X_HEIGHT, 0.78)),
    **dict.fromkeys("mw", (0.0, X_HEIGHT, 1.05)),
    **dict.fromkeys("bdfhkl", (0.0, ASCENT, 0.8)),
    **dict.fromkeys("gpqy", (DESCENT, X_HEIGHT, 0.8)),
    **dict.fromkeys("MW", (0.0, 1.0, 1.25)),
    **{"t": (0.0, 0.91, 0.75), "i": (0.0, 0.91, 0.28)},  # a bare i is a fat bar
    "j": (DESCENT, 0.91, 0.8),
}

_BORDER = np.array([-2.0, -2.0, 2.0, 2.0])  # pixels of a glyph around its ink
_BLUR = 2.5  # pixels of a glyph from paper to full ink across an edge, in EMNIST
_SHARP = 2.0  # the same on the page, in pixels of the page


class Layout(NamedTuple):
    """Where each glyph goes; a rectangle is (left, top, right, bottom).

    Attributes:
        height, width: of the page, in pixels.
        source: the part of each glyph that is drawn, in its pixels, float[N, 4].
        target: where on the page it is drawn, in pixels, float[N, 4].
        threshold: grey level where ink begins, float[N]; a high one thins strokes.
    """

    height: int
    width: int
    source: np.ndarray
    target: np.ndarray
    threshold: np.ndarray


def encode(text: str, chars: str = EMNIST_CHARS) -> np.ndarray:
    """Returns the labels of the characters of a text that are drawn, int32[N].

    Spaces, tabs (one space) and line ends (\\n, \\r\\n, \\r) draw nothing.

    Args:
        text: what to write.
        chars: the characters a model knows; a label is an index into them.

    Raises:
        ValueError: a character is not among `chars`, or nothing would be drawn.

    >>> encode("A 1").tolist()
    [10, 1]
    """
    drawn = text.translate(_BLANKS)
    unknown = drawn.lstrip(chars)
    if unknown:
        raise ValueError(
            f"cannot write {unknown[0]!r} (U+{ord(unknown[0]):04X}); "
            f"this model writes spaces and {_ranges(chars)}."
        )
    if not drawn:
        raise ValueError("the text is empty: there is nothing to write.")
    return np.array([chars.index(char) for char in drawn], np.int32)


def decode(labels: np.ndarray, chars: str = EMNIST_CHARS) -> str:
    """Returns the characters that labels int[N] stand for; blanks are lost.

    Raises:
        ValueError: a label is outside [0, len(chars)).
    """
    for label in labels:
        if not 0 <= label < len(chars):
            raise ValueError(f"labels must be in [0, {len(chars)}), got {label}.")
    return "".join(chars[label] for label in labels)


def typeset(text: str, glyphs: np.ndarray, cap_height: float = 44.0) -> Layout:
    """Returns the layout of glyph images as lines of text, set flush left.

    A glyph's place depends on the text and the glyphs before it, on no later ones.

    Args:
        text: what the glyphs say; its blanks and line ends are kept.
        glyphs: one image for each character that is drawn, uint8[N, h, w].
        cap_height: height of a capital on the page, in pixels, > 0.

    Raises:
        ValueError: text and glyphs differ in number, or cap_height is not positive.
    """
    _check_glyphs(glyphs, len(text.translate(_BLANKS)) or 1)
    if not 0 < cap_height < math.inf:
        raise ValueError(f"cap_height must be positive, got {cap_height}.")
    lines = _lines(text)
    glyphs = np.asarray(glyphs, np.float32) / 255.0
    ink = np.array([_ink_box(glyph) for glyph in glyphs])
    place = cap_height * _place_lines(lines, ink)
    scale = (place[:, 2:] - place[:, :2]) / (ink[:, 2:] - ink[:, :2])
    extent = 2 * MARGIN + ASCENT + DESCENT + (len(lines) - 1) * LINE_HEIGHT
    return Layout(
        height=math.ceil(cap_height * extent),
        width=math.ceil(cap_height * MARGIN + place[:, 2].max()),
        source=ink + _BORDER,
        target=place + _BORDER * np.tile(scale, 2),
        threshold=_thresholds(glyphs, PEN * cap_height / np.sqrt(scale.prod(1))),
    )


def compose(layout: Layout, glyphs: np.ndarray) -> np.ndarray:
    """Returns the page, uint8[..., H, W]; where glyphs overlap, the most ink wins.

    Args:
        layout: from `typeset`.
        glyphs: uint8[..., N, h, w]; leading axes (frames) give as many pages.

    Raises:
        ValueError: the layout is for another number of glyphs.
    """
    _check_glyphs(glyphs, len(layout.source))
    glyphs = np.asarray(glyphs, np.float32) / 255.0
    height, width = glyphs.shape[-2:]
    page = np.zeros((*glyphs.shape[:-3], layout.height, layout.width), np.uint8)
    for k, threshold in enumerate(layout.threshold):
        source, target = layout.source[k], layout.target[k]
        x, columns = _resampling(source[::2], target[::2], width, layout.width)
        y, rows = _resampling(source[1::2], target[1::2], height, layout.height)
        grey = rows @ glyphs[..., k, :, :] @ columns.T
        scale = (target[2:] - target[:2]) / (source[2:] - source[:2])
        # The lower bound keeps blank paper blank and full ink full.
        least = 0.5 / min(threshold, 1.0 - threshold)
        gain = max(least, _BLUR * np.sqrt(scale.prod()) / _SHARP)
        ink = np.rint(255.0 * np.clip(0.5 + gain * (grey - threshold), 0.0, 1.0))
        window = page[..., y : y + len(rows), x : x + len(columns)]
        np.maximum(window, ink.astype(np.uint8), out=window)
    return page


def _lines(text: str) -> list[str]:
    """Returns the lines of a text, without the blanks at its end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return text.rstrip(" \n").split("\n")


def _ranges(chars: str) -> str:
    """Returns characters with runs abbreviated: 'abcdxy' is 'a-dxy'."""
    pairs = groupby(enumerate(chars), lambda pair: ord(pair[1]) - pair[0])
    runs = ["".join(char for _, char in run) for _, run in pairs]
    return "".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else run for run in runs)


def _check_glyphs(glyphs: np.ndarray, num_glyphs: int) -> None:
    if glyphs.dtype != np.uint8 or glyphs.ndim < 3 or glyphs.shape[-3] != num_glyphs:
        got = f"{glyphs.dtype}{list(glyphs.shape)}"
        raise ValueError(f"glyphs must be uint8[..., {num_glyphs}, h, w], got {got}.")


def _ink_box(glyph: np.ndarray) -> tuple[float, float, float, float]:
    """Returns the rectangle around the ink of a glyph in [0, 1], float[h, w].

    Faint pixels do not count, nor does the outermost 1% of the ink on any side: a
    speck must not shrink the letter. Without ink it is the middle of the image.
    """
    height, width = glyph.shape
    ink = np.where(glyph > 0.3, glyph, 0.0)
    if ink.sum() < 3.0:
        return width / 4, height / 7, width * 3 / 4, height * 6 / 7
    share = [np.cumsum(ink.sum(axis)) / ink.sum() for axis in (0, 1)]
    (x_0, x_1), (y_0, y_1) = [np.searchsorted(s, [0.01, 0.99]) for s in share]
    return x_0, y_0, x_1 + 1, y_1 + 1


def _place_lines(lines: list[str], ink: np.ndarray) -> np.ndarray:
    """Returns where the ink of each glyph goes, float[N, 4] in heights of a capital."""
    places: list[tuple[float, ...]] = []
    for row, line in enumerate(lines):
        baseline = MARGIN + ASCENT + row * LINE_HEIGHT
        left = MARGIN
        for char in line:
            if char == " ":
                left += WORD_SPACE
                continue
            below, above, widest = _SHAPES.get(char, _CAPITAL)
            x_0, y_0, x_1, y_1 = ink[len(places)]
            width = min((below + above) * (x_1 - x_0) / (y_1 - y_0), widest)
            places.append((left, baseline - above, left + width, baseline + below))
            left += width + 2 * BEARING
    return np.array(places)


def _thresholds(glyphs: np.ndarray, pen: np.ndarray) -> np.ndarray:
    """Returns grey levels that make strokes about as thick as the pen, float[N].

    A stroke w thick and l long has area w l and, as a relief, total variation 2 l,
    so w = 2 area / variation. Raising the level where ink begins by 1 / _BLUR moves
    both edges one pixel inwards; bounded, lest strokes break and loops fill.
    """
    relief = np.clip(2.0 * glyphs - 0.5, 0.0, 1.0)
    slope_y, slope_x = np.diff(relief[..., 1:], axis=1), np.diff(relief[:, 1:], axis=2)
    variation = np.hypot(slope_y, slope_x).sum((1, 2))
    thickness = 2.0 * relief.sum((1, 2)) / np.maximum(variation, 1e-6)
    return np.clip(0.5 + 0.5 * (thickness - pen) / _BLUR, 0.3, 0.62)


def _resampling(
    source: np.ndarray, target: np.ndarray, num_in: int, num_out: int
) -> tuple[int, np.ndarray]:
    """Returns the first page pixel of an interval and its matrix, float32[P, num_in].

    The kernel is Keys' cubic (1981, a = -1/2), widened where the image shrinks.
    Beyond the glyph's num_in pixels there is no ink; the page ends at num_out.
    """
    first, last = np.clip(np.rint(target), 0, num_out).astype(int)
    step = (source[1] - source[0]) / (target[1] - target[0])
    at = source[0] + (np.arange(first, last) + 0.5 - target[0]) * step
    support = max(step, 1.0)
    u = np.abs(at[:, None] - np.arange(num_in) - 0.5) / support
    near = (1.5 * u - 2.5) * u**2 + 1.0
    far = ((-0.5 * u + 2.5) * u - 4.0) * u + 2.0
    kernel = np.where(u <= 1.0, near, np.where(u < 2.0, far, 0.0))
    return int(first), (kernel / support).astype(np.float32)
