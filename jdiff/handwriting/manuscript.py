"""Pages of pen strokes: where each stroke goes, and the page drawn, whole or growing.

page = set_strokes(text, glyphs)        # where the pen goes, in pixels
draw_strokes(page)                      # uint8[H, W], 255 is ink
pen_frames(page, 50)                    # the same, while it is written
page.strokes                            # for `save_stroke_svg`, or a plotter
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from jdiff.handwriting.ink import ASCENT
from jdiff.handwriting.layout import (
    BEARING,
    FLUSH_LEFT,
    MARGIN,
    Alignment,
    break_lines,
    check_page,
    check_words,
    page_height,
    place_glyphs,
    read_words,
    stray,
)
from jdiff.handwriting.strokes import resample
from jdiff.handwriting.text import BLANKS

CAP_HEIGHT = 1.8  # of a capital in heights of an x: the tall ones of most hands
STROKE_PEN = 0.085  # thickness of a line, in heights of a capital
LINE_HEIGHT = 2.4  # the same
WORD_SPACE = 0.6  # the same

# Distances in heights of an x.
GAP = 0.36  # between the ink of two letters, as people leave in the mean
_LEAST = 0.26  # that lines of neighbours keep at the same height
_MOST = 0.7
_BAND = 0.1  # of height, in which that is looked at
_LOWEST, _NUM_BANDS = -1.5, 48
_REACH = 2  # bands up and down in which lines keep their distance

_OVERSAMPLING = 4
_DOT = 1.3  # pens across a dot
_STEP = 0.35  # pixels from point to point, at most, where a curve is drawn


class Manuscript(NamedTuple):
    """A page of strokes; lengths are in pixels.

    Attributes:
        height, width: of the page.
        strokes: points (x, y) of each, float64[n, 2], y DOWN from the top, in the order
            in which they are written; a dot is one point.
        pen: thickness of a line.
    """

    height: int
    width: int
    strokes: list[np.ndarray]
    pen: float


def set_strokes(
    text: str,
    glyphs: Sequence[Sequence[np.ndarray]],
    cap_height: float = 44.0,
    width: int | None = None,
    height: int | None = None,
    margin: float = MARGIN,
    align: Alignment = FLUSH_LEFT,
    jitter: float = 0.0,
    pen: float = STROKE_PEN,
    gaps: np.ndarray | float = GAP,
) -> Manuscript:
    """Returns the page on which strokes stand as lines of text; see `typeset`.

    Args:
        text: what the glyphs say; its blanks and line ends are kept.
        glyphs: strokes of each character that is drawn, float[n, 2] with n >= 1, in
            heights of an x, y up from the baseline.
        cap_height: height of a capital on the page, in pixels, > 0.
        width: of the page, in pixels; by default as wide as the longest line.
        height: of the page, in pixels; by default as high as the lines need.
        margin: paper around the text, in heights of a capital, [0.1, 10].
        align: what becomes of the room that a line leaves free.
        jitter: how far a glyph may stray from its line beyond what its strokes do, in
            heights of a capital, [0, 0.1].
        pen: thickness of a line, in heights of a capital, (0, 0.5].
        gaps: from the ink of each character to that of the one before it, float[N], in
            heights of an x. Where lines would touch there is more, in holes less.

    Raises:
        ValueError: as `typeset`.
    """
    check_page(text, cap_height, width, height, margin, jitter, pen)
    drawn = text.translate(BLANKS)
    if len(glyphs) != len(drawn):
        raise ValueError(
            f"glyphs must be one for each of {len(drawn)} characters, "
            f"got {len(glyphs)}."
        )
    edges = np.array([_edges(glyph) for glyph in glyphs])
    starts, ends = edges[:, 0].min(1), edges[:, 1].max(1)
    gap = _space(edges, np.broadcast_to(gaps, len(drawn))) / CAP_HEIGHT
    room = math.inf if width is None else width / cap_height - 2 * margin
    widths = (ends - starts) / CAP_HEIGHT
    words = read_words(text, widths, 2 * BEARING - gap, WORD_SPACE)
    check_words(words, room, cap_height, margin)
    lines = break_lines(words, room)
    left, row = place_glyphs(lines, room, align)
    baseline = margin + ASCENT + row * LINE_HEIGHT + jitter * stray(len(left))
    unit = cap_height / CAP_HEIGHT
    x = cap_height * (left + margin) - unit * starts
    y = cap_height * baseline
    strokes = [
        np.stack([x[k] + unit * stroke[:, 0], y[k] - unit * stroke[:, 1]], 1)
        for k, glyph in enumerate(glyphs)
        for stroke in glyph
    ]
    if width is None:
        inked = max(stroke[:, 0].max() for stroke in strokes)
        width = math.ceil(cap_height * margin + inked)
    height = page_height(len(lines), cap_height, width, height, margin, LINE_HEIGHT)
    return Manuscript(height, width, strokes, pen * cap_height)


def draw_strokes(page: Manuscript, length: float = math.inf) -> np.ndarray:
    """Returns the page, uint8[H, W], 255 is ink, after a length of pen in pixels."""
    return _reduce(_draw(page, page.strokes, length), page)


def pen_frames(page: Manuscript, num_frames: int) -> Iterator[np.ndarray]:
    """Yields the page while it is written, uint8[H, W]; the last is the whole page.

    Args:
        page: from `set_strokes`.
        num_frames: F >= 1, equally far apart along the pen's way.
    """
    total = sum(_length(stroke, page.pen) for stroke in page.strokes)
    for k in range(1, num_frames + 1):
        yield draw_strokes(
            page, math.inf if k == num_frames else total * k / num_frames
        )


def curve(stroke: np.ndarray) -> np.ndarray:
    """Returns the Bezier curve through the points of a stroke, float[3 n - 2, 2].

    Catmull & Rom 1974: at each point it goes as from the point before to the next one.
    Every third point is of the stroke, the two between are controls.
    """
    padded = np.concatenate([stroke[:1], stroke, stroke[-1:]])
    slope = (padded[2:] - padded[:-2]) / 6
    points = np.empty((3 * len(stroke) - 2, 2))
    points[::3] = stroke
    points[1::3] = stroke[:-1] + slope[:-1]
    points[2::3] = stroke[1:] - slope[1:]
    return points


def _draw(page, strokes, length) -> Image.Image:
    """Returns strokes on a large page, as far as the pen's length goes."""
    scale = _OVERSAMPLING
    image = Image.new("L", (page.width * scale, page.height * scale), 0)
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        if length <= 0:
            break
        share = length / _length(stroke, page.pen)
        length -= _length(stroke, page.pen)
        points = stroke
        if share < 1:
            points = stroke[: max(1, math.ceil(share * len(stroke)))]
        radius = page.pen * scale / 2 * (_DOT if len(stroke) == 1 else 1.0)
        # Pixels are numbered by their middle.
        points = points * scale - 0.5
        line = [(x, y) for x, y in points.tolist()]
        if len(line) > 1:
            draw.line(line, fill=255, width=max(1, round(2 * radius)), joint="curve")
        for x, y in line:
            box = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(box, fill=255)
    return image


def _reduce(image: Image.Image, page: Manuscript) -> np.ndarray:
    return np.asarray(image.resize((page.width, page.height), Image.Resampling.BOX))


def _length(stroke: np.ndarray, pen: float) -> float:
    """Returns how long the pen is at a stroke; lifting it takes time, too."""
    return pen + float(np.hypot(*np.diff(stroke, axis=0).T).sum())


def _space(edges: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Returns the gap before each character, as asked for but where lines touch.

    Args:
        edges: from `_edges`, float[N, 2, bands].
        gaps: asked for, float[N].

    Returns:
        float[N].
    """
    starts, ends = edges[:, 0].min(1), edges[:, 1].max(1)
    left = edges[1:, 0] - starts[1:, None]
    right = ends[:-1, None] - edges[:-1, 1]
    free = (left + right).min(1)  # infinite if they are nowhere at the same height
    wanted = np.clip(gaps[1:], _LEAST - free, np.maximum(_MOST - free, -0.1))
    return np.concatenate([[0.0], np.where(np.isinf(free), gaps[1:], wanted)])


def _edges(glyph: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the leftmost and rightmost ink of a glyph, height by height.

    Returns:
        float[2, bands]; +inf and -inf where there is no ink within reach.
    """
    points = [
        stroke
        if len(stroke) == 1
        else resample(stroke, 2 + int(_extent(stroke) / 0.05))
        for stroke in glyph
    ]
    x, y = np.concatenate(points).T
    band = ((y - _LOWEST) / _BAND).astype(int).clip(_REACH, _NUM_BANDS - 1 - _REACH)
    edges = np.full((2, _NUM_BANDS), np.inf)
    for reach in range(-_REACH, _REACH + 1):
        np.minimum.at(edges[0], band + reach, x)
        np.minimum.at(edges[1], band + reach, -x)
    return edges * [[1.0], [-1.0]]


def _extent(stroke: np.ndarray) -> float:
    return float(np.hypot(*np.diff(stroke, axis=0).T).sum())
