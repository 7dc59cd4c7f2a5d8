"""Laws of noising, posteriors, predictions and preconditioning."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jdiff

T = 200
SCHEDULES = {
    "linear": jdiff.linear_schedule(T, beta_T=0.05),
    "cosine": jdiff.cosine_schedule(T),
    "flow": jdiff.flow_schedule(T),
    "karras": jdiff.karras_schedule(T),
}
PREDICTIONS = {
    "eps": jdiff.PREDICT_EPS,
    "x_0": jdiff.PREDICT_X_0,
    "v": jdiff.PREDICT_V,
    "score": jdiff.PREDICT_SCORE,
    "flow": jdiff.PREDICT_FLOW,
}
schedule_names = st.sampled_from(sorted(SCHEDULES))
prediction_names = st.sampled_from(sorted(PREDICTIONS))
seeds = st.integers(0, 2**32 - 1)
# s < t, with both ends of the path and neighbours drawn often.
steps = st.tuples(st.integers(0, T), st.integers(0, T)).filter(lambda p: p[0] != p[1])
pairs = st.one_of(steps, st.integers(1, T).map(lambda t: (t - 1, t))).map(sorted)

posterior = jax.jit(jdiff.q_posterior)


def coefficients(schedule, t):
    return float(schedule.alpha[t]), float(schedule.sigma[t])


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def bayes(schedule, x_t, x_0, t, s):
    """q(x_s | x_t, x_0) as a product of two Gaussians in x_s, in float64.

    q(x_s | x_0) = N(alpha_s x_0, sigma_s^2) and, because the path is Markov,
    q(x_t | x_s) = N(a x_s, sigma_t^2 - a^2 sigma_s^2) with a = alpha_t / alpha_s.
    """
    alpha_t, sigma_t = coefficients(schedule, t)
    alpha_s, sigma_s = coefficients(schedule, s)
    a = alpha_t / alpha_s
    likelihood_precision = a**2 / (sigma_t**2 - a**2 * sigma_s**2)
    precision = 1 / sigma_s**2 + likelihood_precision
    pull = a * x_t / (sigma_t**2 - a**2 * sigma_s**2)
    return (alpha_s * x_0 / sigma_s**2 + pull) / precision, 1 / precision


def affine_mean(schedule, x_0, t, s):
    """Offset and slope of the posterior's mean as a function of x_t."""
    offset = posterior(schedule, jnp.zeros_like(x_0), x_0, t, s).mean
    return offset, posterior(schedule, jnp.ones_like(x_0), x_0, t, s).mean - offset


@given(schedule_names, pairs, seeds)
def test_posterior_is_bayes_rule(name, pair, seed):
    s, t = pair
    if s == 0:
        s, t = 1, t + 1 if t < T else t  # s = 0 has its own test
    schedule = SCHEDULES[name]
    x_0, eps = normal(seed, 2, 5)
    x_t = np.asarray(jdiff.q_sample(schedule, x_0, t, eps), np.float64)
    mean, variance = bayes(schedule, x_t, x_0.astype(np.float64), t, s)
    got = posterior(schedule, x_t.astype(np.float32), x_0, t, s)
    np.testing.assert_allclose(got.variance, variance, rtol=1e-4)
    np.testing.assert_allclose(got.mean, mean, rtol=1e-5, atol=2e-6 * abs(x_t).max())


@pytest.mark.parametrize("t", [1, 2, T])
@pytest.mark.parametrize("name", SCHEDULES)
def test_step_to_data_returns_x_0_without_noise(name, t):
    x_0, x_t = normal(3, 2, 7)
    got = posterior(SCHEDULES[name], x_t, x_0, t, 0)
    np.testing.assert_array_equal(got.mean, x_0)
    assert got.variance == 0.0


@given(schedule_names, pairs)
def test_posterior_averaged_over_x_t_is_the_forward_process(name, pair):
    s, t = pair
    schedule = SCHEDULES[name]
    alpha_t, sigma_t = coefficients(schedule, t)
    alpha_s, sigma_s = coefficients(schedule, s)
    x_0 = jnp.array([-1.0, 0.5, 2.0])
    offset, slope = affine_mean(schedule, x_0, t, s)
    variance = posterior(schedule, x_0, x_0, t, s).variance
    np.testing.assert_allclose(
        offset + slope * alpha_t * x_0, alpha_s * x_0, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        slope**2 * sigma_t**2 + variance, sigma_s**2, rtol=2e-5, atol=1e-9
    )


@given(schedule_names, st.sets(st.integers(0, T), min_size=3, max_size=3))
def test_two_steps_back_are_one_long_step(name, times):
    r, s, t = sorted(times)
    schedule = SCHEDULES[name]
    x_0, x_t = jnp.array([0.7, -1.0]), jnp.array([-1.3, 2.0])
    middle = posterior(schedule, x_t, x_0, t, s)
    last = posterior(schedule, middle.mean, x_0, s, r)
    _, slope = affine_mean(schedule, x_0, s, r)
    direct = posterior(schedule, x_t, x_0, t, r)
    np.testing.assert_allclose(last.mean, direct.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        slope**2 * middle.variance + last.variance, direct.variance, rtol=1e-4
    )


@given(
    st.lists(st.floats(1e-12, 0.9), min_size=1, max_size=20),
    st.data(),
)
def test_posterior_variance_is_never_negative_nor_above_the_marginal(betas, data):
    schedule = jdiff.from_betas(np.array(betas))
    t = data.draw(st.integers(1, len(betas)))
    s = data.draw(st.integers(0, t - 1))
    variance = jdiff.q_posterior(schedule, jnp.ones(1), jnp.ones(1), t, s).variance
    assert 0.0 <= variance <= schedule.sigma[s] ** 2


@pytest.mark.parametrize("t", [1, 77, T])
@pytest.mark.parametrize("name", SCHEDULES)
def test_noised_data_has_the_moments_of_the_schedule(name, t):
    schedule = SCHEDULES[name]
    alpha, sigma = coefficients(schedule, t)
    eps = normal(0, 10_000)
    x_t = np.asarray(jdiff.q_sample(schedule, np.full_like(eps, 0.5), t, eps))
    # Of this very noise, so that no tolerance hides a variance in place of a std.
    assert x_t.mean() == pytest.approx(alpha * 0.5 + sigma * eps.mean(), rel=1e-3)
    assert x_t.std() == pytest.approx(sigma * eps.std(), rel=1e-3)


def test_step_0_of_the_forward_process_is_data():
    x_0, eps = normal(5, 2, 3)
    for schedule in SCHEDULES.values():
        np.testing.assert_array_equal(jdiff.q_sample(schedule, x_0, 0, eps), x_0)


@given(schedule_names, prediction_names, st.integers(1, T), seeds)
def test_a_prediction_gives_back_the_x_0_of_its_target(schedule_name, name, t, seed):
    schedule, prediction = SCHEDULES[schedule_name], PREDICTIONS[name]
    alpha, sigma = coefficients(schedule, t)
    if alpha == 0.0 and name in ("eps", "score"):
        return  # not defined: noise alone does not determine x_0
    x_0, eps = normal(seed, 2, 4)
    x_t = jdiff.q_sample(schedule, x_0, t, eps)
    target = prediction.target(schedule, x_0, eps, t)
    # An error of x_t is divided by alpha when x_0 is what the noise leaves over.
    divisor = alpha if name in ("eps", "score") else 1.0
    scale = 1.0 + (alpha + sigma) * np.abs([x_0, eps]).max()
    np.testing.assert_allclose(
        prediction.x_0(schedule, x_t, target, t), x_0, atol=1e-6 * scale / divisor
    )


@given(schedule_names, prediction_names, st.integers(1, T - 1), st.floats(-2, 3))
def test_predictions_are_affine(schedule_name, name, t, weight):
    schedule, prediction = SCHEDULES[schedule_name], PREDICTIONS[name]
    pairs = normal(1, 2, 2, 3)
    mixed = np.float32(weight) * pairs[0] + np.float32(1 - weight) * pairs[1]
    for function in (
        lambda a, b: prediction.target(schedule, a, b, t),
        lambda a, b: prediction.x_0(schedule, a, b, t),
    ):
        ends = [np.asarray(function(*pair)) for pair in pairs]
        size = 10 * max(1.0, np.abs(ends).max())
        np.testing.assert_allclose(
            function(*mixed),
            weight * ends[0] + (1 - weight) * ends[1],
            atol=1e-6 * size,
        )


@pytest.mark.parametrize("t", [1, 50, T])
@pytest.mark.parametrize("name", SCHEDULES)
def test_score_is_the_gradient_of_the_log_density(name, t):
    schedule = SCHEDULES[name]
    alpha, sigma = coefficients(schedule, t)
    x_0, eps = normal(2, 2, 3)

    def log_density(x_t):
        return jax.scipy.stats.norm.logpdf(x_t, alpha * x_0, sigma).sum()

    x_t = jdiff.q_sample(schedule, x_0, t, eps)
    np.testing.assert_allclose(
        jdiff.PREDICT_SCORE.target(schedule, x_0, eps, t),
        jax.grad(log_density)(x_t),
        rtol=1e-3,  # of x_t - alpha x_0 at sigma = 0.002
        atol=1e-5 / sigma,
    )


def test_flow_is_the_velocity_of_the_straight_path():
    schedule = SCHEDULES["flow"]
    x_0, eps = normal(4, 2, 3)
    before, after = (jdiff.q_sample(schedule, x_0, t, eps) for t in (80, 120))
    velocity = (after - before) / (40 / T)
    np.testing.assert_allclose(
        jdiff.PREDICT_FLOW.target(schedule, x_0, eps, 100), velocity, atol=1e-5
    )


def test_v_is_the_velocity_along_the_angle():
    # Salimans & Ho 2022, Appendix D: x = cos(phi) x_0 + sin(phi) eps, v = dx / dphi.
    schedule = SCHEDULES["cosine"]
    x_0, eps = normal(4, 2, 3)
    phi = math.atan2(float(schedule.sigma[60]), float(schedule.alpha[60]))
    _, velocity = jax.jvp(
        lambda phi: jnp.cos(phi) * x_0 + jnp.sin(phi) * eps, (phi,), (1.0,)
    )
    np.testing.assert_allclose(
        jdiff.PREDICT_V.target(schedule, x_0, eps, 60), velocity, atol=1e-6
    )


def test_batch_is_a_vmap_of_examples():
    schedule = SCHEDULES["linear"]
    x_0, x_t = normal(6, 2, 3, 2, 2)
    t, s = jnp.array([1, 100, T]), jnp.array([0, 50, T - 1])
    batch = jax.vmap(jdiff.q_posterior, (None, 0, 0, 0, 0))(schedule, x_t, x_0, t, s)
    for k in range(3):
        one = jdiff.q_posterior(schedule, x_t[k], x_0[k], t[k], s[k])
        np.testing.assert_allclose(batch.mean[k], one.mean, rtol=1e-6)
        np.testing.assert_allclose(batch.variance[k], one.variance, rtol=1e-6)


@pytest.mark.parametrize("t", [-1, T + 1, 2000, 0.5])
def test_steps_outside_the_schedule_are_refused(t):
    x = jnp.ones(3)
    for schedule in SCHEDULES.values():
        for function in (jdiff.q_sample, lambda s, x, t, y: jdiff.log_snr(s, t)):
            with pytest.raises(ValueError, match=rf"an int in \[0, {T}\], got {t}"):
                function(schedule, x, t, x)
        with pytest.raises(ValueError, match="t must be an int in"):
            jdiff.q_posterior(schedule, x, x, t, 0)


@pytest.mark.parametrize(("t", "s"), [(5, 5), (5, 6), (0, 0)])
def test_a_reverse_step_that_does_not_go_back_is_refused(t, s):
    x = jnp.ones(3)
    with pytest.raises(ValueError, match=rf"s must be less than t, got s = {s}"):
        jdiff.q_posterior(SCHEDULES["cosine"], x, x, t, s)
    solver = jdiff.ddim(SCHEDULES["cosine"])
    with pytest.raises(ValueError, match=rf"s must be less than t, got s = {s}"):
        solver.step(jax.random.key(0), lambda x_t, t: x_t, solver.init(x), t, s)


def test_a_batch_of_steps_is_refused_outside_vmap():
    x = jnp.ones(3)
    with pytest.raises(AssertionError):
        jdiff.q_sample(SCHEDULES["linear"], x, jnp.array([1, 2, 3]), x)
    with pytest.raises(AssertionError):
        jdiff.q_posterior(SCHEDULES["linear"], x, x, jnp.array([1, 2, 3]), 0)


def test_noise_of_another_shape_is_refused():
    with pytest.raises(AssertionError):
        jdiff.q_sample(SCHEDULES["linear"], jnp.ones((3, 1)), 1, jnp.ones(3))


@given(schedule_names, prediction_names, prediction_names, st.integers(1, T), seeds)
def test_a_network_reads_as_any_other_prediction(path, trained, wanted, t, seed):
    schedule = SCHEDULES[path]
    alpha, sigma = coefficients(schedule, t)
    if alpha < 1e-3 and trained in ("eps", "score"):
        return  # noise alone hardly determines x_0, or not at all
    x_0, eps = normal(seed, 2, 4)
    x_t = jdiff.q_sample(schedule, x_0, t, eps)
    facts = schedule, PREDICTIONS[trained], PREDICTIONS[wanted]
    output = PREDICTIONS[trained].target(schedule, x_0, eps, t)
    expected = PREDICTIONS[wanted].target(schedule, x_0, eps, t)
    # Noise is a difference over sigma, the score one over its square, and what is
    # left for x_0 is divided by alpha.
    size = 1 + np.abs([x_0, eps, x_t]).max()
    gain = max(1, 1 / sigma**2) * max(1, 1 / alpha if alpha else 1) * (1 + sigma)
    got = jdiff.convert_prediction(*facts, x_t, output, t)
    np.testing.assert_allclose(got, expected, atol=3e-6 * size * gain)


@given(schedule_names, prediction_names, prediction_names, st.integers(1, T - 1), seeds)
def test_reading_there_and_back_changes_nothing(path, trained, wanted, t, seed):
    schedule = SCHEDULES[path]
    alpha, sigma = coefficients(schedule, t)
    there = schedule, PREDICTIONS[trained], PREDICTIONS[wanted]
    back = schedule, PREDICTIONS[wanted], PREDICTIONS[trained]
    x_t, output = normal(seed, 2, 4)  # what a network says is free
    other = jdiff.convert_prediction(*there, x_t, output, t)
    again = jdiff.convert_prediction(*back, x_t, other, t)
    size = 1 + np.abs([x_t, output, other]).max()
    gain = (1 + 1 / alpha) * (1 + alpha + sigma) * max(1, 1 / sigma**2)
    np.testing.assert_allclose(again, output, atol=1e-5 * size * gain)


@pytest.mark.parametrize("t", [20, 100, T - 1])
@pytest.mark.parametrize("name", SCHEDULES)
def test_samplers_see_one_estimate_however_a_network_is_read(name, t):
    schedule = SCHEDULES[name]
    x_t, output = normal(9, 2, 4)
    for wanted in PREDICTIONS.values():
        read = jdiff.convert_prediction(
            schedule, jdiff.PREDICT_V, wanted, x_t, output, t
        )
        np.testing.assert_allclose(
            wanted.x_0(schedule, x_t, read, t),
            jdiff.PREDICT_V.x_0(schedule, x_t, output, t),
            rtol=1e-3,
            atol=1e-3,
        )


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
