"""How much closer two neighbours may stand than their boxes: letters that lean do.

Between boxes the paper of a slanted "ll" is wider than between its strokes. So each
glyph has an outline on either side, height by height, and a pair moves together by a
share of the room that is free at every height where both have ink, or nearly have.
"""

import numpy as np

from jdiff.ink import ASCENT, DESCENT

_BANDS = 24  # of height, from the deepest to the highest ink
_REACH = 2  # bands up and down in which strokes keep their distance
_SHARE = 0.7  # of the free room that is given up
_MOST = 0.45  # of the narrower glyph's width, at most
_INK = 0.3  # grey level


def kern_pairs(glyphs: np.ndarray, ink: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns how far each glyph moves towards the one before it, >= 0, float[N].

    Args:
        glyphs: in [0, 1], 1 is ink, float[N, h, w].
        ink: the rectangle around the ink of each, in its pixels, float[N, 4].
        sizes: how far it reaches below and above its line and across, float[N, 3],
            in heights of a capital.
    """
    edges = [_edges(*glyph) for glyph in zip(glyphs, ink, sizes, strict=True)]
    left, right = np.array(edges).reshape(-1, 2, _BANDS).swapaxes(0, 1)
    width = sizes[:, 2]
    free = (left[1:] + right[:-1]).min(1, initial=np.inf)
    most = _MOST * np.minimum(width[1:], width[:-1])
    return np.concatenate([[0.0], np.clip(_SHARE * free, 0.0, most)])


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
