"""Gaussian data: closed forms, what they say about solvers, and the analytic start."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import jdiff
from jdiff import closed_form

KEY = jax.random.key(0)
T = 64
SCHEDULES = {
    "cosine": jdiff.cosine_schedule(T),
    "flow": jdiff.flow_schedule(T),
    "karras": jdiff.karras_schedule(T, sigma_min=0.01, sigma_max=20.0),
}
SHAPE = (2, 3)
RNG = np.random.default_rng(0)


def make_normal(rank, seed=0):
    """A Gaussian of shape (2, 3), and its covariance [6, 6]."""
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(6, 6)))[0].T[:rank]
    variances, remainder = rng.uniform(0.2, 3.0, rank), 0.1
    covariance = (vectors.T * (variances - remainder)) @ vectors
    covariance += remainder * np.eye(6)
    arrays = rng.normal(size=SHAPE), vectors.reshape(rank, *SHAPE), variances
    leaves = [np.asarray(leaf, np.float32) for leaf in (*arrays, remainder)]
    return closed_form.gaussian.Normal(*leaves), covariance


def make_mixture():
    normals = [make_normal(3, seed)[0] for seed in range(3)]
    normals[1] = normals[1]._replace(mean=normals[1].mean + 3)
    cells = jax.tree.map(lambda *leaves: np.stack(leaves), *normals)
    return closed_form.gaussian.Mixture(np.log(np.float32([0.2, 0.5, 0.3])), cells)


def law_of_x_t(normal, covariance, schedule, t):
    alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
    mean = alpha * normal.mean.ravel().astype(np.float64)
    return mean, alpha**2 * covariance + sigma**2 * np.eye(6)


@pytest.mark.parametrize("rank", [0, 2, 6])
@pytest.mark.parametrize("name", SCHEDULES)
def test_log_density_is_that_of_x_t(name, rank):
    normal, covariance = make_normal(rank)
    x = RNG.normal(size=SHAPE).astype(np.float32)
    for t in (0, 1, T // 2, T):
        law = closed_form.gaussian.marginal(normal, SCHEDULES[name], t)
        mean, cov = law_of_x_t(normal, covariance, SCHEDULES[name], t)
        expected = multivariate_normal(mean, cov).logpdf(x.ravel())
        actual = closed_form.gaussian.log_density(law, x)
        np.testing.assert_allclose(actual, expected, rtol=1e-4)


@pytest.mark.parametrize("rank", [0, 2, 6])
@pytest.mark.parametrize("name", SCHEDULES)
def test_denoiser_is_regression_on_x_t(name, rank):
    """E[x_0 | x_t] = m + Cov(x_0, x_t) Cov(x_t)^-1 (x_t - E x_t), whatever the rank."""
    normal, covariance = make_normal(rank)
    schedule = SCHEDULES[name]
    denoise = closed_form.gaussian.denoiser(normal, schedule)
    x_t = RNG.normal(size=SHAPE).astype(np.float32)
    for t in (0, 1, T // 2, T):
        mean, cov = law_of_x_t(normal, covariance, schedule, t)
        alpha = float(schedule.alpha[t])
        slope = alpha * covariance @ np.linalg.inv(cov)
        expected = normal.mean + (slope @ (x_t.ravel() - mean)).reshape(SHAPE)
        np.testing.assert_allclose(denoise(x_t, t), expected, atol=2e-5)


def test_denoiser_follows_the_score():
    """Tweedie: E[x_0 | x_t] = (x_t + sigma^2 grad log p(x_t)) / alpha, mixtures too."""
    normal, mixture = make_normal(3)[0], make_mixture()
    schedule = SCHEDULES["cosine"]
    x_t = jnp.asarray(RNG.normal(size=SHAPE), jnp.float32)

    def normal_density(x, t):
        return closed_form.gaussian.log_density(
            closed_form.gaussian.marginal(normal, schedule, t), x
        )

    def mixture_density(x, t):
        laws = jax.vmap(closed_form.gaussian.marginal, (0, None, None))(
            mixture.cells, schedule, t
        )
        laws = mixture._replace(cells=laws)
        return jax.nn.logsumexp(closed_form.gaussian.mixture_log_densities(laws, x))

    for density, denoise in (
        (normal_density, closed_form.gaussian.denoiser(normal, schedule)),
        (mixture_density, closed_form.gaussian.mixture_denoiser(mixture, schedule)),
    ):
        for t in (3, 30, 60):
            score = jax.grad(density)(x_t, t)
            tweedie = (x_t + schedule.sigma[t] ** 2 * score) / schedule.alpha[t]
            np.testing.assert_allclose(denoise(x_t, t), tweedie, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rank", [0, 2, 6])
def test_colour_makes_what_whiten_takes(rank):
    normal, covariance = make_normal(rank)
    eps = RNG.normal(size=SHAPE).astype(np.float32)
    x = closed_form.gaussian.colour(normal, eps)
    np.testing.assert_allclose(closed_form.gaussian.whiten(normal, x), eps, atol=1e-5)
    # The columns of C^(1/2) are the images of unit vectors.
    units = np.eye(6, dtype=np.float32).reshape(6, *SHAPE)
    root = jax.vmap(functools.partial(closed_form.gaussian.colour, normal))(units)
    root = (np.asarray(root) - normal.mean[None]).reshape(6, 6)
    np.testing.assert_allclose(root @ root.T, covariance, atol=1e-5)


def test_covariance_comes_back_from_its_eigenvectors():
    _, covariance = make_normal(6)
    normal = closed_form.gaussian.from_covariance(
        np.zeros(SHAPE), covariance.astype(np.float32)
    )
    vectors = normal.vectors.reshape(6, 6)
    again = (vectors.T * np.asarray(normal.variances)[None]) @ vectors
    np.testing.assert_allclose(again, covariance, atol=1e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_probability_flow_is_a_flow_that_keeps_whitened_x(name):
    normal, schedule = make_normal(3)[0], SCHEDULES[name]
    x_t = RNG.normal(size=SHAPE).astype(np.float32)
    flow = functools.partial(closed_form.gaussian.probability_flow, normal, schedule)
    np.testing.assert_allclose(flow(x_t, T, T), x_t, atol=1e-5)
    there = flow(flow(x_t, T, 20), 20, 0)
    np.testing.assert_allclose(there, flow(x_t, T, 0), atol=1e-4)
    np.testing.assert_allclose(flow(there, 0, T), x_t, rtol=1e-4, atol=1e-3)


def test_ddim_converges_to_the_probability_flow():
    normal, schedule = make_normal(3)[0], jdiff.cosine_schedule(1024)
    denoise, solver = (
        closed_form.gaussian.denoiser(normal, schedule),
        jdiff.ddim(schedule),
    )
    x_T = RNG.normal(size=SHAPE).astype(np.float32)
    exact = closed_form.gaussian.probability_flow(normal, schedule, x_T, 1024, 0)

    def error(num_steps):
        times = jdiff.timesteps(schedule, num_steps)
        x_0 = jdiff.sample(KEY, denoise, solver, times, SHAPE, x_T).x_0
        return np.abs(x_0 - exact).max()

    coarse, fine = error(64), error(256)
    assert 3 < coarse / fine < 6  # of first order
    assert fine < 0.03


def test_mixture_of_equal_cells_is_one_gaussian():
    normal = make_normal(3)[0]
    cells = jax.tree.map(lambda leaf: np.stack([leaf] * 4), normal)
    mixture = closed_form.gaussian.Mixture(
        np.log(np.float32([0.1, 0.2, 0.3, 0.4])), cells
    )
    schedule = SCHEDULES["flow"]
    x_t = RNG.normal(size=SHAPE).astype(np.float32)
    np.testing.assert_allclose(
        closed_form.gaussian.mixture_denoiser(mixture, schedule)(x_t, 9),
        closed_form.gaussian.denoiser(normal, schedule)(x_t, 9),
        atol=1e-5,
    )
    densities = closed_form.gaussian.mixture_log_densities(mixture, x_t)
    np.testing.assert_allclose(
        jax.nn.logsumexp(densities),
        closed_form.gaussian.log_density(normal, x_t),
        rtol=1e-5,
    )


def test_one_step_draws_have_the_moments_of_the_mixture():
    mixture = make_mixture()
    draws = jax.vmap(lambda key: closed_form.gaussian.draw_mixture(key, mixture))(
        jax.random.split(KEY, 20_000)
    )
    draws = np.asarray(draws).reshape(-1, 6)
    weights, means = np.exp(mixture.log_weights), mixture.cells.mean.reshape(3, 6)
    mean = weights @ means
    covariance = (means * weights[:, None]).T @ means - np.outer(mean, mean)
    for k, weight in enumerate(weights):
        covariance += weight * make_normal(3, k)[1]
    error = 5 * math.sqrt(covariance.max() / len(draws))
    np.testing.assert_allclose(draws.mean(0), mean, atol=error)
    np.testing.assert_allclose(
        np.cov(draws.T), covariance, atol=2 * error * covariance.max() ** 0.5
    )


@pytest.mark.parametrize("solver", [jdiff.ddim, jdiff.ddpm])
def test_solvers_draw_the_cells_of_a_mixture_by_their_weights(solver):
    mixture, schedule = make_mixture(), jdiff.cosine_schedule(200)
    denoise = closed_form.gaussian.mixture_denoiser(mixture, schedule)
    times = jdiff.timesteps(schedule, 100)
    draws = jax.jit(
        jax.vmap(
            lambda key: jdiff.sample(key, denoise, solver(schedule), times, SHAPE).x_0
        )
    )(jax.random.split(KEY, 4000))
    cells = jax.vmap(
        functools.partial(closed_form.gaussian.mixture_log_densities, mixture)
    )(draws)
    exact = jax.vmap(lambda key: closed_form.gaussian.draw_mixture(key, mixture))(
        jax.random.split(KEY, 4000)
    )
    wanted = jax.vmap(
        functools.partial(closed_form.gaussian.mixture_log_densities, mixture)
    )(exact)
    shares, exact_shares = (
        np.asarray(jax.nn.softmax(x)).mean(0) for x in (cells, wanted)
    )
    np.testing.assert_allclose(shares, exact_shares, atol=0.04)


NORMAL = closed_form.gaussian.from_covariance(
    jnp.array([0.5, -0.2]), [[1.0, 0.6], [0.6, 0.5]]
)
PATHS = {
    "cosine": jdiff.cosine_schedule(1000),
    "flow": jdiff.flow_schedule(1000),
    "karras": jdiff.karras_schedule(1000),
}


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("t", [1000, 700, 5])
def test_on_gaussian_data_it_is_the_flow_of_the_same_noise(name, t):
    schedule = PATHS[name]
    solver = jdiff.heun(schedule)
    late = jdiff.closed_form.analytic_start(solver, schedule, NORMAL).prior(
        KEY, (2,), t
    )
    x_T = solver.prior(KEY, (2,), 1000)
    exact = closed_form.gaussian.probability_flow(NORMAL, schedule, x_T, 1000, t)
    np.testing.assert_allclose(late, exact, rtol=1e-6)


def test_it_saves_the_error_of_the_steps_it_skips():
    schedule = PATHS["cosine"]
    denoise = closed_form.gaussian.denoiser(NORMAL, schedule)
    plain = jdiff.ddim(schedule)
    late = jdiff.closed_form.analytic_start(plain, schedule, NORMAL)
    times = jdiff.timesteps(schedule, 10)

    def errors(key):
        x_T = plain.prior(jax.random.split(key)[0], (2,), 1000)
        exact = closed_form.gaussian.probability_flow(NORMAL, schedule, x_T, 1000, 0)
        whole = jdiff.sample(key, denoise, plain, times, (2,)).x_0
        short = jdiff.sample(key, denoise, late, times[5:], (2,)).x_0
        return jnp.square(jnp.stack([whole, short]) - exact[None]).sum(1)

    whole, short = jax.vmap(errors)(jax.random.split(KEY, 500)).mean(0)
    assert short < 0.7 * whole


def test_the_normal_of_a_class_has_the_moments_of_its_draws():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (300, 4, 4)).astype(np.uint8)
    images[::2, :2] //= 4
    labels = np.arange(300) % 3
    model = jdiff.closed_form.mixtures.fit(
        images, labels, num_cells=4, num_latents=6, rank=3
    )
    normal = jdiff.closed_form.class_normal(model, 1)
    keys = jax.random.split(KEY, 50_000)
    draws = jax.jit(
        jax.vmap(lambda key: jdiff.closed_form.mixtures.draw(key, model, 1))
    )(keys)
    draws = np.asarray(draws, np.float64).reshape(len(keys), -1)
    np.testing.assert_allclose(normal.mean.ravel(), draws.mean(0), atol=0.01)
    eye = jnp.eye(16).reshape(16, 4, 4)
    centred = normal._replace(mean=jnp.zeros((4, 4)))
    root = jax.vmap(lambda e: closed_form.gaussian.colour(centred, e))(eye).reshape(
        16, 16
    )
    np.testing.assert_allclose(root @ root.T, np.cov(draws.T), atol=0.012)
