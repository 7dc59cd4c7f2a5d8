"""`jdiff hand`: from a sheet to a hand, its letters and its font; what is refused."""

import numpy as np
import pytest
from PIL import Image

from jdiff import data, hands, handwriting, models
from jdiff.cli import main

pytest.importorskip("optax")

HOOK = [np.array([[0.0, 1.6], [0.0, 0.0], [0.8, 0.0]])]
LETTERS = "abcdeh"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def model():
    return models.load_pen()


def place(chars, form=hands.FULL):
    """Strokes in millimetres of a sheet in whose cells for chars stand hooks."""
    filled = [HOOK if char in chars else None for char in form.chars]
    return hands.place_on_sheet(form, filled)


def fill(chars, form=hands.FULL, dpi=100):
    """A sheet in whose cells for chars stand hooks, as pixels."""
    page, scale = hands.draw_sheet(form, dpi), dpi / 25.4
    strokes = [scale * stroke for stroke in place(chars, form)]
    ink = handwriting.draw_strokes(strokes, 0.6 * scale, *page.shape)
    return np.minimum(page, 255 - ink)


def save_svg(path, chars, form=hands.FULL):
    wide, high = hands.PAGE
    lines = [
        f'<polyline points="{" ".join(f"{x:.3f},{y:.3f}" for x, y in stroke)}"/>'
        for stroke in place(chars, form)
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}">'
    path.write_text(f"{head}{''.join(lines)}</svg>")


def refuse(capsys, folder, *argv):
    """The one sentence with which a command ends; nothing is written."""
    before = set(folder.iterdir())
    with pytest.raises(SystemExit) as end:
        main(["hand", *argv])
    assert end.value.code == 2
    assert set(folder.iterdir()) == before
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.endswith(".") and "Traceback" not in said
    return said


def learned(folder, model):
    """The hand in the file, which is small."""
    path = folder / "my.hand"
    assert path.stat().st_size <= 200_000
    return models.load_hand(path, model)


@pytest.mark.parametrize("name", ["sheet.pdf", "sheet.png"])
def test_a_sheet_is_written(name, folder, capsys):
    main(["hand", "sheet", "--short", "--out", name])
    assert (folder / name).stat().st_size > 1000
    assert capsys.readouterr().out == f"wrote {name}\n"


def test_a_hand_is_learned_from_strokes(folder, model, capsys):
    main(["sample", "--chars", "abcdefgh", "--num", "1", "--out", "F.npz"])
    main(["hand", "learn", "F.npz", "--out", "my.hand"])
    assert "learned from 8 characters" in capsys.readouterr().out
    hand = learned(folder, model)
    assert not np.array_equal(hand.code, model.hands.mean(0))
    assert any(leaves["b"].any() for leaves in hand.biases.values())
    main(["write", "ab", "--hand", "my.hand", "--steps", "2", "--out", "own.png"])
    main(["write", "ab", "--steps", "2", "--out", "other.png"])
    own, other = (np.asarray(Image.open(f"{name}.png")) for name in ("own", "other"))
    assert own.shape != other.shape or (own != other).any()


@pytest.mark.parametrize("form", ["--short", ""])
def test_a_hand_is_learned_from_a_drawing(form, folder, model, capsys):
    save_svg(folder / "F.svg", LETTERS, hands.SHORT if form else hands.FULL)
    main(["hand", "learn", "F.svg", "--out", "my.hand", *form.split()])
    said = capsys.readouterr().out
    num = sum(c in LETTERS for c in hands.SHORT.chars) if form else len(LETTERS)
    assert f"learned from {num} characters" in said and "empty: " in said
    learned(folder, model)


def test_a_hand_is_learned_from_a_photo_upside_down(folder, model, capsys):
    pytest.importorskip("skimage")
    Image.fromarray(fill(LETTERS)[::-1, ::-1]).save("F.jpg", quality=90)
    main(["hand", "learn", "F.jpg", "--out", "my.hand"])
    assert f"learned from {len(LETTERS)} characters" in capsys.readouterr().out
    learned(folder, model)


def spoil_photo(photo, kind):
    height, width = photo.shape
    return {
        "marks": np.full((500, 400), 220, np.uint8),
        "dark": photo // 10,
        "cut": photo[: height // 2],
        "page": photo[:, ::-1],
    }[kind]


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("marks", "must show the four corner marks of a sheet, got 0"),
        ("dark", "it is too dark"),
        ("cut", "must show the four corner marks of a sheet, got 2"),
        ("page", "got the marks of another page"),
    ],
)
def test_a_photo_of_no_sheet_is_refused(kind, sentence, capsys, folder):
    Image.fromarray(spoil_photo(fill(LETTERS), kind)).save("F.png")
    said = refuse(capsys, folder, "learn", "F.png", "--out", "my.hand")
    assert sentence in said and "F.png" in said


def test_a_sheet_with_three_letters_is_refused(capsys, folder):
    save_svg(folder / "F.svg", "abc")
    said = refuse(capsys, folder, "learn", "F.svg", "--out", "my.hand")
    assert "at least 5 characters, got 3" in said


def test_strokes_of_two_writers_are_refused(capsys, folder):
    ones = np.zeros(2, np.int32)
    pen = data.Pen([HOOK, HOOK], ones, np.arange(2), ones, ones, ones == 0)
    data.save_pen(folder / "F.npz", pen)
    said = refuse(capsys, folder, "learn", "F.npz", "--out", "my.hand")
    assert "must hold characters of one writer, got 2" in said


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("<svg", "F.svg must be an .svg file of strokes"),
        ('<svg viewBox="0 0 100 100"/>', "must have the shape of a sheet"),
        ('<svg viewBox="0 0 nan 1"/>', "must have a view box of the page"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><svg/>', "must define no entities"),
    ],
)
def test_a_drawing_of_something_else_is_refused(content, sentence, capsys, folder):
    (folder / "F.svg").write_text(content)
    said = refuse(capsys, folder, "learn", "F.svg", "--out", "my.hand")
    assert sentence in said


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["sheet", "--out", "F.gif"], "must end in .pdf or .png"),
        (["learn", "none.jpg", "--out", "my.hand"], "must be an existing picture"),
        (["learn", "none.svg", "--out", "my.hand"], "must be an existing .svg file"),
        (["learn", "none.npz", "--out", "my.hand"], "none.npz must be"),
        (["learn", "F.jpg", "--out", "my.zip"], "must end in .hand"),
        (["learn", "F.jpg", "--out", "my.hand", "--seed", "-1"], "seed must be"),
        (["font", "--out", "F.ttf"], "must have F.hand or --style-seed"),
        (["font", "none.hand", "--out", "F.ttf"], "got none.hand, which is not one"),
        (["font", "--style-seed", "1", "--out", "F.otf"], "must end in .ttf"),
    ],
)
def test_a_wrong_command_is_refused(argv, sentence, capsys, folder):
    assert sentence in refuse(capsys, folder, *argv)


def test_a_hand_of_another_model_is_refused(model, capsys, folder):
    biases = models.take_biases(model.params)
    older = model._replace(params=models.shift_biases(model.params, biases))
    models.save_hand(folder / "my.hand", models.own_hand(model.hands[0]), older)
    said = refuse(capsys, folder, "font", "my.hand", "--out", "F.ttf")
    assert "got a hand of another one; learn it again from its sheet." in said
    with pytest.raises(SystemExit, match="2"):
        main(["write", "ab", "--hand", "my.hand", "--out", "F.png"])
    assert "hand of another one" in capsys.readouterr().err


def test_a_font_is_written(folder, model):
    ttLib = pytest.importorskip("fontTools.ttLib")
    models.save_hand(folder / "my.hand", models.own_hand(model.hands[0]), model)
    main(["hand", "font", "my.hand", "--out", "F.ttf"])
    font = ttLib.TTFont(folder / "F.ttf")
    assert font["name"].getDebugName(1) == "my"
    assert ord("Q") in font.getBestCmap()
