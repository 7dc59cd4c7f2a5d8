"""Pages of pen strokes."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from jdiff.handwriting import (
    animate_pen,
    curve,
    place_strokes,
    resample,
    save_page,
    set_strokes,
    stroke_page,
)
from jdiff.handwriting.manuscript import CAP_HEIGHT

BAR = [np.array([[0.0, 0.0], [0.0, 1.0]])]
RING = [np.stack([np.cos(a), np.sin(a)], 1) for a in [np.linspace(0, 2 * np.pi, 40)]]


def write(text, glyphs, **options):
    layout = set_strokes(text, glyphs, **options)
    return stroke_page(layout, glyphs)


DOT = [np.array([[0.0, 0.0]])]


def test_a_capital_is_as_high_as_asked():
    tall = [np.array([[0.0, 0.0], [0.0, CAP_HEIGHT]])]
    page = write("l", [tall], cap_height=50.0)
    assert np.ptp(page.strokes[0][:, 1]) == pytest.approx(50.0)


def test_ink_is_as_thick_as_the_pen():
    page = write("l", [BAR], cap_height=90.0, pen=0.1)
    ink = 1.0 - page.image / 255
    middle = int(page.strokes[0][:, 1].mean())
    assert ink[middle].sum() == pytest.approx(page.pen_width, abs=0.5)


def test_ink_lies_around_the_strokes_and_on_the_page():
    page = write("o.", [RING, DOT], width=300)
    assert page.image.shape[1] == 300
    y, x = np.nonzero(page.image < 255)
    points = np.concatenate([resample(stroke, 500) for stroke in page.strokes])
    far = np.hypot(x[:, None] + 0.5 - points[:, 0], y[:, None] + 0.5 - points[:, 1])
    assert far.min(1).max() < page.pen_width
    assert 0 < x.min() and x.max() < 299


def test_lines_of_neighbours_do_not_touch():
    page = write("oo", [RING, RING], gaps=-1.0)
    first, second = page.strokes
    assert second[:, 0].min() - first[:, 0].max() > page.pen_width


def test_characters_of_different_heights_may_overlap():
    """An apostrophe over a full stop needs no room of its own."""
    high = [stroke + [0.0, 2.5] for stroke in BAR]
    page = write("',", [high, DOT], gaps=0.05)
    assert page.strokes[1][0, 0] - page.strokes[0][0, 0] < 5.0


def test_a_long_tail_stays_on_the_page():
    tail = [np.array([[0.0, 1.0], [0.0, -4.0]])]
    page = write("j", [tail])
    assert page.strokes[0][:, 1].max() + page.pen_width < len(page.image)


def test_words_that_do_not_fit_move_to_the_next_line():
    page = write("oo oo", [RING] * 4, width=260)
    heights = [stroke[:, 1].mean() for stroke in page.strokes]
    assert heights[0] == pytest.approx(heights[1])
    assert heights[2] > heights[1] + 44.0


def test_the_page_grows_with_the_pen():
    page = write("lo", [BAR, RING])
    frames = list(animate_pen(page, 5).frames())
    ink = [(255 - frame.astype(int)).sum() for frame in frames]
    assert len(frames) == 5 and ink == sorted(ink) and ink[0] > 0
    np.testing.assert_array_equal(frames[-1], page.image)
    for frame in frames:
        assert (frame >= page.image).all()


def test_noise_becomes_the_page():
    layout = set_strokes("lo", [BAR, RING])
    random = np.random.default_rng(0)
    noisy = [[s + random.standard_normal(s.shape) for s in g] for g in (BAR, RING)]
    page = stroke_page(layout, [BAR, RING], [noisy, [BAR, RING]], [9, 0])
    first, last = page.frames()
    np.testing.assert_array_equal(last, page.image)
    assert (first != last).any() and page.steps == [9, 0]


def test_an_image_has_no_pen_to_animate():
    page = write("l", [BAR])._replace(strokes=None)
    with pytest.raises(ValueError, match="must be of strokes"):
        animate_pen(page)


def test_an_svg_file_has_a_path_for_each_stroke(tmp_path):
    page = write("o.", [RING, DOT])
    save_page(tmp_path / "page.svg", page)
    root = ElementTree.parse(tmp_path / "page.svg").getroot()
    paths = [node.get("d") for node in root.iter() if node.tag.endswith("path")]
    assert len(paths) == len(page.strokes) == 2
    for stroke, path in zip(page.strokes, paths, strict=True):
        x, y = map(int, re.match(r"M(-?\d+) (-?\d+)", path).groups())
        np.testing.assert_allclose([x / 10, y / 10], stroke[0], atol=0.051)
    # Relative curves sum up to the end of the stroke.
    numbers = np.array(re.findall(r"-?\d+", paths[0].split("c")[1]), int)
    end = page.strokes[0][0] + numbers.reshape(-1, 6)[:, 4:].sum(0) / 10
    np.testing.assert_allclose(end, page.strokes[0][-1], atol=0.2)


def test_strokes_lie_where_the_layout_says():
    layout = set_strokes("l", [BAR], cap_height=50.0)
    (stroke,) = place_strokes(layout, [BAR])
    np.testing.assert_allclose(stroke[0], [layout.left[0], layout.baseline[0]])


def test_glyphs_and_text_must_agree():
    with pytest.raises(ValueError, match="each of 2 characters, got 1"):
        set_strokes("ab", [BAR])


def test_a_curve_passes_through_its_points():
    stroke = RING[0][:9]
    points = curve(stroke)
    np.testing.assert_array_equal(points[::3], stroke)
    np.testing.assert_allclose(curve(np.zeros((1, 2))), [[0.0, 0.0]])


def test_a_straight_stroke_has_a_straight_curve():
    line = np.linspace([0.0, 0.0], [3.0, 6.0], 7)
    x, y = curve(line).T
    np.testing.assert_allclose(y, 2 * x, atol=1e-12)
