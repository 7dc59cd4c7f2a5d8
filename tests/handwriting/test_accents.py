"""Letters with accents."""

import unicodedata

import numpy as np
import pytest

from jdiff.handwriting import join_marks, spell

LETTER = [np.array([[0.0, 1.0], [0.0, 0.0], [0.8, 0.0], [0.8, 1.0]])]
TALL = [1.6 * LETTER[0]]
STEM, DOT = np.array([[0.4, 1.0], [0.4, 0.0]]), np.array([[0.4, 1.5]])
TICK = [np.array([[0.0, 1.6], [0.1, 1.2]])]  # leans to the left
COMMA = [np.array([[0.1, 0.1], [0.15, -0.1], [0.0, -0.4]])]
POINT = [np.array([[0.0, 0.0]])]


def marks_of(char, drawn):
    return join_marks(char, drawn)[len(drawn[0]) :]


def test_plain_characters_are_drawn_as_they_are():
    assert spell("e") == "e" and spell("'") == "'"
    assert join_marks("n", [LETTER])[0] is LETTER[0]


@pytest.mark.parametrize("char", ["\u4f60", "\u010d", "\u00e5", "\u0301"])
def test_what_nobody_taught_stays_as_it_is(char):
    assert spell(char) == char


def test_every_accent_of_four_languages_is_known():
    letters = (
        "\u00e0\u00e2\u00e7\u00e9\u00e8\u00ea\u00eb\u00ee\u00ef\u00f4\u00f9\u00fb\u00fc"
    )
    letters += "\u00e1\u00ed\u00f3\u00fa\u00f1\u00e3\u00f5\u00e4\u00f6\u00ff"
    for char in letters + letters.upper().replace("\u0178", "") + "\u00bf\u00a1":
        assert spell(char).isascii()
        if char not in "\u00bf\u00a1":
            assert spell(char)[0] == unicodedata.normalize("NFD", char)[0]


@pytest.mark.parametrize("letter", [LETTER, TALL])
@pytest.mark.parametrize("char", ["\u00fa", "\u00f9"])
def test_an_accent_stands_above_the_middle_and_leans_as_it_should(letter, char):
    (mark,) = marks_of(char, [letter, TICK])
    top = letter[0][:, 1].max()
    assert top + 0.1 < mark[:, 1].min() < mark[:, 1].max() < top + 0.9
    low, high = letter[0][:, 0].min(), letter[0][:, 0].max()
    assert low < mark[:, 0].mean() < high
    upper, lower = mark[mark[:, 1].argmax()], mark[mark[:, 1].argmin()]
    assert (upper[0] > lower[0]) == (char == "\u00fa")


def test_a_diaeresis_is_two_dots_side_by_side():
    left, right = marks_of("\u00fc", [LETTER, POINT, POINT])
    assert left[0, 1] == right[0, 1] > 1.1
    assert left[0, 0] < 0.4 < right[0, 0]


def test_a_cedilla_hangs_below():
    (mark,) = marks_of("\u00e7", [LETTER, COMMA])
    assert mark[:, 1].max() == pytest.approx(0.0, abs=0.1) and mark[:, 1].min() < -0.3


def test_an_i_loses_its_dot_and_a_capital_keeps_its_strokes():
    strokes = join_marks("\u00ed", [[STEM, DOT], TICK])
    assert len(strokes) == 2
    np.testing.assert_array_equal(strokes[0], STEM)
    bars = [STEM, STEM + [0.0, 1.2]]
    assert len(join_marks("\u00c9", [bars, TICK])) == 3


def test_marks_above_each_other_do_not_touch():
    # A u with diaeresis and acute.
    *_, dot, tick = join_marks("\u01d8", [LETTER, POINT, POINT, TICK])
    assert tick[:, 1].min() > dot[:, 1].max() + 0.1


def test_marks_go_where_the_finished_character_wants_them():
    moved = [[stroke + [0.0, 3.0] for stroke in part] for part in (LETTER, TICK)]
    still = join_marks("\u00e9", [LETTER, TICK])
    noisy = join_marks("\u00e9", moved, [LETTER, TICK])
    for before, after in zip(still, noisy, strict=True):
        assert len(before) == len(after)
    np.testing.assert_allclose(noisy[0], still[0] + [0.0, 3.0])


def test_a_turned_question_mark_hangs_from_the_height_of_an_x():
    hook = [np.array([[0.0, 1.5], [0.5, 1.6], [0.3, 0.5]]), np.array([[0.3, 0.0]])]
    turned = join_marks("\u00bf", [hook])
    points = np.concatenate(turned)
    assert points[:, 1].max() == pytest.approx(1.0)
    assert np.ptp(points, 0) == pytest.approx(np.ptp(np.concatenate(hook), 0))
    assert turned[1][0, 1] == points[:, 1].max()  # the dot is on top
