"""Pages of pen strokes."""

import numpy as np
import pytest

from jdiff.handwriting import (
    CAP_HEIGHT,
    curve,
    draw_strokes,
    pen_frames,
    resample,
    set_strokes,
)

BAR = [np.array([[0.0, 0.0], [0.0, 1.0]])]
RING = [np.stack([np.cos(a), np.sin(a)], 1) for a in [np.linspace(0, 2 * np.pi, 40)]]
DOT = [np.array([[0.0, 0.0]])]


def test_a_capital_is_as_high_as_asked():
    tall = [np.array([[0.0, 0.0], [0.0, CAP_HEIGHT]])]
    page = set_strokes("l", [tall], cap_height=50.0)
    assert np.ptp(page.strokes[0][:, 1]) == pytest.approx(50.0)


def test_ink_is_as_thick_as_the_pen():
    page = set_strokes("l", [BAR], cap_height=90.0, pen=0.1)
    ink = draw_strokes(page).astype(float) / 255
    middle = int(page.strokes[0][:, 1].mean())
    assert ink[middle].sum() == pytest.approx(page.pen, abs=0.5)


def test_ink_lies_around_the_strokes_and_on_the_page():
    page = set_strokes("o.", [RING, DOT], width=300)
    ink = draw_strokes(page)
    assert ink.shape == (page.height, page.width)
    y, x = np.nonzero(ink)
    points = np.concatenate([resample(stroke, 500) for stroke in page.strokes])
    far = np.hypot(x[:, None] + 0.5 - points[:, 0], y[:, None] + 0.5 - points[:, 1])
    assert far.min(1).max() < page.pen
    assert 0 < x.min() and x.max() < page.width - 1


def test_lines_of_neighbours_do_not_touch():
    page = set_strokes("oo", [RING, RING], gaps=-1.0)
    first, second = page.strokes
    assert second[:, 0].min() - first[:, 0].max() > page.pen


def test_characters_of_different_heights_may_overlap():
    """An apostrophe over a full stop needs no room of its own."""
    high = [stroke + [0.0, 2.5] for stroke in BAR]
    page = set_strokes("',", [high, DOT], gaps=0.05)
    assert page.strokes[1][0, 0] - page.strokes[0][0, 0] < 5.0


def test_words_that_do_not_fit_move_to_the_next_line():
    page = set_strokes("oo oo", [RING] * 4, width=260)
    heights = [stroke[:, 1].mean() for stroke in page.strokes]
    assert heights[0] == pytest.approx(heights[1])
    assert heights[2] > heights[1] + 44.0


def test_the_page_grows_with_the_pen():
    page = set_strokes("lo", [BAR, RING])
    frames = list(pen_frames(page, 5))
    ink = [frame.astype(int).sum() for frame in frames]
    assert ink == sorted(ink) and ink[0] > 0
    np.testing.assert_array_equal(frames[-1], draw_strokes(page))
    for frame in frames:
        assert (frame <= frames[-1]).all()


def test_a_curve_passes_through_its_points():
    stroke = RING[0][:9]
    points = curve(stroke)
    np.testing.assert_array_equal(points[::3], stroke)
    np.testing.assert_allclose(curve(np.zeros((1, 2))), [[0.0, 0.0]])


def test_a_straight_stroke_has_a_straight_curve():
    line = np.linspace([0.0, 0.0], [3.0, 6.0], 7)
    x, y = curve(line).T
    np.testing.assert_allclose(y, 2 * x, atol=1e-12)


def test_glyphs_and_text_must_agree():
    with pytest.raises(ValueError, match="each of 2 characters, got 1"):
        set_strokes("ab", [BAR])
