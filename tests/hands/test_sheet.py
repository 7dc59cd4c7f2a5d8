"""A sheet that is filled, photographed and read."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from jdiff import hands, handwriting
from jdiff.data import DataError
from jdiff.hands.photo import PIXELS

# A hook: not the same upside down.
HOOK = [np.array([[0.0, 1.6], [0.0, 0.0], [0.8, 0.0]])]
CROSS = [np.array([[-1.6, -1.3], [1.6, 2.1]]), np.array([[-1.6, 2.1], [1.6, -1.3]])]


def photograph(characters, form=hands.FULL, dpi=150):
    """A sheet with ink, on a dark table, in a light that fades to the right."""
    page = hands.draw_sheet(form, dpi)
    scale = dpi / 25.4
    strokes = [scale * s for s in hands.place_on_sheet(form, characters)]
    ink = handwriting.draw_strokes(strokes, 0.45 * scale, *page.shape)
    page = np.minimum(page, 255 - 0.8 * ink).astype(np.uint8)
    height, width = page.shape
    image = Image.fromarray(page).transform(
        (width, height),
        Image.Transform.PERSPECTIVE,
        (1.15, 0.03, -80, 0.02, 1.16, -60, 2e-5, 3e-5),
        Image.Resampling.BICUBIC,
        fillcolor=60,
    )
    light = np.linspace(1.0, 0.55, width)
    noise = np.random.default_rng(0).normal(0.0, 3.0, page.shape)
    return np.clip(np.asarray(image) * light + noise, 0, 255).astype(np.uint8)


def filled(form=hands.FULL, empty=(), crossed=()):
    return [
        None if k in empty else CROSS if k in crossed else HOOK
        for k in range(len(form.chars))
    ]


@pytest.mark.parametrize("form", hands.FORMS, ids=["full", "short"])
@pytest.mark.parametrize("turns", [0, 1, 2])
def test_cells_are_found_however_the_photo_is_turned(form, turns):
    photo = photograph(filled(form, empty=[3, 17], crossed=[5]), form)
    cells = hands.find_cells(np.rot90(photo, turns))
    assert cells.form == form
    np.testing.assert_array_equal(np.flatnonzero(cells.empty), [3, 17])
    np.testing.assert_array_equal(np.flatnonzero(cells.crossed), [5])
    # Upright: a hook's foot is wide.
    window = cells.ink[0]
    rows = np.flatnonzero(window.any(1))
    assert window[rows[-3]].sum() > 3 * window[rows[2]].sum()


def test_ink_belongs_to_the_cell_that_holds_most_of_it():
    dash = [np.array([[0.0, 0.9], [4.4, 0.9]])]  # 24 mm, in cells of 18.6
    characters = filled(empty=range(94))
    characters[44] = dash
    cells = hands.find_cells(photograph(characters))
    np.testing.assert_array_equal(np.flatnonzero(~cells.empty), [44])
    columns = np.flatnonzero(cells.ink[44].any(0))
    assert np.ptp(columns) / PIXELS == pytest.approx(24.2, abs=1.0)
    # Two that touch are cut where their cells meet.
    characters[45] = dash
    cells = hands.find_cells(photograph(characters))
    np.testing.assert_array_equal(np.flatnonzero(~cells.empty), [44, 45])


def test_a_stroke_goes_on_across_print():
    # 16 mm above the line, where the cell says which character it is for.
    characters = filled(empty=range(94))
    characters[44] = [np.array([[0.0, 2.9], [0.0, 0.0], [2.6, 0.0]])]
    cells = hands.find_cells(photograph(characters))
    np.testing.assert_array_equal(np.flatnonzero(~cells.empty), [44])
    _, num = ndimage.label(cells.ink[44], np.ones((3, 3)))
    rows = np.flatnonzero(cells.ink[44].any(1))
    assert num == 1
    assert np.ptp(rows) / PIXELS == pytest.approx(16.0, abs=1.0)


def test_a_letter_like_a_mark_is_not_taken_for_one():
    turn = np.linspace(0.0, 2 * np.pi, 40)
    ring = np.stack([np.cos(turn), np.sin(turn)], 1)
    spiral = ring * np.linspace(0.0, 0.45, 40)[:, None]
    at = [1.1 * ring + [0.0, 0.8], 0.8 * spiral + [0.0, 0.8]]
    characters = filled()
    for k in (20, 47, 73):
        characters[k] = at
    cells = hands.find_cells(photograph(characters))
    assert cells.form == hands.FULL and not cells.empty.any()


def test_what_is_no_sheet_is_refused_in_one_sentence():
    photo = photograph(filled())
    for picture, words in [
        (photo // 16, "too dark"),
        (photo[: len(photo) // 2], "four corner marks"),
        (np.full((400, 300), 200, np.uint8), "got 0"),
        (photo[:, ::-1], "another page"),
    ]:
        with pytest.raises(DataError, match=words):
            hands.find_cells(picture)


def test_strokes_in_cells_come_back_in_the_writers_units():
    form = hands.FULL
    # Of a writer whose x is a hook, 1.6 times as tall as the sheet's, a little above
    # the line, and whose l is as much taller than an x. One s went wrong.
    characters = [None] * len(form.chars)
    for char, height in {"x": 1.0, "o": 1.0, "s": 2.5, "l": 1.6, "h": 1.6}.items():
        characters[form.chars.index(char)] = [height * HOOK[0] + [0.0, 0.2]]
    # A hook is one stroke.
    placed = iter(hands.place_on_sheet(form, characters))
    cells = [[] if own is None else [next(placed)] for own in characters]
    reading = hands.read_cells(cells, form)
    assert reading.chars == "hlosx" and len(reading.empty) == 89
    tall, _, _, _, x = (own[0][:, 1] for own in reading.strokes)
    assert np.ptp(x) == pytest.approx(1.0, abs=0.1)
    assert np.ptp(tall) == pytest.approx(1.6, abs=0.15)
    assert x.min() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("suffix", [".pdf", ".png"])
def test_the_sheet_is_a_file_to_print(tmp_path, suffix):
    path = tmp_path / f"sheet{suffix}"
    hands.save_sheet(path)
    begins = {".pdf": b"%PDF", ".png": b"\x89PNG"}[suffix]
    assert path.read_bytes().startswith(begins)
    with pytest.raises(ValueError, match="must end in .pdf or .png"):
        hands.save_sheet(tmp_path / "sheet.gif")
