"""Pages as SVG files: outlines of the ink, or centre lines of the pen, as curves."""

from collections.abc import Sequence

import numpy as np

from jdiff.handwriting.formats import Colour, check_grey
from jdiff.handwriting.strokes import measure_length, resample

_LEVEL = 127.5  # ink is darker
_SPACING = 2.5  # pixels from one point of a curve to the next
_UNITS = 10  # of an SVG file in a pixel: whole numbers are short

# Marching squares. The corners of a square count 1 2   and its sides are   T
# if they are ink:                                  8 4                    L   R
# The edge of the ink goes from side to side, ink to its left.               B
_WAYS = {1: "LT", 2: "TR", 3: "LR", 4: "RB", 5: "LTRB", 6: "TB", 7: "LB"}
_WAYS |= {8: "BL", 9: "BT", 10: "TRBL", 11: "BR", 12: "RL", 13: "RT", 14: "TL"}


def outline_svg(page: np.ndarray, ink: Colour, paper: Colour, dpi: float | None) -> str:
    """Returns the outlines of a page uint8[H, W] as the text of an SVG file.

    There is no ground if the paper's alpha is 0. The size is in inches if there is a
    dpi, else in pixels.
    """
    curves = "".join(map(_curve, trace_outlines(page)))
    content = f'<path {_fill(ink)} fill-rule="evenodd" d="{curves}"/>\n'
    return _document(content, page.shape, paper, dpi)


def stroke_svg(
    strokes: Sequence[np.ndarray],
    pen_width: float,
    shape: tuple[int, ...],
    ink: Colour,
    paper: Colour,
    dpi: float | None,
) -> str:
    """Returns centre lines of a pen as the text of an SVG file, a <path> a stroke.

    Browsers draw them as thick as the pen; plotters follow them, in their order.
    Strokes are points (x, y) in pixels, float[n, 2]; one point is a dot. The rest is as
    in `outline_svg`.
    """
    lines = "".join(f'<path d="{_stroke(stroke)}"/>\n' for stroke in strokes)
    pen = (
        f'fill="none" {_fill(ink).replace("fill", "stroke")} '
        f'stroke-width="{pen_width * _UNITS:.6g}" stroke-linecap="round" '
        'stroke-linejoin="round"'
    )
    return _document(f"<g {pen}>\n{lines}</g>\n", shape, paper, dpi)


def curve(stroke: np.ndarray) -> np.ndarray:
    """Returns the Bezier curve through the points of a stroke, float[3 n - 2, 2].

    At each point it goes as from the point before to the next one (Catmull & Rom 1974).
    Every third point is of the stroke, the two between are controls.
    """
    padded = np.concatenate([stroke[:1], stroke, stroke[-1:]])
    slope = (padded[2:] - padded[:-2]) / 6
    points = np.empty((3 * len(stroke) - 2, 2))
    points[::3] = stroke
    points[1::3] = stroke[:-1] + slope[:-1]
    points[2::3] = stroke[1:] - slope[1:]
    return points


def _document(
    content: str, shape: tuple[int, ...], paper: Colour, dpi: float | None
) -> str:
    height, width = shape
    unit = "in" if dpi else ""
    size = [f"{side / (dpi or 1):.6g}{unit}" for side in (width, height)]
    ground = f'<rect width="100%" height="100%" {_fill(paper)}/>\n' if paper[3] else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" '
        f'height="{size[1]}" viewBox="0 0 {width * _UNITS} {height * _UNITS}">\n'
        f"{ground}{content}</svg>\n"
    )


def _stroke(stroke: np.ndarray) -> str:
    """Returns a stroke as SVG path data; a dot is a line of no length."""
    if len(stroke) > 2:
        # More points than that make a file larger, not a line smoother.
        num = measure_length(stroke) / _SPACING
        stroke = resample(stroke, int(np.clip(num, 3, len(stroke))))
    points = np.rint(_UNITS * curve(stroke)).astype(int)
    x, y = points[0]
    if len(points) == 1:
        return f"M{x} {y}h0"
    steps = points[1:] - np.repeat(points[:-1:3], 3, axis=0)
    return f"M{x} {y}c" + " ".join(map(str, steps.ravel().tolist())).replace(" -", "-")


def trace_outlines(page: np.ndarray) -> list[np.ndarray]:
    """Returns the edges of the ink as closed polygons, each float[K, 2] of (x, y).

    They are where the page, linear between the centres of its pixels, passes half
    grey: marching squares. Ink lies to the left of an edge as one walks along it, and
    the even-odd rule fills ink and leaves holes.

    Args:
        page: dark on white, uint8[H, W].

    Raises:
        ValueError: the page is not as described.
    """
    check_grey(page)
    page = np.pad(page, 1, constant_values=255)
    width = page.shape[1]
    ink = (page < _LEVEL).view(np.uint8)
    case = ink[:-1, :-1] + 2 * ink[:-1, 1:] + 4 * ink[1:, 1:] + 8 * ink[1:, :-1]
    y, x = np.nonzero((case > 0) & (case < 15))
    case = case[y, x]
    # A crossing is known by the pixel left of or above it, and by which of the two.
    square = 2 * (y * width + x)
    side = {"T": 0, "L": 1, "R": 3, "B": 2 * width}
    starts, ends = [], []
    for value, ways in _WAYS.items():
        here = square[case == value]
        for way in (ways[:2], ways[2:]):
            starts += [here + side[name] for name in way[:1]]
            ends += [here + side[name] for name in way[1:]]
    start, end = np.concatenate(starts), np.concatenate(ends)
    order = np.argsort(start)
    start, end = start[order], end[order]
    points = _crossings(page, start)
    return [points[loop] for loop in _cycles(np.searchsorted(start, end))]


def _crossings(page: np.ndarray, crossing: np.ndarray) -> np.ndarray:
    """Returns where the page, padded by 1, is half grey, float[K, 2]."""
    flat = page.ravel().astype(np.int16)
    pixel, is_below = np.divmod(crossing, 2)
    here = flat[pixel]
    there = flat[pixel + np.where(is_below, page.shape[1], 1)]
    part = (_LEVEL - here) / (there - here)
    y, x = np.divmod(pixel, page.shape[1])
    return np.stack([x + part * (1 - is_below), y + part * is_below], 1) - 0.5


def _cycles(permutation: np.ndarray) -> list[list[int]]:
    """Returns the cycles of a permutation, int[K]."""
    following = permutation.tolist()  # single numbers are faster out of an array
    cycles = []
    seen = bytearray(len(following))
    for first in range(len(following)):
        cycle = []
        k = first
        while not seen[k]:
            seen[k] = True
            cycle.append(k)
            k = following[k]
        if cycle:
            cycles.append(cycle)
    return cycles


def spline(polygon: np.ndarray) -> np.ndarray:
    """Returns the controls of a closed quadratic B-spline along a polygon, float[K, 2].

    The curve goes from the middle of one side of the control polygon to that of the
    next one, as in TrueType.
    """
    closed = np.vstack([polygon, polygon[:1]])
    length = np.hypot(*np.diff(closed, axis=0).T).cumsum()
    num_points = max(4, round(length[-1] / _SPACING))
    at = np.arange(num_points) * (length[-1] / num_points)
    length = np.concatenate([[0.0], length])
    points = np.stack([np.interp(at, length, axis) for axis in closed.T], 1)
    # The spline passes (1 6 1) / 8 of its control points, which lies inside bends.
    neighbours = np.roll(points, 1, 0) + np.roll(points, -1, 0)
    return 1.25 * points - 0.125 * neighbours


def _curve(polygon: np.ndarray) -> str:
    """Returns a smooth curve along a polygon, as SVG path data, by pieces `q`."""
    control = _UNITS * spline(polygon)
    ends = np.rint((control + np.roll(control, -1, 0)) / 2)
    starts = np.roll(ends, 1, 0)
    pieces = np.hstack([np.rint(control) - starts, ends - starts]).astype(int)
    x, y = starts[0].astype(int)
    steps = " ".join(map(str, pieces.ravel().tolist())).replace(" -", "-")
    return f"M{x} {y}q{steps}z"


def _fill(colour: Colour) -> str:
    opacity = "" if colour[3] == 255 else f' fill-opacity="{colour[3] / 255:.3g}"'
    return 'fill="#{:02x}{:02x}{:02x}"'.format(*colour[:3]) + opacity
