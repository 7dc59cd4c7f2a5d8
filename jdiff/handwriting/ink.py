"""The ink of glyphs: its size, its proper size, the thickness of strokes, and kerning.

EMNIST scales every character to one box: 'a' is as tall as 'A', 'g' sits as high as
'x', and strokes of small letters become thick.

Glyphs are float[N, h, w] in [0, 1], 1 is ink; the boxes around it (left, top, right,
bottom) are float[N, 4], in pixels of a glyph. Sizes are how far it reaches below and
above its line and across, float[N, 3], in heights of a capital.

Kerning: the boxes of a slanted "ll" are further apart than its strokes. So each glyph
has an outline on either side, height by height. A pair moves together by a fraction of
the room that is free at every height where both have ink, or nearly.
"""

import numpy as np

# Lengths in units of the height of a capital, as in a schoolbook of handwriting.
X_HEIGHT = 0.66
ASCENT = 1.05
DESCENT = 0.36
WIDEST = 1.25

# How far the ink reaches below and above the baseline, and how wide it may be: a
# flat capital, scaled to its height, would be wider than the ones beside it.
_CAPITAL = (0.0, 1.0, 0.95)
_SHAPES = {
    **dict.fromkeys("0123456789", (0.0, 0.96, 0.8)),
    **dict.fromkeys("aceonrsuvxz", (0.0, X_HEIGHT, 0.78)),
    **dict.fromkeys("mw", (0.0, X_HEIGHT, 1.05)),
    **dict.fromkeys("bdfhkl", (0.0, ASCENT, 0.8)),
    **dict.fromkeys("gpqy", (DESCENT, X_HEIGHT, 0.8)),
    **dict.fromkeys("MW", (0.0, 1.0, WIDEST)),
    "t": (0.0, 0.91, 0.75),
    "i": (0.0, 0.91, 0.28),  # without a dot it is a thick bar
    "j": (DESCENT, 0.91, 0.8),
}
# Marks keep their aspect ratio, centred in their room: a dash is as thick as its pen,
# not as high as its room.
_MARKS = {
    **dict.fromkeys("()[]{}", (DESCENT / 2, ASCENT, 0.75)),
    **dict.fromkeys("/\\|", (DESCENT / 4, ASCENT, 0.75)),
    **dict.fromkeys("'`", (-0.72, ASCENT, 0.35)),
    **dict.fromkeys("<>+", (-0.08, 0.72, 0.65)),
    "!": (0.0, 1.0, 0.75),
    "?": (0.0, 1.0, 0.85),
    "#": (0.0, 0.95, 0.9),
    "$": (0.08, 1.04, 0.8),
    "%": (0.0, 0.98, 0.95),
    "&": (0.0, 1.0, 0.95),
    "@": (0.12, 0.85, 1.0),
    '"': (-0.72, ASCENT, 0.5),
    "*": (-0.45, 1.0, 0.55),
    "^": (-0.5, 1.0, 0.5),
    ",": (0.2, 0.14, 0.25),
    ":": (0.0, 0.56, 0.4),
    ";": (0.2, 0.56, 0.4),
    "-": (-0.17, 0.49, 0.42),
    "=": (-0.15, 0.55, 0.6),
    "~": (-0.2, 0.5, 0.6),
    "_": (0.26, 0.02, 0.7),
}
DOT = 1.3  # pens across a full stop

BLUR = 2.5  # pixels of a glyph from paper to full ink across an edge, in EMNIST

_BANDS = 24  # of height, from the deepest to the highest ink
_REACH = 2  # bands up and down in which strokes keep their distance
_CLOSED = 0.7  # fraction of the free room that kerning closes
_MOST = 0.45  # of the narrower glyph's width, at most
_INK = 0.3  # grey where ink begins


def ink_boxes(glyphs: np.ndarray) -> np.ndarray:
    """Returns the boxes around the ink of glyphs, the middle of one without ink.

    Faint pixels and the outermost 1% of the ink on each side do not count, so a speck
    does not shrink the letter.
    """
    return np.array([_ink_box(glyph) for glyph in glyphs], float)


def ink_sizes(chars: str, boxes: np.ndarray, pen: float) -> np.ndarray:
    """Returns the sizes that the ink of N characters should have, by its boxes.

    Ink that hangs above its line, as an apostrophe does, reaches less than 0 below. The
    pen is the thickness of a stroke in heights of a capital.
    """
    shapes = _SHAPES | _MARKS | {".": (0.0, DOT * pen, DOT * pen)}
    below, above, widest = np.array([shapes.get(c, _CAPITAL) for c in chars]).T
    ratio = (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])
    width = np.minimum((below + above) * ratio, widest)
    is_mark = np.array([c in _MARKS for c in chars])
    free = np.where(is_mark, below + above - width / ratio, 0.0)
    return np.stack([below - free / 2, above - free / 2, width], 1)


def stroke_thickness(glyphs: np.ndarray) -> np.ndarray:
    """Returns the mean thickness of strokes in pixels, float[N].

    A stroke w thick and l long has area w l and, as a relief, total variation 2 l,
    so w = 2 area / variation. The relief is steeper than the image, so that blur does
    not count.
    """
    relief = np.clip(2.0 * glyphs - 0.5, 0.0, 1.0)
    slope_y, slope_x = np.diff(relief[..., 1:], axis=1), np.diff(relief[:, 1:], axis=2)
    variation = np.hypot(slope_y, slope_x).sum((1, 2))
    return 2.0 * relief.sum((1, 2)) / np.maximum(variation, 1e-6)


def ink_thresholds(glyphs: np.ndarray, pen: np.ndarray) -> np.ndarray:
    """Returns the greys where ink begins if strokes are as thick as the pen, float[N].

    Raising this grey by 1 / BLUR moves both edges of a stroke one pixel inwards. It is
    bounded, so that strokes do not break and loops do not fill. The pen is in pixels.
    """
    thickness = stroke_thickness(glyphs)
    return np.clip(0.5 + 0.5 * (thickness - pen) / BLUR, 0.3, 0.62)


def _ink_box(glyph: np.ndarray) -> tuple[float, float, float, float]:
    height, width = glyph.shape
    ink = np.where(glyph > 0.3, glyph, 0.0)
    if ink.sum() < 3.0:
        return width / 4, height / 7, width * 3 / 4, height * 6 / 7
    sums = [np.cumsum(ink.sum(axis)) / ink.sum() for axis in (0, 1)]
    (x_0, x_1), (y_0, y_1) = [np.searchsorted(s, [0.01, 0.99]) for s in sums]
    return x_0, y_0, x_1 + 1, y_1 + 1


def kern_pairs(glyphs: np.ndarray, ink: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns how far each glyph moves towards the one before it, >= 0, float[N]."""
    edges = [_edges(*glyph) for glyph in zip(glyphs, ink, sizes, strict=True)]
    left, right = np.array(edges).reshape(-1, 2, _BANDS).swapaxes(0, 1)
    width = sizes[:, 2]
    free = (left[1:] + right[:-1]).min(1, initial=np.inf)
    most = _MOST * np.minimum(width[1:], width[:-1])
    return np.concatenate([[0.0], np.clip(_CLOSED * free, 0.0, most)])


def _edges(
    glyph: np.ndarray, ink: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the paper left and right of a glyph in its box, float[_BANDS] each.

    Infinite where there is no ink within reach.
    """
    x_0, y_0, x_1, y_1 = np.rint(ink).astype(int)
    below, above, width = size
    has_ink = glyph[y_0:y_1, x_0:x_1] > _INK
    num_rows, num_columns = has_ink.shape
    rows = np.flatnonzero(has_ink.any(1))
    step = width / num_columns
    paper = np.full((2, _BANDS + 2 * _REACH), np.inf)
    height = above - (rows + 0.5) * (below + above) / num_rows  # over the line
    band = ((height + DESCENT) / (ASCENT + DESCENT) * _BANDS).astype(int)
    band = band.clip(0, _BANDS - 1)
    for side, row in enumerate((has_ink, has_ink[:, ::-1])):
        for reach in range(2 * _REACH + 1):
            np.minimum.at(paper[side], band + reach, step * row[rows].argmax(1))
    return tuple(paper[:, _REACH:-_REACH])
