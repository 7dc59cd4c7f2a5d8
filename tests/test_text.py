"""Laws of labels and of the typeset page."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jdiff.text import EMNIST_CHARS, Layout, compose, decode, encode, typeset

CHARS = st.sampled_from(EMNIST_CHARS)
TEXTS = st.text(st.one_of(CHARS, st.sampled_from(" \n\t\r")), max_size=12)
LINES = st.text(st.one_of(CHARS, st.just(" ")), min_size=1, max_size=12)


def box_glyph(height=20, width=12, level=255):
    """A frame of the given size in the middle of a glyph, 3 pixels thick."""
    glyph = np.zeros((28, 28), np.uint8)
    y, x = (28 - height) // 2, (28 - width) // 2
    glyph[y : y + height, x : x + width] = level
    glyph[y + 3 : y + height - 3, x + 3 : x + width - 3] = 0
    return glyph


def random_glyphs(num_glyphs, seed=0):
    """Glyphs of random size, and every fifth one without ink."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(7, 25, (num_glyphs, 2))
    glyphs = [box_glyph(*size) for size in sizes]
    return np.stack([g * (k % 5 != 4) for k, g in enumerate(glyphs)]).astype(np.uint8)


def ink_rows(char):
    """First and last row with ink, counted from the top of a page of one character."""
    glyphs = box_glyph()[None]
    rows = np.flatnonzero(compose(typeset(char, glyphs), glyphs).max(1) > 127)
    return rows[0], rows[-1]


@given(TEXTS.filter(str.strip))
def test_decode_undoes_encode_but_for_blanks(text):
    assert decode(encode(text)) == "".join(text.split())


@given(st.lists(st.integers(0, 61), min_size=1))
def test_encode_undoes_decode(labels):
    assert encode(decode(labels)).tolist() == labels


def test_labels_are_indices_into_the_characters():
    assert EMNIST_CHARS[encode("q")[0]] == "q"
    assert encode("ba", chars="ab").tolist() == [1, 0]
    assert encode("a").dtype == np.int32


@pytest.mark.parametrize("text", ["", " ", "\n", " \t\r\n"])
def test_blank_text_is_an_error(text):
    with pytest.raises(ValueError, match="nothing to write"):
        encode(text)


@pytest.mark.parametrize(
    "text, named",
    [
        ("Hi!", r"'!' \(U\+0021\)"),
        ("é1", r"'é' \(U\+00E9\)"),
        ("a\u00a0b", r"'\\xa0' \(U\+00A0\)"),
        ("\x00", r"'\\x00' \(U\+0000\)"),
        ("\udcff", r"'\\udcff' \(U\+DCFF\)"),
    ],
)
def test_a_character_outside_the_set_is_named_with_the_set(text, named):
    with pytest.raises(ValueError, match=named + ".* spaces and 0-9A-Za-z"):
        encode(text)


def test_the_set_in_the_message_is_the_model_s():
    with pytest.raises(ValueError, match=r"spaces and a-dxy\."):
        encode("e", chars="abcdxy")


@pytest.mark.parametrize("label", [-1, 62])
def test_labels_outside_the_set_are_an_error(label):
    with pytest.raises(ValueError, match=f"got {label}"):
        decode([0, label])


def test_every_kind_of_line_end_starts_one_line():
    glyphs = random_glyphs(2)
    heights = {typeset(f"a{end}b", glyphs).height for end in ("\n", "\r\n", "\r")}
    assert len(heights) == 1
    assert heights.pop() > typeset("a b", glyphs).height


@settings(deadline=None)
@given(TEXTS.filter(str.strip), st.floats(0.5, 90.0))
def test_every_glyph_lies_on_the_page(text, cap_height):
    glyphs = random_glyphs(len(encode(text)))
    layout = typeset(text, glyphs, cap_height)
    left, top, right, bottom = layout.target.T
    assert left.min() >= 0 and top.min() >= 0
    assert right.max() <= layout.width and bottom.max() <= layout.height
    page = compose(layout, glyphs)
    assert page.shape == (layout.height, layout.width) and page.dtype == np.uint8


@settings(deadline=None)
@given(LINES.filter(str.strip), LINES, st.sampled_from(["", "\n"]))
def test_a_longer_text_begins_with_the_same_layout(text, more, end):
    longer = text + end + more
    glyphs = random_glyphs(len(longer.replace("\n", "").replace(" ", "")))
    num_glyphs = len(encode(text))
    short, long = typeset(text, glyphs[:num_glyphs]), typeset(longer, glyphs)
    for name in ("source", "target", "threshold"):
        np.testing.assert_array_equal(
            getattr(short, name), getattr(long, name)[:num_glyphs]
        )


def test_frames_are_composed_as_pages_are():
    glyphs = random_glyphs(3)
    layout = typeset("a Bg", glyphs)
    path = np.random.default_rng(1).integers(0, 256, (4, 3, 28, 28), np.uint8)
    frames = compose(layout, path)
    assert frames.shape == (4, layout.height, layout.width)
    for frame, state in zip(frames, path, strict=True):
        np.testing.assert_array_equal(frame, compose(layout, state))


def test_blank_glyphs_make_a_blank_page_in_any_layout():
    glyphs = random_glyphs(8)
    for state in (glyphs, np.zeros_like(glyphs)):
        assert not compose(typeset("Hello 123", state), 0 * glyphs).any()


def test_a_page_is_the_maximum_of_its_glyphs():
    glyphs = random_glyphs(4)
    layout = typeset("abcd", glyphs)
    alone = [
        compose(layout, glyphs * (np.arange(4) == k)[:, None, None].astype(np.uint8))
        for k in range(4)
    ]
    np.testing.assert_array_equal(compose(layout, glyphs), np.max(alone, axis=0))


def test_full_ink_is_black_and_a_page_as_large_as_its_glyph_is_that_glyph():
    glyph = box_glyph()
    box = np.array([[0.0, 0.0, 28.0, 28.0]])
    layout = Layout(28, 28, source=box, target=box, threshold=np.array([0.5]))
    np.testing.assert_array_equal(compose(layout, glyph[None]), glyph)


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


def test_thick_and_thin_strokes_come_closer():
    bar = np.zeros((28, 28))
    blur = np.exp(-0.5 * (np.arange(-4, 5) / 1.0) ** 2)
    glyphs = []
    for thickness in (2, 5):
        bar[:] = 0
        bar[4:24, 14 : 14 + thickness] = 255 / blur.sum()
        rows = np.apply_along_axis(np.convolve, 1, bar, blur, "same")
        glyphs.append(rows.round().astype(np.uint8))
    glyphs = np.stack(glyphs)
    layout = typeset("ll", glyphs)
    plain = layout._replace(threshold=np.full(2, 0.5))

    def ratio(layout):
        page = compose(layout, glyphs) / 255.0
        middle = int(layout.target[0, 2] + layout.target[1, 0]) // 2
        return page[:, middle:].sum() / page[:, :middle].sum()

    assert 1.0 < ratio(layout) < ratio(plain)


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


@pytest.mark.parametrize("cap_height", [0.0, -1.0, float("nan"), float("inf")])
def test_cap_height_must_be_positive(cap_height):
    with pytest.raises(ValueError, match="cap_height must be positive"):
        typeset("a", box_glyph()[None], cap_height)
