"""A trained model in one value: its denoiser, its weights, the mixture."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdiff

KEY = jax.random.key(0)


def constant_model(**changes):
    """A model that estimates label k as k, and "any" as 10, times its weight."""

    def apply(params, x_t, log_snr, label):
        value = jnp.where(label == 3, 10.0, label * 1.0)
        return params * value[:, None] * jnp.ones_like(x_t)

    schedule = jdiff.cosine_schedule(20)
    model = jdiff.models.Model(
        apply, jnp.float32(1.0), schedule, jdiff.PREDICT_X_0, "abc", (4,)
    )
    return model._replace(**changes)


def test_a_denoiser_follows_its_label_its_weights_and_its_clip():
    model = constant_model()
    x_t = jnp.zeros(4)
    for denoise, expected in (
        (jdiff.models.denoiser(model, 2), 2.0),
        (jdiff.models.denoiser(model, None), 10.0),
        (jdiff.models.denoiser(model, 3), 10.0),
        (jdiff.models.denoiser(model, 2, clip=1.5), 1.5),
    ):
        np.testing.assert_array_equal(denoise(x_t, 7), np.full(4, expected))


def test_a_model_without_a_null_label_has_no_denoiser_of_any():
    with pytest.raises(ValueError, match="label must be a number"):
        jdiff.models.denoiser(constant_model(has_null=False), None)


@pytest.mark.parametrize("label", [-1, 4, 0.7])
def test_a_label_that_no_class_has_is_refused(label):
    with pytest.raises(ValueError, match=rf"an int in \[0, 3\], got {label}"):
        jdiff.models.denoiser(constant_model(), label)


def test_a_denoiser_of_a_style_gives_the_network_label_and_style():
    def apply(params, x_t, log_snr, condition):
        known = jnp.nan_to_num(condition.style, nan=-1.0)
        return x_t * 0.0 + condition.label[:, None] + known

    model = constant_model(apply=apply, has_style=True)
    style = np.array([0.5, np.nan, 0.0, 1.0])
    denoise = jdiff.models.denoiser(model, 1, style)
    np.testing.assert_array_equal(denoise(jnp.zeros(4), 5), [1.5, 0.0, 1.0, 2.0])
    denoise = jdiff.models.denoiser(model, 1)
    np.testing.assert_array_equal(denoise(jnp.zeros(4), 5), np.zeros(4))


@pytest.mark.parametrize(
    ("name", "num_steps", "options", "expected"),
    [
        ("latent", 4, {}, "distilled"),
        (Path("latent"), 1, {}, "distilled"),  # as the command line has it
        ("latent", 5, {}, "latent"),
        ("latent", 1, {"guidance": 2.0}, "latent"),
        ("latent", 1, {"solver": jdiff.ddim}, "latent"),
        ("unet", 1, {}, "unet"),
    ],
)
def test_few_steps_are_for_distilled_weights(name, num_steps, options, expected):
    assert jdiff.models.suit_steps(name, num_steps, **options) == expected


def test_a_linear_model_is_loaded_as_a_network_that_cannot_be_guided():
    model = jdiff.load_model(jdiff.models.SHIPPED["mixture"])
    assert model.classes == jdiff.data.EMNIST_CHARS and model.shape == (28, 28, 1)
    with pytest.raises(ValueError, match="guidance must be 1"):
        jdiff.generate(KEY, model, [0], guidance=0.0)
    alone, crowd = (
        jdiff.generate(KEY, model, [7] * num, num_steps=3, batch_size=20).x_0
        for num in (1, 20)
    )
    np.testing.assert_array_equal(crowd[0], alone[0])
    assert np.abs(crowd[1] - crowd[0]).max() > 0.5


def test_a_linear_model_of_words_is_refused(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), np.uint8)
    fitted = jdiff.closed_form.mixtures.fit(images, ["yes", "no"] * 10, 1, 4, 2)
    jdiff.closed_form.mixtures.save(tmp_path / "words.safetensors", fitted)
    with pytest.raises(jdiff.storage.WeightsError, match="single characters"):
        jdiff.load_model(tmp_path / "words.safetensors")
