"""Styles: measured from images, given to networks, asked for on the command line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jdiff
from jdiff import handwriting

GRID = np.arange(28) - 13.5
X, Y = np.meshgrid(GRID, -GRID)


def draw(ink):
    """A glyph from ink in [0, 1], [28, 28]."""
    return np.uint8(255 * np.clip(ink, 0, 1))[None, ..., None]


def ring(radius, pen=2.0):
    """A circle with soft edges."""
    return draw(pen / 2 + 0.5 - np.abs(np.hypot(X, Y) - radius))


def measure(glyph):
    return dict(
        zip(handwriting.STYLES, handwriting.measure_style(glyph)[0], strict=True)
    )


@settings(deadline=None, max_examples=30)
@given(st.floats(-0.5, 0.5), st.floats(5.0, 7.0))
def test_an_ellipse_is_measured(slant, width):
    """A filled ellipse, sheared by s, leans by s; its deviations are half its axes."""
    found = measure(draw(np.hypot((X - slant * Y) / width, Y / 8.0) < 1))
    np.testing.assert_allclose(found["slant"], slant, atol=0.04)
    np.testing.assert_allclose(np.exp(found["width"]), width / 8.0, rtol=0.06)


@settings(deadline=None, max_examples=30)
@given(st.floats(6.0, 9.0), st.floats(1.5, 3.5))
def test_a_ring_has_the_thickness_of_its_pen(radius, pen):
    weight = measure(ring(radius, pen))["weight"]
    np.testing.assert_allclose(np.exp(weight), pen, rtol=0.2)


def test_bolder_strokes_weigh_more():
    weights = [measure(ring(7, pen))["weight"] for pen in (1, 2, 3, 4)]
    assert (np.diff(weights) > 0.1).all()


def test_roundness_is_that_of_closed_forms():
    """-log E r^4 of whitened ink: 1/4 on a ring, 3/16 in a disc, 5/28 in a square."""
    for glyph, r_4, rtol in (
        (ring(9, 1), 4.0, 0.06),
        (draw(np.hypot(X, Y) < 12), 16 / 3, 0.03),
        (draw((np.abs(X) < 10) & (np.abs(Y) < 10)), 28 / 5, 0.03),
    ):
        np.testing.assert_allclose(np.exp(-measure(glyph)["roundness"]), r_4, rtol=rtol)
    cross = draw((np.abs(X) < 1) | (np.abs(Y) < 1))
    disc = draw(np.hypot(X, Y) < 12)
    order = [measure(glyph)["roundness"] for glyph in (cross, disc, ring(9))]
    assert order == sorted(order)


def test_a_style_does_not_depend_on_place_or_number():
    glyphs = np.concatenate([ring(5, pen) for pen in (1, 2, 3)] * 3)
    whole = handwriting.measure_style(glyphs)
    np.testing.assert_allclose(
        handwriting.measure_style(np.roll(glyphs, (1, -2), (1, 2))), whole, atol=1e-4
    )
    np.testing.assert_allclose(
        handwriting.measure_style(glyphs[4:5]), whole[4:5], atol=1e-5
    )
    assert handwriting.measure_style(glyphs[:0]).shape == (0, 4)


def test_paper_without_ink_has_the_style_0():
    assert not handwriting.measure_style(np.zeros((2, 28, 28, 1), np.uint8)).any()


def test_many_images_are_measured_in_blocks(monkeypatch):
    glyphs = np.concatenate([ring(5 + k / 10) for k in range(10)])
    whole = handwriting.measure_style(glyphs)
    monkeypatch.setattr("jdiff.handwriting.style._BLOCK", 3)
    np.testing.assert_allclose(handwriting.measure_style(glyphs), whole, atol=1e-5)


def test_related_styles_have_mean_0_and_deviation_1_in_each_class():
    rng = np.random.default_rng(0)
    labels = np.arange(3000) % 3
    measured = rng.normal(labels[:, None], 0.1 + labels[:, None], (3000, 4))
    scale = handwriting.fit_style_scale(measured, labels, num_classes=4)
    related = handwriting.standardize_style(measured, labels, scale)
    for label in range(3):
        np.testing.assert_allclose(related[labels == label].mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(related[labels == label].std(0), 1, rtol=1e-5)
    assert (scale.mean[3] == 0).all() and (scale.std[3] == 1).all()


def test_hidden_numbers_are_as_many_as_asked_for():
    """1 - (1 - p)^2 of all numbers, p of whole styles at least; the others stay."""
    styles = np.random.default_rng(0).standard_normal((20_000, 4))
    hidden = handwriting.mask_style(np.random.default_rng(1), styles, 0.2)
    missing = np.isnan(hidden)
    np.testing.assert_allclose(missing.mean(0), 0.36, atol=0.02)
    np.testing.assert_allclose(missing.all(1).mean(), 0.2 + 0.8 * 0.2**4, atol=0.015)
    np.testing.assert_array_equal(hidden[~missing], np.float32(styles)[~missing])
    assert not np.isnan(
        handwriting.mask_style(np.random.default_rng(1), styles, 0.0)
    ).any()


def test_a_class_of_one_image_has_a_scale():
    scale = handwriting.fit_style_scale(np.ones((1, 4)), np.zeros(1, int), 1)
    assert (scale.std == 1).all()


def test_a_seed_is_a_hand():
    hands = np.stack([handwriting.draw_style(seed) for seed in range(500)])
    assert (handwriting.draw_style(7) == hands[7]).all()
    assert np.abs(hands).max() <= 1.2
    np.testing.assert_allclose(hands.mean(0), 0, atol=4 * 0.6 / 500**0.5)
    assert len(np.unique(hands, axis=0)) == 500


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(3), r"style must be \[4\] or \[2, 4\], got \[3\]."),
        (np.zeros((5, 4)), r"got \[5, 4\]."),
        (np.array([0, 0, 3.5, 0]), r"in \[-3, 3\] standard deviations, got 3.5."),
    ],
)
def test_styles_that_make_no_sense(given, message):
    with pytest.raises(ValueError, match=message):
        handwriting.check_style(given, 2)


def test_a_network_hears_what_is_given_and_nothing_else():
    network = jdiff.networks.make_residual_mlp(3, 8, 1)
    params = jdiff.models.init_params(jax.random.key(0), network, (5,), has_style=True)
    # Zeros at the start would hide the condition.
    params = jax.tree.map(
        lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(1), leaf.shape),
        params,
    )

    apply = jax.jit(network.apply)

    def output(*numbers):
        condition = jdiff.networks.Condition(jnp.array([1]), jnp.array([numbers]))
        return np.asarray(apply(params, jnp.ones((1, 5)), jnp.zeros(1), condition))

    nan = float("nan")
    nothing = output(nan, nan, nan, nan)
    assert np.isfinite(nothing).all()
    for k in range(4):
        numbers = [nan] * 4
        numbers[k] = 0.0
        average = output(*numbers)
        numbers[k] = 1.0
        assert np.abs(average - nothing).max() > 1e-4
        assert np.abs(output(*numbers) - average).max() > 1e-4


def test_a_style_that_is_dropped_has_no_gradient():
    """The loss's null condition hides the label and the style."""

    def apply(params, x_t, log_snr, condition):
        hidden = jnp.isnan(condition.style).all(-1) & (condition.label == 2)
        return params * jnp.where(hidden, 0.0, 1.0)[:, None] * jnp.ones_like(x_t)

    null = jdiff.networks.Condition(2, np.full(4, np.nan, np.float32))
    schedule = jdiff.cosine_schedule(10)
    labels = jdiff.networks.Condition(jnp.zeros(6, jnp.int32), jnp.zeros((6, 4)))
    batch = jdiff.Batch(jnp.ones((6, 2)), labels)
    for dropout, moves in ((1.0, False), (0.0, True)):
        loss = jdiff.make_diffusion_loss(
            apply, schedule, jdiff.PREDICT_V, null_label=null, label_dropout=dropout
        )
        slope = jax.grad(lambda p: loss(p, jax.random.key(0), batch)[0])(1.0)  # noqa: B023
        assert bool(slope != 0) == moves


def latent_model():
    return jdiff.load_model(jdiff.models.SHIPPED["latent"])


def draw_glyphs(model, labels, styles, seed=0):
    x_0 = jdiff.generate(jax.random.key(seed), model, labels, style=styles).x_0
    return jdiff.images.to_uint8(x_0)


def test_a_glyph_depends_on_its_own_style_alone():
    model = latent_model()
    styles = np.zeros((3, 4), np.float32)
    first = draw_glyphs(model, [1, 2, 3], styles)
    styles[1] = 1.5
    second = draw_glyphs(model, [1, 2, 3], styles)
    assert (first[[0, 2]] == second[[0, 2]]).all()
    assert (first[1] != second[1]).any()


def test_no_style_is_any_style():
    model, labels = latent_model(), [5, 6]
    nothing = np.full(4, np.nan)
    assert (
        draw_glyphs(model, labels, None) == draw_glyphs(model, labels, nothing)
    ).all()


@pytest.mark.parametrize(
    ("name", "least"),
    [("slant", 0.9), ("weight", 0.9), ("width", 0.9), ("roundness", 0.6)],
)
def test_the_shipped_model_follows_a_style(name, least):
    """Requested and measured over 500 samples, all letters and digits in turns."""
    model = latent_model()
    labels = np.arange(500) % 62
    requested = np.random.default_rng(0).uniform(-2, 2, 500)
    styles = np.full((500, 4), np.nan)
    styles[:, handwriting.STYLES.index(name)] = requested
    measured = handwriting.measure_style(draw_glyphs(model, labels, styles))
    scale = handwriting.StyleScale(**jax.tree.map(np.asarray, model.params["style"]))
    related = handwriting.standardize_style(measured, labels, scale)[
        :, handwriting.STYLES.index(name)
    ]
    assert np.corrcoef(requested, related)[0, 1] >= least


def test_a_model_without_styles_takes_none():
    with pytest.raises(ValueError, match="style must be None for a model that does"):
        jdiff.generate(
            jax.random.key(0), jdiff.load_model("unet"), [0], style=np.zeros(4)
        )
