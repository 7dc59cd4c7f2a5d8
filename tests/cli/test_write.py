"""The options and files of `jdiff write`, from glyphs that are there already."""

from pathlib import Path

import numpy as np
import pytest
from boxes import random_glyphs
from PIL import Image

from jdiff import models
from jdiff.cli import main
from jdiff.images import from_uint8
from jdiff.sampling import Sample

TWO_STEPS = ["--steps", "2", "--guidance", "2"]
TEXT = "Aa bc def ghij k lm"
NUM_GLYPHS = len(TEXT.replace(" ", ""))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, where glyphs cost nothing and come in two steps."""

    def generate(key, model, labels, num_steps, *_, with_path, **__):
        x_0 = from_uint8(random_glyphs(NUM_GLYPHS)[..., None])
        noise = np.random.default_rng(0).uniform(-1, 1, (2, *x_0.shape))
        path = np.stack([*noise, x_0], 1)
        yield Sample(x_0, path if with_path else path[:, :0])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "generate_batches", generate)
    return tmp_path


def write(*argv, text=TEXT):
    main(["write", text, "--model", "latent", *TWO_STEPS, *argv])


def fails(capsys, folder, *argv, text=TEXT):
    """Runs a wrong command, which leaves nothing; returns its one sentence."""
    with pytest.raises(SystemExit) as error:
        write(*argv, text=text)
    assert error.value.code == 2 and not list(folder.iterdir())
    return capsys.readouterr().err.strip().splitlines()[-1]


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
def test_the_suffix_chooses_the_files(folder, capsys, argv, names):
    write(*argv)
    assert sorted(capsys.readouterr().out.split("\n")) == sorted(
        ["", *(f"wrote {name}" for name in names)]
    )
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
        ["--weight", "2"],
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
    monkeypatch.setattr("jdiff.handwriting.page.MAX_BYTES", int(pixels * 2))
    write("--out", "y.gif", "--no-counter")
    with Image.open("x.gif") as whole, Image.open("y.gif") as thin:
        assert (whole.n_frames, thin.n_frames) == (3, 2)
        whole.seek(2)
        thin.seek(1)
        np.testing.assert_array_equal(whole.convert("L"), thin.convert("L"))


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--out", "a.jpg"], "must end in .png or .svg or .gif or .apng or .webp"),
        (["--out", "nowhere/a.svg"], "no folder nowhere"),
        (["--ink", "nvy"], "'nvy'"),
        (["--paper", "#12345"], "'#12345'"),
        (["--ink", "white"], "ink and paper must differ"),
        (["--dpi", "0"], "got 0"),
        (["--dpi", "300", "--out", "a.webp"], "dpi is for .png, .apng and .svg"),
        (["--width", "20"], "got 20"),
        (["--width", "20000", "--out", "a.webp"], "at most 16383 pixels"),
        (["--height", "20"], "too low for the text"),
        (["--size", "0"], "got 0"),
        (["--margin", "-1"], "got -1"),
        (["--jitter", "2"], "got 2"),
        (["--slant", "4"], "slant must be in [-3, 3], got 4"),
        (["--weight", "nan"], "weight must be in [-3, 3], got nan"),
        (["--letter-width", "-9"], "letter_width must be in [-3, 3], got -9"),
        (["--roundness", "inf"], "got inf"),
        (["--style-seed", "-1"], "got -1"),
        (["--slant", "1", "--model", "mixture"], "no styles"),
        (["--wid", "300"], "--wid"),
    ],
)
def test_bad_options_are_found_before_there_are_glyphs(
    folder, capsys, monkeypatch, argv, says
):
    monkeypatch.setattr(models, "generate_batches", None)
    assert says in fails(capsys, folder, *argv)


def test_a_text_too_long_is_found_before_there_are_glyphs(folder, capsys):
    sentence = fails(capsys, folder, "--width", "500", text="a " * 5000 + "b")
    assert "at most 10000 characters, got 10001" in sentence


def test_the_page_of_one_word_too_many_leaves_nothing(folder, capsys):
    sentence = fails(capsys, folder, "--width", "110")
    assert "too narrow for the word 'ghij'" in sentence


def test_where_one_file_fails_there_is_none(folder, capsys, monkeypatch):
    def fail(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr("jdiff.handwriting.formats.save_animation", fail)
    assert "no space left" in fails(capsys, folder)
