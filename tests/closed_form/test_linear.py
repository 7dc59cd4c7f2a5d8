"""The linear article's model: equal to its recipe, exact, and hard to misuse."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdiff
from jdiff import closed_form

KEY = jax.random.key(0)
SHAPES = [(5, 5), (4, 7), (3, 4, 3)]


def make_images(shape=(5, 5), num=400, num_classes=3, seed=0):
    """Correlated pixels, another law for each class, one pixel constant."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    labels = np.arange(num) % num_classes
    mixers = rng.normal(size=(num_classes, size, size)) / np.sqrt(size)
    mixers += np.diag(np.linspace(0.2, 3, size))[None]
    centers = 100 + 5 * rng.normal(size=(num_classes, size))
    images = rng.normal(size=(num, size))
    for k, mixer in enumerate(mixers):
        images[labels == k] = images[labels == k] @ mixer.T
    images = 10 * images + centers[labels]
    images[:, 2] = 7.3
    return images.reshape(num, *shape), labels


def article(images, labels, noise, wanted, eps):
    """What scikit-learn makes of the article's recipe, with all of its features."""
    decomposition = pytest.importorskip("sklearn.decomposition")
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def features(text, latents):
        products = [latents * column[:, None] for column in text.T]
        return np.concatenate([latents, text, *products], 1)

    encoder = make_pipeline(
        StandardScaler(), decomposition.PCA(noise.shape[1], svd_solver="full")
    )
    latents = encoder.fit_transform(images.reshape(len(images), -1))
    text = OneHotEncoder(drop="first", sparse_output=False)
    one_hot = text.fit_transform(labels[:, None])
    model = LinearRegression().fit(features(one_hot, latents + noise), noise)
    predicted = model.predict(features(text.transform(wanted[:, None]), eps))
    return encoder.inverse_transform(eps - predicted).reshape(-1, *images.shape[1:])


def relative_error(x, y):
    return np.linalg.norm(x - y) / np.linalg.norm(y)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_equals_the_recipe_of_the_article_with_the_same_noise(shape):
    images, labels = make_images(shape)
    rng = np.random.default_rng(1)
    noise, eps = rng.normal(size=(400, 9)), rng.normal(size=(30, 9))
    wanted = np.repeat(np.arange(3), 10)
    expected = article(images, labels, noise, wanted, eps)
    model = closed_form.linear.fit(images, labels, 9, noise=[noise])
    ours = closed_form.linear.denoise(model, wanted, eps)
    assert ours.shape == (30, *shape)
    # Compared without the mean, which would hide a wrong shape.
    mean = images.mean(0)[None]
    assert relative_error(ours - mean, expected - mean) < 1e-4


def test_sampled_fit_converges_to_the_exact_one_as_the_root_of_the_draws():
    images, labels = make_images()
    exact = closed_form.linear.fit(images, labels, 9)

    def error(num_draws, seed):
        rng = np.random.default_rng(seed)
        draws = (rng.normal(size=(400, 9)) for _ in range(num_draws))
        sampled = closed_form.linear.fit(images, labels, 9, noise=draws)
        return np.linalg.norm(sampled.weights - exact.weights)

    few, many = (np.mean([error(n, seed) for seed in range(3)]) for n in (2, 128))
    assert 5 < few / many < 13  # sqrt(64) = 8


def test_exact_fit_predicts_noise_better_than_any_other_affine_map():
    """Its residual is uncorrelated with its input, in every class."""
    images, labels = make_images()
    model = closed_form.linear.fit(images, labels, 25)
    latents = np.asarray(
        jax.vmap(functools.partial(closed_form.linear.encode, model))(images)
    )
    for k, label in enumerate(model.labels):
        z = latents[labels == label].astype(np.float64)
        covariance = np.cov(z.T, bias=True) + np.eye(25)
        # Cov(eps - A z', z') = I - A (C + I) and its mean b + A m.
        residual = np.eye(25) - model.weights[k] @ covariance
        np.testing.assert_allclose(residual, np.zeros((25, 25)), atol=1e-4)
        mean = model.biases[k] + model.weights[k] @ z.mean(0)
        np.testing.assert_allclose(mean, np.zeros(25), atol=1e-4)


def test_with_all_latents_nothing_is_lost():
    images, labels = make_images()
    model = closed_form.linear.fit(images, labels, 25)
    again = closed_form.linear.decode(
        model, closed_form.linear.encode(model, jnp.float32(images[3]))
    )
    np.testing.assert_allclose(again, images[3], rtol=1e-5)


def test_latents_are_uncorrelated_with_falling_variance():
    images, labels = make_images()
    model = closed_form.linear.fit(images, labels, 9)
    latents = np.asarray(
        jax.vmap(functools.partial(closed_form.linear.encode, model))(images)
    )
    covariance = np.cov(latents.T)
    variances = np.diag(covariance)
    assert (np.diff(variances) < 0).all()
    np.testing.assert_allclose(covariance, np.diag(variances), atol=1e-4)
    assert model.scale.ravel()[2] == 1  # of the constant pixel


@pytest.mark.parametrize("size", [1, 7, 150, 400])
def test_blocks_give_what_the_whole_gives(size):
    images, labels = make_images((4, 7))
    # Sorted by class, so that classes begin in the middle of the stream.
    images, labels = images[np.argsort(labels)], np.sort(labels)
    starts = range(0, len(images), size)
    blocks = ((images[i : i + size], labels[i : i + size]) for i in starts)
    streamed, whole = (
        closed_form.linear.fit_blocks(blocks, 9),
        closed_form.linear.fit(images, labels, 9),
    )
    assert streamed.labels == whole.labels
    eps = np.random.default_rng(2).normal(size=(30, 9))
    wanted = np.repeat(np.arange(3), 10)
    pictures = [
        closed_form.linear.denoise(model, wanted, eps) for model in (streamed, whole)
    ]
    assert relative_error(*pictures) < 1e-5


def test_integer_images_are_not_wrapped():
    images, labels = make_images()
    images = np.clip(images, 0, 255).astype(np.uint8)
    models = [
        closed_form.linear.fit(images.astype(kind), labels, 9)
        for kind in ("u1", "f4", "i8")
    ]
    for other in models[1:]:
        np.testing.assert_allclose(models[0].mean, other.mean, rtol=1e-5)
        np.testing.assert_allclose(models[0].weights, other.weights, atol=1e-4)


@pytest.mark.parametrize(
    "names", ["abc", ["seven", ("a", 1), 2.5], [True, "True", ("True",)]]
)
def test_any_hashable_label_names_a_class(names, tmp_path):
    images, labels = make_images()
    model = closed_form.linear.fit(images, [names[k] for k in labels], 9)
    plain = closed_form.linear.fit(images, labels, 9)
    eps = np.random.default_rng(2).normal(size=(3, 9))
    by_name = closed_form.linear.denoise(model, list(names), eps)
    np.testing.assert_array_equal(
        by_name, closed_form.linear.denoise(plain, [0, 1, 2], eps)
    )
    closed_form.linear.save(tmp_path / "model.safetensors", model)
    loaded = closed_form.linear.load(tmp_path / "model.safetensors")
    assert loaded.labels == model.labels
    assert (
        relative_error(closed_form.linear.denoise(loaded, list(names), eps), by_name)
        < 1e-2
    )


def test_image_k_depends_on_label_k_and_key_k_alone():
    model = closed_form.linear.fit(*make_images(), 9)
    labels = np.arange(300) % 3
    images = closed_form.linear.generate(KEY, model, labels)
    np.testing.assert_array_equal(
        closed_form.linear.generate(KEY, model, labels[:5]), images[:5]
    )
    others = closed_form.linear.generate(
        KEY, model, np.append((labels[:4] + 1) % 3, labels[4])
    )
    np.testing.assert_array_equal(others[4], images[4])
    assert (others[:4] != images[:4]).any((1, 2)).all()
    assert closed_form.linear.generate(KEY, model, []).shape == (0, 5, 5)


def test_generated_images_have_the_mean_of_their_class_pulled_in():
    """E[x] = decode(A_k m_k): Eq. 3 at noise of mean 0."""
    images, labels = make_images()
    model = closed_form.linear.fit(images, labels, 9)
    drawn = closed_form.linear.generate(KEY, model, [1] * 4000)
    expected = closed_form.linear.decode(model, -jnp.asarray(model.biases[1]))
    error = 5 * drawn.std(0) / np.sqrt(4000) + 1e-3
    assert (np.abs(drawn.mean(0) - expected) < error).all()


def test_the_example_of_the_articles_library_runs():
    """Its README, with `from jdiff import LinearDiffusion`."""
    images, labels = make_images((28, 28), num=900, num_classes=10)
    all_imgs, all_labels = images, [str(val) for val in labels]
    ld = jdiff.closed_form.LinearDiffusion()
    ld.fit(all_labels, all_imgs)
    test_labels = list(itertools.chain.from_iterable([[str(i)] * 5 for i in range(10)]))
    test_images = ld.predict(test_labels, seed=137)
    assert test_images.shape == (50, 28, 28)
    np.testing.assert_array_equal(test_images, ld.predict(test_labels, seed=137))
    assert (test_images != ld.predict(test_labels, seed=138)).any()


def test_the_seed_of_the_articles_library_gives_its_images():
    """Up to its fit's own sampling noise: here the fit is on the same noise."""
    images, labels = make_images()
    ld = jdiff.closed_form.LinearDiffusion(image_size=5, latent_size=3).fit(
        labels, images
    )
    noise = np.random.default_rng(1337).normal(0.0, 1.0, (400, 9))
    ld.model = closed_form.linear.fit(images, labels, 9, noise=[noise])
    wanted = np.repeat(np.arange(3), 4)
    eps = np.random.default_rng(137).normal(0.0, 1.0, (12, 9))
    expected = article(images, labels, noise, wanted, eps)
    assert relative_error(ld.predict(wanted, seed=137), expected) < 1e-4


IMAGES, LABELS = make_images(num=12)


def spoiled(value):
    images = IMAGES.copy()
    images[3, 1, 1] = value
    return images


@pytest.mark.parametrize(
    ("images", "labels", "num_latents", "message"),
    [
        (IMAGES, LABELS[:-1], 2, "labels must be one for each image"),
        (IMAGES, np.zeros(12), 2, "at least 2 classes, got 1"),
        (IMAGES[:0], [], 2, "at least one, got none"),
        (IMAGES, [9] + [1] * 11, 2, "at least 2 images, got 1 of 9"),
        (spoiled(np.nan), LABELS, 2, "finite, got NaN"),
        (spoiled(np.inf), LABELS, 2, "finite, got NaN or inf"),
        (np.ones((12, 5, 5)), LABELS, 2, "must differ"),
        (IMAGES, LABELS, 26, r"num_latents must be in \[1, 12\].*got 26"),
        (IMAGES.repeat(9, 0), LABELS.repeat(9), 26, r"in \[1, 25\].*got 26"),
        (IMAGES, LABELS, 0, "num_latents must be"),
        (IMAGES, [[1], [2]] * 6, 2, "hashable, got"),
        (IMAGES.astype(str), LABELS, 2, "real numbers, got"),
        (IMAGES * 1j, LABELS, 2, "real numbers, got complex128"),
        (IMAGES[:, 0, 0], LABELS, 2, "images must be"),
    ],
)
def test_what_cannot_be_fitted_is_said(images, labels, num_latents, message):
    with pytest.raises(ValueError, match=message):
        closed_form.linear.fit(images, labels, num_latents)
    blocks = [(images[:6], labels[:6]), (images[6:], labels[6:])]
    with pytest.raises(ValueError, match=message):
        closed_form.linear.fit_blocks(blocks, num_latents)


def test_blocks_of_another_shape_are_refused():
    blocks = [(IMAGES, LABELS), (IMAGES.transpose(0, 2, 1)[:, :4], LABELS)]
    with pytest.raises(ValueError, match="one shape in all blocks"):
        closed_form.linear.fit_blocks(blocks, 2)


@pytest.mark.parametrize("noise", [np.ones((12, 3)), np.ones(12)])
def test_noise_of_another_shape_is_refused(noise):
    with pytest.raises(ValueError, match=r"noise must be draws of \[12, 2\]"):
        closed_form.linear.fit(IMAGES, LABELS, 2, noise=[noise])


def test_what_cannot_be_generated_is_said(tmp_path):
    model = closed_form.linear.fit(IMAGES, LABELS, 2)
    with pytest.raises(ValueError, match="among the 3 that were fitted, got 'a'"):
        closed_form.linear.generate(KEY, model, [0, "a"])
    with pytest.raises(ValueError, match=r"eps must be \[1, 2\], got \[1, 3\]"):
        closed_form.linear.denoise(model, [0], np.zeros((1, 3)))
    with pytest.raises(ValueError, match="fit must be called before predict"):
        jdiff.closed_form.LinearDiffusion().predict(["1"])
    with pytest.raises(ValueError, match="images must be 28 x 28"):
        jdiff.closed_form.LinearDiffusion(28).fit(LABELS, IMAGES)
    with pytest.raises(ValueError, match="labels must be str, int"):
        closed_form.linear.save(
            tmp_path / "m.safetensors", model._replace(labels=(b"a", 1, 2))
        )
    with pytest.raises(jdiff.storage.WeightsError, match="of the model 'linear'"):
        closed_form.linear.load(jdiff.evaluation.SHIPPED_JUDGES["patch"])


@pytest.mark.parametrize("name", closed_form.linear.LinearModel._fields[:-1])
def test_tensors_that_do_not_fit_are_refused(name, tmp_path):
    path = tmp_path / "model.safetensors"
    model = closed_form.linear.fit(IMAGES, LABELS, 2)
    closed_form.linear.save(path, model._replace(**{name: getattr(model, name)[:-1]}))
    with pytest.raises(jdiff.storage.WeightsError, match="another architecture"):
        closed_form.linear.load(path)
