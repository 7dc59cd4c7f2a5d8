"""The model of pen strokes."""

import jax
import numpy as np
import pytest

from jdiff import data, ddim, models, storage

DESCRIPTION = {
    "model": "pen",
    "classes": data.PEN_CHARS,
    "num_features": 16,
    "num_layers": 1,
    "num_conditions": 8,
    "judge_features": 8,
    "schedule": "cosine",
    "num_steps": 50,
    "prediction": "v",
    "guidance": 2.0,
}
NUM_CODES = 4


@pytest.fixture(scope="module")
def params():
    random = np.random.default_rng(0)
    fresh = jax.jit(lambda key: models.init_pen(key, DESCRIPTION, NUM_CODES))(
        jax.random.key(0)
    )
    # Fresh networks predict 0: with noise everything matters.
    noisy = jax.tree.map(
        lambda leaf: np.asarray(leaf) + 0.1 * random.standard_normal(leaf.shape), fresh
    )
    hands = random.standard_normal((30, NUM_CODES))
    sides = 0.1 * random.standard_normal((len(data.PEN_CHARS), 2))
    return noisy | {"hands": {"codes": hands}, "spacing": {"sides": sides}}


@pytest.fixture(scope="module")
def model(params, tmp_path_factory):
    path = tmp_path_factory.mktemp("pen") / "pen.safetensors"
    storage.save_weights(path, params, DESCRIPTION)
    return models.load_pen(path)


def draw(model, labels, seed=0, hand=None, **options):
    hand = hand or models.draw_hand(model, 1)
    key = jax.random.key(seed)
    options = {"num_steps": 2, "batch_size": 4} | options
    batches = models.generate_strokes(key, model, labels, hand, **options)
    return np.concatenate([batch.x_0 for batch in batches])


def test_a_character_depends_on_its_place_and_label_alone(model):
    whole = draw(model, [5, 6, 7, 8, 9])
    assert whole.shape == (5, 60, 3)
    np.testing.assert_array_equal(draw(model, [5, 6])[1], whole[1])
    other = draw(model, [1, 2, 3, 4, 9])
    np.testing.assert_array_equal(other[4], whole[4])


def test_two_letters_of_a_word_are_no_copies(model):
    first, second = draw(model, [5, 5])
    assert np.abs(first - second).max() > 0.1


@pytest.mark.slow
def test_the_best_of_draws_is_read_better(model):
    labels = np.arange(40)

    def legibility(x_0):
        logits = jax.nn.log_softmax(model.judge(model.params, x_0))
        return np.asarray(logits)[labels, labels]

    one, several = (draw(model, labels, num_draws=num) for num in (1, 6))
    assert legibility(several).mean() > legibility(one).mean()


def test_the_hand_matters(model):
    a, b = (models.draw_hand(model, seed) for seed in (0, 1))
    assert np.abs(draw(model, [5], hand=a) - draw(model, [5], hand=b)).max() > 1e-3


def test_each_character_may_have_a_hand_of_its_own(model):
    a, b = (models.draw_hand(model, seed, 0.5) for seed in (0, 1))
    both = jax.tree.map(lambda *leaves: np.stack(leaves), a, b)
    x_0 = draw(model, [5, 6], hand=both)
    np.testing.assert_array_equal(x_0[0], draw(model, [5, 6], hand=a)[0])
    np.testing.assert_array_equal(x_0[1], draw(model, [5, 6], hand=b)[1])


def test_a_path_ends_in_its_character(model):
    hand = models.draw_hand(model, 0)
    options = {"num_steps": 3, "num_draws": 2, "with_path": True}
    key = jax.random.key(0)
    (batch,) = models.generate_strokes(key, model, [1, 2], hand, **options)
    assert batch.path.shape == (2, 4, 60, 3)
    np.testing.assert_array_equal(batch.path[:, -1], batch.x_0)


def test_a_seed_is_a_hand_between_two_writers(model):
    hand = models.draw_hand(model, 7)
    np.testing.assert_array_equal(hand.code, models.draw_hand(model, 7).code)
    assert np.abs(hand.code - models.draw_hand(model, 8).code).max() > 0
    a, b = np.meshgrid(np.arange(30), np.arange(30))
    ends = model.hands[a.ravel()], model.hands[b.ravel()]
    spans, offsets = ends[1] - ends[0], hand.code - ends[0]
    lengths = np.maximum((spans**2).sum(1), 1e-12)
    share = ((offsets * spans).sum(1) / lengths).clip(0, 1)
    assert np.abs(offsets - share[:, None] * spans).max(1).min() < 1e-5


def test_neat_hands_are_between_the_first_and_others_between_the_last(model):
    flat = model._replace(hands=np.arange(30.0)[:, None])
    neat = [models.draw_hand(flat, seed, 1.0).code[0] for seed in range(20)]
    wild = [models.draw_hand(flat, seed, 0.0).code[0] for seed in range(20)]
    assert max(neat) < 15 < min(wild)


@pytest.mark.parametrize("seed, neatness", [(-1, 0.5), (0, 1.5), (0, float("nan"))])
def test_what_is_no_hand_is_refused(model, seed, neatness):
    with pytest.raises(ValueError, match="must be"):
        models.draw_hand(model, seed, neatness)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"labels": [94]}, r"labels must be in \[0, 93\], got 94"),
        ({"num_draws": 0}, "draws must be >= 1, got 0"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"guidance": float("inf")}, "guidance must be in .* got inf"),
        ({"num_steps": 51}, r"num_steps must be in \[1, 50\], got 51"),
    ],
)
def test_numbers_outside_their_range_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        draw(model, **{"labels": [0]} | options)


def test_weights_of_something_else_are_refused(params, tmp_path):
    path = tmp_path / "pen.safetensors"
    storage.save_weights(path, params, DESCRIPTION | {"model": "latent"})
    with pytest.raises(storage.WeightsError, match="of the model 'pen', got 'latent'"):
        models.load_pen(path)
    storage.save_weights(path, params, DESCRIPTION | {"num_features": 8})
    with pytest.raises(storage.WeightsError, match="architecture"):
        models.load_pen(path)
    without = {name: leaf for name, leaf in params.items() if name != "hands"}
    storage.save_weights(path, without, DESCRIPTION)
    with pytest.raises(storage.WeightsError, match="hands"):
        models.load_pen(path)


def test_few_steps_are_those_of_the_distilled_network(model, params, tmp_path):
    """Guidance, a solver or more steps ask for the teacher."""
    path = tmp_path / "pen.safetensors"
    halved = jax.tree.map(lambda leaf: 0.5 * leaf, params)
    storage.save_weights(path, models.add_few(params, halved), DESCRIPTION)
    both = models.load_pen(path)
    student = both._replace(params=halved, few=None)
    options = {"num_draws": 1, "num_steps": 5}
    np.testing.assert_array_equal(
        draw(both, [5], **options), draw(model, [5], **options)
    )
    options["num_steps"] = 1
    teacher = draw(model, [5], guidance=2.0, **options)
    np.testing.assert_array_equal(draw(both, [5], guidance=2.0, **options), teacher)
    # One step of `ddim` with guidance 1 is the estimate of x_0 alone.
    alone = draw(student, [5], guidance=1.0, solver=ddim, **options)
    np.testing.assert_allclose(draw(both, [5], **options), alone, atol=1e-3)
    without = models.add_few(params, halved)
    del without["few/residual_mlp/linear"]
    storage.save_weights(path, without, DESCRIPTION)
    with pytest.raises(storage.WeightsError, match="few/residual_mlp/linear"):
        models.load_pen(path)


def test_draws_are_chosen_by_what_the_distilled_network_makes_of_their_noise(model):
    both = model._replace(few=jax.tree.map(lambda leaf: 0.9 * leaf, model.params))

    hand = models.draw_hand(model, 1)

    def noise(model, num_steps):
        batches = models.generate_strokes(
            jax.random.key(1), model, range(8), hand, num_steps, with_path=True
        )
        return next(batches).path[:, 0]

    np.testing.assert_array_equal(noise(both, 5), noise(both, 1))
    assert (noise(both, 5) != noise(model, 5)).any()
