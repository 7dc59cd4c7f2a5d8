"""Laws of the analytic start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY

import jdiff
from jdiff import closed_form

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
