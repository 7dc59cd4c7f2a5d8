"""The page in a real browser: what a person does, and the same letters as here."""

import json
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
from jdiff import handwriting, models

ROOT = Path(__file__).parents[2]
TEXT = "Hello, World!"
MISSING = [name for name in ("chromium", "node", "npm") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("web")


@pytest.fixture(scope="module")
def seen(folder):
    site, packages = folder / "site", folder / "packages"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    build = [sys.executable, ROOT / "scripts" / "build_site.py", "--out", site]
    build += ["--part", "page"]
    subprocess.run(build, check=True, env=environment)
    packages.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "web" / name, packages)
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(install, cwd=packages, check=True)
    command = [sys.executable, "-m", "jdiff", "serve", "--site", site, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as server:
        try:
            address = server.stdout.readline().decode().strip()
            script = Path(__file__).with_name("browser.mjs")
            done = subprocess.run(
                ["node", script, address, folder, packages / "node_modules"],
                check=True,
                capture_output=True,
                timeout=600,
                env=os.environ | {"CHROMIUM": shutil.which("chromium")},
            )
        finally:
            server.terminate()
    return json.loads(done.stdout)


def test_the_letters_are_the_librarys(seen):
    pen = models.load_pen()
    labels = handwriting.encode(TEXT.replace(" ", ""), pen.classes)
    hand = models.draw_hand(pen, 7)
    batches = models.generate_strokes(jax.random.key(7), pen, labels, hand)
    expected = np.concatenate([batch.x_0 for batch in batches])
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


@pytest.mark.parametrize("view", ["write", "how", "dark"])
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
        ("wasm", "This browser has no WebAssembly"),
        ("version", "must be of version jdiff-export-1, got jdiff-export-0"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(seen, name, sentence):
    assert sentence in seen["sentences"][name]


def test_the_page_goes_on_after_mistakes(seen):
    assert "9 characters in" in seen["after"]
