"""Round trips of images through arrays and files, and files whole or not at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jdiff.files import atomic_write, check_output
from jdiff.images import on_paper, save_gif, save_png, tile, to_uint8

BYTES = np.arange(256, dtype=np.uint8)


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def read_gif(path):
    """Frames as grey arrays, their durations in ms, and the loop count of a GIF."""
    with Image.open(path) as gif:
        frames, durations = [], []
        for k in range(gif.n_frames):
            gif.seek(k)
            frames.append(np.asarray(gif.convert("L")))
            durations.append(gif.info["duration"])
        return np.stack(frames), durations, gif.info["loop"]


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


def test_gif_frames_durations_and_loop(tmp_path):
    greys = np.array([0, 60, 120, 180, 255], np.uint8)
    frames = np.broadcast_to(greys[:, None, None], (5, 6, 8))
    save_gif(tmp_path / "a.gif", frames, hold=20, frame_ms=50)
    seen, durations, loop = read_gif(tmp_path / "a.gif")
    assert seen.shape == frames.shape
    assert durations == [50, 50, 50, 50, 20 * 50]
    assert loop == 0


def test_gif_keeps_black_and_white_and_comes_close_between(tmp_path):
    ramp = np.tile(BYTES, (4, 1))
    save_gif(tmp_path / "a.gif", np.stack([ramp, ramp[:, ::-1]]))
    seen, _, _ = read_gif(tmp_path / "a.gif")
    assert seen[0, 0, 0] == 0 and seen[0, 0, 255] == 255
    assert np.abs(seen[0].astype(int) - ramp).max() <= 255 / 7 / 2 + 1
    np.testing.assert_array_equal(seen[1], seen[0][:, ::-1])


def test_step_counter_stays_off_the_page_and_counts(tmp_path):
    frames = np.where(random_images(3, 20, 90) > 127, 255, 0).astype(np.uint8)
    save_gif(tmp_path / "a.gif", frames, steps=[250, 10, 0])
    seen, durations, _ = read_gif(tmp_path / "a.gif")
    assert len(durations) == 3
    assert seen.shape[1] > 20 and seen.shape[2] == 90
    np.testing.assert_array_equal(seen[:, :20], frames)
    strips = seen[:, 20:]
    assert all(strip.min() < 200 and strip.max() == 255 for strip in strips)
    assert len({strip.tobytes() for strip in strips}) == 3


def test_frames_that_repeat_keep_the_whole_duration(tmp_path):
    save_gif(tmp_path / "a.gif", np.zeros((4, 5, 5), np.uint8), hold=3, frame_ms=40)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 1
        assert gif.info["duration"] == 40 * (3 + 3)


def test_a_single_frame_is_a_picture(tmp_path):
    save_gif(tmp_path / "a.gif", random_images(1, 5, 5), steps=[0])
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.format == "GIF" and gif.size[0] == 5


@pytest.mark.parametrize(
    "frames, options, message",
    [
        (random_images(2, 4, 4), {"steps": [1]}, "1 steps for 2 frames"),
        (random_images(2, 4, 4), {"hold": 0}, "hold must be"),
        (random_images(2, 4, 4), {"frame_ms": 10}, "frame_ms"),
        (random_images(2, 4, 4), {"frame_ms": 25}, "frame_ms"),
        (random_images(2, 4, 4, 3), {}, "grey"),
        (random_images(0, 4, 4), {}, "frames must be uint8"),
        (np.zeros((2, 4, 4)), {}, "frames must be uint8"),
    ],
)
def test_bad_animations_write_nothing(tmp_path, frames, options, message):
    with pytest.raises(ValueError, match=message):
        save_gif(tmp_path / "a.gif", frames, **options)
    assert not list(tmp_path.iterdir())


def test_output_folder_must_exist(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(ValueError, match=f"no folder {missing}"):
        save_png(missing / "a.png", random_images(4, 4))
    with pytest.raises(ValueError, match=f"no folder {missing}"):
        save_gif(missing / "a.gif", random_images(1, 4, 4))
    assert not missing.exists()


@pytest.mark.parametrize("name", ["a.bmp", "a", "a.png.txt"])
def test_suffix_must_be_known(tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in \.png"):
        save_png(tmp_path / name, random_images(4, 4))
    with pytest.raises(ValueError, match=r"must end in \.gif"):
        save_gif(tmp_path / name, random_images(1, 4, 4))
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
