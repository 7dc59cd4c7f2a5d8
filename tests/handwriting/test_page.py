"""Laws of the pages that layouts make of glyphs."""

import numpy as np
import pytest
from boxes import box_glyph, random_glyphs

from jdiff.handwriting import Layout, compose, compose_frames, typeset


def test_blank_glyphs_make_a_blank_page_in_any_layout():
    glyphs = random_glyphs(8)
    for state in (glyphs, np.zeros_like(glyphs)):
        assert not compose(typeset("Hello 123", state), 0 * glyphs).any()


def test_frames_are_composed_as_pages_are():
    glyphs = random_glyphs(3)
    layout = typeset("a Bg", glyphs)
    path = np.random.default_rng(1).integers(0, 256, (4, 3, 28, 28), np.uint8)
    for frame, state in zip(compose_frames(layout, path), path, strict=True):
        np.testing.assert_array_equal(frame, compose(layout, state))


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


def test_frames_are_made_one_by_one():
    glyphs = random_glyphs(2)
    asked = []

    def states():
        for k in range(3):
            asked.append(k)
            yield glyphs

    frames = compose_frames(typeset("ab", glyphs), states())
    next(frames)
    assert asked == [0]
    assert len(list(frames)) == 2 and asked == [0, 1, 2]


def test_frames_of_other_glyphs_are_an_error():
    layout = typeset("ab", random_glyphs(2))
    with pytest.raises(ValueError, match="glyphs must be"):
        list(compose_frames(layout, random_glyphs(3)[None]))


def test_a_glyph_looks_the_same_wherever_it_stands():
    # Moved by whole pixels, because between them it is sampled elsewhere.
    glyphs = np.stack([box_glyph(), box_glyph()])
    layout = typeset("aa", glyphs, jitter=0.0)
    shift = np.array([80.0, 10.0, 80.0, 10.0])
    target = layout.target[0] + np.outer([0, 1], shift)
    page = compose(layout._replace(height=140, width=200, target=target), glyphs)
    first = page[:-10, :-80].copy()
    first[:, int(target[0, 2]) + 1 :] = 0
    second = page[10:, 80:].copy()
    np.testing.assert_array_equal(first, second)
