"""Ink as strokes, in the order that guides show."""

import numpy as np
import pytest

from jdiff import handwriting
from jdiff.hands.trace import trace

pytest.importorskip("skimage")

BAR = np.array([[0.1, 1.6], [0.1, 0.0]])
DASH = np.array([[-0.4, 0.9], [0.6, 0.9]])


def draw(strokes, unit=33.0):
    placed = [[50, 90] + unit * stroke * [1.0, -1.0] for stroke in strokes]
    return handwriting.draw_strokes(placed, 3.0, 120, 120) > 127


@pytest.mark.parametrize("order", [[BAR, DASH], [DASH[::-1], BAR]])
def test_ink_is_written_as_its_guide_is(order):
    guide = [1.1 * stroke + [0.0, 0.05] for stroke in order]
    found = trace(
        draw([BAR, DASH]), (50, 90), 33.0, [handwriting.encode_strokes(guide)]
    )
    assert len(found) == 2
    for stroke, known in zip(found, order, strict=True):
        np.testing.assert_allclose(stroke[[0, -1]], known, atol=0.15)
