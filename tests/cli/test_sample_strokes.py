"""`jdiff sample` with the strokes that ship."""

import numpy as np
import pytest
from PIL import Image

from jdiff.cli import main
from jdiff.data import PEN_CHARS, read_pen


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sample(*argv):
    main(["sample", "--steps", "2", "--draws", "1", *argv])


def test_samples_are_in_the_format_of_the_data():
    sample("--chars", "oil", "--num", "3", "--out", "F.npz")
    pen = read_pen("F.npz")
    assert "".join(PEN_CHARS[label] for label in pen.labels) == "oil" * 3
    assert pen.writers.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(set(pen.lines[:3])) == 1 and len(set(pen.lines)) == 3
    for strokes in pen.strokes:
        assert min(stroke[:, 0].min() for stroke in strokes) == pytest.approx(
            0, abs=0.1
        )
    # Characters of a line stand side by side.
    for k in (0, 1, 3, 4):
        right = pen.x[k] + max(stroke[:, 0].max() for stroke in pen.strokes[k])
        assert right - 0.5 < pen.x[k + 1] < right + 1.5


def test_a_picture_has_a_row_for_a_character_and_a_column_for_a_hand():
    sample("--chars", "l.", "--num", "3", "--out", "F.png")
    page = np.asarray(Image.open("F.png"))
    assert page.shape == (2 * 74 + 2, 3 * 74 + 2)
    inside = page[2:, 2:]
    tall, low = (
        (inside[74 * k : 74 * k + 72].reshape(72, -1) < 128).any(1).sum()
        for k in (0, 1)
    )
    assert tall > 2 * low > 0


def test_images_have_no_neatness(capsys, folder):
    with pytest.raises(SystemExit, match="2"):
        main(["sample", "--model", "unet", "--neatness", "0.5", "--out", "F.npz"])
    assert "no strokes (pen does), got neatness" in capsys.readouterr().err
    assert not list(folder.iterdir())
