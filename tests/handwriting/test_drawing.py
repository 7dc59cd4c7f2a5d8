"""Strokes as pixels."""

import numpy as np
import pytest

from jdiff.handwriting import draw_glyphs

BAR = [np.array([[0.0, 0.0], [0.0, 1.0]])]
RING = [np.stack([np.cos(a), np.sin(a)], 1) for a in [np.linspace(0, 2 * np.pi, 40)]]
DOT = [np.array([[0.0, 0.0]])]


def test_a_glyph_says_neither_how_large_it_was_nor_where():
    moved = [2.0 * stroke + [3.0, -1.0] for stroke in RING]
    here, there = draw_glyphs([RING, moved])
    assert np.abs(here.astype(int) - there).max() <= 8  # rounding of the drawing


@pytest.mark.parametrize("glyph", [BAR, RING])
def test_a_glyph_fills_its_box_and_stands_in_the_middle(glyph):
    (image,) = draw_glyphs([glyph])
    assert image.shape == (28, 28) and image.max() == 255
    rows = np.flatnonzero((image > 127).any(1))
    assert len(rows) == pytest.approx(22, abs=1)
    assert rows.mean() == pytest.approx(13.5, abs=0.5)


def test_a_dot_stays_small():
    (image,) = draw_glyphs([DOT])
    assert 4 < (image > 127).sum() < 30


def test_y_points_up():
    hook = [np.array([[0.0, 0.0], [0.0, 1.0], [0.5, 1.0]])]
    (image,) = draw_glyphs([hook])
    assert image[:14].sum() > 1.2 * image[14:].sum()
