"""Learning a hand, its file, and its font."""

import jax
import numpy as np
import pytest

from jdiff import hands, models, storage

pytest.importorskip("optax")


@pytest.fixture(scope="module")
def model():
    return models.load_pen()


def test_a_hand_comes_back_from_its_file(model, tmp_path):
    code = np.linspace(-2, 2, model.hands.shape[1], dtype=np.float32)
    biases = jax.tree.map(lambda b: 0.1 * np.sign(b), models.take_biases(model.params))
    hand = models.own_hand(code, biases)
    models.save_hand(tmp_path / "my.hand", hand, model)
    assert (tmp_path / "my.hand").stat().st_size < 200_000
    found = models.load_hand(tmp_path / "my.hand", model)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 2**-10), found, hand)


def test_a_hand_draws_with_its_own_biases_and_leaves_the_model_as_it_is(model):
    labels = np.arange(3) + model.classes.index("a")

    def draw(biases):
        hand = models.own_hand(model.hands[0], biases)
        drawn = models.generate_strokes(
            jax.random.key(0), model, labels, hand, num_steps=2, num_draws=1
        )
        return np.concatenate([batch.x_0 for batch in drawn])

    none = jax.tree.map(np.zeros_like, models.take_biases(model.params))
    some = jax.tree.map(lambda b: b + 0.1, none)
    before = draw(None)
    np.testing.assert_array_equal(before, draw(none))
    assert np.abs(before - draw(some)).max((1, 2)).min() > 0.01
    np.testing.assert_array_equal(before, draw(None))


def test_a_hand_of_another_model_is_refused(model, tmp_path):
    hand = models.own_hand(model.hands[0])
    models.save_hand(tmp_path / "my.hand", hand, model)
    name = next(iter(models.take_network(model.params)))
    changed = {k: leaf + 1.0 for k, leaf in model.params[name].items()}
    other = model._replace(params=model.params | {name: changed})
    with pytest.raises(storage.WeightsError, match="got a hand of another one"):
        models.load_hand(tmp_path / "my.hand", other)
    (tmp_path / "pen.hand").symlink_to(models.SHIPPED_PEN)
    with pytest.raises(storage.WeightsError, match="of the model 'hand', got 'pen'"):
        models.load_hand(tmp_path / "pen.hand", model)
    with pytest.raises(storage.WeightsError, match="must be a .hand file"):
        models.load_hand(models.SHIPPED_PEN, model)


def test_a_fitted_hand_explains_its_characters_better_than_another(model):
    labels = np.arange(20) + model.classes.index("a")
    near, far = (model.hands[k] for k in (0, -1))
    drawn = models.generate_strokes(
        jax.random.key(0), model, labels, models.own_hand(near), num_draws=1
    )
    arrays = np.concatenate([batch.x_0 for batch in drawn])
    code = hands.fit_hand(model, arrays, labels, num_steps=100).code
    assert np.linalg.norm(code - near) < np.linalg.norm(code - far)


def test_a_hand_of_three_characters_is_refused(model):
    with pytest.raises(ValueError, match="at least 5 characters, got 3"):
        hands.fit_hand(model, np.zeros((3, 60, 3)), np.arange(3))


def test_the_alternates_of_a_font_take_turns(model, tmp_path):
    hb = pytest.importorskip("uharfbuzz")
    from fontTools.ttLib import TTFont

    path = tmp_path / "hand.ttf"
    hands.save_font(path, model, models.draw_hand(model, 1), "hand")
    font = TTFont(path)
    assert set(map(chr, font.getBestCmap())) >= set(model.classes) | {" "}
    order = font.getGlyphOrder()
    face = hb.Font(hb.Face(path.read_bytes()))
    buffer = hb.Buffer()
    buffer.add_str("eeee ee")
    buffer.guess_segment_properties()
    hb.shape(face, buffer)
    names = [order[info.codepoint] for info in buffer.glyph_infos]
    assert names == ["e.0", "e.1", "e.2", "e.0", "space.1", "e.2", "e.0"]
    # Ink is inside its outline: TrueType fills what lies right of it.
    box = font["glyf"]["l.0"]
    assert box.yMax > 300 and box.xMax > box.xMin
