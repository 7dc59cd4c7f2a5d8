"""Laws of where glyphs go on a page."""

import math

import numpy as np
import pytest
from boxes import box_glyph, random_glyphs
from hypothesis import given
from hypothesis import strategies as st

from jdiff.data import EMNIST_CHARS
from jdiff.handwriting import (
    CENTRED,
    FLUSH_LEFT,
    FLUSH_RIGHT,
    JITTER,
    JUSTIFIED,
    MARGIN,
    PEN,
    check_page,
    compose,
    typeset,
)
from jdiff.handwriting.layout import (
    BEARING,
    WORD_SPACE,
    break_lines,
    paragraphs,
    place_glyphs,
    read_words,
    stray,
)

CHARS = st.sampled_from(EMNIST_CHARS)
TEXTS = st.text(st.one_of(CHARS, st.sampled_from(" \n\t\r")), max_size=12)
LINES = st.text(st.one_of(CHARS, st.just(" ")), min_size=1, max_size=12)


def num_drawn(text):
    return len("".join(text.split()))


def ink_rows(char):
    """First and last row with ink, counted from the top of a page of one character."""
    glyphs = box_glyph()[None]
    rows = np.flatnonzero(compose(typeset(char, glyphs), glyphs).max(1) > 127)
    return rows[0], rows[-1]


def test_every_kind_of_line_end_starts_one_line():
    glyphs = random_glyphs(2)
    heights = {typeset(f"a{end}b", glyphs).height for end in ("\n", "\r\n", "\r")}
    assert len(heights) == 1
    assert heights.pop() > typeset("a b", glyphs).height


@given(TEXTS.filter(str.strip), st.floats(4.0, 90.0))
def test_every_glyph_lies_on_the_page(text, cap_height):
    glyphs = random_glyphs(num_drawn(text))
    layout = typeset(text, glyphs, cap_height)
    left, top, right, bottom = layout.target.T
    assert left.min() >= 0 and top.min() >= 0
    assert right.max() <= layout.width and bottom.max() <= layout.height
    page = compose(layout, glyphs)
    assert page.shape == (layout.height, layout.width) and page.dtype == np.uint8


@given(LINES.filter(str.strip), LINES, st.sampled_from(["", "\n"]))
def test_a_longer_text_begins_with_the_same_layout(text, more, end):
    longer = text + end + more
    glyphs = random_glyphs(len(longer.replace("\n", "").replace(" ", "")))
    num_glyphs = num_drawn(text)
    short, long = typeset(text, glyphs[:num_glyphs]), typeset(longer, glyphs)
    for name in ("source", "target", "threshold"):
        np.testing.assert_array_equal(
            getattr(short, name), getattr(long, name)[:num_glyphs]
        )


def test_letters_stand_on_lines_as_in_handwriting():
    top, bottom = {}, {}
    for char in "Xxahgjpqyt1":
        top[char], bottom[char] = ink_rows(char)
    assert top["h"] < top["X"] < top["t"] < top["x"]
    assert abs(top["g"] - top["x"]) <= 1 and abs(top["a"] - top["x"]) <= 1
    assert all(abs(bottom[char] - bottom["X"]) <= 1 for char in "xaht1")
    assert all(bottom[char] > bottom["X"] + 10 for char in "gjpqy")


@pytest.mark.parametrize("cap_height", [20.0, 44.0, 100.0])
def test_a_capital_is_as_tall_as_asked(cap_height):
    glyphs = box_glyph(24, 16)[None]
    page = compose(typeset("H", glyphs, cap_height), glyphs)
    assert abs(np.count_nonzero(page.max(1) > 127) - cap_height) <= 3


def test_wide_ink_takes_more_room_and_a_space_still_more():
    narrow, wide = box_glyph(20, 7), box_glyph(20, 18)
    last = box_glyph()

    def start_of_second(text, first):
        return typeset(text, np.stack([first, last])).target[1, 0]

    assert start_of_second("nl", narrow) < start_of_second("nl", wide)
    assert start_of_second("nl", wide) < start_of_second("n l", wide)
    gap = start_of_second("n  l", wide) - start_of_second("n l", wide)
    tab = start_of_second("n\tl", wide)
    assert gap > 0 and tab == start_of_second("n l", wide)


def test_a_bare_i_is_a_stroke_however_fat_its_image():
    left, top, right, bottom = typeset("i", box_glyph(20, 12)[None]).target[0]
    assert right - left < 0.5 * (bottom - top)


@pytest.mark.parametrize("speck", [(0, 0, 70), (1, 26, 120), (27, 27, 255)])
def test_a_speck_does_not_move_the_letter(speck):
    y, x, level = speck
    clean = box_glyph()
    dirty = clean.copy()
    dirty[y, x] = level
    np.testing.assert_array_equal(
        typeset("a", clean[None]).target, typeset("a", dirty[None]).target
    )


@pytest.mark.parametrize("num_glyphs", [0, 1, 3])
def test_text_and_glyphs_must_agree(num_glyphs):
    with pytest.raises(ValueError, match="glyphs must be"):
        typeset("a b", random_glyphs(3)[:num_glyphs])
    layout = typeset("ab", random_glyphs(2))
    with pytest.raises(ValueError, match="glyphs must be"):
        compose(layout, random_glyphs(3)[:num_glyphs])


def test_blank_text_has_no_layout():
    with pytest.raises(ValueError, match="glyphs must be"):
        typeset(" ", random_glyphs(3)[:0])


def test_floats_are_not_taken_for_bytes():
    with pytest.raises(ValueError, match="uint8.*got float32"):
        typeset("a", np.zeros((1, 28, 28), np.float32))


@pytest.mark.parametrize("cap_height", [0.01, -1.0, 1.7e308, float("nan")])
def test_a_cap_height_without_ink_is_refused(cap_height):
    with pytest.raises(ValueError, match=r"cap_height must be in \[4, 65000\]"):
        typeset("a", box_glyph()[None], cap_height)


def ink_of(layout):
    """The rectangles around the ink of all glyphs, without the border."""
    scale = (layout.target[:, 2:] - layout.target[:, :2]) / (
        layout.source[:, 2:] - layout.source[:, :2]
    )
    return layout.target - np.array([-2, -2, 2, 2]) * np.tile(scale, 2)


@given(
    TEXTS.filter(str.strip),
    st.integers(250, 900),
    st.sampled_from([FLUSH_LEFT, CENTRED, FLUSH_RIGHT, JUSTIFIED]),
    st.floats(0.0, 0.1),
    st.floats(0.1, 1.0),
)
def test_wrapped_ink_keeps_within_the_margins(text, width, align, jitter, margin):
    glyphs = random_glyphs(num_drawn(text))
    options = {"align": align, "jitter": jitter, "margin": margin}
    try:
        layout = typeset(text, glyphs, 30.0, width, **options)
    except ValueError as error:
        assert "page too narrow for the word" in str(error)
        widest = max(text.split(), key=len)
        assert len(widest) > 3
        return
    ink, white = ink_of(layout), 30.0 * margin
    assert layout.width == width
    assert ink[:, 0].min() >= white - 1e-6
    assert ink[:, 2].max() <= width - white + 1e-6
    # Up and down the jitter may take it into the margin, not across.
    assert ink[:, 1].min() >= white - 30.0 * jitter - 1e-6
    assert ink[:, 3].max() <= layout.height - white + 30.0 * jitter + 1e-6


@given(TEXTS.filter(str.strip))
def test_a_page_as_wide_as_its_lines_changes_nothing(text):
    glyphs = random_glyphs(num_drawn(text))
    plain = typeset(text, glyphs)
    wrapped = typeset(text, glyphs, width=plain.width)
    np.testing.assert_allclose(wrapped.target, plain.target)
    assert (wrapped.height, wrapped.width) == (plain.height, plain.width)


@given(TEXTS.filter(str.strip), st.floats(0.001, 0.1))
def test_jitter_moves_glyphs_up_and_down_a_little_and_nothing_else(text, jitter):
    glyphs = random_glyphs(num_drawn(text))
    straight = typeset(text, glyphs, jitter=0.0)
    strayed = typeset(text, glyphs, jitter=jitter)
    moved = strayed.target - straight.target
    assert not moved[:, [0, 2]].any()
    np.testing.assert_allclose(moved[:, 1], moved[:, 3], atol=1e-9)
    assert 0 < np.abs(moved[:, 1]).max() <= 44.0 * jitter + 1e-9
    for name in ("source", "threshold", "height", "width"):
        np.testing.assert_array_equal(getattr(straight, name), getattr(strayed, name))
    again = typeset(text, glyphs, jitter=jitter)
    np.testing.assert_array_equal(again.target, strayed.target)


def test_a_broader_pen_lays_more_ink_in_the_same_places():
    glyphs = blurred_frames()
    ink = []
    for pen in (0.05, PEN, 0.2):
        layout = typeset("abcd", glyphs, pen=pen)
        assert (layout.target == typeset("abcd", glyphs).target).all()
        ink.append(compose(layout, glyphs).sum(dtype=float))
    assert ink[0] < ink[1] < ink[2]
    plain, named = typeset("abcd", glyphs), typeset("abcd", glyphs, pen=PEN)
    np.testing.assert_array_equal(plain.threshold, named.threshold)


def blurred_frames():
    """Frames whose edges are 3 pixels wide: sharp ones have no grey to choose from."""
    frames = np.stack([box_glyph(20, 12)] * 4)
    near = [np.roll(frames, (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return np.mean(near, axis=0).astype(np.uint8)


def test_without_jitter_capitals_stand_on_a_ruler():
    ink = ink_of(typeset("ABCDEF", random_glyphs(6), jitter=0.0))
    np.testing.assert_allclose(ink[:, 3], ink[0, 3])
    assert JITTER > 0
    assert np.ptp(ink_of(typeset("ABCDEF", random_glyphs(6)))[:, 3]) > 0


def test_the_last_ink_of_a_page_flush_right_touches_the_margin():
    glyphs = np.stack([box_glyph()] * 4)
    layout = typeset("ab cd", glyphs, width=400, align=FLUSH_RIGHT)
    columns = np.flatnonzero(compose(layout, glyphs).max(0) > 127)
    assert abs(columns[-1] + 1 - (400 - 44 * MARGIN)) <= 1.5
    centred = compose(typeset("ab cd", glyphs, width=400, align=CENTRED), glyphs)
    columns = np.flatnonzero(centred.max(0) > 127)
    assert abs(columns[0] + columns[-1] + 1 - 400) <= 2


def test_a_word_wider_than_the_page_is_named():
    glyphs = np.stack([box_glyph()] * 9)
    message = "too narrow for the word 'cdefgh': it needs a width of"
    with pytest.raises(ValueError, match=message) as error:
        typeset("a b cdefgh i", glyphs, width=120)
    assert str(error.value).endswith("got 120.")
    needs = int(str(error.value).split("width of ")[1].split()[0])
    typeset("a b cdefgh i", glyphs, width=needs)
    with pytest.raises(ValueError, match=message):
        typeset("a b cdefgh i", glyphs, width=needs - 1)


def test_a_page_is_as_high_as_asked_or_an_error():
    glyphs = random_glyphs(2)
    needs = typeset("a\nb", glyphs).height
    for height in (needs, needs + 300):
        layout = typeset("a\nb", glyphs, height=height)
        assert layout.height == height
        np.testing.assert_array_equal(layout.target, typeset("a\nb", glyphs).target)
    with pytest.raises(ValueError, match=f"needs a height of {needs} pixels, got 9"):
        typeset("a\nb", glyphs, height=9)
    # Wrapped, a text is higher than its line ends say.
    narrow = typeset("a b", glyphs, width=110)
    assert narrow.height == needs
    with pytest.raises(ValueError, match="page too low"):
        typeset("a b", glyphs, width=110, height=needs - 1)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a", {"width": 10}, r"width must be in \[54, 65000\] pixels, got 10"),
        ("a", {"width": 70_000}, "got 70000"),
        ("a", {"height": 0}, "too low for the text.* got 0"),
        ("a", {"height": 70_000}, "at most 65000 pixels high"),
        ("a", {"margin": 0.0}, r"margin must be in \[0.1, 10\], got 0.0"),
        ("a", {"margin": math.nan}, "got nan"),
        ("a", {"jitter": -0.1}, r"jitter must be in \[0, 0.1\], got -0.1"),
        ("a", {"jitter": math.nan}, "got nan"),
        ("a", {"cap_height": math.inf}, r"cap_height must be in \[4, 65000\]"),
        ("a", {"pen": 0.0}, r"pen must be in \(0, 0.5\], got 0.0"),
        ("a", {"pen": math.nan}, "pen must be in .* got nan"),
        ("a" * 10_001, {"width": 900}, "at most 10000 characters, got 10001"),
        ("a" * 2000, {}, "a line of 2000 characters needs a width"),
        ("a\n" * 2000, {"width": 500}, "at most 65000 pixels high"),
        ("a\n" * 500, {"width": 60_000}, "89000000 in all"),
        ("a\nb", {"height": 150}, "too low for the text"),
    ],
)
def test_what_no_glyphs_could_mend_is_found_without_them(text, options, message):
    with pytest.raises(ValueError, match=message):
        check_page(text, **options)


def test_a_text_of_any_length_allowed_passes_the_check():
    check_page("word " * 2000, width=1240)
    check_page("word word\n" * 800)


TWO_LETTERS = st.text("ab \n", min_size=1, max_size=40).filter(str.strip)
ALIGNMENTS = [FLUSH_LEFT, CENTRED, FLUSH_RIGHT, JUSTIFIED]


def some_widths(text, seed=0):
    return np.random.default_rng(seed).uniform(0.3, 1.2, num_drawn(text))


def width_of(line):
    return line.starts[-1] + line.words[-1].width if line.words else 0.0


def says(lines):
    return [[word.chars for word in line.words] for line in lines]


@given(TWO_LETTERS)
def test_lines_together_are_the_text(text):
    lines = break_lines(read_words(text, some_widths(text)), 6.0)
    assert sum(says(lines), []) == text.split()
    assert sum(line.is_last for line in lines) == len(paragraphs(text))


@given(TWO_LETTERS, st.floats(3.0, 20.0))
def test_no_line_is_wider_than_the_room_unless_a_word_is(text, room):
    words = read_words(text, some_widths(text))
    for line in break_lines(words, room):
        assert width_of(line) <= room or len(line.words) == 1


@given(TWO_LETTERS, st.floats(3.0, 20.0))
def test_a_line_is_broken_where_the_next_word_does_not_fit(text, room):
    lines = break_lines(read_words(text, some_widths(text)), room)
    for line, after in zip(lines, lines[1:], strict=False):
        if not line.is_last:
            # At least one blank stood between them.
            gap = 2 * BEARING + WORD_SPACE
            assert width_of(line) + gap + after.words[0].width > room
            assert after.starts[0] == 0.0


@given(TWO_LETTERS)
def test_without_a_limit_only_line_ends_end_lines(text):
    lines = break_lines(read_words(text, some_widths(text)), np.inf)
    assert says(lines) == [row.split() for row in paragraphs(text)]


@pytest.mark.parametrize("align", ALIGNMENTS)
@given(text=TWO_LETTERS)
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
    widths = np.full(num_drawn(text), 0.5)
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


def test_justified_lines_touch_both_margins_except_at_the_end_of_a_paragraph():
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
