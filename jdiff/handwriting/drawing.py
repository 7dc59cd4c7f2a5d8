"""Strokes as pixels: on a page, and one by one as EMNIST has characters."""

from collections.abc import Sequence

import numpy as np

_OVERSAMPLING = 4
_DOT = 1.3  # pens across a dot

# Of an image as EMNIST has it, in pixels.
_SIDE = 28
_BOX = 22.0  # that a character fills: EMNIST's median at half ink
_UNIT = 24.0  # height of an x at most: no full stop fills the box
_PEN = 2.7
_BLUR = 0.45


def draw_strokes(
    strokes: Sequence[np.ndarray], pen: float, height: int, width: int
) -> np.ndarray:
    """Returns strokes as ink, uint8[H, W], 255 where it is.

    Args:
        strokes: points (x, y) in pixels, y down, float[n, 2]; one point is a dot.
        pen: thickness of a line in pixels.
        height: H.
        width: W.
    """
    from PIL import Image, ImageDraw

    scale = _OVERSAMPLING
    page = np.zeros((height, width), np.uint8)
    for stroke in strokes:
        radius = pen / 2 * (_DOT if len(stroke) == 1 else 1.0)
        low = np.floor(stroke.min(0) - radius - 1).astype(int).clip(0)
        high = np.ceil(stroke.max(0) + radius + 1).astype(int)
        high = np.minimum(high, (width, height))
        if (high <= low).any():
            continue
        size = tuple((scale * (high - low)).tolist())
        image = Image.new("L", size)
        # Pixels are numbered by their middle.
        line = [(x, y) for x, y in ((stroke - low) * scale - 0.5).tolist()]
        _draw_line(ImageDraw.Draw(image), line, radius * scale)
        small = image.resize(tuple((high - low).tolist()), Image.Resampling.BOX)
        window = page[low[1] : high[1], low[0] : high[0]]
        np.maximum(window, np.asarray(small), out=window)
    return page


def _draw_line(draw, line, radius) -> None:
    if len(line) > 1:
        draw.line(line, fill=255, width=max(1, round(2 * radius)))
    for x, y in line:  # round joints and ends
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def draw_glyphs(characters: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Returns characters as EMNIST has them, uint8[N, 28, 28], 255 where ink is.

    Each fills the same box with its aspect kept; marks stay small. So an image says
    neither how large a character was, nor where it stood on its line.

    Args:
        characters: strokes of each, float[n, 2], in heights of an x, y up.
    """
    return np.stack([_draw_glyph(strokes) for strokes in characters])


def _draw_glyph(strokes: Sequence[np.ndarray]) -> np.ndarray:
    from PIL import Image, ImageFilter

    points = np.concatenate(strokes)
    low, high = points.min(0), points.max(0)
    unit = min((_BOX - _PEN) / max((high - low).max(), 1e-6), _UNIT)
    middle = (low + high) / 2
    placed = [_SIDE / 2 + unit * (s - middle) * [1.0, -1.0] for s in strokes]
    ink = Image.fromarray(draw_strokes(placed, _PEN, _SIDE, _SIDE))
    blurred = np.asarray(ink.filter(ImageFilter.GaussianBlur(_BLUR)), np.float32)
    return np.rint(255.0 * blurred / blurred.max()).astype(np.uint8)
