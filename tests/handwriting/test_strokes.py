"""Strokes: the array of a character, and back."""

import numpy as np
import pytest

from jdiff.handwriting import (
    MAX_STROKES,
    NUM_POINTS,
    count_strokes,
    decode_strokes,
    encode_strokes,
    resample,
    restyle,
    smooth,
)


def arc(num, radius=1.0, turn=1.5):
    angle = np.linspace(0.0, turn * np.pi, num)
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1)


@pytest.mark.parametrize("num", range(1, MAX_STROKES + 1))
def test_an_array_gives_back_as_many_strokes_with_their_ends(num):
    strokes = [arc(40) + [0.0, k] for k in range(num)]
    decoded = decode_strokes(encode_strokes(strokes))
    assert len(decoded) == num
    shift = decoded[0][0] - strokes[0][0]
    for stroke, back in zip(strokes, decoded, strict=True):
        assert len(back) == NUM_POINTS // num
        np.testing.assert_allclose(back[[0, -1]] - shift, stroke[[0, -1]], atol=1e-5)


def test_the_ink_begins_at_0_and_keeps_its_height():
    (back,) = decode_strokes(encode_strokes([arc(40) + [5.0, 3.0]]))
    assert back[:, 0].min() == pytest.approx(0.0, abs=1e-6)
    assert back[:, 1].max() == pytest.approx(4.0, abs=1e-2)


def test_a_coded_curve_lies_on_the_curve():
    (back,) = decode_strokes(encode_strokes([arc(400)]))
    back = back - [1.0, 0.0]
    assert np.abs(np.hypot(*back.T) - 1.0).max() < 0.01


def test_a_dot_stays_a_dot():
    bar = np.array([[0.0, 0.0], [0.0, 1.0]])
    dot = np.array([[0.1, 1.5]])
    decoded = decode_strokes(encode_strokes([bar, dot]))
    np.testing.assert_allclose(decoded[1], dot, atol=1e-6)


def test_noise_on_the_pen_does_not_break_strokes():
    array = encode_strokes([arc(40), arc(40) + 1.0, arc(40) + 2.0])
    random = np.random.default_rng(0)
    array[:, 2] += 0.5 * random.standard_normal(NUM_POINTS)
    assert count_strokes(array) == 3


@pytest.mark.parametrize("num", [0, MAX_STROKES + 1])
def test_too_few_or_too_many_strokes_are_refused(num):
    with pytest.raises(ValueError, match=f"1 to 6, got {num}"):
        encode_strokes([arc(9)] * num)


def test_resampled_points_are_equally_far_apart():
    steps = np.hypot(*np.diff(resample(arc(900), 31), axis=0).T)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-3)


def test_smoothing_keeps_ends_and_straight_lines_and_calms_the_rest():
    line = np.linspace([0.0, 0.0], [1.0, 2.0], 30)
    np.testing.assert_allclose(smooth(line), line, atol=1e-9)
    random = np.random.default_rng(0)
    trembling = line + 0.02 * random.standard_normal(line.shape)
    calm = smooth(trembling, 0.1)
    np.testing.assert_allclose(calm[[0, -1]], trembling[[0, -1]])
    assert np.abs(calm - line)[3:-3].mean() < np.abs(trembling - line)[3:-3].mean()


@pytest.mark.parametrize("num", [1, 2, 3])
def test_smoothing_takes_short_strokes(num):
    assert smooth(arc(num), 0.5).shape == (num, 2)
    assert smooth(np.zeros((num, 2))).shape == (num, 2)


def test_a_style_leans_stretches_and_shortens():
    bar = np.linspace([0.0, -1.0], [0.0, 2.0], 31)
    leaning = restyle(bar, slant=0.5)
    np.testing.assert_allclose(leaning[:, 0], 0.5 * leaning[:, 1], atol=1e-9)
    dash = np.linspace([0.0, 0.5], [1.0, 0.5], 31)
    np.testing.assert_allclose(
        restyle(dash, width=2.0)[:, 0], 2 * dash[:, 0], atol=1e-9
    )
    short = restyle(bar, reach=0.5)[:, 1]
    np.testing.assert_allclose([short.min(), short.max()], [-0.5, 1.5])
    middle = (bar[:, 1] >= 0) & (bar[:, 1] <= 1)
    np.testing.assert_allclose(short[middle], bar[middle, 1], atol=1e-9)
