"""The page's own hand in JavaScript: the same numbers as here, and its sentences."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from jdiff import hands, handwriting, models
from jdiff.hands.learn import find_unit

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")

CHARS = "abdilty"
LINE = [[0.0, 0.0], [0.1, 1.0]]


def drawn_letters():
    """Strokes as a mouse leaves them: uneven points, some twice, some alone."""
    random = np.random.default_rng(0)
    letters = []
    for k, char in enumerate(CHARS):
        strokes = []
        for num in random.integers(3, 40, 1 + k % 6):
            stroke = np.cumsum(random.normal(0, 0.2, (num, 2)), 0)
            strokes.append(np.repeat(stroke, random.integers(1, 3, num), 0))
        strokes[-1] = strokes[-1][:1] if k % 6 else strokes[-1]
        size = (1.4 if char == "a" else 2.0) / np.ptp(np.concatenate(strokes), 0).max()
        strokes = [size * stroke for stroke in strokes]
        letters.append({"char": char, "strokes": [s.tolist() for s in strokes]})
    return letters


@pytest.fixture(scope="module")
def facts():
    code = np.linspace(-1, 1, 6)
    table = np.linspace(0, 1, 11)
    return {
        "hands": [list(code), list(code + 1), list(2 * code)],
        "alpha": list(np.sqrt(1 - table**2)),
        "sigma": list(table),
        "prediction": "v",
        "digest": "that of the model",
    }


@pytest.fixture(scope="module")
def seen(facts):
    empty = {"char": "a", "strokes": []}
    letters = [{"char": char, "strokes": [LINE]} for char in "bcdef"]
    dot = {"char": "i", "strokes": [[[0.5, 1.5], [0.52, 1.5]], [[0.1, 0.1]]]}
    far = {"char": "m", "strokes": [[[0, 0], [9, 0]]]}
    mine = {"format": "jdiff-hand-1", "digest": facts["digest"]}
    files = [
        "no JSON",
        "null",
        json.dumps(mine | {"code": [0.0] * 5}),
        json.dumps(mine | {"code": [0.0] * 5 + ["x"]}),
        json.dumps(mine | {"code": [1e9] * 6}),
        json.dumps(mine | {"code": [0.0] * 6, "digest": "another's"}),
    ]
    given = {
        "letters": drawn_letters(),
        "cells": {
            "few": [empty, *letters[:3]],
            "dot": [*letters, dot],
            "many": [*letters, {"char": "g", "strokes": 7 * [LINE]}],
            "far": [*letters, far],
        },
        "classes": models.load_pen().classes,
        "facts": facts,
        "wanted": [0.3, -0.2, 0.4, 0.5, 0.9, 1.4],
        "files": files,
    }
    command = ["node", Path(__file__).with_suffix(".mjs").with_stem("hand")]
    command.append(ROOT / "jdiff" / "web")
    done = subprocess.run(
        command, input=json.dumps(given).encode(), check=True, capture_output=True
    )
    return json.loads(done.stdout)


def arrays_of(letters):
    return [[np.array(s) for s in letter["strokes"]] for letter in letters]


def test_letters_are_encoded_as_the_library_does(seen):
    for array, strokes in zip(seen["arrays"], arrays_of(drawn_letters()), strict=True):
        expected = handwriting.encode_strokes(strokes)
        np.testing.assert_allclose(np.reshape(array, (60, 3)), expected, atol=1e-5)


def test_their_unit_is_the_librarys(seen):
    reading = hands.Reading([], CHARS)
    strokes = find_unit(arrays_of(drawn_letters()), CHARS)
    for own, expected in zip(arrays_of(seen["units"]), strokes, strict=True):
        for stroke, points in zip(own, expected, strict=True):
            np.testing.assert_allclose(stroke, points, atol=1e-9)
    expected, _ = hands.encode_reading(reading._replace(strokes=strokes))
    np.testing.assert_allclose(
        np.reshape(seen["read"], (-1, 60, 3)), expected, 1e-5, 1e-5
    )


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("few", "at least 5 letters, got 3."),
        ("dot", "The cell of i holds only a dot"),
        ("many", "at most 6 strokes, got 7 in the cell of g"),
        ("far", "The letter m is too large beside the others"),
    ],
)
def test_what_is_wrong_with_letters_is_said(seen, name, sentence):
    assert sentence in seen["sentences"][name]


def test_the_fit_finds_the_least_loss(seen):
    np.testing.assert_allclose(
        seen["found"], [0.3, -0.2, 0.4, 0.5, 0.9, 1.4], atol=0.02
    )


def test_a_saved_hand_is_loaded_again_and_others_are_refused(seen):
    assert seen["again"] == [0.3, -0.2, 0.4, 0.5, 0.9, 1.4]
    *damaged, another = seen["refused"]
    assert damaged == 5 * ["The file must be a hand that this page saved."]
    assert another == "The hand belongs to another model: learn it again."
