"""Kerning: strokes that lean move together, and keep their distance."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jdiff.handwriting import ink_boxes, ink_sizes, kern_pairs


def stroke(slant, height=20, pen=3):
    """A bar that leans to the right."""
    glyph = np.zeros((28, 28), np.float32)
    for row in range(4, 4 + height):
        left = round(13 + slant * (14 - row))
        glyph[row, left : left + pen] = 1.0
    return glyph


def block(width=12, height=20):
    glyph = np.zeros((28, 28), np.float32)
    glyph[4 : 4 + height, 14 - width // 2 : 14 + width // 2] = 1.0
    return glyph


def kerns(chars, *glyphs):
    glyphs = np.stack(glyphs)
    boxes = ink_boxes(glyphs)
    return kern_pairs(glyphs, boxes, ink_sizes(chars, boxes, 0.115))


def test_upright_blocks_stay_where_they_are():
    assert (kerns("HHH", block(), block(6), block()) == 0).all()


def test_strokes_that_lean_alike_move_together_and_others_do_not():
    along = [kerns("ll", stroke(s), stroke(s))[1] for s in (0.0, 0.2, 0.4, 0.6)]
    assert along[0] == 0 and (np.diff(along) > 0.02).all()
    # \/ touch below, /\ above.
    for slants in ((-0.4, 0.4), (0.4, -0.4)):
        assert kerns("ll", *map(stroke, slants))[1] < 0.03


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-0.6, 0.6), min_size=2, max_size=6))
def test_no_stroke_comes_nearer_than_the_room_between_boxes(slants):
    """At every height ink is as far from the next glyph's as boxes alone are."""
    glyphs = np.stack([stroke(slant) for slant in slants])
    boxes = ink_boxes(glyphs)
    sizes = ink_sizes("l" * len(glyphs), boxes, 0.115)
    moved = kern_pairs(glyphs, boxes, sizes)
    assert (moved >= 0).all() and moved[0] == 0
    scale = sizes[:, 2] / (boxes[:, 2] - boxes[:, 0])
    for k in range(1, len(glyphs)):
        before, after = glyphs[k - 1][4:24] > 0, glyphs[k][4:24] > 0
        right = (boxes[k - 1, 2] - 28 + before[:, ::-1].argmax(1)) * scale[k - 1]
        left = (after.argmax(1) - boxes[k, 0]) * scale[k]
        assert (right + left - moved[k] >= -2 * scale.max()).all()


def test_a_pair_depends_on_itself_alone():
    glyphs = [stroke(0.4), stroke(0.2), block(), stroke(0.5), stroke(0.5)]
    whole = kerns("llHll", *glyphs)
    np.testing.assert_allclose(kerns("ll", *glyphs[3:])[1], whole[4])
    np.testing.assert_allclose(kerns("ll", *glyphs[:2])[1], whole[1])


def test_paper_without_ink_does_not_mind():
    moved = kerns("lll", stroke(0.3), np.zeros((28, 28), np.float32), stroke(0.3))
    assert np.isfinite(moved).all()
