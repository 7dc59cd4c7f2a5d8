"""A character as pen strokes, and as the array of fixed length that is diffused.

Strokes are lists of points (x, y), from pen down to pen up: x to the right, y up from
the baseline, in heights of an `x`. The array has NUM_POINTS rows (x, y, pen). A
character of n strokes gives NUM_POINTS / n rows to each, equally spaced along it, both
ends included, and pen alternates from stroke to stroke: +1, -1, +1, ... So all rows
together tell how many strokes there are, and no single wrong number can break a line.
"""

import math
from collections.abc import Sequence

import numpy as np

NUM_POINTS = 60  # divisible by 1 .. 6
MAX_STROKES = 6

# Standard deviations of x and y over all hands and characters, about: arrays are near
# N(0, 1), as the noise is. The middle of a character lies at half the height of an x.
STROKE_SCALE = 0.7
MIDDLE = 0.6
PEN_SCALE = 0.7  # how much the number of strokes counts beside their shape

CALM = 0.045  # heights of an x over which tremor is smoothed away
REACH = 0.85  # of tails and ascenders, taller than a line of type has room for
_DOT = 0.12  # a stroke that reaches less far is a dot


def encode_strokes(strokes: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the array of a character, float32[60, 3].

    Args:
        strokes: 1 to 6 arrays float[n, 2] with n >= 1.

    Raises:
        ValueError: there are no strokes, or more than 6.

    Examples:
        >>> import numpy as np
        >>> bar, dot = np.array([[0, 0], [0, 1.0]]), np.array([[0, 1.5]])
        >>> [len(stroke) for stroke in decode_strokes(encode_strokes([bar, dot]))]
        [30, 1]
    """
    if not 1 <= len(strokes) <= MAX_STROKES:
        raise ValueError(f"strokes must be 1 to {MAX_STROKES}, got {len(strokes)}.")
    num = NUM_POINTS // len(strokes)
    points = np.concatenate([resample(stroke, num) for stroke in strokes])
    left, right = points[:, 0].min(), points[:, 0].max()
    points = (points - [(left + right) / 2, MIDDLE]) / STROKE_SCALE
    pen = PEN_SCALE * _PENS[len(strokes) - 1][:, None]
    return np.concatenate([points, pen], 1).astype(np.float32)


def decode_strokes(
    array: np.ndarray, finished: np.ndarray | None = None
) -> list[np.ndarray]:
    """Returns the strokes of an array, float32[60 / n, 2] each; dots are one point.

    There are as many strokes as the pen's column as a whole says. The ink begins at
    x = 0.

    Args:
        array: float[60, 3], from `encode_strokes` or from a denoiser.
        finished: what a noisy array is going to be, float[60, 3]: it says how many
            strokes there are, and where x = 0 is.
    """
    last = array if finished is None else finished
    points = (array[:, :2] - [last[:, 0].min(), 0.0]) * STROKE_SCALE + [0.0, MIDDLE]
    strokes = np.split(points.astype(np.float32), count_strokes(last))
    return [_settle(stroke) for stroke in strokes]


def count_strokes(array: np.ndarray) -> int:
    """Returns n in 1 .. 6 whose alternation is nearest to the pen's column."""
    return 1 + int(np.argmax(_PENS @ array[:, 2]))


def resample(stroke: np.ndarray, num: int) -> np.ndarray:
    """Returns points equally spaced along a stroke, its ends included, float64[num, 2].

    Args:
        stroke: float[n, 2], n >= 1; a single point is repeated.
        num: of points, >= 2.
    """
    stroke = np.asarray(stroke, np.float64)
    steps = np.hypot(*np.diff(stroke, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    where = np.linspace(0.0, along[-1], num)
    return np.stack([np.interp(where, along, column) for column in stroke.T], 1)


def measure_length(stroke: np.ndarray) -> float:
    """Returns how long the line through points float[n, 2] is."""
    return float(np.hypot(*np.diff(stroke, axis=0).T).sum())


def restyle(
    stroke: np.ndarray,
    slant: float = 0.0,
    width: float = 1.0,
    calm: float = CALM,
    reach: float = 1.0,
) -> np.ndarray:
    """Returns a stroke in another style, float[n, 2].

    Args:
        stroke: points equally spaced along it, float[n, 2], n >= 1.
        slant: x that is added per height.
        width: factor of x.
        calm: standard deviation of the Gaussian of `smooth`, in heights of an x: more
            is rounder.
        reach: factor of what lies above the height of an x, and below the baseline.
    """
    x, y = smooth(stroke, calm).T
    inside = np.clip(y, 0.0, 1.0)
    y = inside + reach * (y - inside)
    return np.stack([width * x + slant * y, y], 1)


def smooth(stroke: np.ndarray, scale: float = CALM) -> np.ndarray:
    """Returns a stroke without tremor, float[n, 2]: a Gaussian along it, ends kept.

    Args:
        stroke: points equally spaced along it, float[n, 2], n >= 1.
        scale: standard deviation along the stroke, in heights of an x.
    """
    length = measure_length(stroke)
    if len(stroke) < 3 or length == 0:
        return stroke
    sigma = scale * (len(stroke) - 1) / length  # in points
    reach = min(math.ceil(3 * sigma), len(stroke) - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    # Mirrored through its ends, a stroke keeps them, and a straight one its length.
    before = 2 * stroke[:1] - stroke[reach:0:-1]
    after = 2 * stroke[-1:] - stroke[-2 : -reach - 2 : -1]
    padded = np.concatenate([before, stroke, after])
    columns = [np.convolve(axis, kernel / kernel.sum(), "valid") for axis in padded.T]
    return np.stack(columns, 1)


def _settle(stroke: np.ndarray) -> np.ndarray:
    """Returns the stroke, or its middle if it is a dot."""
    if np.ptp(stroke, 0).max() < _DOT:
        return stroke.mean(0, keepdims=True)
    return stroke


_PENS = np.stack(
    [
        np.where(np.arange(NUM_POINTS) * n // NUM_POINTS % 2, -1.0, 1.0)
        for n in range(1, MAX_STROKES + 1)
    ]
)
