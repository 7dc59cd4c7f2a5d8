"""Plots show what they are given: where it is, in its colour, and no more of it."""

import io

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from PIL import Image, ImageColor  # noqa: E402

from jdiff import plots  # noqa: E402


@pytest.fixture
def axes():
    yield plt.figure().add_subplot()
    plt.close("all")


def test_a_sheet_is_ink_on_paper_with_names_at_the_middle_of_each_image(axes):
    x = np.full((2, 3, 5, 5, 1), -1.0)
    x[1, 2] = 1.0
    plots.show_images(x, rows=["a", "b"], columns=[1, 2, 3], axes=axes)
    (sheet,) = axes.get_images()
    page = sheet.get_array()
    for row, y in enumerate(axes.get_yticks()):
        for column, x_tick in enumerate(axes.get_xticks()):
            ink = 0 if (row, column) == (1, 2) else 255
            assert page[int(y), int(x_tick)] == ink


def test_own_greys_reach_from_white_to_black(axes):
    x = np.linspace(-0.2, 0.1, 25).reshape(1, 1, 5, 5, 1)
    plots.show_images(x, axes=axes, own_greys=True)
    page = axes.get_images()[0].get_array()[2:-2, 2:-2]
    assert (page.min(), page.max()) == (0, 255)


def test_points_have_the_colour_of_their_label_and_the_first_3000_are_shown(axes):
    x, labels = np.random.default_rng(0).normal(size=(4000, 2)), np.arange(4000) % 4
    plots.show_points(axes, x, labels, box=(-1, 1, -2, 2))
    (dots,) = axes.collections
    np.testing.assert_allclose(dots.get_offsets(), x[:3000])
    wanted = matplotlib.colors.to_rgba_array([plots.COLORS[k] for k in labels[:8]])
    np.testing.assert_allclose(dots.get_facecolors()[:8], wanted)
    assert (axes.get_xlim(), axes.get_ylim()) == ((-1, 1), (-2, 2))


@pytest.mark.parametrize("num", [1, 10, 1000])
def test_smoothing_keeps_a_line_in_its_middle(num):
    values = np.arange(40.0)
    means = plots.smooth(values, num)
    assert len(means) == max(1, 41 - num)
    np.testing.assert_allclose(means.mean(), values.mean())


def test_an_arrow_of_a_diagram_goes_from_box_to_box(axes):
    places = {"a": (0.2, 0.5), "b": (0.8, 0.5)}
    plots.show_diagram(axes, places, [("a", "b", "map")], {"a": "red"})
    (arrow,) = [text for text in axes.texts if getattr(text, "arrow_patch", None)]
    assert (arrow.xyann, arrow.xy) == (places["a"], places["b"])
    assert [text.get_text() for text in axes.texts] == ["a", "b", "", "map"]


def pixels(frame, color):
    """Rows and columns of a colour, as floats."""
    rgb = np.asarray(frame.convert("RGB")).astype(int)
    return np.argwhere((abs(rgb - ImageColor.getrgb(color)) < 3).all(-1))


def test_a_gif_of_points_shows_each_in_its_place_and_colour():
    paths = np.zeros((2, 3, 2))
    paths[0, :, 0] = [-1.0, 0.0, 1.0]  # goes to the right; the other stays
    gif = plots.make_points_gif(paths, [0, 1], [2, 1, 0], (-2, 2, -1, 1), width=200)
    image = Image.open(io.BytesIO(gif))
    assert image.n_frames == 3 and image.size[0] == 200
    columns = []
    for k in range(3):
        image.seek(k)
        row, column = pixels(image, plots.COLORS[0]).mean(0) if k != 1 else (50, 100)
        assert abs(row - 50) < 2
        columns.append(column)
        assert len(pixels(image, plots.COLORS[1])) == 4
    np.testing.assert_allclose(columns, [50, 100, 150], atol=2)


def test_a_gif_of_pages_holds_its_last_frame():
    pages = np.full((3, 20, 60), 255, np.uint8)
    pages[np.arange(3), 5:9] = 0
    pages[1:, 12:15, :30] = 0
    image = Image.open(io.BytesIO(plots.make_gif(pages, steps=[9, 5, 0], hold=10)))
    durations = []
    for k in range(image.n_frames):
        image.seek(k)
        durations.append(image.info["duration"])
    assert durations[-1] == 10 * durations[0]
