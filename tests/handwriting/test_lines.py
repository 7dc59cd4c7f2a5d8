"""Laws of words, lines and their alignment, in heights of a capital."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdiff.handwriting import (
    BEARING,
    CENTRED,
    FLUSH_LEFT,
    FLUSH_RIGHT,
    JUSTIFIED,
    WORD_SPACE,
    break_lines,
    paragraphs,
    place_glyphs,
    read_words,
    stray,
)

TEXTS = st.text("ab \n", min_size=1, max_size=40).filter(str.strip)
ALIGNMENTS = [FLUSH_LEFT, CENTRED, FLUSH_RIGHT, JUSTIFIED]


def some_widths(text, seed=0):
    num_glyphs = len("".join(text.split()))
    return np.random.default_rng(seed).uniform(0.3, 1.2, num_glyphs)


def width_of(line):
    return line.starts[-1] + line.words[-1].width if line.words else 0.0


def says(lines):
    return [[word.classes for word in line.words] for line in lines]


@given(TEXTS)
def test_lines_together_are_the_text(text):
    lines = break_lines(read_words(text, some_widths(text)), 6.0)
    assert sum(says(lines), []) == text.split()
    assert sum(line.is_last for line in lines) == len(paragraphs(text))


@given(TEXTS, st.floats(3.0, 20.0))
def test_no_line_is_wider_than_the_room_unless_a_word_is(text, room):
    words = read_words(text, some_widths(text))
    for line in break_lines(words, room):
        assert width_of(line) <= room or len(line.words) == 1


@given(TEXTS, st.floats(3.0, 20.0))
def test_a_line_is_broken_where_the_next_word_does_not_fit(text, room):
    lines = break_lines(read_words(text, some_widths(text)), room)
    for line, after in zip(lines, lines[1:], strict=False):
        if not line.is_last:
            # At least one blank stood between them.
            gap = 2 * BEARING + WORD_SPACE
            assert width_of(line) + gap + after.words[0].width > room
            assert after.starts[0] == 0.0


@given(TEXTS)
def test_without_a_limit_only_line_ends_end_lines(text):
    lines = break_lines(read_words(text, some_widths(text)), np.inf)
    assert says(lines) == [row.split() for row in paragraphs(text)]


@pytest.mark.parametrize("align", ALIGNMENTS)
@given(text=TEXTS)
def test_aligned_lines_stay_in_their_room_and_in_order(align, text):
    widths = some_widths(text)
    for room in (np.inf, 4 * widths.sum(), 1.2 * widths.sum()):
        words = read_words(text, widths)
        if max(word.width for row in words for word in row) > room:
            continue
        lines = break_lines(words, room)
        left, row = place_glyphs(lines, room, align)
        limit = max(map(width_of, lines)) if room == np.inf else room
        assert left.min() >= -1e-9 and (left + widths).max() <= limit + 1e-9
        assert len(left) == len(widths) and (np.diff(row) >= 0).all()
        same = np.diff(row) == 0
        gaps = left[1:] - (left + widths)[:-1]
        assert (gaps[same] >= 2 * BEARING - 1e-9).all()


def ends_of(text, align, room=5.5):
    """Where each line's ink begins and ends."""
    widths = np.full(len("".join(text.split())), 0.5)
    lines = break_lines(read_words(text, widths), room)
    left, row = place_glyphs(lines, room, align)
    rows = range(len(lines))
    first = np.array([left[row == k].min() for k in rows])
    return first, np.array([left[row == k].max() + 0.5 for k in rows])


TEXT = "aa bbb aa\nbbbb a bb aaaa bb"


def test_alignment_puts_ink_at_the_margins():
    first, last = ends_of(TEXT, FLUSH_LEFT)
    np.testing.assert_allclose(first, 0.0)
    assert len(set(last.round(6))) > 1
    np.testing.assert_allclose(ends_of(TEXT, FLUSH_RIGHT)[1], 5.5)
    np.testing.assert_allclose(sum(ends_of(TEXT, CENTRED)), 5.5)


def test_justified_lines_touch_both_margins_but_at_the_end_of_a_paragraph():
    first, last = ends_of(TEXT, JUSTIFIED)
    plain = ends_of(TEXT, FLUSH_LEFT)[1]
    np.testing.assert_allclose(first, 0.0)
    wrapped = [1]  # of the second paragraph, all but the last
    ended = [0, len(last) - 1]
    assert len(last) == 3
    np.testing.assert_allclose(last[wrapped], 5.5)
    np.testing.assert_allclose(last[ended], plain[ended])


def test_blanks_count_within_a_line_and_vanish_where_it_is_broken():
    widths = np.full(4, 0.5)
    (line,) = break_lines(read_words("aa   bb", widths), np.inf)
    assert line.starts[1] - line.words[0].width == pytest.approx(
        2 * BEARING + 3 * WORD_SPACE
    )
    assert [line.starts for line in break_lines(read_words("aa   bb", widths), 2)] == [
        [0.0],
        [0.0],
    ]
    (indented,) = break_lines(read_words("  aabb", widths), np.inf)
    assert indented.starts[0] == pytest.approx(2 * WORD_SPACE)


def test_empty_lines_between_stay_and_those_at_the_end_go():
    lines = break_lines(read_words("\na\n\nb \n\n", np.ones(2)), np.inf)
    assert says(lines) == [[], ["a"], [], ["b"]]


@given(st.integers(1, 200), st.integers(1, 200))
def test_glyphs_stray_the_same_in_every_text_and_never_far(num_glyphs, more):
    short, long = stray(num_glyphs), stray(num_glyphs + more)
    np.testing.assert_array_equal(short, long[:num_glyphs])
    assert np.abs(long).max() <= 1.0


def test_neighbours_stray_together():
    far = stray(4000)
    own = far - far.mean()

    def correlation(lag):
        return (own[:-lag] * own[lag:]).mean() / own.var()

    assert abs(far.mean()) < 0.1
    assert correlation(1) > 0.15 > 0.08 > abs(correlation(100))
