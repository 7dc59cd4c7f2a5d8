"""`jdiff write` with the strokes that ship, and its animations."""

from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from jdiff.cli import main


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*argv, text="Hi you"):
    main(["write", text, "--steps", "2", "--draws", "1", *argv])


def test_strokes_are_the_default_and_an_svg_file_is_their_centre_lines():
    write("--out", "x.svg", "--ink", "navy")
    root = ElementTree.parse("x.svg").getroot()
    (group,) = (node for node in root if node.tag.endswith("g"))
    assert group.get("stroke") == "#000080" and group.get("fill") == "none"
    assert len(group) >= 6


def test_the_pen_writes_the_page():
    write("--out", "x.gif", "--animate", "pen")
    image = Image.open("x.gif")
    ink = []
    for k in range(image.n_frames):
        image.seek(k)
        ink.append((np.asarray(image.convert("L")) < 128).sum())
    assert image.n_frames > 50
    assert ink == sorted(ink) and ink[-1] > 5 * max(ink[0], 1)


@pytest.mark.parametrize("animate", ["noise", "pen"])
def test_an_animation_has_as_many_frames_as_asked_for(animate):
    write("--out", "x.gif", "--animate", animate, "--steps", "9", "--frames", "7")
    assert Image.open("x.gif").n_frames == 7


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--frames", "1"], "frames must be >= 2"),
        (["--neatness", "2"], "neatness must be in [0, 1], got 2.0"),
        (["--model", "mixture", "--neatness", "0.5"], "draws no strokes"),
        (["--model", "mixture", "--animate", "pen"], "must be of strokes"),
    ],
)
def test_bad_options_end_in_one_sentence_and_no_file(argv, message, capsys, folder):
    with pytest.raises(SystemExit, match="2"):
        main(["write", "Hi", "--steps", "2", "--out", "x.gif", *argv])
    assert message in capsys.readouterr().err
    assert not list(folder.iterdir())
