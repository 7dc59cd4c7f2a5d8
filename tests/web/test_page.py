"""The page in a real browser: what a person does, and the same letters as here."""

import json
import lzma
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import jdiff
from jdiff import hands, handwriting, models
from jdiff.hands.learn import find_unit

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "jdiff" / "web" / "vendor"
TEXT = "Hello, World!"
DRAWN = "adehilnorw"  # by the mouse, in the hand of one of the writers
WRITER = 30
MISSING = [name for name in ("chromium", "node", "npm") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("web")


def generate(text, hand, seed=7):
    """Letters as the library draws them, float[N, 60, 3]."""
    pen = models.load_pen()
    labels = handwriting.encode(text.replace(" ", ""), pen.classes)
    batches = models.generate_strokes(jax.random.key(seed), pen, labels, hand)
    return np.concatenate([batch.x_0 for batch in batches])


def drawn_letters():
    """Strokes of each of DRAWN, with few points, as a quick hand leaves them."""
    hand = models.own_hand(models.load_pen().hands[WRITER])
    strokes = map(handwriting.decode_strokes, generate(DRAWN, hand, 3))
    return {
        char: [[*s[:-1:5].tolist(), s[-1].tolist()] for s in own]
        for char, own in zip(DRAWN, strokes, strict=True)
    }


@pytest.fixture(scope="module")
def seen(folder):
    site, packages = folder / "site", folder / "packages"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    build = [sys.executable, ROOT / "scripts" / "build_site.py", "--out", site]
    build += ["--part", "page"]
    subprocess.run(build, check=True, env=environment)
    packages.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(Path(__file__).with_name(name), packages)
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(install, cwd=packages, check=True)
    (folder / "letters.json").write_text(json.dumps(drawn_letters()))
    command = [sys.executable, "-m", "jdiff", "serve", "--site", site, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as server:
        try:
            address = server.stdout.readline().decode().strip()
            script = Path(__file__).with_name("browser.mjs")
            done = subprocess.run(
                ["node", script, address, folder, packages / "node_modules"],
                check=True,
                capture_output=True,
                timeout=900,
                env=os.environ | {"CHROMIUM": shutil.which("chromium")},
            )
        finally:
            server.terminate()
    return json.loads(done.stdout)


def test_the_package_carries_what_npm_pins(seen, folder):
    """The licences are its own; the runtime is packed."""
    files = [path for path in VENDOR.iterdir() if path.name != "LICENSES.txt"]
    assert len(files) == 4
    for path in files:
        name = path.name.removesuffix(".xz")
        (pinned,) = folder.glob(f"packages/node_modules/*/dist/{name}")
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = lzma.decompress(content)
        assert content == pinned.read_bytes()


def test_the_letters_are_the_librarys(seen):
    expected = generate(TEXT, models.draw_hand(models.load_pen(), 7))
    letters = np.reshape(seen["letters"], expected.shape)
    np.testing.assert_allclose(letters, expected, atol=1e-3)


def test_they_stand_where_the_library_sets_them(seen):
    page = jdiff.write(TEXT, "pen", width=704)
    assert len(seen["strokes"]) == len(page.strokes)
    for stroke, expected in zip(seen["strokes"], page.strokes, strict=True):
        np.testing.assert_allclose(stroke, expected, atol=0.1)


def test_nothing_fails_and_nothing_leaves_the_machine(seen):
    assert seen["errors"] == [] and seen["outside"] == []


def test_the_page_and_its_model_weigh_at_most_6_mb(seen):
    assert 5e6 < seen["weight"] <= 6e6


@pytest.mark.parametrize("view", ["write", "how", "own", "mine", "dark", "own dark"])
def test_axe_finds_nothing_against_accessibility(seen, view):
    assert seen["complaints"][view] == []


def test_the_page_is_quick(seen):
    """The promise is 1 s and 1.5 s on two quiet cores; a busy machine gets more."""
    writing = float(re.search(r"([0-9.]+) s,", seen["first"])[1])
    print(
        f"\nthe page: {seen['weight'] / 1e6:.2f} MB, first paint "
        f"{seen['paint'] / 1e3:.2f} s, 'Hello, World!' {writing:.2f} s"
    )
    assert seen["paint"] < 4e3 and writing < 6


def test_ten_thousand_pasted_characters_do_not_freeze_it(seen):
    assert seen["freeze"] < 1000
    assert "at most 500 characters, got 10500" in seen["sentences"]["pasted"]


def test_sliders_change_the_picture(seen):
    assert seen["fewer"] == 4 and seen["slanted"]
    assert np.abs(np.subtract(seen["other"], seen["letters"])).max() > 0.1


def test_files_are_saved(seen, folder):
    assert (folder / "handwriting.svg").read_text().count("<path") >= 15
    page = np.asarray(Image.open(folder / "handwriting.png").convert("L"))
    assert 0.005 < (page < 64).mean() < 0.3
    assert Image.open(folder / "handwriting.gif").n_frames == 11


def test_the_second_tab_is_reached_by_the_keyboard(seen):
    assert seen["how"]


def test_a_narrow_window_is_wide_enough(seen):
    assert not seen["overflow"]


def test_letters_drawn_by_the_mouse_are_encoded_as_here(seen):
    cells = [cell for cell in seen["own"]["cells"] if cell["strokes"]]
    chars = "".join(cell["char"] for cell in cells)
    assert chars == DRAWN
    strokes = [[np.array(s) for s in cell["strokes"]] for cell in cells]
    reading = hands.Reading(find_unit(strokes, chars), chars)
    expected, _ = hands.encode_reading(reading)
    arrays = np.reshape(seen["own"]["arrays"], expected.shape)
    np.testing.assert_allclose(arrays, expected, atol=1e-5)
    # What was drawn, up to the size and the height that are read from ten letters.
    given = generate(DRAWN, models.own_hand(models.load_pen().hands[WRITER]), 3)
    x, y = (
        each[..., :2] - each[..., :2].mean(1, keepdims=True) for each in (arrays, given)
    )
    size = np.sum(x * y) / np.sum(y * y)
    assert 0.7 < size < 1.4
    assert np.abs(x - size * y).mean() < 0.08


def test_the_page_learns_the_hand_that_drew_them(seen):
    """Its letters are nearer to the writer's own than the mean writer's are."""
    codes = models.load_pen().hands
    learned = np.array(seen["own"]["code"], np.float32)
    letters = generate(TEXT, models.own_hand(learned))
    own = np.reshape(seen["own"]["letters"], letters.shape)
    np.testing.assert_allclose(own, letters, atol=1e-3)
    others = set(TEXT) - set(DRAWN) - {" "}
    new = [char in others for char in TEXT.replace(" ", "")]
    writer, mean = (
        generate(TEXT, models.own_hand(code)) for code in (codes[WRITER], codes.mean(0))
    )
    for rows in (slice(None), new):
        near = np.abs(own - writer)[rows].mean()
        assert near < 0.8 * np.abs(mean - writer)[rows].mean()
    assert "Learned from 10 letters in" in seen["own"]["message"]
    assert "cells are empty: b c f g m p s t u y" in seen["own"]["message"]


def test_a_hand_can_be_left_saved_and_loaded(seen):
    np.testing.assert_array_equal(seen["own"]["seed"], seen["letters"])
    np.testing.assert_allclose(seen["loaded"], seen["own"]["letters"], atol=1e-6)


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("unknown", "Cannot write \u4f60"),
        ("long", "at most 500 characters, got 10000"),
        ("empty", "The text is empty"),
        ("wide", "too narrow for the word"),
        ("seed", "seed must be in [0, 999], got 1000"),
        ("missing", "model.onnx did not arrive"),
        ("torn", "part of the page did not arrive"),
        ("dot", "The cell of i holds only a dot"),
        ("letters", "at least 5 letters, got 0"),
        ("file", "must be a hand that this page saved"),
        ("wasm", "This browser has no WebAssembly"),
        ("version", "must be of version jdiff-export-1, got jdiff-export-0"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(seen, name, sentence):
    assert sentence in seen["sentences"][name]


def test_the_page_goes_on_after_mistakes(seen):
    assert "9 characters in" in seen["after"]
