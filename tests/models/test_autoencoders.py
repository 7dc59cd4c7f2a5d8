"""Diffusion of latents: standardisation, sampling, files."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdiff
from jdiff.images import from_uint8

KEY = jax.random.key(0)
FACTS = {
    "model": "latent",
    "autoencoder": "mlp",
    "num_latents": 3,
    "widths": [8],
    "image_shape": [8, 8, 1],
    "num_features": 8,
    "num_layers": 2,
    "schedule": "cosine",
    "num_steps": 50,
    "prediction": "v",
    "chars": "ab",
}


def random_model(**changes):
    """A model with weights that are not trained, but not 0 either."""
    facts = FACTS | changes
    autoencoder = jdiff.models.build_autoencoder(facts)
    network = jdiff.networks.make_residual_mlp(
        2, facts["num_features"], facts["num_layers"]
    )
    params = jdiff.models.init_params(KEY, network, (3,)) | autoencoder.init(KEY)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    leaves = [
        leaf + 0.3 * jax.random.normal(key, leaf.shape)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jdiff.models.build_model(facts, jax.tree.unflatten(tree, leaves))


def test_a_curve_gives_drawn_images_the_grey_values_of_real_ones():
    real = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8)
    drawn = 2.0 * (real / 255.0) ** 1.5 - 1.0  # any rising function of grey
    grey = jdiff.models.fit_tone(drawn, real)["tone"]["grey"]
    toned = np.asarray(jdiff.models.tone(grey, jnp.float32(drawn)))
    # Between two knots the curve is straight, and the first of them are steep.
    np.testing.assert_allclose(toned, real / 127.5 - 1.0, atol=0.06)
    assert (np.diff(grey) > 0).all()


def test_a_curve_is_part_of_decoding_where_the_weights_have_one():
    model = random_model()
    plain = draw(model, [0, 1]).x_0
    knots = jnp.linspace(-1.0, 1.0, 5)
    identity = {"tone": {"grey": knots}}
    same = draw(model._replace(params=model.params | identity), [0, 1]).x_0
    np.testing.assert_allclose(same, plain, atol=1e-5)
    inverted = {"tone": {"grey": -knots}}
    flipped = draw(model._replace(params=model.params | inverted), [0, 1]).x_0
    np.testing.assert_allclose(flipped, -plain, atol=1e-5)


def draw(model, labels, **options):
    return jdiff.generate(KEY, model, labels, 4, **({"with_path": True} | options))


def test_standardized_latents_have_mean_0_and_deviation_1():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (4097, 8, 8, 1), np.uint8)  # more than one batch
    raw = jdiff.models.make_vae(3, (8, 8, 1), (8,))
    params = raw.init(KEY)
    latents = jdiff.models.aggregate_posterior(
        *jdiff.models.encode_images(raw, params, images)
    )
    mean, variance = jdiff.models.encode_images(
        jdiff.models.standardized(raw), params | {"latents": latents}, images
    )
    z = mean + np.sqrt(variance) * rng.normal(size=(4097, 3))
    np.testing.assert_allclose(z.mean(0), 0.0, atol=0.06)
    np.testing.assert_allclose(z.std(0), 1.0, atol=0.05)


def test_standardizing_changes_numbers_not_images():
    raw = jdiff.models.make_vae(3, (8, 8, 1), (8,))
    autoencoder = jdiff.models.standardized(raw)
    latents = {"mean": jnp.array([1.0, 0.0, -2.0]), "std": jnp.array([0.5, 2.0, 3.0])}
    params = autoencoder.init(KEY) | {"latents": latents}
    image = jax.random.normal(KEY, (8, 8, 1))
    before, after = raw.encode(params, image), autoencoder.encode(params, image)
    np.testing.assert_allclose(
        after.mean * latents["std"] + latents["mean"], before.mean, rtol=1e-5
    )
    np.testing.assert_allclose(
        autoencoder.decode(params, after.mean).mean,
        raw.decode(params, before.mean).mean,
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_constant_latent_is_left_alone():
    latents = jdiff.models.aggregate_posterior(np.ones((5, 2)), np.zeros((5, 2)))
    assert latents["mean"].tolist() == latents["std"].tolist() == [1.0, 1.0]


@pytest.mark.slow
def test_images_are_the_decoded_end_of_the_path():
    model = random_model()
    sample = draw(model, [0, 1, 2, 0, 1])
    assert sample.x_0.shape == (5, 8, 8, 1)
    assert sample.path.shape == (5, 5, 8, 8, 1)
    np.testing.assert_allclose(sample.path[:, -1], sample.x_0, atol=1e-5)
    assert np.abs(sample.path).max() <= 1.0 and sample.x_0.std() > 0.01


def test_sampling_is_that_of_latents_then_decoded():
    model = random_model()
    facts = model.apply, model.params, model.schedule, model.prediction
    denoise = jdiff.make_denoiser(*facts, 1, clip=None)
    times = jdiff.karras_timesteps(model.schedule, 4)
    solver = jdiff.unipc(model.schedule)
    key = jax.random.fold_in(KEY, 0)
    z = jdiff.sample(key, denoise, solver, times, (3,)).x_0
    expected = model.decode(model.params, z)
    sample = draw(model, [1], guidance=1.0)
    np.testing.assert_allclose(sample.x_0[0], expected, atol=1e-4)


def test_an_image_depends_on_its_own_key_and_label_alone():
    model = random_model()
    alone, among = draw(model, [1]), draw(model, [1, 0, 1, 2, 0])
    np.testing.assert_array_equal(alone.x_0[0], among.x_0[0])
    several = draw(model, [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(several.x_0[2], among.x_0[2])
    assert np.abs(among.x_0[2] - among.x_0[0]).max() > 1e-3


def test_without_its_path_a_sample_is_the_same():
    model = random_model()
    bare = draw(model, [0, 1], with_path=False)
    assert bare.path.shape == (2, 0, 8, 8, 1)
    np.testing.assert_allclose(bare.x_0, draw(model, [0, 1]).x_0, atol=1e-5)


def test_weights_survive_the_file(tmp_path):
    model = random_model()
    path = tmp_path / "latent.safetensors"
    jdiff.storage.save_weights(path, model.params, FACTS)
    loaded = jdiff.load_model(path)
    assert loaded._replace(params=None, schedule=None) == model._replace(
        params=None, schedule=None
    )
    np.testing.assert_allclose(
        draw(loaded, [0, 1]).x_0, draw(model, [0, 1]).x_0, atol=0.05
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_latents": 4}, "another architecture"),
        ({"widths": [9]}, "another architecture"),
        ({"num_features": 9}, "another architecture"),
        ({"autoencoder": "wavelets"}, "describe a network.*KeyError: 'wavelets'"),
        ({"widths": 8}, "describe a network"),
        ({"widths": [8, 8], "autoencoder": "conv", "image_shape": [9, 8, 1]}, "by 4"),
    ],
)
def test_weights_of_another_architecture_are_refused(tmp_path, change, message):
    path = tmp_path / "latent.safetensors"
    jdiff.storage.save_weights(path, random_model().params, FACTS | change)
    with pytest.raises(jdiff.storage.WeightsError, match=message):
        jdiff.load_model(path)


def test_a_residual_network_begins_at_0_and_knows_level_and_label():
    network = jdiff.networks.make_residual_mlp(2, 8, 2)
    params = jdiff.models.init_params(KEY, network, (3,))
    x_t = jax.random.normal(KEY, (4, 3))
    log_snr, label = jnp.array([0.0, 1.0, 0.0, 0.0]), jnp.array([0, 0, 1, 2])
    assert not network.apply(params, x_t, log_snr, label).any()
    model = random_model()
    same = jnp.broadcast_to(x_t[0], (4, 3))
    rows = np.asarray(model.apply(model.params, same, log_snr, label))
    assert len(np.unique(rows.round(5), axis=0)) == 4
    with pytest.raises(ValueError, match="num_layers must be >= 1, got 0"):
        jdiff.models.init_params(KEY, jdiff.networks.make_residual_mlp(2, 8, 0), (3,))


SHAPE = (8, 4, 1)
MAKERS = [
    jdiff.models.make_vae,
    functools.partial(jdiff.models.make_conv_vae, widths=(4, 8)),
]


def plane(num, noise, seed=0):
    """Images uint8 near a plane of 3 dimensions."""
    rng = np.random.default_rng(seed)
    axes = 12 * rng.standard_normal((3, *SHAPE))
    images = 128 + np.tensordot(rng.standard_normal((num, 3)), axes, 1)
    images += noise * rng.standard_normal(images.shape)
    return np.clip(images.round(), 0, 255).astype(np.uint8)


def scale(images):
    return from_uint8(jnp.asarray(images))


def test_pca_decodes_what_it_encodes():
    images = plane(200, noise=0.0)
    autoencoder, params = (
        jdiff.models.make_affine(3, SHAPE),
        jdiff.models.fit_pca(images, 3),
    )
    z = jnp.array([0.4, -1.0, 0.2])
    image = autoencoder.decode(params, z).mean
    # Rounded pixels lie near the plane, not in it, so posteriors have some width.
    np.testing.assert_allclose(
        autoencoder.encode(params, image).mean, z, rtol=1e-3, atol=1e-3
    )
    for image in scale(images[:5]):
        again = autoencoder.decode(params, autoencoder.encode(params, image).mean)
        np.testing.assert_allclose(again.mean, image, atol=2.0 / 127.5)


def test_pca_loses_no_more_than_any_other_plane():
    images = plane(300, noise=9.0)
    params = jdiff.models.fit_pca(images, 3)
    flat = np.asarray(scale(images)).reshape(300, -1)
    values = np.linalg.svd(flat - flat.mean(0), compute_uv=False)
    axes = params["affine"]["axes"].reshape(3, -1)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-5)
    lost = flat - flat.mean(0)
    lost = lost - lost @ axes.T @ axes
    np.testing.assert_allclose(
        np.square(lost).sum(), np.square(values[3:]).sum(), rtol=1e-4
    )


@pytest.mark.parametrize("make", MAKERS)
def test_networks_keep_shapes_and_ranges(make):
    autoencoder = make(5, SHAPE)
    params = jax.jit(autoencoder.init)(KEY)
    image = jax.random.normal(KEY, SHAPE)
    mean, variance = jax.jit(autoencoder.encode)(params, image)
    assert mean.shape == variance.shape == (5,) and (variance > 0).all()
    decoded = jax.jit(autoencoder.decode)(params, 100 * mean)
    assert decoded.mean.shape == SHAPE and decoded.variance.shape == ()
    assert np.abs(decoded.mean).max() <= 1.0


@pytest.mark.parametrize("make", MAKERS)
def test_equal_arguments_give_the_same_functions(make):
    assert make(5, SHAPE) is make(5, SHAPE) and make(4, SHAPE) is not make(5, SHAPE)


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match="divisible by 4"):
        jdiff.models.make_conv_vae(5, (9, 8, 1))
    with pytest.raises(ValueError, match="widths must be two"):
        jdiff.models.make_conv_vae(5, (8, 8, 1), (4,))
    with pytest.raises(ValueError, match=r"num_latents must be in \[1, 31\]"):
        jdiff.models.fit_pca(plane(50, noise=1.0), 32)
    with pytest.raises(ValueError, match="differ"):
        jdiff.models.fit_pca(np.zeros((9, *SHAPE), np.uint8), 3)
