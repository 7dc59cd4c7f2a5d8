"""Pen strokes beside those of people: the figures, on hands that are known."""

import numpy as np
import pen
import pytest
import verifier

from jdiff import data, handwriting


def make_hands(num_hands, num_classes, num, spread, seed=0):
    """Returns hands whose characters differ by a slant of the hand and by noise."""
    random = np.random.default_rng(seed)
    shapes = np.random.default_rng(1).standard_normal((num_classes, 60, 3))
    slants = random.standard_normal(num_hands)
    writers, labels = np.divmod(np.arange(num_hands * num_classes * num), num_classes)
    writers = writers // num
    arrays = shapes[labels] + spread * random.standard_normal((len(labels), 60, 3))
    arrays[..., 0] += 0.7 * slants[writers][:, None]
    return verifier.Characters(arrays.astype(np.float32), labels, writers)


def test_the_area_under_a_curve_is_the_chance_to_be_nearer():
    random = np.random.default_rng(0)
    same, other = random.integers(0, 9, 50), random.integers(2, 12, 40)
    nearer = (same[:, None] < other) + 0.5 * (same[:, None] == other)
    assert verifier.area_under_curve(same, other) == pytest.approx(nearer.mean())


@pytest.mark.slow
def test_a_verifier_tells_new_hands_apart():
    train, test = make_hands(40, 5, 8, 0.3), make_hands(20, 5, 8, 0.3, seed=2)
    embed = verifier.fit_verifier(train, 150)
    points, hands = embed(test), verifier.rows_of_hands(test)
    same, other = (verifier.distances(points, hands, k, 500) for k in (True, False))
    assert verifier.area_under_curve(same, other) > 0.8


def test_pairs_are_of_the_hands_that_they_say():
    characters = make_hands(4, 4, 5, 0.1)
    hands, random = verifier.rows_of_hands(characters), np.random.default_rng(0)
    for is_same in (True, False):
        rows = verifier.draw_pair(hands, is_same, random)
        first, second = (set(characters.writers[side]) for side in rows)
        assert len(first) == len(second) == 1 and (first == second) == is_same
        assert len(np.unique(rows)) == 2 * verifier.SET_SIZE


def test_chamfer_distances_are_in_heights_of_an_x_and_symmetric():
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, 60, 3))
    assert pen.chamfer(a, a) == 0 and pen.chamfer(a, b) == pen.chamfer(b, a) > 0
    point = np.zeros((60, 3))
    far = point + [0.0, 2.0, 0.0]
    assert pen.chamfer(point, far) == pytest.approx(2 * handwriting.STROKE_SCALE)


def test_a_hand_without_noise_is_always_nearer_to_itself():
    clear, blurred = (make_hands(6, 3, 2, spread) for spread in (1e-3, 30.0))
    assert pen.same_writer_preference(*pen.repetitions(clear)) == 1.0
    chance = pen.same_writer_preference(*pen.repetitions(blurred))
    assert chance == pytest.approx(0.5, abs=0.2)


def test_repetitions_are_two_characters_of_one_hand_and_class():
    characters = make_hands(3, 4, 2, 0.1)
    first, second = pen.repetitions(characters)
    assert len(first.labels) == 12
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.writers, second.writers)
    assert np.abs(first.arrays - second.arrays).max((1, 2)).min() > 0
    alone = verifier.select(characters, np.unique(characters.labels, True)[1])
    assert len(pen.repetitions(alone)[0].labels) == 0


def test_neighbours_are_of_one_class():
    random = np.random.default_rng(0)
    arrays = random.uniform(-4.5, 4.5, (200, 60, 3)).astype(np.float32)
    arrays[..., 2] = 0.0
    labels = np.arange(200) % 94
    vectors = pen.features(verifier.Characters(arrays, labels, labels))
    apart = np.linalg.norm(vectors[:, None] - vectors, axis=-1)
    is_same = labels[:, None] == labels
    assert apart[is_same].max() < apart[~is_same].min()


def test_coding_loses_little():
    turn = np.linspace(0, 2 * np.pi, 40)
    ring = [np.stack([0.5 + 0.5 * np.cos(turn), 0.5 + 0.5 * np.sin(turn)], 1)]
    zeros = np.zeros(1, np.int32)
    page = data.Pen([ring], zeros, zeros, zeros, zeros, zeros == 0)
    loss = pen.measure_coding(page)["Chamfer"]
    assert 0 < loss["median"] == loss["95%"] < 0.02


def test_a_table_leaves_out_what_is_not_known():
    table = pen.format_table("x", {"a": {"b": 1.0}, "c": {"d": 0.25}})
    assert table.splitlines()[2:] == ["| a | 1 |  |", "| c |  | 0.25 |"]
