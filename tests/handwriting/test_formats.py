"""Colours, and pages and animations read back from files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jdiff.handwriting import (
    ANIMATIONS,
    BLACK,
    WHITE,
    Page,
    parse_colour,
    save_animation,
    save_page,
)
from jdiff.handwriting.formats import check_size, colour_ramp

BYTES = np.arange(256, dtype=np.uint8)
NUM_GREYS = {".gif": 8, ".apng": 16, ".webp": 16}
NAVY, IVORY = parse_colour("navy"), parse_colour("ivory")


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def read_colours(path):
    """Frames of an animation as uint8[F, H, W, 4]."""
    with Image.open(path) as file:
        frames = []
        for k in range(file.n_frames):
            file.seek(k)
            frames.append(np.asarray(file.convert("RGBA")))
        return np.stack(frames)


def read_gif(path):
    """Frames as grey arrays, their durations in ms, and the loop count of a GIF."""
    with Image.open(path) as gif:
        frames, durations = [], []
        for k in range(gif.n_frames):
            gif.seek(k)
            frames.append(np.asarray(gif.convert("L")))
            durations.append(gif.info["duration"])
        return np.stack(frames), durations, gif.info["loop"]


def test_gif_frames_durations_and_loop(tmp_path):
    greys = np.array([0, 60, 120, 180, 255], np.uint8)
    frames = np.broadcast_to(greys[:, None, None], (5, 6, 8))
    save_animation(tmp_path / "a.gif", frames, hold=20)
    seen, durations, loop = read_gif(tmp_path / "a.gif")
    assert seen.shape == frames.shape
    assert durations == [80, 80, 80, 80, 20 * 80]
    assert loop == 0


def test_gif_keeps_black_and_white_and_comes_close_between(tmp_path):
    ramp = np.tile(BYTES, (4, 1))
    save_animation(tmp_path / "a.gif", np.stack([ramp, ramp[:, ::-1]]))
    seen, _, _ = read_gif(tmp_path / "a.gif")
    assert seen[0, 0, 0] == 0 and seen[0, 0, 255] == 255
    assert np.abs(seen[0].astype(int) - ramp).max() <= 255 / 7 / 2 + 1
    np.testing.assert_array_equal(seen[1], seen[0][:, ::-1])


def test_step_counter_stays_off_the_page_and_counts(tmp_path):
    frames = np.where(random_images(3, 20, 90) > 127, 255, 0).astype(np.uint8)
    save_animation(tmp_path / "a.gif", frames, steps=[250, 10, 0])
    seen, durations, _ = read_gif(tmp_path / "a.gif")
    assert len(durations) == 3
    assert seen.shape[1] > 20 and seen.shape[2] == 90
    np.testing.assert_array_equal(seen[:, :20], frames)
    strips = seen[:, 20:]
    assert all(strip.min() < 200 and strip.max() == 255 for strip in strips)
    assert len({strip.tobytes() for strip in strips}) == 3


def test_frames_that_repeat_keep_the_whole_duration(tmp_path):
    save_animation(tmp_path / "a.gif", np.zeros((4, 5, 5), np.uint8), hold=3)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 1
        assert gif.info["duration"] == 80 * (3 + 3)


def test_a_single_frame_is_a_picture(tmp_path):
    save_animation(tmp_path / "a.gif", random_images(1, 5, 5), steps=[0])
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.format == "GIF" and gif.size[0] == 5


@pytest.mark.parametrize(
    "frames, options, message",
    [
        (random_images(2, 4, 4), {"steps": [1]}, "1 steps for 2 frames"),
        (random_images(2, 4, 4), {"hold": 0}, "hold must be"),
        (random_images(2, 4, 4, 3), {}, "must be grey"),
        (random_images(0, 4, 4), {}, "one size, got 0"),
        (np.zeros((2, 4, 4)), {}, "must be grey.*float64"),
    ],
)
def test_bad_animations_write_nothing(tmp_path, frames, options, message):
    with pytest.raises(ValueError, match=message):
        save_animation(tmp_path / "a.gif", frames, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_every_format_keeps_frames_and_levels(tmp_path, suffix):
    frames = random_images(4, 15, 20)
    save_animation(tmp_path / f"a{suffix}", iter(frames))
    seen = read_colours(tmp_path / f"a{suffix}")
    assert seen.shape == (4, 15, 20, 4) and (seen[..., 3] == 255).all()
    error = np.abs(seen[..., 0] - frames.astype(float)).max()
    assert error <= 255 / (NUM_GREYS[suffix] - 1) / 2 + 1
    assert [file.name for file in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_every_format_is_coloured(tmp_path, suffix):
    frames = np.where(random_images(3, 9, 8) > 127, 255, 0).astype(np.uint8)
    save_animation(tmp_path / f"a{suffix}", frames, ink=NAVY, paper=IVORY)
    seen = read_colours(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(seen, np.where(frames[..., None], IVORY, NAVY))


@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_clear_paper_is_clear_and_old_ink_is_gone(tmp_path, suffix):
    frames = np.full((3, 12, 30), 255, np.uint8)
    for k in range(3):
        frames[k, 2:9, 10 * k : 10 * k + 8] = 0
    save_animation(tmp_path / f"a{suffix}", frames, ink=NAVY, paper=(*WHITE[:3], 0))
    seen = read_colours(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(seen[..., 3], 255 - frames)
    assert (seen[frames == 0][:, :3] == NAVY[:3]).all()


@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_a_counter_in_every_format(tmp_path, suffix):
    frames = np.full((2, 10, 90), 255, np.uint8)
    save_animation(tmp_path / f"a{suffix}", frames, steps=[7, 0])
    seen = read_colours(tmp_path / f"a{suffix}")
    assert (seen[:, :10] == 255).all() and (seen[0, 10:] != seen[1, 10:]).any()


def test_an_apng_knows_its_size_and_its_times(tmp_path):
    frames = random_images(3, 5, 6)
    save_animation(tmp_path / "a.apng", frames, dpi=150, hold=5)
    with Image.open(tmp_path / "a.apng") as png:
        assert png.format == "PNG" and png.info["loop"] == 0
        assert png.info["dpi"] == pytest.approx((150, 150), rel=1e-3)
        durations = []
        for k in range(3):
            png.seek(k)
            durations.append(png.info["duration"])
        assert durations == [80, 80, 400]


def test_a_webp_repeats_for_ever_and_holds_its_end(tmp_path):
    save_animation(tmp_path / "a.webp", random_images(3, 5, 6), hold=5)
    with Image.open(tmp_path / "a.webp") as webp:
        assert webp.info["loop"] == 0
        times = []
        for k in range(3):
            webp.seek(k)
            webp.load()
            times.append(webp.info["timestamp"])
        assert times == [0, 80, 160] and webp.info["duration"] == 400


def test_a_webp_is_no_larger_than_it_can_count(tmp_path):
    with pytest.raises(ValueError, match="at most 16383 pixels.* got 16384 x 2"):
        save_animation(tmp_path / "a.webp", np.zeros((1, 2, 16384), np.uint8))
    assert not list(tmp_path.iterdir())
    check_size((65_535, 65_535), ".gif")
    check_size((10**6, 10**6), ".apng")


def test_frames_of_two_sizes_are_refused(tmp_path):
    frames = [random_images(5, 5), random_images(5, 6)]
    with pytest.raises(ValueError, match="one size"):
        save_animation(tmp_path / "a.gif", frames)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ANIMATIONS)
def test_an_animation_needs_its_folder_and_its_suffix(tmp_path, suffix):
    missing = tmp_path / "missing"
    with pytest.raises(ValueError, match=f"no folder {missing}"):
        save_animation(missing / f"a{suffix}", random_images(1, 4, 4))
    with pytest.raises(ValueError, match=r"must end in \.gif or"):
        save_animation(tmp_path / "a.bmp", random_images(1, 4, 4))
    assert not list(tmp_path.iterdir())


def test_colours_are_names_or_numbers():
    assert parse_colour("navy") == parse_colour("#000080") == (0, 0, 128, 255)
    assert parse_colour("#fff") == WHITE and parse_colour("black") == BLACK


@pytest.mark.parametrize(
    "name", ["", "nvy", "#12345", "#12345678", "x" * 200, "rgb(999,0,0)"]
)
def test_what_is_no_colour_is_named(name):
    with pytest.raises(ValueError, match="a colour must be") as error:
        parse_colour(name)
    assert repr(name) in str(error.value)


COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


@given(COLOURS, COLOURS, st.integers(2, 256))
def test_a_ramp_goes_from_ink_to_paper_in_even_steps(ink, paper, num_colours):
    ramp = colour_ramp((*ink, 255), (*paper, 255), num_colours).astype(int)
    assert ramp.shape == (num_colours, 4) and (ramp[:, 3] == 255).all()
    assert tuple(ramp[0, :3]) == ink and tuple(ramp[-1, :3]) == paper
    even = np.linspace(ink, paper, num_colours)
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
    save_page(tmp_path / "a.png", Page(page), ink, paper, dpi=300)
    with Image.open(tmp_path / "a.png") as png:
        assert png.info["dpi"] == pytest.approx((300, 300), rel=1e-3)
        seen = np.asarray(png.convert("RGBA"))
    np.testing.assert_array_equal(seen[0], colour_ramp(ink, paper))
    save_page(tmp_path / "b.png", Page(page), ink, (*paper[:3], 0))
    with Image.open(tmp_path / "b.png") as png:
        seen = np.asarray(png.convert("RGBA"))
    assert (seen[0, :, 3] == 255 - BYTES).all() and (seen[0, :, :3] == ink[:3]).all()


@pytest.mark.parametrize("dpi", [0, -1, 10_001, float("nan")])
def test_dpi_must_be_possible(tmp_path, dpi):
    with pytest.raises(ValueError, match="dpi must be in"):
        save_page(tmp_path / "a.png", Page(random_images(3, 3)), dpi=dpi)
    assert not list(tmp_path.iterdir())


def test_only_grey_pages_are_written(tmp_path):
    with pytest.raises(ValueError, match="a page must be grey"):
        save_page(tmp_path / "a.png", Page(random_images(3, 3, 3)))
