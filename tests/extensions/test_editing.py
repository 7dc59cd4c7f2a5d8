"""Laws of inversion, interpolation, variation and inpainting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, bend, point
from hypothesis import given
from hypothesis import strategies as st

import jdiff
from jdiff import closed_form

SCHEDULE = jdiff.cosine_schedule(1000)
PATHS = {
    "cosine": SCHEDULE,
    "flow": jdiff.flow_schedule(1000),
    "karras": jdiff.karras_schedule(1000),
}
NORMAL = closed_form.gaussian.from_covariance(
    jnp.array([0.5, -0.2]), [[1.0, 0.6], [0.6, 0.5]]
)
X_0 = jnp.array([0.9, -1.1])
MASK = jnp.array([1.0, 0.0])


@pytest.mark.parametrize("name", PATHS)
def test_inversion_of_gaussian_data_is_the_exact_flow(name):
    schedule = PATHS[name]
    denoise = closed_form.gaussian.denoiser(NORMAL, schedule)
    x_T = jdiff.extensions.invert(
        denoise, schedule, X_0, jdiff.timesteps(schedule, 500)
    )
    exact = closed_form.gaussian.probability_flow(NORMAL, schedule, X_0, 0, 1000)
    scale = float(schedule.sigma[-1])
    np.testing.assert_allclose(x_T / scale, exact / scale, atol=5e-3)


def test_sampling_leads_back_from_an_inversion():
    times = jdiff.timesteps(SCHEDULE, 200)
    cells = jax.vmap(lambda mean: NORMAL._replace(mean=mean))(
        jnp.array([[2.0], [-2.0]]) * NORMAL.mean[None]
    )
    mixture = closed_form.gaussian.Mixture(jnp.log(jnp.array([0.3, 0.7])), cells)
    denoise = closed_form.gaussian.mixture_denoiser(mixture, SCHEDULE)
    x_T = jdiff.extensions.invert(denoise, SCHEDULE, X_0, times)
    solver = jdiff.heun(SCHEDULE)
    back = jdiff.sample(KEY, denoise, solver, times, (2,), x_T).x_0
    np.testing.assert_allclose(back, X_0, atol=5e-3)


@pytest.mark.parametrize("times", [[1000, 0], [1000, 10], [0, 500, 1000]])
def test_inversion_needs_a_grid_down_to_data(times):
    with pytest.raises(ValueError, match="times must"):
        jdiff.extensions.invert(bend, SCHEDULE, X_0, np.array(times))


@given(st.integers(0, 100), st.floats(0.0, 1.0))
def test_slerp_keeps_the_length_and_divides_the_angle(seed, u):
    x, y = jax.random.normal(jax.random.key(seed), (2, 3, 4))
    x, y = x / jnp.linalg.norm(x), y / jnp.linalg.norm(y)
    middle = jdiff.extensions.slerp(x, y, u)
    assert jnp.linalg.norm(middle) == pytest.approx(1.0, abs=1e-5)
    angle = float(jnp.arccos(jnp.vdot(x, y)))
    part = float(jnp.arccos(jnp.clip(jnp.vdot(x, middle), -1.0, 1.0)))
    assert part == pytest.approx(u * angle, abs=2e-3)


def test_ends_of_slerp_are_its_arguments():
    x, y = jax.random.normal(KEY, (2, 5))
    np.testing.assert_allclose(jdiff.extensions.slerp(x, y, 0.0), x, atol=1e-6)
    np.testing.assert_allclose(jdiff.extensions.slerp(x, y, 1.0), y, atol=1e-6)


def vary(t, x_0, denoise, num=4000):
    solver = jdiff.ddim(SCHEDULE)
    times = np.unique(np.round(np.linspace(0, t, 101)).astype(int))[::-1]

    def one(key):
        return jdiff.extensions.sdedit(key, denoise, solver, SCHEDULE, x_0, times).x_0

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, num)))


def test_variation_goes_from_the_image_itself_to_a_fresh_sample():
    """On Gaussian data x_0 keeps a known fraction, which the exact posterior gives."""
    denoise = closed_form.gaussian.denoiser(NORMAL, SCHEDULE)
    near = vary(5, X_0, denoise, 100)
    np.testing.assert_allclose(near, np.tile(X_0, (100, 1)), atol=0.1)
    fresh = vary(1000, X_0, denoise)
    error = 4 * np.sqrt(np.diag(np.cov(fresh.T)) / len(fresh))
    assert (np.abs(fresh.mean(0) - NORMAL.mean) < error + 0.01).all()
    covariance = np.array([[1.0, 0.6], [0.6, 0.5]])
    np.testing.assert_allclose(np.cov(fresh.T), covariance, atol=0.08)


def paint(num_rounds, denoise, num=4000, solver=jdiff.ddpm):
    solver = jdiff.extensions.repaint(solver(SCHEDULE), SCHEDULE, X_0, MASK, num_rounds)
    times = jdiff.timesteps(SCHEDULE, 50)

    def one(key):
        return jdiff.sample(key, denoise, solver, times, (2,)).x_0

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, num)))


@pytest.mark.parametrize("solver", [jdiff.ddpm, jdiff.ddim, jdiff.heun])
@pytest.mark.parametrize("num_rounds", [1, 3])
def test_known_pixels_are_themselves_to_the_bit(solver, num_rounds):
    x_0 = paint(num_rounds, bend, 3, solver)
    np.testing.assert_array_equal(x_0[:, 0], np.full(3, X_0[0]))
    assert (x_0[:, 1] != X_0[1]).all()


def test_rounds_bring_inpainting_nearer_to_the_true_conditional():
    """Of x_2 given x_1 = 0.9 the mean is 0.95 * 0.9; replacement alone falls short."""
    normal = closed_form.gaussian.from_covariance(
        jnp.zeros(2), [[1.0, 0.95], [0.95, 1.0]]
    )
    denoise = closed_form.gaussian.denoiser(normal, SCHEDULE)
    once, often = (paint(rounds, denoise, 1000)[:, 1].mean() for rounds in (1, 10))
    assert abs(often - 0.95 * 0.9) < 0.25 * abs(once - 0.95 * 0.9)


def test_a_single_point_is_painted_from_its_known_half():
    solver = jdiff.extensions.repaint(
        jdiff.ddpm(SCHEDULE), SCHEDULE, jnp.asarray([0.7, 0.0]), MASK
    )
    times = jdiff.timesteps(SCHEDULE, 10)
    x_0 = jdiff.sample(KEY, point, solver, times, (2,)).x_0
    np.testing.assert_allclose(x_0, [0.7, -0.3], atol=1e-6)


def test_inpainting_without_rounds_or_with_a_memory_is_refused():
    with pytest.raises(ValueError, match=r"num_rounds must be >= 1, got 0\."):
        jdiff.extensions.repaint(jdiff.ddpm(SCHEDULE), SCHEDULE, X_0, MASK, 0)
    with pytest.raises(ValueError, match="solver must have no memory"):
        jdiff.extensions.repaint(jdiff.unipc(SCHEDULE), SCHEDULE, X_0, MASK)
