"""Outlines filled again are the page; what an SVG file says of itself."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from boxes import random_glyphs
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw

from jdiff.handwriting import Page, compose, save_page, trace_outlines, typeset
from jdiff.images import on_paper

FINE = 8  # pixels of the test's picture in one of the page


def disc(radius, size=40, centre=(20.0, 20.0)):
    """A dark disc with an edge two pixels wide, as those of pages."""
    y, x = np.mgrid[:size, :size] + 0.5
    distance = np.hypot(x - centre[0], y - centre[1])
    grey = np.clip(0.5 + 0.5 * (distance - radius), 0.0, 1.0)
    return np.rint(255 * grey).astype(np.uint8)


def filled(polygons, height, width):
    """The pixels whose centres the even-odd rule fills, bool[height, width]."""
    total = Image.new("1", (width * FINE, height * FINE))
    for polygon in polygons:
        one = Image.new("1", total.size)
        points = [tuple(point) for point in np.asarray(polygon) * FINE - 0.5]
        ImageDraw.Draw(one).polygon(points, fill=1)
        total = ImageChops.logical_xor(total, one)
    return np.asarray(total)[FINE // 2 :: FINE, FINE // 2 :: FINE]


def read_svg(path):
    """The file's root, and its curves as polygons in pixels of the page."""
    root = ElementTree.parse(path).getroot()
    polygons = []
    for curve in re.findall("M[^M]*", root.find("{*}path").get("d")):
        assert re.fullmatch(r"M\d+ \d+q[-\d ]+z", curve)
        here, *pairs = np.array(re.findall(r"-?\d+", curve), float).reshape(-1, 2)
        points = []
        for control, end in zip(pairs[::2], pairs[1::2], strict=True):
            for t in (0.25, 0.5, 0.75, 1.0):
                points.append(here + 2 * t * (1 - t) * control + t**2 * end)
            here = here + end
        np.testing.assert_allclose(here, points[-1])
        polygons.append(np.array(points) / 10)
    return root, polygons


def area(polygon):
    x, y = np.asarray(polygon).T
    return 0.5 * (x * np.roll(y, -1) - np.roll(x, -1) * y).sum()


def handwriting(text="abc HQ 089\nxyzw"):
    glyphs = random_glyphs(len("".join(text.split())), seed=4)
    return on_paper(compose(typeset(text, glyphs), glyphs))


def test_a_disc_is_traced_to_a_twentieth_of_a_pixel():
    (outline,) = trace_outlines(disc(12.0))
    radius = np.hypot(*(outline - 20.0).T)
    np.testing.assert_allclose(radius, 12.0, atol=0.05)
    assert abs(abs(area(outline)) / (np.pi * 12**2) - 1) < 0.01


def test_a_curve_is_as_round_as_the_disc(tmp_path):
    save_page(tmp_path / "a.svg", Page(disc(12.0)))
    _, (curve,) = read_svg(tmp_path / "a.svg")
    np.testing.assert_allclose(np.hypot(*(curve - 20.0).T), 12.0, atol=0.15)
    # No corners: it turns a little from each piece to the next.
    sides = np.diff(curve, axis=0)
    turns = np.diff(np.unwrap(np.arctan2(*sides.T)))
    assert np.abs(turns).max() < 0.3


def test_ink_lies_left_of_every_edge():
    # A ring: its outer edge and its hole are walked in opposite senses.
    ring = np.maximum(disc(14.0), on_paper(disc(6.0)))
    areas = sorted(map(area, trace_outlines(ring)))
    np.testing.assert_allclose(areas, [-np.pi * 14**2, np.pi * 6**2], rtol=0.02)


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9))
def test_outlines_of_any_page_part_ink_from_paper(seed, height, width):
    # Noise: every square of marching squares occurs, the ambiguous ones too.
    page = np.random.default_rng(seed).choice([0, 255], (height, width))
    page = page.astype(np.uint8)
    outlines = trace_outlines(page)
    np.testing.assert_array_equal(filled(outlines, height, width), page == 0)
    for outline in outlines:
        assert (outline >= -0.5).all() and (
            outline <= [width + 0.5, height + 0.5]
        ).all()


def test_curves_filled_again_are_the_page(tmp_path):
    page = handwriting()
    save_page(tmp_path / "a.svg", Page(page))
    _, polygons = read_svg(tmp_path / "a.svg")
    assert any(area(p) > 0 for p in polygons) and any(area(p) < 0 for p in polygons)
    same = filled(polygons, *page.shape) == (page < 127.5)
    assert same.mean() > 0.99
    # Where they differ the page is neither ink nor paper but an edge.
    ink = page < 127.5
    edge = np.zeros_like(ink)
    for axis in (0, 1):
        for step in (-1, 1):
            edge |= ink != np.roll(ink, step, axis)
    assert (same | edge).mean() > 0.999


def test_a_file_says_its_size_and_colours(tmp_path):
    path = tmp_path / "a.svg"
    navy, ivory = (0, 0, 128, 255), (255, 255, 240, 255)
    save_page(path, Page(disc(9.0, size=40)), navy, ivory, dpi=20)
    root, _ = read_svg(path)
    assert root.get("width") == root.get("height") == "2in"
    assert root.get("viewBox") == "0 0 400 400"
    assert root.find("{*}path").get("fill") == "#000080"
    assert root.find("{*}path").get("fill-rule") == "evenodd"
    assert root.find("{*}rect").get("fill") == "#fffff0"
    save_page(path, Page(disc(9.0)), paper=(255, 255, 255, 0))
    root, _ = read_svg(path)
    assert root.get("width") == "40" and root.find("{*}rect") is None


def test_a_blank_page_and_a_black_one(tmp_path):
    blank = np.full((5, 7), 255, np.uint8)
    assert trace_outlines(blank) == []
    save_page(tmp_path / "a.svg", Page(blank))
    assert ElementTree.parse(tmp_path / "a.svg").getroot().get("width") == "7"
    (outline,) = trace_outlines(on_paper(blank))
    # The edge runs along the border; it cuts the corners of the outer pixels.
    assert abs(area(outline)) == pytest.approx(5 * 7 - 4 * 0.5**2 / 2)


@pytest.mark.parametrize(
    "page",
    [np.zeros((4, 4)), np.zeros((0, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)],
)
def test_what_is_no_page_is_refused(tmp_path, page):
    with pytest.raises(ValueError, match="a page must be grey"):
        save_page(tmp_path / "a.svg", Page(page))
    assert not list(tmp_path.iterdir())


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.png or \.svg"):
        save_page(tmp_path / "a.bmp", Page(disc(3.0)))
    with pytest.raises(ValueError, match="dpi must be in"):
        save_page(tmp_path / "a.svg", Page(disc(3.0)), dpi=0)
    assert not list(tmp_path.iterdir())
