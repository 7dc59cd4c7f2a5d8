"""Laws of the likelihoods: closed forms of Gaussian data, bounds, refusals."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jdiff

SIZE = 4
KEY = jax.random.key(0)
SCHEDULES = {
    "cosine": jdiff.cosine_schedule(1000),
    "flow": jdiff.flow_schedule(1000),
    "karras": jdiff.karras_schedule(1000),
}


@functools.cache
def data(num_examples=64):
    rng = np.random.default_rng(0)
    root = rng.standard_normal((SIZE, SIZE)) / np.sqrt(SIZE)
    covariance = (root @ root.T + 0.1 * np.eye(SIZE)).astype(np.float32)
    mean = rng.standard_normal(SIZE).astype(np.float32)
    x_0 = rng.multivariate_normal(mean, covariance, num_examples).astype(np.float32)
    exact = stats.multivariate_normal(mean, covariance).logpdf(x_0)
    normal = jdiff.closed_form.gaussian.from_covariance(mean, covariance)
    return normal, jnp.asarray(x_0), -exact / (SIZE * math.log(2))


@functools.partial(jax.jit, static_argnames="trace")
def flow(schedule, times, x_0, trace=jdiff.likelihood.exact_trace):
    denoise = jdiff.closed_form.gaussian.denoiser(data()[0], schedule)
    keys = jax.random.split(KEY, len(x_0))
    return jax.vmap(
        lambda key, x_0: jdiff.likelihood.flow_bits(
            key, denoise, schedule, x_0, times, trace
        )
    )(keys, x_0)


@functools.partial(jax.jit, static_argnames="num_draws")
def bound(schedule, times, x_0, num_draws=1):
    denoise = jdiff.closed_form.gaussian.denoiser(data()[0], schedule)

    def one(key, x_0):
        return jdiff.likelihood.variational_bound(key, denoise, schedule, x_0, times)

    x_0 = jnp.repeat(x_0, num_draws, axis=0)
    return jax.vmap(one)(jax.random.split(KEY, len(x_0)), x_0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_flow_likelihood_of_a_gaussian_is_exact(name):
    _, x_0, exact = data()
    schedule = SCHEDULES[name]
    times = jdiff.timesteps(schedule, 500 if name == "karras" else 100)
    result = jdiff.likelihood.mean_bits(flow(schedule, times, x_0), tolerance=0.003)
    assert result.bits == pytest.approx(exact.mean(), abs=1e-3)
    assert result.integration_error < 0.003
    bits = flow(schedule, times, x_0).bits
    # Sampling from N(0, 80^2) ignores a mean of 1: of one example, 1 / 80 nats.
    np.testing.assert_allclose(bits, exact, atol=2e-2 if name == "karras" else 2e-3)


def test_hutchinson_trace_is_right_on_average():
    normal, x_0, exact = data()
    schedule = SCHEDULES["flow"]
    times = jdiff.spaced_timesteps(schedule, 60)
    x_0 = jnp.repeat(x_0[:1], 2000, axis=0)
    bits = np.asarray(
        flow(schedule, times, x_0, trace=jdiff.likelihood.hutchinson_trace).bits
    )
    fine = float(flow(schedule, times, x_0[:1]).bits[0])
    assert bits.std() > 0
    assert bits.mean() == pytest.approx(fine, abs=0.1 * float(bits.std()))


def test_traces_of_a_matrix_are_its_trace():
    matrix = np.random.default_rng(0).standard_normal((3, 3)).astype(np.float32)
    x = jnp.arange(3.0)
    value, trace = jdiff.likelihood.exact_trace(KEY, lambda x: matrix @ x, x)
    np.testing.assert_allclose(value, matrix @ x, rtol=1e-6)
    assert trace == pytest.approx(np.trace(matrix), rel=1e-5)
    # z = +-1 leaves no noise where there is nothing off the diagonal.
    _, trace = jdiff.likelihood.hutchinson_trace(KEY, lambda x: jnp.diag(matrix) * x, x)
    assert trace == pytest.approx(np.trace(matrix), rel=1e-5)


@pytest.mark.parametrize("num_steps", [4, 6])
def test_few_steps_that_look_too_good_are_refused(num_steps):
    _, x_0, exact = data()
    schedule = SCHEDULES["cosine"]
    result = flow(schedule, jdiff.timesteps(schedule, num_steps), x_0)
    assert np.abs(np.asarray(result.bits) - exact).mean() > 0.01
    with pytest.raises(ValueError, match="times must have more steps"):
        jdiff.likelihood.mean_bits(result)


def test_likelihood_that_is_not_finite_is_refused():
    broken = jdiff.likelihood.FlowBits(jnp.array([1.0, jnp.nan]), jnp.ones(2))
    with pytest.raises(ValueError, match="nan bits per dimension"):
        jdiff.likelihood.mean_bits(broken)


def test_mean_has_the_standard_error_of_a_mean():
    bits = jnp.array([1.0, 2.0, 3.0, 2.0])
    mean = jdiff.likelihood.mean_bits(jdiff.likelihood.FlowBits(bits, bits))
    assert mean == (2.0, math.sqrt(0.5) / 2, 0.0)


# The bound.


@pytest.mark.parametrize("num_steps", [1, 3, 10, 100, 1000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_bound_is_above_the_likelihood_with_any_number_of_steps(name, num_steps):
    _, x_0, exact = data()
    schedule = SCHEDULES[name]
    num_draws = 20
    times = jdiff.timesteps(schedule, num_steps)
    total = np.asarray(sum(bound(schedule, times, x_0, num_draws)))
    if np.isposinf(total).all():  # one step, and from no signal: true, but idle
        return
    gap = total.reshape(-1, num_draws).mean(1) - exact
    error = total.reshape(-1, num_draws).std(1).mean() / math.sqrt(total.size)
    assert gap.mean() > -4.5 * error
    if num_steps <= 10:
        assert gap.mean() > 4.5 * error


def closed_form(schedule, times):
    """Expectation of each term over Gaussian data, by Eq. 2 of `gaussian`."""
    normal, _, _ = data()
    v = np.asarray(normal.variances, np.float64)
    second = np.sum(v) + np.sum(np.asarray(normal.mean, np.float64) ** 2)
    alpha, sigma = (np.asarray(table, np.float64)[times] for table in schedule)
    level = sigma[:-1] / np.maximum(alpha[:-1], 1e-30)
    left = np.array([np.sum(v * n**2 / (v + n**2)) for n in level])
    prior = second / (2 * level[0] ** 2)
    diffusion = np.sum((1 / level[1:] ** 2 - 1 / level[:-1] ** 2) / 2 * left[:-1])
    std = level[-1]
    reconstruction = SIZE * math.log(std * math.sqrt(2 * math.pi))
    reconstruction += left[-1] / (2 * std**2)
    return np.array([prior, diffusion, reconstruction]) / (SIZE * math.log(2))


@pytest.mark.parametrize("name", SCHEDULES)
def test_terms_of_the_bound_have_their_closed_form_on_a_gaussian(name):
    schedule = SCHEDULES[name]
    times = jdiff.timesteps(schedule, 20)
    _, x_0, _ = data(4000)
    terms = np.stack(bound(schedule, times, x_0))
    expected = closed_form(schedule, times)
    error = 4.5 * terms.std(1) / math.sqrt(len(x_0))
    assert (np.abs(terms.mean(1) - expected) <= error + 1e-6).all()


def test_gap_of_the_bound_halves_with_twice_the_steps():
    v = np.asarray(data()[0].variances, np.float64)
    entropy = 0.5 * np.log(2 * math.pi * math.e * v).sum() / (SIZE * math.log(2))
    few, many = (
        closed_form(schedule, jdiff.timesteps(schedule, num_steps)).sum() - entropy
        for num_steps in (2000, 4000)
        for schedule in [jdiff.karras_schedule(num_steps)]
    )
    assert 0 < many < 0.05
    assert 1.8 < few / many < 2.2


# Pixels.


@pytest.mark.parametrize(
    ("mean", "std"), [(0.3, 0.05), (-1.0, 0.002), (0.999, 0.3), (3.0, 0.5)]
)
def test_pixels_have_probabilities_that_sum_to_1(mean, std):
    levels = jnp.linspace(-1.0, 1.0, 256)[:, None]
    decode = jax.vmap(jdiff.likelihood.pixel_decoder, (0, None, None))
    log_p = decode(levels, jnp.full(1, mean), jnp.float32(std))
    assert jnp.exp(log_p).sum() == pytest.approx(1.0, abs=1e-3)
    assert np.isfinite(log_p).all()


def test_dequantized_pixels_stay_nearest_to_their_level():
    image = jnp.linspace(-1.0, 1.0, 256)
    noisy = jdiff.likelihood.dequantize(KEY, image)
    level = np.round((np.asarray(noisy) + 1) / jdiff.likelihood.PIXEL)
    np.testing.assert_array_equal(level, np.arange(256))
    assert np.abs(noisy - image).max() > 0.4 * jdiff.likelihood.PIXEL


def test_width_of_a_level_adds_its_bits():
    normal, x_0, _ = data()
    schedule = SCHEDULES["flow"]
    denoise = jdiff.closed_form.gaussian.denoiser(normal, schedule)
    times = jdiff.timesteps(schedule, 4)
    one, pixel = (
        jdiff.likelihood.flow_bits(
            KEY, denoise, schedule, x_0[0], times, width=width
        ).bits
        for width in (1.0, jdiff.likelihood.PIXEL)
    )
    assert pixel - one == pytest.approx(math.log2(255 / 2), rel=1e-5)


# Bad input.


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([1000, 500, 300, 200], "steps down to 0"),
        ([1000, 0], "at least 4 steps down to 0"),
        ([1000, 800, 500, 300, 200, 0], "even number of steps, got 5"),
        ([1001, 800, 500, 300, 0], "at most T = 1000"),
        ([0, 500, 800, 900, 1000], "descend strictly"),
    ],
)
def test_grid_that_cannot_be_halved_or_is_none_is_refused(times, message):
    normal, x_0, _ = data()
    schedule = SCHEDULES["flow"]
    denoise = jdiff.closed_form.gaussian.denoiser(normal, schedule)
    with pytest.raises(ValueError, match=message):
        jdiff.likelihood.flow_bits(KEY, denoise, schedule, x_0[0], times)


def test_bound_needs_a_grid_that_ends_in_data():
    normal, x_0, _ = data()
    denoise = jdiff.closed_form.gaussian.denoiser(normal, SCHEDULES["flow"])
    with pytest.raises(ValueError, match="down to 0"):
        jdiff.likelihood.variational_bound(
            KEY, denoise, SCHEDULES["flow"], x_0[0], [1000, 5]
        )
