"""The files of `jdiff write`, from glyphs that are there already."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from boxes import random_glyphs
from PIL import Image

from jdiff import writing

TEXT = "Aa bc def ghij k lm"
NUM_GLYPHS = len(TEXT.replace(" ", ""))
STEPS = [1000, 500, 0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options(*argv):
    parser = argparse.ArgumentParser()
    writing.add_options(parser)
    return parser.parse_args(argv)


def write(*argv, text=TEXT):
    args = options(*argv)
    outputs = writing.check_options(args, text)
    glyphs = random_glyphs(NUM_GLYPHS)
    path = None
    if not args.no_gif and any(map(writing.is_animated, outputs)):
        noise = np.random.default_rng(0).integers(0, 256, (2, *glyphs.shape), np.uint8)
        path = np.concatenate([noise, glyphs[None]])
    writing.save(args, text, outputs, glyphs, path, STEPS)
    return sorted(map(str, outputs))


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        ([], ["aa_bc_def_ghij_k_lm.gif", "aa_bc_def_ghij_k_lm.png"]),
        (["--no-gif"], ["aa_bc_def_ghij_k_lm.png"]),
        (["--out", "x"], ["x.gif", "x.png"]),
        (["--out", "x.PNG"], ["x.gif", "x.png"]),
        (["--out", "x.gif"], ["x.gif", "x.png"]),
        (["--out", "x.apng"], ["x.apng"]),
        (["--out", "x.webp"], ["x.webp"]),
        (["--out", "x.svg"], ["x.svg"]),
    ],
)
def test_the_suffix_chooses_the_files(folder, argv, names):
    assert write(*argv) == names
    assert sorted(path.name for path in folder.iterdir()) == names


@pytest.mark.parametrize("suffix", [".gif", ".apng", ".webp"])
def test_animations_have_all_frames_and_the_size_that_was_asked_for(folder, suffix):
    size = ["--width", "300", "--height", "400"]
    write("--out", f"x{suffix}", *size)
    with Image.open(f"x{suffix}") as file:
        assert file.n_frames == 3
        assert file.width == 300 and file.height > 400  # with the counter
    write("--out", f"y{suffix}", *size, "--no-counter")
    with Image.open(f"y{suffix}") as file:
        assert file.size == (300, 400)


@pytest.mark.parametrize("suffix", [".apng", ".webp"])
def test_without_animation_there_is_one_frame_and_no_counter(folder, suffix):
    write("--out", f"x{suffix}", "--no-gif")
    write("--out", "y.png", "--no-gif")
    with Image.open(f"x{suffix}") as still, Image.open("y.png") as page:
        assert getattr(still, "n_frames", 1) == 1
        seen, expected = np.asarray(still.convert("L"), int), np.asarray(page, int)
    assert seen.shape == expected.shape and np.abs(seen - expected).max() <= 9


@pytest.mark.parametrize("suffix", [".png", ".gif", ".apng", ".webp"])
def test_ink_and_paper_are_those_that_were_asked_for(folder, suffix):
    colours = ["--ink", "navy", "--paper", "#fff8e7"]
    write("--out", f"x{suffix}", *colours)
    write("--out", f"y{suffix}", *colours, "--transparent")
    solid, clear = (
        np.asarray(Image.open(f"{name}{suffix}").convert("RGBA")) for name in "xy"
    )
    assert tuple(solid[0, 0]) == (255, 248, 231, 255) and clear[0, 0, 3] == 0
    inks = solid[(solid[..., :3] == (0, 0, 128)).all(-1)]
    assert len(inks) > 100 and (inks[:, 3] == 255).all()
    assert (clear[clear[..., 3] == 255][:, :3] == (0, 0, 128)).all(-1).sum() > 100


def test_a_picture_knows_its_resolution(folder):
    write("--out", "x.png", "--dpi", "300")
    assert Image.open("x.png").info["dpi"] == pytest.approx((300, 300), rel=1e-3)
    write("--out", "x.svg", "--dpi", "100", "--width", "350")
    assert 'width="3.5in"' in Path("x.svg").read_text()


def test_alignment_size_margin_and_jitter_are_passed_on(folder):
    def page(*argv):
        write("--out", "x.png", "--no-gif", "--width", "400", *argv)
        return np.asarray(Image.open("x.png"))

    plain = page()
    for argv in (
        ["--align", "right"],
        ["--align", "centre"],
        ["--align", "justified"],
        ["--size", "30"],
        ["--margin", "1"],
        ["--jitter", "0"],
    ):
        other = page(*argv)
        assert other.shape != plain.shape or (other != plain).any()
    np.testing.assert_array_equal(page(), plain)


def test_a_page_too_large_for_all_its_frames_has_fewer_and_the_last(
    folder, monkeypatch
):
    write("--out", "x.gif", "--no-counter")
    pixels = np.prod(Image.open("x.gif").size)
    monkeypatch.setattr(writing, "MAX_BYTES", int(pixels * 2))
    write("--out", "y.gif", "--no-counter")
    with Image.open("x.gif") as whole, Image.open("y.gif") as thin:
        assert (whole.n_frames, thin.n_frames) == (3, 2)
        whole.seek(2)
        thin.seek(1)
        np.testing.assert_array_equal(whole.convert("L"), thin.convert("L"))


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--out", "a.jpg"], "must end in .png, .gif, .apng, .webp, .svg, got a.jpg"),
        (["--out", "nowhere/a.svg"], "no folder nowhere"),
        (["--ink", "nvy"], "'nvy'"),
        (["--paper", "#12345"], "'#12345'"),
        (["--ink", "white"], "--ink must differ from --paper, got white"),
        (["--dpi", "0"], "got 0"),
        (["--dpi", "300", "--out", "a.webp"], "--dpi is for .png, .apng and .svg"),
        (["--width", "20"], "got 20"),
        (["--width", "20000", "--out", "a.webp"], "at most 16383 pixels"),
        (["--height", "20"], "too low for the text"),
        (["--size", "0"], "got 0"),
        (["--margin", "-1"], "got -1"),
        (["--jitter", "2"], "got 2"),
    ],
)
def test_bad_options_are_found_before_there_are_glyphs(folder, argv, says):
    with pytest.raises(ValueError) as error:
        writing.check_options(options(*argv), TEXT)
    assert says in str(error.value) and not list(folder.iterdir())


def test_a_text_too_long_is_found_before_there_are_glyphs(folder):
    with pytest.raises(ValueError, match="at most 10000 characters, got 10001"):
        writing.check_options(options("--width", "500"), "a " * 5000 + "b")


def test_the_page_of_one_word_too_many_leaves_nothing(folder):
    with pytest.raises(ValueError, match="too narrow for the word 'ghij'"):
        write("--width", "110")
    assert not list(folder.iterdir())


def test_where_one_file_fails_there_is_none(folder, monkeypatch):
    def fail(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr("jdiff.handwriting.save_gif", fail)
    with pytest.raises(OSError):
        write()
    assert not list(folder.iterdir())
