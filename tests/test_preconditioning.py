"""Laws of the preconditioning of Karras et al. 2022."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdiff

SCHEDULE = jdiff.karras_schedule(200)
SIGMA_DATA = 0.6


def silent(params, x_t, log_snr, label=None):
    return jnp.zeros_like(x_t)


WRAPPED = jdiff.precondition(silent, SIGMA_DATA)


@pytest.mark.parametrize("t", [1, 60, 200])
def test_a_silent_network_is_the_denoiser_of_a_gaussian(t):
    normal = jdiff.closed_form.gaussian.from_covariance(
        jnp.zeros(3), SIGMA_DATA**2 * jnp.eye(3)
    )
    denoise = jdiff.make_denoiser(WRAPPED, {}, SCHEDULE, jdiff.PREDICT_X_0, clip=None)
    x_t = jnp.array([0.1, -3.0, 40.0])
    exact = jdiff.closed_form.gaussian.denoiser(normal, SCHEDULE)(x_t, t)
    np.testing.assert_allclose(denoise(x_t, t), exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("t", [1, 60, 200])
def test_input_and_target_of_the_network_are_of_unit_size(t):
    keys = jax.random.split(jax.random.key(t), 2)
    x_0 = SIGMA_DATA * jax.random.normal(keys[0], (50_000, 1))
    x_t = x_0 + SCHEDULE.sigma[t] * jax.random.normal(keys[1], x_0.shape)
    seen = []

    def spy(params, x_t, log_snr):
        seen.append(x_t)
        return jnp.ones_like(x_t)

    log_snr = jnp.full(len(x_t), jdiff.log_snr(SCHEDULE, t))
    skipped = WRAPPED({}, x_t, log_snr)
    c_out = jdiff.precondition(spy, SIGMA_DATA)({}, x_t, log_snr) - skipped
    error = 5 / math.sqrt(100_000)
    assert seen[0].std() == pytest.approx(1.0, rel=error)
    # c_out = 1 / sqrt(weight), so the weighted target is of unit size, too.
    weight = jdiff.edm_weight(SCHEDULE, jdiff.PREDICT_X_0, t, SIGMA_DATA)
    np.testing.assert_allclose(c_out, jnp.full_like(c_out, weight**-0.5), rtol=2e-2)
    size = jnp.sqrt(weight * jnp.square(x_0 - skipped).mean())
    assert size == pytest.approx(1.0, rel=error)


def test_loss_of_a_silent_network_is_1():
    loss_fn = jdiff.make_diffusion_loss(
        WRAPPED,
        SCHEDULE,
        jdiff.PREDICT_X_0,
        weight=functools.partial(jdiff.edm_weight, sigma_data=SIGMA_DATA),
    )
    image = SIGMA_DATA * jax.random.normal(jax.random.key(0), (20_000, 1))
    batch = jdiff.Batch(image, jnp.zeros(20_000, jnp.int32))
    loss, _ = loss_fn({}, jax.random.key(1), batch)
    assert loss == pytest.approx(1.0, rel=5 * math.sqrt(2 / 20_000))


def test_a_variance_exploding_model_samples_with_the_same_loop():
    denoise = jdiff.make_denoiser(WRAPPED, {}, SCHEDULE, jdiff.PREDICT_X_0, clip=None)
    solver, times = jdiff.heun(SCHEDULE), jdiff.timesteps(SCHEDULE, 25)
    sample = jdiff.sample(jax.random.key(0), denoise, solver, times, (4000,))
    assert sample.x_0.std() == pytest.approx(SIGMA_DATA, rel=5 / math.sqrt(8000))


@pytest.mark.parametrize("sigma_data", [0.0, -1.0, math.nan])
def test_size_of_the_data_outside_its_range_is_named(sigma_data):
    with pytest.raises(ValueError, match="sigma_data must be > 0, got"):
        jdiff.precondition(silent, sigma_data)
