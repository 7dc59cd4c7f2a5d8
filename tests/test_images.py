"""Round trips of images through arrays and files, and files whole or not at all."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jdiff.images import from_uint8, on_paper, save_png, tile, to_uint8
from jdiff.storage import atomic_write, check_output

BYTES = np.arange(256, dtype=np.uint8)


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("kind", [np, jnp])
def test_bytes_survive_as_floats(kind):
    x = from_uint8(kind.asarray(BYTES))
    assert isinstance(x, kind.ndarray) and x.dtype == np.float32
    assert x.min() == -1.0 and x.max() == 1.0
    np.testing.assert_array_equal(to_uint8(x), BYTES)


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
