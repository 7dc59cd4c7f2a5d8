"""Pages of pen strokes: where each character goes, and the page drawn.

layout = set_strokes(text, glyphs)      # from the finished characters
page = stroke_page(layout, glyphs)      # page.image, page.strokes
pen_frames(page)                        # the page while it is written
"""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jdiff.handwriting.drawing import draw_strokes
from jdiff.handwriting.layout import (
    BEARING,
    FLUSH_LEFT,
    MARGIN,
    Alignment,
    check_page,
    page_height,
    set_lines,
)
from jdiff.handwriting.page import MAX_BYTES, Page, thin_out
from jdiff.handwriting.strokes import measure_length, resample
from jdiff.handwriting.text import BLANKS
from jdiff.images import on_paper

CAP_HEIGHT = 1.65  # of a capital in heights of an x, as most hands write it
STROKE_PEN = 0.11  # thickness of a line, in heights of a capital
LINE_HEIGHT = 2.7  # the same
WORD_SPACE = 0.6  # the same

NUM_FRAMES = 100  # of a page while it is written

# Distances in heights of an x.
GAP = 0.42  # between the ink of two letters, as people leave in the mean
_LEAST = 0.26  # that lines of neighbours keep at the same height
_MOST = 0.7
_BAND = 0.1  # of height, in which that is looked at
_LOWEST, _NUM_BANDS = -1.5, 48
_REACH = 2  # bands up and down in which lines keep their distance


class StrokeLayout(NamedTuple):
    """Where each character goes; lengths are in pixels.

    Attributes:
        height: of the page.
        width: of the page.
        left: where x = 0 of each character is, float[N].
        baseline: from the top of the page, of each character, float[N].
        unit: height of an x.
        pen: thickness of a line.
    """

    height: int
    width: int
    left: np.ndarray
    baseline: np.ndarray
    unit: float
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
) -> StrokeLayout:
    """Returns where characters of strokes stand as lines of text.

    Args: as for `typeset`, except
        glyphs: strokes of each character that is drawn, float[n, 2] with n >= 1, in
            heights of an x, y up from the baseline.
        jitter: how far a glyph may stray from its line beyond what its strokes do, in
            heights of a capital, [0, 0.1].
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
    fitted = _fit_gaps(edges[:-1], edges[1:], np.broadcast_to(gaps, len(drawn))[1:])
    gap = np.concatenate([[0.0], fitted]) / CAP_HEIGHT
    left, baseline, num_lines = set_lines(
        text,
        (ends - starts) / CAP_HEIGHT,
        2 * BEARING - gap,
        *(cap_height, width, margin, align, jitter),
        WORD_SPACE,
        LINE_HEIGHT,
    )
    baseline *= cap_height
    unit = cap_height / CAP_HEIGHT
    x = cap_height * left - unit * starts
    if width is None:
        width = math.ceil(cap_height * margin + (x + unit * ends).max())
    needed = page_height(num_lines, cap_height, width, height, margin, LINE_HEIGHT)
    if height is None:
        # The tails of some hands reach further than the margin.
        lowest = [min(stroke[:, 1].min() for stroke in glyph) for glyph in glyphs]
        ink = baseline - unit * np.array(lowest)
        needed = max(needed, math.ceil(ink.max() + cap_height * margin / 2))
    return StrokeLayout(needed, width, x, baseline, unit, pen * cap_height)


def stroke_page(
    layout: StrokeLayout,
    glyphs: Sequence[Sequence[np.ndarray]],
    path: Sequence[Sequence[Sequence[np.ndarray]]] | None = None,
    steps: Sequence[int] | None = None,
) -> Page:
    """Returns the page of characters of strokes.

    A page that is too large for all its frames keeps evenly spaced ones, and the last.

    Args:
        layout: from `set_strokes`.
        glyphs: strokes of each character, float[n, 2].
        path: their states, for an animation, F times as many, the glyphs last.
        steps: which step each state is, int[F].
    """
    strokes = place_strokes(layout, glyphs)
    image = on_paper(draw_strokes(strokes, layout.pen, layout.height, layout.width))
    if path is None:
        return Page(image, None, None, strokes, layout.pen)
    path, steps = thin_out(path, steps, image)
    frames = functools.partial(_noise_frames, layout, path)
    return Page(image, frames, steps, strokes, layout.pen)


def place_strokes(
    layout: StrokeLayout, glyphs: Sequence[Sequence[np.ndarray]]
) -> list[np.ndarray]:
    """Returns strokes on the page in the order of writing, float[n, 2] of (x, y).

    Args: as for `stroke_page`.
    """
    return [
        np.stack([x + layout.unit * stroke[:, 0], y - layout.unit * stroke[:, 1]], 1)
        for x, y, glyph in zip(layout.left, layout.baseline, glyphs, strict=True)
        for stroke in glyph
    ]


def animate_pen(page: Page, num_frames: int = NUM_FRAMES) -> Page:
    """Returns the page with an animation in which the pen writes it.

    Args:
        page: of strokes.
        num_frames: F >= 1, equally far apart on the pen's way; fewer of a large page.

    Raises:
        ValueError: the page is not of strokes.
    """
    if page.strokes is None:
        raise ValueError("the page must be of strokes, got one of images.")
    frames = functools.partial(_pen_frames, page._replace(frames=None), num_frames)
    return page._replace(frames=frames, steps=None)


def _pen_frames(page: Page, num_frames: int) -> Iterator[np.ndarray]:
    num_frames = max(1, min(num_frames, MAX_BYTES // page.image.size))
    strokes = page.strokes or []
    total = sum(_length(stroke, page.pen_width) for stroke in strokes)
    for k in range(1, num_frames):
        part = _cut(strokes, page.pen_width, total * k / num_frames)
        yield on_paper(draw_strokes(part, page.pen_width, *page.image.shape))
    yield page.image


def _noise_frames(layout: StrokeLayout, path) -> Iterator[np.ndarray]:
    finished = sum(map(measure_length, place_strokes(layout, path[-1])))
    for glyphs in path:
        strokes = place_strokes(layout, glyphs)
        # A scribble is drawn with a finer pen: about as much ink as the text has.
        share = finished / max(sum(map(measure_length, strokes)), 1e-6)
        pen = layout.pen * min(max(share, 0.2), 1.0)
        yield on_paper(draw_strokes(strokes, pen, layout.height, layout.width))


def _length(stroke: np.ndarray, pen: float) -> float:
    """Returns how long the pen is at a stroke; lifting it takes time, too."""
    return pen + measure_length(stroke)


def _cut(strokes: Sequence[np.ndarray], pen: float, length: float) -> list[np.ndarray]:
    """Returns the strokes that a length of the pen's way is enough for."""
    written: list[np.ndarray] = []
    for stroke in strokes:
        share = length / _length(stroke, pen)
        if share < 1:
            return [*written, stroke[: max(1, math.ceil(share * len(stroke)))]]
        written.append(stroke)
        length -= _length(stroke, pen)
    return written


def space_pairs(
    glyphs: Sequence[Sequence[np.ndarray]],
    first: np.ndarray,
    second: np.ndarray,
    gaps: np.ndarray,
) -> np.ndarray:
    """Returns the gap in each pair of glyphs, float[P], as `set_strokes` leaves it.

    Args:
        glyphs: strokes of each, float[n, 2].
        first: int[P], the left ones.
        second: int[P], the right ones.
        gaps: asked for, float[P].
    """
    edges = np.array([_edges(glyph) for glyph in glyphs])
    return _fit_gaps(edges[first], edges[second], gaps)


def _fit_gaps(first: np.ndarray, second: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Returns the gaps of pairs, float[P]: more where lines would touch, in holes less.

    The glyphs are given by their `_edges`, float[P, 2, bands].
    """
    left = second[:, 0] - second[:, 0].min(1)[:, None]
    right = first[:, 1].max(1)[:, None] - first[:, 1]
    free = (left + right).min(1)  # infinite if they are nowhere at the same height
    wanted = np.clip(gaps, _LEAST - free, np.maximum(_MOST - free, -0.1))
    return np.where(np.isinf(free), gaps, wanted)


def _edges(glyph: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the leftmost and rightmost ink at each height, float[2, bands].

    They are +inf and -inf where there is no ink within reach.
    """
    points = [
        stroke
        if len(stroke) == 1
        else resample(stroke, 2 + int(measure_length(stroke) / 0.05))
        for stroke in glyph
    ]
    x, y = np.concatenate(points).T
    band = ((y - _LOWEST) / _BAND).astype(int).clip(_REACH, _NUM_BANDS - 1 - _REACH)
    edges = np.full((2, _NUM_BANDS), np.inf)
    for reach in range(-_REACH, _REACH + 1):
        np.minimum.at(edges[0], band + reach, x)
        np.minimum.at(edges[1], band + reach, -x)
    return edges * [[1.0], [-1.0]]
