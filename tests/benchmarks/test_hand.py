"""Hands from a few characters: what is given, what is asked, photos, the interval."""

import hand
import numpy as np
import photograph
import pytest

from jdiff import data, hands, handwriting

NUM_CLASSES = 6
HOOK = [np.array([[0.0, 1.6], [0.0, 0.0], [0.8, 0.0]])]


def write(num_hands, spread):
    """Returns six characters of each hand, twice; hands differ by a slant."""
    random = np.random.default_rng(0)
    shapes = random.standard_normal((NUM_CLASSES, 60, 3))
    writers, labels = np.divmod(np.arange(2 * num_hands * NUM_CLASSES), NUM_CLASSES)
    writers %= num_hands
    arrays = shapes[labels] + spread * random.standard_normal((len(labels), 60, 3))
    arrays[..., 0] += random.standard_normal(num_hands)[writers][:, None]
    return hand.Characters(arrays.astype(np.float32), labels, writers)


def test_what_is_asked_for_was_not_given():
    real = write(3, 0.1)
    for writer, task in enumerate(hand.choose(real, 4, seed=0)):
        for part in task:
            assert set(part.writers) == {writer}
        assert len(set(task.given.labels)) == 4 and len(set(task.wanted.labels)) == 2
        assert not set(task.given.labels) & set(task.wanted.labels)
        np.testing.assert_array_equal(task.wanted.labels, task.again.labels)
        assert (task.wanted.arrays != task.again.arrays).any()
    with pytest.raises(ValueError, match="must be less than 6, got 6"):
        hand.choose(real, 6, seed=0)


def test_the_preference_of_hands_without_noise_is_certain():
    tasks = hand.choose(write(6, 1e-3), 2, seed=0)
    wanted, again = (hand.join([task[k] for task in tasks]) for k in (1, 2))
    assert hand.estimate_preference(again, wanted) == (1.0, 1.0, 1.0)
    strangers = again._replace(writers=(again.writers + 1) % 6)
    estimate = hand.estimate_preference(strangers, wanted)
    assert estimate.low <= estimate.value <= estimate.high < 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_a_photograph_shows_the_cells_that_were_filled(seed):
    form, filled = hands.FULL, "adgmx"
    characters = [HOOK if char in filled else None for char in form.chars]
    page = photograph.fill_sheet(form, characters, 150)
    cells = hands.find_cells(photograph.photograph(page, 150, seed))
    assert cells.form == form
    found = [char for char, no in zip(form.chars, cells.empty, strict=True) if not no]
    assert "".join(found) == "".join(sorted(filled))


def test_judges_read_what_is_written():
    bar = np.array([[0.3, 1.7], [0.3, 0.0]])
    foot = np.array([[0.3, 1.7], [0.3, 0.0], [1.1, 0.0]])
    arrays = np.stack([handwriting.encode_strokes([s]) for s in 8 * [bar, foot]])
    labels = np.array([data.PEN_CHARS.index(char) for char in 8 * "1L"])
    writers = np.zeros(16, int)
    assert hand.read(hand.Characters(arrays, labels, writers)) == 1.0
    assert hand.read(hand.Characters(arrays[::-1], labels, writers)) < 1.0
