"""Laws of guidance: functions from denoisers to a denoiser."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import SCHEDULES, TARGETS, T

import jdiff


@pytest.mark.parametrize(
    ("scale", "expected"), [(0.0, 0.25), (1.0, 0.5), (2.0, 0.75), (-1.0, 0.0)]
)
def test_guidance_scale_0_is_unconditional_and_1_conditional(scale, expected):
    guided = jdiff.guide(lambda x, t: 0.5 * x, lambda x, t: 0.25 * x, scale)
    np.testing.assert_array_equal(guided(jnp.ones(3), 1), np.full(3, expected))


# Guidance by a loss: y = (x_0)_1 + 0.3 n of correlated Gaussian data.

NORMAL = jdiff.closed_form.gaussian.from_covariance(
    jnp.array([0.5, -0.2]), jnp.array([[1.0, 0.6], [0.6, 0.8]])
)
Y, STD = 1.4, 0.3
# Conditioning of Gaussians: gain = C a / (a C a + std^2), a = (1, 0).
GAIN = np.array([1.0, 0.6]) / (1.0 + STD**2)
POSTERIOR_MEAN = np.array([0.5, -0.2]) + GAIN * (Y - 0.5)
POSTERIOR_COVARIANCE = np.array([[1.0, 0.6], [0.6, 0.8]]) - np.outer(GAIN, [1.0, 0.6])


def guided_by_y(schedule):
    """The denoiser of NORMAL, guided by the exact -log p(y | x_t)."""

    def loss(x_0, t):
        covariance = jnp.array([[1.0, 0.6], [0.6, 0.8]])
        alpha, sigma = schedule.alpha[t], schedule.sigma[t]
        total = alpha**2 * covariance + sigma**2 * jnp.eye(2)
        seen = alpha * covariance @ jnp.linalg.inv(total) @ (alpha * covariance)
        variance = STD**2 + (covariance - seen)[0, 0]
        return jnp.square(Y - x_0[0]) / (2 * variance)

    denoise = jdiff.closed_form.gaussian.denoiser(NORMAL, schedule)
    return jdiff.guide_by(denoise, schedule, loss)


@pytest.mark.parametrize("t", [1, 12, 25, T - 1])
@pytest.mark.parametrize("name", SCHEDULES)
def test_guidance_by_the_likelihood_is_the_denoiser_of_the_posterior(name, t):
    schedule, x_t = SCHEDULES[name], jnp.array([1.1, -0.7])
    posterior = jdiff.closed_form.gaussian.from_covariance(
        jnp.asarray(POSTERIOR_MEAN, jnp.float32),
        jnp.asarray(POSTERIOR_COVARIANCE, jnp.float32),
    )
    expected = jdiff.closed_form.gaussian.denoiser(posterior, schedule)(x_t, t)
    got = guided_by_y(schedule)(x_t, t)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_samples_guided_by_the_likelihood_are_of_the_posterior():
    schedule = jdiff.cosine_schedule(200)
    denoise, times = guided_by_y(schedule), jdiff.timesteps(schedule, 100)

    def draw(key):
        return jdiff.sample(key, denoise, jdiff.ddpm(schedule), times, (2,)).x_0

    samples = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 4000))
    error = 5 / np.sqrt(4000)
    np.testing.assert_allclose(samples.mean(0), POSTERIOR_MEAN, atol=error)
    covariance = np.cov(samples.T)
    np.testing.assert_allclose(covariance, POSTERIOR_COVARIANCE, atol=2 * error)


def test_nothing_is_added_where_no_signal_is_left():
    schedule, x_t = SCHEDULES["flow"], jnp.array([1.1, -0.7])
    unguided = jdiff.closed_form.gaussian.denoiser(NORMAL, schedule)(x_t, T)
    np.testing.assert_array_equal(guided_by_y(schedule)(x_t, T), unguided)


@pytest.mark.parametrize("name", TARGETS)
def test_guiding_the_output_of_the_network_is_guiding_x_0(name):
    schedule, prediction, t = SCHEDULES["linear"], TARGETS[name], 20
    x_t, conditional, unconditional = np.random.default_rng(1).standard_normal(
        (3, 4), np.float32
    )

    def denoiser(output):
        return jdiff.make_denoiser(
            lambda *_: output[None], {}, schedule, prediction, clip=None
        )

    guided = jdiff.guide(denoiser(conditional), denoiser(unconditional), 3.0)
    mixed = denoiser(unconditional + 3.0 * (conditional - unconditional))
    np.testing.assert_allclose(guided(x_t, t), mixed(x_t, t), rtol=1e-4, atol=1e-4)


def test_clipping_after_guidance_keeps_the_whole_difference():
    guided = jdiff.guide(lambda x, t: 0.5 * x, lambda x, t: 2.0 * x, 2.0)  # -1
    clipped = jdiff.clip_x_0(guided, 0.75)
    np.testing.assert_array_equal(clipped(jnp.ones(1), 1), [-0.75])


def test_guidance_by_a_worse_model_is_autoguidance():
    """Karras et al. 2024: D_w = w D_1 + (1 - w) D_0, with the same condition in both.

    Of Gaussian data, D_0 for too wide a Gaussian: guidance moves away from its error.
    """
    schedule, x_t, t = SCHEDULES["karras"], jnp.array([1.5]), 25
    good, bad = (
        jdiff.closed_form.gaussian.denoiser(
            jdiff.closed_form.gaussian.from_covariance(
                jnp.zeros(1), jnp.full((1, 1), v)
            ),
            schedule,
        )
        for v in (1.0, 2.0)
    )
    guided = jdiff.guide(good, bad, 1.5)(x_t, t)
    np.testing.assert_allclose(
        guided, 1.5 * good(x_t, t) - 0.5 * bad(x_t, t), rtol=1e-5
    )
    assert (abs(guided) < abs(good(x_t, t))).all()


@pytest.mark.parametrize(("t", "expected"), [(9, 0.5), (10, 2.0), (20, 2.0), (21, 0.5)])
def test_guidance_acts_in_its_interval_alone(t, expected):
    denoise = jdiff.guide_interval(lambda x, t: 2.0 * x, lambda x, t: 0.5 * x, 10, 20)
    np.testing.assert_array_equal(denoise(jnp.ones(3), t), np.full(3, expected))


def test_outside_the_interval_the_guided_denoiser_is_not_called():
    calls = []

    def guided(x_t, t):
        jax.debug.callback(lambda t: calls.append(int(t)), t)
        return x_t

    denoise = jdiff.guide_interval(guided, lambda x_t, t: x_t, 10, 20)
    schedule = SCHEDULES["flow"]
    solver, times = jdiff.ddim(schedule), np.array([T, 20, 15, 9, 0])

    @jax.jit
    @jax.vmap
    def draw(key):
        return jdiff.sample(key, denoise, solver, times, (2,)).x_0

    jax.block_until_ready(draw(jax.random.split(jax.random.key(0), 3)))
    jax.effects_barrier()
    assert set(calls) == {15, 20}


def noisy(gain):
    return lambda x_t, t: gain * (x_t - 0.1)


def test_rescaled_guidance_has_the_contrast_of_the_conditional_estimate():
    x_t = jnp.arange(6.0)
    guided, conditional = noisy(3.0), noisy(0.5)
    rescaled = jdiff.rescale_guidance(guided, conditional, 1.0)(x_t, 5)
    np.testing.assert_allclose(rescaled.std(), conditional(x_t, 5).std(), rtol=1e-6)
    # Half of the way (Lin et al. 2023, Eq. 16), and none of it.
    half = jdiff.rescale_guidance(guided, conditional, 0.5)(x_t, 5)
    np.testing.assert_allclose(half, (rescaled + guided(x_t, 5)) / 2, rtol=1e-6)
    none = jdiff.rescale_guidance(guided, conditional, 0.0)(x_t, 5)
    np.testing.assert_array_equal(none, guided(x_t, 5))


def test_rescale_leaves_an_estimate_without_contrast_as_it_is():
    blank = jdiff.rescale_guidance(lambda x, t: jnp.full(4, 0.3), noisy(1.0), 1.0)
    np.testing.assert_allclose(blank(jnp.arange(4.0), 5), np.full(4, 0.3), rtol=1e-6)


def test_rescale_has_a_gradient_where_estimates_have_no_contrast():
    def total(scale):
        def flat(x_t, t):
            return jnp.full(4, scale)

        return jdiff.rescale_guidance(flat, flat)(jnp.arange(4.0), 5).sum()

    # The estimate is left as it is, four times the number.
    assert jax.grad(total)(0.3) == 4.0


def test_dynamic_threshold_is_that_of_saharia_et_al():
    loud = jnp.array([0.0, 1.0, -2.0, 3.0, -4.0])
    # The 75th percentile of |x| is 3: what is louder is clipped, all is divided by 3.
    denoise = jdiff.dynamic_threshold(lambda x_t, t: x_t, 75.0)
    np.testing.assert_allclose(
        denoise(loud, 5), np.array([0, 1, -2, 3, -3]) / 3, rtol=1e-6
    )
    wider = jdiff.dynamic_threshold(lambda x_t, t: x_t, 75.0, bound=2.0)
    np.testing.assert_allclose(wider(loud, 5), 2 * denoise(loud, 5), rtol=1e-6)


def test_dynamic_threshold_leaves_quiet_estimates_alone():
    quiet = jnp.array([0.0, 0.5, -0.9])
    denoise = jdiff.dynamic_threshold(lambda x_t, t: x_t)
    np.testing.assert_array_equal(denoise(quiet, 5), quiet)


def test_guidance_composes():
    schedule = SCHEDULES["cosine"]
    guided = jdiff.guide(noisy(0.6), noisy(0.2), 3.0)
    guided = jdiff.guide_interval(guided, noisy(0.6), 5, 35)
    denoise = jdiff.dynamic_threshold(jdiff.rescale_guidance(guided, noisy(0.6)))
    solver, times = jdiff.dpmpp_2m(schedule), jdiff.timesteps(schedule, 5)
    x_0 = jdiff.sample(jax.random.key(0), denoise, solver, times, (4,)).x_0
    assert np.abs(x_0).max() <= 1.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: jdiff.rescale_guidance(noisy(1), noisy(1), -0.1),
            r"phi must be in \[0, 1\]",
        ),
        (lambda: jdiff.dynamic_threshold(noisy(1), 101.0), "percentile must be in"),
        (lambda: jdiff.dynamic_threshold(noisy(1), bound=0.0), "bound must be > 0"),
    ],
)
def test_number_outside_its_range_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
