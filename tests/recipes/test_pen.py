"""The recipe of the model of pen strokes, and what it learns from."""

import json

import numpy as np
import pytest

import jdiff
from jdiff import models
from jdiff.cli.main import main
from jdiff.data import PEN_CHARS, read_pen
from jdiff.handwriting import MIDDLE, STROKE_SCALE
from jdiff.recipes import pen, pen_data

CHARS = "oil-"


def draw(char, random):
    """Returns strokes in units of the file."""
    turn = np.linspace(0, 2 * np.pi, 20)
    bar = np.stack([np.zeros(9), np.linspace(0, 256, 9)], 1)
    strokes = {
        "o": [128 + 128 * np.stack([np.cos(turn), np.sin(turn)], 1)],
        "i": [bar, np.array([[0, 400]])],
        "l": [1.8 * bar],
        "-": [bar[:, ::-1] + [0, 128]],
    }
    noise = random.normal(0, 8, 2)
    return [stroke + noise for stroke in strokes[char]]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Returns a file of four letters, in three hands, on lines."""
    random = np.random.default_rng(0)
    text = CHARS * 24
    characters = [draw(char, random) for char in text]
    strokes = [stroke for character in characters for stroke in character]
    num = len(text)
    path = tmp_path_factory.mktemp("data") / "pen.npz"
    np.savez_compressed(
        path,
        points=np.concatenate(strokes).astype(np.int16),
        stroke_lengths=np.array([len(stroke) for stroke in strokes], np.uint16),
        num_strokes=np.array([len(c) for c in characters], np.uint8),
        chars=np.frombuffer(text.encode(), np.uint8),
        writers=np.arange(num, dtype=np.uint16) // 8 % 3,
        documents=np.zeros(num, np.uint16),
        lines=(np.arange(num) // 8).astype(np.uint16),
        x=(np.arange(num) % 8 * 340).astype(np.int32),
        has_baseline=np.arange(num) % 5 > 0,
    )
    return path


@pytest.mark.slow
def test_a_run_leaves_weights_that_write(path, tmp_path):
    out = tmp_path / "run"
    options = "--steps 2 --batch-size 4 --judge-steps 3 --num-features 16"
    options += " --num-layers 1 --num-conditions 8 --hold-back 1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pen, "EPOCH_STEPS", 2)
        command = ["train", "pen", "--data", str(path), "--out", str(out)]
        main([*command, *options.split()])
    weights = out / "weights.safetensors"
    model = models.load_pen(weights)
    assert len(model.hands) == 2
    assert jdiff.write("oil", weights, steps=2).strokes
    assert json.loads((out / "arguments.json").read_text())["num_layers"] == 1


def test_one_writer_alone_is_refused(path, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        argv = ["--data", str(path), "--hold-back", "0", "2"]
        main(["train", "pen", *argv, "--out", str(tmp_path / "run")])
    assert "data must hold two writers" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("writers", [(0, 1), (0, 2), (1, 2)])
def test_two_writers_are_judged_each_by_the_other(path, writers):
    everyone = read_pen(path)
    known = jdiff.data.select_pen(everyone, np.isin(everyone.writers, writers))
    strokes = pen_data.encode(known)
    read = pen_data.cross_read(
        strokes.arrays, strokes.labels, strokes.writers, num_steps=2
    )
    assert np.all(read < 0)


def test_a_crossed_out_letter_is_left_out(path):
    data = read_pen(path)
    scribble = [np.random.default_rng(0).uniform(0, 1, (400, 2))]
    data.strokes[5] = scribble
    assert pen_data._is_outlier(data)[5]


def test_a_character_without_baseline_stands_where_others_do():
    bar = np.zeros((6, 60, 3), np.float32)
    bar[:, :, 1] = np.linspace(0, 1, 60) - np.array([1, 1, 1, 3, 3, 0])[:, None]
    labels, writers = np.zeros(6, int), np.array([0, 0, 0, 1, 1, 0])
    known = np.arange(6) < 5
    moved = pen_data.find_baselines(bar, labels, writers, known)
    assert moved[5, :, 1].min() == pytest.approx(-1.0)
    np.testing.assert_array_equal(moved[:5], bar[:5])


def test_evenness_is_0_in_the_middle_of_a_hand_and_unknown_of_few():
    arrays = np.zeros((6, 60, 3), np.float32)
    arrays[:, :, 0] = np.linspace(-1, 1, 60)
    arrays[:, :, 1] = np.linspace(-1, 1, 60) + np.array([0, 0, 0, 0, 1, 0])[:, None]
    labels, writers = np.zeros(6, int), np.array([0, 0, 0, 0, 0, 1])
    even = pen_data.measure_evenness(arrays, labels, writers)
    np.testing.assert_allclose(even[:4], 0.0, atol=1e-6)
    assert even[4, 0] > 0 and even[4, 1] == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(even[5]).all()


def test_ranks_go_from_0_to_1_in_each_class():
    labels = np.array([0, 0, 0, 1, 1])
    rank = pen_data.rank_within(labels, np.array([3.0, 1.0, 2.0, 9.0, 5.0]))
    np.testing.assert_allclose(rank, [1.0, 0.0, 0.5, 1.0, 0.0])


def test_hands_that_wrote_into_cells_are_not_kept():
    """Their g and p stand on the line; of three writers the last wrote little."""
    labels = np.tile(np.arange(94), 3 + 3 + 1)
    writers = np.repeat([4, 5, 6], [94 * 3, 94 * 3, 94])
    arrays = np.zeros((len(labels), 60, 3), np.float32)
    arrays[:, :, 1] = -MIDDLE / STROKE_SCALE
    below = np.isin(labels, [PEN_CHARS.index(char) for char in "gjpqy"])
    arrays[below & (writers != 4), 0, 1] -= 1.0
    qualities = np.zeros((len(labels), 4), np.float32)
    strokes = pen_data.Strokes(arrays, labels, writers, qualities)
    assert pen_data.rank_hands(strokes).tolist() == [5]


def test_a_judge_tells_letters_apart(path):
    data = read_pen(path)
    arrays = np.stack([pen_data.encode_strokes(strokes) for strokes in data.strokes])
    judge, params = pen_data.fit_judge(arrays, data.labels, num_steps=30)
    assert (np.asarray(judge(params, arrays)).argmax(1) == data.labels).all()


def test_the_white_beside_letters_is_found_again():
    """Lines on which 'l' keeps away from what is on its left."""
    data = read_pen_of_lines()
    sides = pen_data.fit_sides(data)
    left = sides[:, 0]
    ell, oh = PEN_CHARS.index("l"), PEN_CHARS.index("o")
    assert left[ell] - left[oh] > 0.1


def read_pen_of_lines():
    from jdiff.data import Pen

    random = np.random.default_rng(0)
    text = random.choice(list("lo"), 600)
    bar = [np.array([[0.0, 0.0], [0.5, 1.0]], np.float32)]
    gaps = 0.3 + 0.2 * (text == "l")
    x = np.cumsum(0.5 + gaps).reshape(-1, 10)
    return Pen(
        [bar] * 600,
        np.array([PEN_CHARS.index(char) for char in text]),
        np.zeros(600, int),
        np.arange(600) // 10,
        (x - x[:, :1]).ravel(),
        np.ones(600, bool),
    )
