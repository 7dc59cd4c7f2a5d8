"""Round trips of images through arrays and files, and files whole or not at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jdiff.images import (
    BLACK,
    WHITE,
    colour_ramp,
    on_paper,
    parse_colour,
    save_png,
    tile,
    to_uint8,
)
from jdiff.storage import atomic_write, check_output

BYTES = np.arange(256, dtype=np.uint8)


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_bytes_survive_as_floats():
    np.testing.assert_array_equal(to_uint8(BYTES / 127.5 - 1.0), BYTES)


@given(st.floats(width=32, allow_nan=False))
def test_bytes_are_the_nearest_to_the_clipped_value(x):
    error = abs(float(to_uint8(x)) - 127.5 * (np.clip(x, -1.0, 1.0) + 1.0))
    assert error <= 0.5 + 1e-4


def test_nan_is_not_an_image():
    with pytest.raises(ValueError, match="NaN"):
        to_uint8(np.array([0.0, np.nan]))


def test_paper_turns_ink_dark_and_back():
    assert on_paper(np.array([0, 255], np.uint8)).tolist() == [255, 0]
    np.testing.assert_array_equal(on_paper(on_paper(BYTES)), BYTES)


@pytest.mark.parametrize("colours", [(), (1,), (3,)])
@pytest.mark.parametrize("num_columns, padding", [(None, 2), (1, 0), (3, 1), (9, 5)])
def test_every_image_is_found_in_its_tile(colours, num_columns, padding):
    images = random_images(7, 5, 4, *colours)
    grid = tile(images, num_columns, padding)
    columns = min(num_columns or 3, 7)
    rows = -(-7 // columns)
    assert grid.shape[:2] == (
        padding + rows * (5 + padding),
        padding + columns * (4 + padding),
    )
    total = 0
    for k, image in enumerate(images.reshape(7, 5, 4, *grid.shape[2:])):
        y = padding + k // columns * (5 + padding)
        x = padding + k % columns * (4 + padding)
        np.testing.assert_array_equal(grid[y : y + 5, x : x + 4], image)
        total += image.sum(dtype=int)
    assert grid.sum(dtype=int) == total  # the rest is black


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 4, 4), np.float32),
        np.zeros((0, 4, 4), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((2, 4, 4, 2), np.uint8),
    ],
)
def test_tile_refuses_what_is_not_a_batch_of_images(images):
    with pytest.raises(ValueError, match="images must be uint8"):
        tile(images)


@pytest.mark.parametrize("num_columns, padding", [(0, 2), (2, -1)])
def test_tile_refuses_impossible_grids(num_columns, padding):
    with pytest.raises(ValueError, match="num_columns must be"):
        tile(random_images(2, 4, 4), num_columns, padding)


@pytest.mark.parametrize("colours", [(), (3,)])
def test_png_round_trip(tmp_path, colours):
    image = random_images(9, 7, *colours)
    save_png(tmp_path / "a.png", image)
    with Image.open(tmp_path / "a.png") as png:
        np.testing.assert_array_equal(np.asarray(png), image)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_output_folder_must_exist(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(ValueError, match=f"no folder {missing}"):
        save_png(missing / "a.png", random_images(4, 4))
    assert not missing.exists()


@pytest.mark.parametrize("name", ["a.bmp", "a", "a.png.txt"])
def test_suffix_must_be_known(tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in \.png"):
        save_png(tmp_path / name, random_images(4, 4))
    assert not list(tmp_path.iterdir())


def test_a_path_is_checked_before_the_work(tmp_path):
    assert check_output(tmp_path / "a.PNG", ".png", ".gif") == tmp_path / "a.PNG"
    with pytest.raises(ValueError, match=r"\.png or \.npz"):
        check_output(tmp_path / "a.gif", ".png", ".npz")
    with pytest.raises(ValueError, match="it is a folder"):
        check_output(tmp_path)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_write(path) as draft:
        draft.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_replaces_the_old_file_at_the_end_only(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with atomic_write(path) as draft:
        draft.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_npz_round_trip_through_a_draft(tmp_path):
    images = random_images(3, 28, 28)
    with atomic_write(tmp_path / "a.npz") as draft:
        np.savez(draft, images=images)
    with np.load(tmp_path / "a.npz") as stored:
        np.testing.assert_array_equal(stored["images"], images)
    assert len(list(tmp_path.iterdir())) == 1


def test_colours_are_names_or_numbers():
    assert parse_colour("navy") == parse_colour("#000080") == (0, 0, 128, 255)
    assert parse_colour("#fff") == WHITE and parse_colour("black") == BLACK


@pytest.mark.parametrize("name", ["", "nvy", "#12345", "#12345678", "x" * 200])
def test_what_is_no_colour_is_named(name):
    with pytest.raises(ValueError, match="a colour must be") as error:
        parse_colour(name)
    assert repr(name) in str(error.value)


COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


@given(COLOURS, COLOURS, st.integers(2, 256))
def test_a_ramp_goes_from_ink_to_paper_in_even_steps(ink, paper, num_levels):
    ramp = colour_ramp((*ink, 255), (*paper, 255), num_levels).astype(int)
    assert ramp.shape == (num_levels, 4) and (ramp[:, 3] == 255).all()
    assert tuple(ramp[0, :3]) == ink and tuple(ramp[-1, :3]) == paper
    even = np.linspace(ink, paper, num_levels)
    assert np.abs(ramp[:, :3] - even).max() <= 0.5 + 1e-9


@given(COLOURS, COLOURS)
def test_on_clear_paper_ink_keeps_its_colour_and_fades(ink, paper):
    ramp = colour_ramp((*ink, 255), (*paper, 0))
    assert (ramp[:, :3] == np.array(ink)).all()
    assert ramp[:, 3].tolist() == list(range(255, -1, -1))


@given(COLOURS, COLOURS, COLOURS)
def test_clear_paper_laid_on_paper_is_paper(ink, paper, ground):
    """A picture on clear paper, laid on a ground, is one on paper of that colour."""
    clear = colour_ramp((*ink, 255), (*paper, 0)) / 255.0
    laid = clear[:, :3] * clear[:, 3:] + np.array(ground) / 255 * (1 - clear[:, 3:])
    solid = colour_ramp((*ink, 255), (*ground, 255))[:, :3] / 255.0
    assert np.abs(laid - solid).max() <= 1 / 255


def test_a_picture_in_colours(tmp_path):
    page = np.tile(BYTES, (3, 1))
    ink, paper = parse_colour("navy"), parse_colour("ivory")
    save_png(tmp_path / "a.png", page, ink, paper, dpi=300)
    with Image.open(tmp_path / "a.png") as png:
        assert png.info["dpi"] == pytest.approx((300, 300), rel=1e-3)
        seen = np.asarray(png.convert("RGBA"))
    np.testing.assert_array_equal(seen[0], colour_ramp(ink, paper))
    save_png(tmp_path / "b.png", page, ink, (*paper[:3], 0))
    with Image.open(tmp_path / "b.png") as png:
        seen = np.asarray(png.convert("RGBA"))
    assert (seen[0, :, 3] == 255 - BYTES).all() and (seen[0, :, :3] == ink[:3]).all()


@pytest.mark.parametrize("dpi", [0, -1, 10_001, float("nan")])
def test_dpi_must_be_possible(tmp_path, dpi):
    with pytest.raises(ValueError, match="dpi must be in"):
        save_png(tmp_path / "a.png", random_images(3, 3), dpi=dpi)
    assert not list(tmp_path.iterdir())


def test_only_grey_pages_are_coloured(tmp_path):
    with pytest.raises(ValueError, match="a page must be grey"):
        save_png(tmp_path / "a.png", random_images(3, 3, 3), ink=(1, 2, 3, 255))
