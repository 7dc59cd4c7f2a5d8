"""Images as mixtures of Gaussians: exact on a mixture, and hard to misuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdiff
from jdiff import closed_form

KEY = jax.random.key(0)
SCHEDULE = jdiff.cosine_schedule(50)
SHAPE = (3, 4)


def make_images(num=600, seed=0):
    """Two classes of two well separated blobs each, 3 x 4 pixels, around grey."""
    rng = np.random.default_rng(seed)
    labels, blob = np.arange(num) % 2, np.arange(num) // 2 % 2
    images = 60 + 8 * rng.normal(size=(num, *SHAPE))
    images[:, 0] += 80 * labels[:, None]
    images[:, 2] += 80 * blob[:, None]
    return np.clip(np.round(images), 0, 255).astype(np.uint8), labels


def fit(num_cells=2, num_latents=12, rank=12, shrinkage=1e-3):
    return closed_form.mixtures.fit(
        *make_images(), num_cells, num_latents, rank, shrinkage
    )


def as_unit(images):
    return images.astype(np.float64) / 127.5 - 1


def test_one_cell_of_full_rank_is_the_best_affine_denoiser():
    """Least squares of x_0 on x_t, over images and noise integrated out."""
    images, labels = make_images()
    model = fit(num_cells=1)
    x_t = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    for k in range(2):
        x = as_unit(images[labels == k]).reshape(-1, 12)
        for t in (5, 25, 50):
            alpha, sigma = float(SCHEDULE.alpha[t]), float(SCHEDULE.sigma[t])
            cov = np.cov(x.T, bias=True)
            slope = alpha * cov @ np.linalg.inv(alpha**2 * cov + sigma**2 * np.eye(12))
            expected = x.mean(0) + slope @ (x_t.ravel() - alpha * x.mean(0))
            actual = closed_form.mixtures.denoiser(model, SCHEDULE, k)(x_t, t)
            np.testing.assert_allclose(actual.ravel(), expected, atol=1e-4)


def test_as_a_network_it_is_the_denoiser_of_the_latents():
    """At full rank there is no white noise to leave out."""
    model = fit()
    x_t = np.random.default_rng(1).normal(size=(4, *SHAPE)).astype(np.float32)
    steps, labels = jnp.array([5, 20, 40, 50]), jnp.array([0, 1, 1, 0])
    arrays = model._replace(labels=())
    alphas = SCHEDULE.alpha[steps]
    z_t = jnp.stack(
        [
            model.axes.reshape(12, 12) @ (x - alpha * model.mean).ravel()
            for x, alpha in zip(x_t, alphas, strict=True)
        ]
    )
    z_0 = closed_form.mixtures.apply(
        arrays, z_t, jdiff.log_snr(SCHEDULE, steps), labels
    )
    for k in range(4):
        denoise = closed_form.mixtures.denoiser(model, SCHEDULE, int(labels[k]))
        expected = closed_form.mixtures.encode(model, denoise(x_t[k], steps[k]))
        np.testing.assert_allclose(z_0[k], expected, atol=1e-4)


def test_images_have_the_grey_values_of_the_training_images_and_no_noise():
    """Two grey values and faint noise: no Gaussian draws the two alone."""
    rng = np.random.default_rng(0)
    images = np.zeros((2000, *SHAPE), np.uint8)
    images[np.arange(2000), rng.integers(0, 3, 2000)] = 255
    speckled = np.where(rng.random(images.shape) < 0.1, 40, images).astype(np.uint8)
    model = closed_form.mixtures.fit(speckled, np.arange(2000) % 2, 3, 3, 2)
    drawn = closed_form.mixtures.generate(KEY, model, np.arange(2000) % 2)
    for level in (-0.9, -0.5, 0.9):
        share = (as_unit(speckled) > level).mean()
        np.testing.assert_allclose((drawn > level).mean(), share, atol=0.02)
    axes = model.axes.reshape(3, 12)
    noisy = jax.vmap(lambda key: closed_form.mixtures.draw(key, model, 0))(
        jax.random.split(KEY, 500)
    )
    outside = np.eye(12) - axes.T @ axes
    rest = (noisy - model.mean[None]).reshape(-1, 12) @ outside
    np.testing.assert_allclose(
        np.square(rest).sum(1).mean(), 9 * model.remainder, rtol=0.1
    )


def test_an_older_file_without_a_tone_draws_clipped_signals(tmp_path):
    path, model = tmp_path / "m.safetensors", fit(num_latents=5, rank=3)
    closed_form.mixtures.save(path, model)
    params, description = jdiff.storage.load_weights(path)
    del params["pixels"]["tone"]
    jdiff.storage.save_weights(path, params, description)
    old = closed_form.mixtures.load(path)
    z = 3 * jax.random.normal(KEY, (5,))
    signal = old.mean + jnp.tensordot(z, old.axes, 1)
    expected = jnp.clip(signal, -1, 1)
    np.testing.assert_allclose(closed_form.mixtures.decode(old, z), expected, atol=1e-6)


@pytest.mark.parametrize("num_latents", [5, 12])
def test_denoiser_and_density_fit_together_by_tweedie(num_latents):
    model = fit(num_latents=num_latents, rank=3)
    x_t = jnp.float32(np.random.default_rng(1).normal(size=SHAPE))
    for t in (10, 30, 45):
        score = jax.grad(closed_form.mixtures.log_density, 2)(
            model, SCHEDULE, x_t, t, 1
        )
        tweedie = (x_t + SCHEDULE.sigma[t] ** 2 * score) / SCHEDULE.alpha[t]
        actual = closed_form.mixtures.denoiser(model, SCHEDULE, 1)(x_t, t)
        np.testing.assert_allclose(actual, tweedie, rtol=1e-3, atol=1e-3)


def test_pixels_outside_the_axes_count_in_the_density():
    """With one cell it is one Gaussian of the pixels, whatever the axes."""
    model = fit(num_cells=1, num_latents=5, rank=5)
    cell = jax.tree.map(lambda leaf: leaf[0, 0], model.mixtures.cells)
    axes = model.axes.reshape(5, 12)
    vectors = cell.vectors @ axes
    whole = closed_form.gaussian.Normal(
        model.mean + (cell.mean @ axes).reshape(SHAPE),
        vectors.reshape(5, *SHAPE),
        cell.variances,
        model.remainder,
    )
    x = jnp.float32(np.random.default_rng(1).normal(size=SHAPE))
    for t in (0, 20):
        actual = closed_form.mixtures.log_density(model, SCHEDULE, x, t, 0)
        law = closed_form.gaussian.marginal(whole, SCHEDULE, t)
        np.testing.assert_allclose(
            actual, closed_form.gaussian.log_density(law, x), rtol=1e-4
        )


def test_cells_find_the_blobs():
    model = fit()
    shares = np.exp(model.mixtures.log_weights)
    np.testing.assert_allclose(shares, np.full((2, 2), 0.5), atol=1e-6)


@pytest.mark.parametrize("solver", [None, jdiff.ddim, jdiff.ddpm])
def test_samples_have_the_blobs_of_their_class(solver):
    model, (images, labels) = fit(), make_images()
    wanted = np.repeat([0, 1], 500)
    if solver is None:
        x_0 = closed_form.mixtures.generate(KEY, model, wanted)
    else:
        times = jdiff.timesteps(SCHEDULE, 50)

        def one(key, k):
            denoise = jdiff.clip_x_0(closed_form.mixtures.denoiser(model, SCHEDULE, k))
            return jdiff.sample(key, denoise, solver(SCHEDULE), times, SHAPE).x_0

        keys = jax.random.split(KEY, len(wanted))
        x_0 = np.asarray(jax.jit(jax.vmap(one))(keys, wanted))
    for k in range(2):
        drawn, real = x_0[wanted == k], as_unit(images[labels == k])
        np.testing.assert_allclose(drawn.mean(0), real.mean(0), atol=0.06)
        np.testing.assert_allclose(drawn.std(0), real.std(0), atol=0.05)


def test_image_k_depends_on_label_k_and_key_k_alone():
    model, labels = fit(), np.arange(300) % 2
    images = closed_form.mixtures.generate(KEY, model, labels)
    np.testing.assert_array_equal(
        closed_form.mixtures.generate(KEY, model, labels[:5]), images[:5]
    )
    assert len(np.unique(images, axis=0)) == 300
    assert np.abs(images).max() <= 1.0


def test_more_cells_than_images_leave_cells_without_weight():
    images, labels = make_images(num=8)
    model = closed_form.mixtures.fit(images, labels, 6, 4, 2)
    weights = np.exp(model.mixtures.log_weights)
    np.testing.assert_allclose(weights.sum(1), [1.0, 1.0], rtol=1e-5)
    assert (weights == 0).any(1).all()
    x_0 = closed_form.mixtures.denoiser(model, SCHEDULE, 0)(jnp.zeros(SHAPE), 25)
    assert np.isfinite(x_0).all()
    assert np.isfinite(closed_form.mixtures.generate(KEY, model, labels)).all()


def test_equal_images_of_a_class_keep_all_finite():
    images, labels = make_images(num=100)
    images[labels == 0] = images[0]
    model = closed_form.mixtures.fit(images, labels, 3, 12, 4)
    density = closed_form.mixtures.log_density(model, SCHEDULE, model.mean, 0, 0)
    assert np.isfinite(density)
    assert np.isfinite(closed_form.mixtures.generate(KEY, model, labels)).all()


def test_a_model_survives_its_file(tmp_path):
    images, labels = make_images()
    model = closed_form.mixtures.fit(images, [("a", int(k)) for k in labels], 2, 8, 4)
    closed_form.mixtures.save(tmp_path / "m.safetensors", model)
    loaded = closed_form.mixtures.load(tmp_path / "m.safetensors")
    assert loaded.labels == model.labels == (("a", 0), ("a", 1))
    draws = [
        closed_form.mixtures.generate(KEY, m, [("a", 1)] * 9) for m in (model, loaded)
    ]
    np.testing.assert_allclose(*draws, atol=0.02)
    with pytest.raises(jdiff.storage.WeightsError, match="of the model 'mixtures'"):
        closed_form.mixtures.load(jdiff.evaluation.SHIPPED_JUDGES["patch"])


TENSORS = [("pixels", name) for name in ("mean", "axes", "remainder")]
TENSORS += [("cells", name) for name in ("log_weights", "mean", "vectors")]
TENSORS += [("cells", name) for name in ("variances", "remainder")]


@pytest.fixture(scope="module")
def shipped():
    return jdiff.storage.load_weights(jdiff.models.SHIPPED["mixture"])


def refused(path, params, description):
    """The message of the error of a model that is read from such a file."""
    jdiff.storage.save_weights(path, params, description)
    with pytest.raises(jdiff.storage.WeightsError) as error:
        jdiff.load_model(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("module", "name"), TENSORS)
def test_tensors_that_do_not_fit_are_refused(module, name, shipped, tmp_path):
    params, description = shipped
    path, tensor = tmp_path / "m.safetensors", params[module][name]
    others = {n: leaf for n, leaf in params[module].items() if n != name}
    for changed in (
        others,
        {**others, "renamed": tensor},
        {**others, name: tensor.reshape(-1)[:-1]},
        {**others, name: np.stack([tensor, tensor])},
    ):
        message = refused(path, {**params, module: changed}, description)
        assert "another architecture" in message


def test_with_fewer_classes_than_labels_no_other_letter_is_drawn(shipped, tmp_path):
    params, description = shipped
    cells = {name: leaf[:-12] for name, leaf in params["cells"].items()}
    changed = {**params, "cells": cells}
    assert "(62, 24)" in refused(tmp_path / "m.safetensors", changed, description)


@pytest.mark.parametrize("labels", [None, [], "abc", ["a"] * 62, [{}] * 62, 3])
def test_labels_that_are_not_distinct_are_refused(labels, shipped, tmp_path):
    params, description = shipped
    changed = {**description, "labels": labels}
    assert "labels" in refused(tmp_path / "m.safetensors", params, changed)


def test_variances_that_are_none_are_refused(shipped, tmp_path):
    params, description = shipped
    cells = {**params["cells"], "variances": -params["cells"]["variances"]}
    changed = {**params, "cells": cells}
    message = refused(tmp_path / "m.safetensors", changed, description)
    assert "variances must be > 0" in message


IMAGES, LABELS = make_images(num=12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": LABELS[:-1]}, "labels must be one for each image"),
        ({"labels": LABELS * 0}, "at least 2 classes, got 1"),
        ({"images": IMAGES / 255}, "images must be uint8, got float64"),
        ({"num_latents": 13}, r"num_latents must be in \[1, 12\].*got 13"),
        ({"num_cells": 0}, r"num_cells must be in \[1, 12\], got 0"),
        ({"rank": 6}, r"rank must be in \[1, 5\], got 6"),
        ({"shrinkage": 0}, "shrinkage must be > 0 and finite, got 0"),
        ({"shrinkage": np.nan}, "shrinkage must be > 0 and finite, got nan"),
        ({"images": IMAGES * 0}, "must differ"),
    ],
)
def test_what_cannot_be_fitted_is_said(arguments, message):
    known = {"images": IMAGES, "labels": LABELS, "num_cells": 2}
    known |= {"num_latents": 5, "rank": 2}
    with pytest.raises(ValueError, match=message):
        closed_form.mixtures.fit(**known | arguments)


def test_unknown_label_is_said():
    with pytest.raises(ValueError, match="among the 2 that were fitted, got 7"):
        closed_form.mixtures.generate(KEY, fit(), [0, 7])
