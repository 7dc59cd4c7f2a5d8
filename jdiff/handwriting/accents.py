"""Letters with accents, drawn as the letter and its marks.

No hand in the data wrote one, but everybody wrote ' ` ^ ~ . and a comma. `spell` says
which characters are drawn for another one, `join_marks` puts their strokes together.
"""

import math
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class _Mark(NamedTuple):
    """How an accent is drawn; lengths are in heights of an x."""

    char: str  # that is drawn for it
    extent: float = 0.0  # the larger of its width and height; 0 is a dot
    angle: float | None = None  # in degrees, from its lower to its upper end
    shift: float = 0.0  # of its middle to the right of the letter's


_APART = 0.2  # of a diaeresis' dots from the middle
_MARKS = {
    "\u0301": [_Mark("'", 0.5, 55.0, 0.1)],  # acute
    "\u0300": [_Mark("`", 0.5, 125.0, -0.1)],  # grave
    "\u0302": [_Mark("^", 0.6)],  # circumflex
    "\u0303": [_Mark("~", 0.7)],  # tilde
    "\u0308": [_Mark(".", shift=-_APART), _Mark(".", shift=_APART)],  # diaeresis
    "\u0327": [_Mark(",", 0.45)],  # cedilla
}
_BELOW = "\u0327"
_TURNED = {"\u00bf": "?", "\u00a1": "!"}

_GAP = 0.25  # white between a letter and the mark above it
_TOUCH = -0.02  # that of the mark below it


def spell(char: str) -> str:
    r"""Returns the characters that are drawn for one, the letter first.

    A character that is none of a letter and known accents stays as it is.

    Examples:
        >>> [spell(char) for char in "e\u00e9\u00fc\u00e7\u00bf"]
        ['e', "e'", 'u..', 'c,', '?']
    """
    if char in _TURNED:
        return _TURNED[char]
    letter, names = _decompose(char)
    if not all(name in _MARKS for name in names):
        return char
    return letter + "".join(mark.char for name in names for mark in _MARKS[name])


def join_marks(
    char: str,
    drawn: Sequence[Sequence[np.ndarray]],
    finished: Sequence[Sequence[np.ndarray]] | None = None,
) -> list[np.ndarray]:
    """Returns the strokes of a character, float[n, 2] each.

    Args:
        char: one character.
        drawn: strokes of each character of `spell(char)`.
        finished: what the strokes of a noisy state are going to be: they say where
            marks go, so that these stand still in an animation.
    """
    finished = drawn if finished is None else finished
    letter, own = list(drawn[0]), list(finished[0])
    if char in _TURNED:
        return [_turn(stroke, own) for stroke in letter]
    base, names = _decompose(char)
    if base in "ij" and names:
        kept = _dotless(own)
        letter, own = ([strokes[k] for k in kept] for strokes in (letter, own))
    joined, k = letter, 1
    low, high = _box(own)
    for name in names:
        top = high[1]
        for mark in _MARKS[name]:
            matrix = _shape(mark, np.concatenate(finished[k]))
            reach = np.concatenate(finished[k]) @ matrix
            left, right = reach.min(0), reach.max(0)
            x = (low[0] + high[0]) / 2 + mark.shift - (left[0] + right[0]) / 2
            if name == _BELOW:
                y = low[1] - _TOUCH - right[1]
            else:
                y = top + _GAP - left[1]
                high = np.maximum(high, [high[0], y + right[1]])
            joined = joined + [stroke @ matrix + [x, y] for stroke in drawn[k]]
            k += 1
    return joined


def _decompose(char: str) -> tuple[str, str]:
    """Returns a letter and its combining marks."""
    decomposed = unicodedata.normalize("NFD", char)
    return decomposed[:1], decomposed[1:]


def _shape(mark: _Mark, points: np.ndarray) -> np.ndarray:
    """Returns the matrix that turns and scales a mark, float[2, 2]: points @ matrix."""
    turn = 0.0
    if mark.angle is not None and len(points) > 1:
        x, y = points[points[:, 1].argmax()] - points[points[:, 1].argmin()]
        turn = math.radians(mark.angle) - math.atan2(y, x)
    cos, sin = math.cos(turn), math.sin(turn)
    matrix = np.array([[cos, sin], [-sin, cos]])
    extent = np.ptp(points @ matrix, axis=0).max()
    return matrix * (mark.extent / max(extent, 1e-6))


def _dotless(strokes: Sequence[np.ndarray]) -> list[int]:
    """Returns which strokes are not the dot of an i or j, which floats above."""
    lowest = np.array([stroke[:, 1].min() for stroke in strokes])
    return [k for k, low in enumerate(lowest) if low < 1.0 or low == lowest.min()]


def _turn(stroke: np.ndarray, finished: Sequence[np.ndarray]) -> np.ndarray:
    """Returns a stroke turned upside down, so that it hangs from the height of an x."""
    low, high = _box(finished)
    return [low[0] + high[0], 1.0 + low[1]] - stroke


def _box(strokes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    points = np.concatenate(strokes)
    return points.min(0), points.max(0)
