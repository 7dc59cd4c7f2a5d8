"""Laws of how large the ink of each character is, and of marks on their line."""

import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jdiff import data
from jdiff.handwriting import MARGIN, PEN, compose, typeset
from jdiff.handwriting.ink import (
    ASCENT,
    DESCENT,
    WIDEST,
    X_HEIGHT,
    ink_boxes,
    ink_sizes,
    kern_pairs,
)

CAP = 100.0  # pixels of a capital on the pages of these tests
MARKS = string.punctuation


@pytest.fixture(scope="module")
def glyphs():
    """Ten glyphs of each printable ASCII character, by character."""
    pytest.importorskip("matplotlib")
    chars = data.PRINTABLE_CHARS
    images = data.glyphs(10, 5, chars).images.reshape(94, 10, 28, 28)
    return dict(zip(chars, images, strict=True))


def reach(char, images, pen=PEN):
    """Below and above the line, width, of ink on the page, in capitals, [3, N]."""
    pages = [
        compose(typeset(char, image[None], CAP, jitter=0.0, pen=pen), image[None])
        for image in images
    ]
    ends = []
    for page in pages:
        rows, columns = (np.flatnonzero(page.max(axis) > 127) for axis in (1, 0))
        ends.append((rows[-1] + 1, rows[0], columns[-1] + 1 - columns[0]))
    bottom, top, width = np.array(ends).T / CAP
    line = MARGIN + ASCENT
    return bottom - line, line - top, width


def test_all_printable_ascii_characters_are_typeset(glyphs):
    text = "\n".join(data.PRINTABLE_CHARS[k : k + 10] for k in range(0, 94, 10))
    first = np.stack([glyphs[char][0] for char in data.PRINTABLE_CHARS])
    layout = typeset(text, first)
    for k, char in enumerate(data.PRINTABLE_CHARS):
        alone = np.zeros_like(first)
        alone[k] = first[k]
        assert compose(layout, alone).max() == 255, char


@pytest.mark.parametrize("char", MARKS)
def test_marks_keep_their_aspect_within_the_room_of_a_line(glyphs, char):
    boxes = ink_boxes(glyphs[char] / 255)
    below, above, width = ink_sizes(char * 10, boxes, PEN).T
    assert below.max() <= DESCENT and above.max() <= ASCENT and width.max() <= WIDEST
    assert (below + above > 0).all() and (width > 0).all()
    if char != ".":
        height_of, width_of = boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]
        np.testing.assert_allclose(width * height_of, (below + above) * width_of)


def test_marks_stand_where_a_hand_puts_them(glyphs):
    for char in ",;":
        below, above, _ = reach(char, glyphs[char])
        assert (below > 0.05).all() and (above < X_HEIGHT).all()
    for char in "'\"`^*":
        below, above, _ = reach(char, glyphs[char])
        assert (-below > 0.4).all() and (above > 0.8).all()
    for char in "'\"`":
        assert (-reach(char, glyphs[char])[0] > X_HEIGHT - 0.05).all()
    for char in "-~=+<>":
        below, above, _ = reach(char, glyphs[char])
        assert (-below > 0).all() and (above < 0.8).all()
        assert np.abs((above - below) / 2 - X_HEIGHT / 2).max() < 0.15
    below, above, _ = reach("_", glyphs["_"])
    assert (above < 0.1).all() and (below > 0).all()
    for char in "()[]{}|":
        below, above, _ = reach(char, glyphs[char])
        assert (below > 0.05).all() and (above > 0.9).all()


def test_a_dash_is_shorter_than_an_underscore_and_wider_than_a_stop(glyphs):
    stop, dash, underscore = (np.median(reach(char, glyphs[char])[2]) for char in ".-_")
    assert stop < dash < underscore


@pytest.mark.parametrize("pen", [0.08, PEN, 0.17])
def test_a_full_stop_stands_on_the_line_and_is_a_little_thicker_than_the_pen(
    glyphs, pen
):
    below, above, width = reach(".", glyphs["."], pen)
    assert np.abs(below).max() < 0.06
    for size in (np.median(width), np.median(below + above)):
        assert pen < size < 1.7 * pen


def test_two_dots_of_a_colon_are_apart_and_about_as_large_as_a_stop(glyphs):
    stop = np.median(reach(".", glyphs["."])[2])
    for image in glyphs[":"]:
        page = compose(typeset(":", image[None], CAP), image[None]) > 127
        starts = np.flatnonzero(np.diff(np.int8(page.any(1))) == 1)
        assert len(starts) == 2
    area = np.mean([glyph_area(":", image) for image in glyphs[":"]]) / 2
    assert 0.4 < area / (np.pi / 4 * stop**2) < 1.6


def glyph_area(char, image):
    page = compose(typeset(char, image[None], CAP), image[None])
    return page.sum() / 255 / CAP**2


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
