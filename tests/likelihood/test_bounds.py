"""The evidence bound of autoencoders, against what is known in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jdiff
from jdiff.images import from_uint8

KEY = jax.random.key(0)
SHAPE = (8, 4, 1)
MOMENTS = jdiff.Gaussian(jnp.array([0.5, -1.0, 0.0]), jnp.array([0.3, 1.7, 1.0]))


def plane(num, noise, seed=0):
    """Images uint8 near a plane of 3 dimensions."""
    rng = np.random.default_rng(seed)
    axes = 12 * rng.standard_normal((3, *SHAPE))
    images = 128 + np.tensordot(rng.standard_normal((num, 3)), axes, 1)
    images += noise * rng.standard_normal(images.shape)
    return np.clip(images.round(), 0, 255).astype(np.uint8)


def scale(images):
    return from_uint8(jnp.asarray(images))


def test_draws_have_the_moments_of_the_posterior():
    keys = jax.random.split(KEY, 40_000)
    z = jax.vmap(jdiff.likelihood.reparametrize, (0, None))(keys, MOMENTS)
    np.testing.assert_allclose(z.mean(0), MOMENTS.mean, atol=0.03)
    np.testing.assert_allclose(z.var(0), MOMENTS.variance, rtol=0.04)


def test_gradients_pass_through_a_draw():
    # E z^2 = m^2 + v, so its gradients are 2 m and 1; E (dz/dm) 2 z is the estimate.
    def mean_square(moments):
        keys = jax.random.split(KEY, 40_000)
        z = jax.vmap(jdiff.likelihood.reparametrize, (0, None))(keys, moments)
        return jnp.square(z).mean(0).sum()

    gradient = jax.grad(mean_square)(MOMENTS)
    np.testing.assert_allclose(gradient.mean, 2 * MOMENTS.mean, atol=0.05)
    np.testing.assert_allclose(gradient.variance, jnp.ones(3), atol=0.05)


def test_the_divergence_is_what_monte_carlo_estimates():
    mean, variance = (np.asarray(moment) for moment in MOMENTS)
    z = mean + np.sqrt(variance) * np.random.default_rng(0).normal(size=(200_000, 3))
    ratios = stats.norm.logpdf(z, mean, np.sqrt(variance)) - stats.norm.logpdf(z)
    estimate = ratios.sum(1).mean()
    np.testing.assert_allclose(
        jdiff.likelihood.prior_divergence(MOMENTS), estimate, rtol=0.02
    )


def test_the_divergence_from_the_prior_itself_is_0():
    prior = jdiff.Gaussian(jnp.zeros(3), jnp.ones(3))
    assert jdiff.likelihood.prior_divergence(prior) == 0.0


def test_coins_have_the_likelihood_of_scipy():
    mean = jnp.array([-0.9, 0.0, 0.6])
    toss = jnp.array([-1.0, 1.0, 1.0])
    expected = stats.bernoulli.logpmf((toss + 1) / 2, (mean + 1) / 2).sum()
    np.testing.assert_allclose(
        jdiff.likelihood.bernoulli_decoder(toss, mean), expected, rtol=1e-6
    )


def test_coins_are_likeliest_under_their_own_grey_and_finite_at_the_ends():
    grey = jnp.array([-1.0, 1.0, 0.2])
    value, gradient = jax.value_and_grad(jdiff.likelihood.bernoulli_decoder, 1)(
        grey, grey
    )
    assert np.isfinite(value) and abs(gradient[2]) < 1e-6
    assert np.isfinite(jdiff.likelihood.bernoulli_decoder(grey, -grey))


def bound_and_likelihood(off):
    """The bound of a linear-Gaussian autoencoder, averaged; its log likelihood."""
    images = plane(500, noise=6.0)
    autoencoder = jdiff.models.make_affine(3, SHAPE)
    params = jdiff.models.fit_pca(images, 3)
    image = scale(images[0])
    axes, mean, width, std = (
        np.asarray(params["affine"][name], np.float64)
        for name in ("axes", "mean", "scale", "std")
    )
    maps = width[:, None] * axes.reshape(3, -1)
    law = stats.multivariate_normal(
        mean.ravel(), maps.T @ maps + std**2 * np.eye(mean.size)
    )

    def log_likelihood(z):
        mean, variance = autoencoder.decode(params, z)
        return jdiff.likelihood.gaussian_decoder(image, mean, jnp.sqrt(variance))

    mean, variance = autoencoder.encode(params, image)
    posterior = jdiff.Gaussian(mean + off, variance)
    bound = functools.partial(
        jdiff.likelihood.evidence_bound, log_likelihood=log_likelihood
    )
    terms = jax.vmap(bound, (0, None))(jax.random.split(KEY, 5000), posterior)
    return np.mean(terms.reconstruction - terms.divergence), law.logpdf(image.ravel())


def test_the_bound_of_the_exact_posterior_is_the_likelihood():
    bound, likelihood = bound_and_likelihood(off=0.0)
    np.testing.assert_allclose(bound, likelihood, atol=0.1)


def test_the_bound_of_another_posterior_lies_below():
    bound, likelihood = bound_and_likelihood(off=0.2)
    assert bound < likelihood - 0.5


def test_training_raises_the_bound():
    optax = pytest.importorskip("optax")
    images = scale(plane(256, noise=3.0))
    autoencoder = jdiff.models.make_vae(3, SHAPE, (32,))

    def log_likelihood(params, image, z):
        mean, variance = autoencoder.decode(params, z)
        return jdiff.likelihood.gaussian_decoder(image, mean, jnp.sqrt(variance))

    loss_fn = jdiff.likelihood.make_elbo_loss(autoencoder.encode, log_likelihood)
    optimizer = optax.adam(3e-3)
    step = jdiff.make_train_step(loss_fn, optimizer, 0.99)
    epoch = jax.jit(jdiff.make_epoch(step, 32, 200))
    state = jdiff.init_train_state(KEY, autoencoder.init(KEY), optimizer)
    data = jdiff.Batch(images, jnp.zeros(len(images), jnp.int32))
    _, metrics = epoch(state, data)
    assert metrics["elbo"][-20:].mean() > metrics["elbo"][:20].mean() + 10
    np.testing.assert_allclose(metrics["loss"], -metrics["elbo"], rtol=1e-6)


@pytest.mark.parametrize("beta", [-1.0, float("nan"), float("inf")])
def test_beta_has_to_be_a_number(beta):
    with pytest.raises(ValueError, match="beta must be"):
        jdiff.likelihood.make_elbo_loss(None, None, beta)
