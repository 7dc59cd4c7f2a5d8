"""Laws of noise schedules and of grids of steps."""

import functools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jdiff

VARIANCE_PRESERVING = [
    jdiff.linear_schedule,
    jdiff.quadratic_schedule,
    jdiff.sigmoid_schedule,
    jdiff.cosine_schedule,
]
BETA_RANGE = VARIANCE_PRESERVING[:3]
BUILDERS = [*VARIANCE_PRESERVING, jdiff.flow_schedule, jdiff.karras_schedule]
FLOAT32_EPS = 2.0**-23


def tables(schedule):
    """The stored tables, in float64 so that the test's own arithmetic is exact."""
    return (np.asarray(table, np.float64) for table in schedule)


def betas_of(schedule):
    """Variance added by each step, recovered from the tables (Ho et al., Eq. 2)."""
    alpha, _ = tables(schedule)
    return 1 - (alpha[1:] / alpha[:-1]) ** 2


# Whether sampling may start from noise alone.


@pytest.mark.parametrize(
    "build",
    [
        lambda: jdiff.linear_schedule(200),  # 36% of the signal is left
        lambda: jdiff.linear_schedule(50, beta_T=0.1),  # the from-scratch article's
        lambda: jdiff.cosine_schedule(50, beta_max=0.1),  # the tutorial's clipping
        lambda: jdiff.from_sigmas(np.linspace(0.1, 5.0, 9)),
        lambda: jdiff.from_log_snr([3.0, -4.0]),
        lambda: jax.jit(lambda: jdiff.linear_schedule(200))(),
    ],
)
def test_schedule_that_leaves_signal_at_the_end_is_warned_of_where_it_is_made(build):
    with pytest.warns(UserWarning, match=r"keeps [0-9.]+ of the signal") as caught:
        build()
    assert [warning.filename for warning in caught] == [__file__]


def test_schedule_that_ends_in_noise_is_not_warned_of():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        jdiff.linear_schedule(1000)
        jdiff.cosine_schedule(50)
        jdiff.flow_schedule(10)
        jdiff.karras_schedule(10)
    assert not caught


# Schedules of given tables.


@pytest.mark.parametrize(
    "schedule", [jdiff.cosine_schedule(50), jdiff.flow_schedule(9)]
)
def test_tables_of_a_schedule_make_it_again(schedule):
    alpha, sigma = schedule
    again = jdiff.from_sigmas(sigma[1:], alpha[1:])
    np.testing.assert_array_equal(again, schedule)


def test_sigmas_alone_are_a_variance_exploding_path():
    sigmas = np.geomspace(0.02, 10.0, 200)  # NumPy's, as in smalldiffusion
    schedule = jdiff.from_sigmas(sigmas)
    np.testing.assert_array_equal(schedule.alpha, 1.0)
    np.testing.assert_array_equal(schedule.sigma, [0.0, *sigmas.astype(np.float32)])
    # Usable in a compiled program, which NumPy tables are not.
    one = jnp.ones(())
    noised = jax.jit(lambda t: jdiff.q_sample(schedule, one, t, one))(3)
    assert noised == pytest.approx(1.0 + sigmas[2])


def test_log_snrs_are_those_of_the_schedule():
    wanted = np.linspace(12.0, -14.0, 40)
    schedule = jdiff.from_log_snr(wanted)
    got = jdiff.log_snr(schedule, jnp.arange(1, 41))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(schedule.alpha**2 + schedule.sigma**2, 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "tables", "message"),
    [
        (jdiff.from_sigmas, ([],), "a vector of 1 to 100000 steps"),
        (jdiff.from_sigmas, (0.5,), "a vector of 1 to 100000 steps"),
        (jdiff.from_sigmas, ([[0.5, 1.0]],), "a vector of 1 to 100000 steps"),
        (jdiff.from_sigmas, ([0.5, math.nan],), "finite and >= 0"),
        (jdiff.from_sigmas, ([0.5, 1e39],), "finite and >= 0"),
        (jdiff.from_sigmas, ([0.5, -1.0],), "finite and >= 0"),
        (jdiff.from_sigmas, ([2.0, 1.0],), "falls with t, .* at t = 2"),
        (jdiff.from_sigmas, ([1.0, 2.0], [0.1, 0.9]), "falls with t, .* at t = 2"),
        (jdiff.from_log_snr, ([-1.0, 1.0],), "falls with t, .* at t = 2"),
    ],
)
def test_tables_that_are_no_path_to_noise_are_refused(make, tables, message):
    with pytest.raises(ValueError, match=message):
        make(*tables)


@pytest.mark.parametrize("num_steps", [1, 2, 1000])
@pytest.mark.parametrize("builder", BUILDERS)
def test_step_0_is_data(builder, num_steps):
    schedule = builder(num_steps)
    assert schedule.alpha[0] == 1.0
    assert schedule.sigma[0] == 0.0


@pytest.mark.parametrize("builder", BUILDERS)
def test_tables_are_finite_float32_with_one_entry_per_step(builder):
    for table in builder(37):
        assert table.shape == (38,)
        assert table.dtype == np.float32
        assert np.isfinite(table).all()


@pytest.mark.parametrize("num_steps", [1, 50, 1000, 4000])
@pytest.mark.parametrize("builder", VARIANCE_PRESERVING)
def test_variance_is_preserved_to_float32_precision(builder, num_steps):
    alpha, sigma = tables(builder(num_steps))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, rtol=0, atol=FLOAT32_EPS)


@pytest.mark.parametrize("num_steps", [1, 2, 1000])
@pytest.mark.parametrize("builder", BUILDERS)
def test_snr_falls_at_every_step(builder, num_steps):
    alpha, sigma = tables(builder(num_steps))
    # SNR_t < SNR_s, multiplied out because both ends may be 0.
    assert (alpha[1:] * sigma[:-1] < alpha[:-1] * sigma[1:]).all()


@pytest.mark.parametrize(
    ("builder", "beta"),
    [
        (jdiff.linear_schedule, 1e-4),
        (jdiff.quadratic_schedule, 1e-4),
        (jdiff.sigmoid_schedule, 1e-4 + 0.0199 / (1 + math.exp(6))),
        # 1 - cos^2(b) / cos^2(a) = sin(b - a) sin(b + a) / cos^2(a)
        (
            jdiff.cosine_schedule,
            math.sin(0.0005 * math.pi / 1.008)
            * math.sin(0.0085 * math.pi / 1.008)
            / math.cos(0.004 * math.pi / 1.008) ** 2,
        ),
    ],
)
def test_noise_of_the_first_step_is_not_lost_to_cancellation(builder, beta):
    _, sigma = tables(builder(1000))
    assert sigma[1] ** 2 == pytest.approx(beta, rel=1e-6)


@given(st.floats(1e-7, 1e-2), st.integers(1, 2000))
def test_one_minus_alpha_bar_is_exact_wherever_it_is_small(beta, num_steps):
    # Equal variances have a closed form: 1 - alpha_bar_t = 1 - (1 - beta)^t.
    _, sigma = tables(jdiff.linear_schedule(num_steps, beta, beta))
    t = np.arange(num_steps + 1)
    expected = -np.expm1(t * math.log1p(-beta))
    np.testing.assert_allclose(sigma**2, expected, rtol=1e-6)


def test_linear_betas_are_linear():
    betas = betas_of(jdiff.linear_schedule(1000))
    np.testing.assert_allclose(betas, np.linspace(1e-4, 0.02, 1000), atol=4e-7)


def test_quadratic_betas_have_a_linear_square_root():
    betas = betas_of(jdiff.quadratic_schedule(1000))
    roots = np.linspace(0.01, math.sqrt(0.02), 1000)
    np.testing.assert_allclose(betas, roots**2, atol=4e-7)


def test_sigmoid_betas_have_a_linear_logit():
    betas = betas_of(jdiff.sigmoid_schedule(100, 1e-4, 0.5))
    share = (betas - 1e-4) / (0.5 - 1e-4)
    logit = np.log(share / (1 - share))
    np.testing.assert_allclose(logit, np.linspace(-6, 6, 100), atol=1e-3)


@settings(max_examples=10)
@given(st.integers(2, 4000))
def test_cosine_is_equation_17_of_nichol_and_dhariwal(num_steps):
    def f(t):
        return math.cos((t / num_steps + 0.008) / 1.008 * math.pi / 2) ** 2

    alpha, sigma = tables(jdiff.cosine_schedule(num_steps))
    alpha_bar = np.array([f(t) / f(0) for t in range(num_steps)])
    np.testing.assert_allclose(alpha[:-1] ** 2, alpha_bar, rtol=1e-6)
    np.testing.assert_allclose(sigma[:-1] ** 2, 1 - alpha_bar, rtol=1e-6)
    # f(T) = 0 would need beta_T = 1; it is clipped to 0.999.
    assert alpha[-1] ** 2 == pytest.approx(alpha_bar[-1] * 0.001, rel=1e-6)


@pytest.mark.parametrize("builder", BETA_RANGE)
def test_signal_below_the_range_of_float32_is_refused(builder):
    # alpha would be stored as 0, and SNR_t / SNR_s as 0 / 0.
    with pytest.raises(ValueError, match="signal"):
        builder(100_000)


def test_cosine_clips_every_variance_at_beta_max():
    betas = betas_of(jdiff.cosine_schedule(50, beta_max=0.1))
    assert betas.max() == pytest.approx(0.1, abs=1e-6)
    assert (np.abs(betas - 0.1) < 1e-6).sum() > 1


def test_flow_is_a_straight_line_from_data_to_noise():
    alpha, sigma = tables(jdiff.flow_schedule(64))
    np.testing.assert_array_equal(np.diff(alpha), -1 / 64)
    np.testing.assert_array_equal(np.diff(sigma), 1 / 64)
    assert alpha[-1] == 0.0
    assert sigma[-1] == 1.0


@given(st.integers(2, 200), st.floats(1e-3, 0.1), st.floats(1, 100), st.floats(1, 10))
def test_karras_is_equation_5_counted_upwards(num_steps, low, high, rho):
    schedule = jdiff.karras_schedule(num_steps, low, high, rho)
    alpha, sigma = tables(schedule)
    i = np.arange(num_steps)  # the paper's index, from sigma_max downwards
    slope = (low ** (1 / rho) - high ** (1 / rho)) / (num_steps - 1)
    expected = (high ** (1 / rho) + i * slope) ** rho
    np.testing.assert_allclose(sigma[:0:-1], expected, rtol=1e-6)
    np.testing.assert_allclose(sigma[[1, -1]], [low, high], rtol=1e-6)
    np.testing.assert_array_equal(alpha, 1.0)


def test_karras_with_rho_1_is_uniform_in_sigma():
    _, sigma = tables(jdiff.karras_schedule(100, rho=1.0))
    np.testing.assert_allclose(np.diff(sigma[1:]), (80 - 0.002) / 99, rtol=1e-4)


@pytest.mark.parametrize("builder", BETA_RANGE)
def test_default_betas_end_in_noise_at_1000_steps(builder):
    assert builder(1000).alpha[-1] < 0.1


@settings(max_examples=10)
@given(st.integers(10, 4000))
def test_cosine_ends_in_noise_at_any_number_of_steps(num_steps):
    assert jdiff.cosine_schedule(num_steps).alpha[-1] < 0.1


def test_karras_drowns_data_of_unit_size():
    schedule = jdiff.karras_schedule(18)
    assert schedule.alpha[-1] / schedule.sigma[-1] < 0.1


@given(st.lists(st.floats(1e-6, 0.5), min_size=1, max_size=30))
def test_from_betas_keeps_each_variance(betas):
    recovered = betas_of(jdiff.from_betas(np.array(betas)))
    np.testing.assert_allclose(recovered, betas, atol=4 * FLOAT32_EPS)


@pytest.mark.parametrize(
    "betas", [[], 0.1, [[0.1]], [0.1, 0.0], [1.0], [-0.1, 0.5], [math.nan], [0.1, 2]]
)
def test_from_betas_refuses_what_is_no_vector_of_variances(betas):
    with pytest.raises(ValueError, match=r"betas must .*, got "):
        jdiff.from_betas(np.array(betas))


@pytest.mark.parametrize("num_steps", [0, -1, 100_001])
@pytest.mark.parametrize("builder", BUILDERS)
def test_number_of_steps_outside_its_range_is_named(builder, num_steps):
    message = rf"num_steps must be in \[1, 100000\], got {num_steps}\."
    with pytest.raises(ValueError, match=message):
        builder(num_steps)


@pytest.mark.parametrize("name", ["beta_1", "beta_T"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, math.nan, math.inf])
@pytest.mark.parametrize("builder", BETA_RANGE)
def test_beta_outside_its_range_is_named(builder, value, name):
    with pytest.raises(ValueError, match=rf"{name} must be in \(0, 1\), got {value}"):
        builder(10, **{name: value})


@pytest.mark.parametrize(
    ("builder", "arguments", "message"),
    [
        (jdiff.cosine_schedule, {"s": -0.1}, "s must be >= 0, got -0.1"),
        (jdiff.cosine_schedule, {"s": math.nan}, "s must be >= 0, got nan"),
        (jdiff.cosine_schedule, {"beta_max": 1.0}, "beta_max must be in"),
        (jdiff.cosine_schedule, {"beta_max": 0.0}, "beta_max must be in"),
        (jdiff.karras_schedule, {"sigma_min": 0.0}, "0 < sigma_min < sigma_max"),
        (jdiff.karras_schedule, {"sigma_min": 90.0}, "0 < sigma_min < sigma_max"),
        (jdiff.karras_schedule, {"sigma_max": math.inf}, "sigma_min < sigma_max"),
        (jdiff.karras_schedule, {"sigma_max": math.nan}, "sigma_min < sigma_max"),
        (jdiff.karras_schedule, {"rho": 0.0}, r"rho must be in \[0.1, 1000\], got 0.0"),
        (jdiff.karras_schedule, {"rho": math.nan}, r"rho must be in .*, got nan"),
    ],
)
def test_argument_outside_its_range_is_named(builder, arguments, message):
    with pytest.raises(ValueError, match=message):
        builder(10, **arguments)


@pytest.mark.parametrize("num_steps", [10.5, 10.0, "10", None, np.nan])
@pytest.mark.parametrize("builder", [*BUILDERS, jdiff.cosine_schedule])
def test_number_of_steps_that_is_no_int_is_named(builder, num_steps):
    with pytest.raises(ValueError, match=r"num_steps must be in \[1, 100000\]"):
        builder(num_steps)
    with pytest.raises(ValueError, match=r"num_steps must be in \[1, 10\]"):
        jdiff.timesteps(jdiff.flow_schedule(10), num_steps)


@pytest.mark.parametrize("sigmas", [(1e-46, 1.0), (0.01, 1e39)])
def test_noise_that_float32_cannot_hold_is_refused(sigmas):
    with pytest.raises(ValueError, match="0 < sigma_min < sigma_max in float32"):
        jdiff.karras_schedule(10, *sigmas)


@pytest.mark.parametrize("t", [-1, 11, np.array([0, 11]), jnp.array(-1)])
def test_log_snr_of_a_step_outside_the_schedule_is_refused(t):
    schedule = jdiff.cosine_schedule(10)
    with pytest.raises(ValueError, match=r"t must be an int in \[0, 10\], got"):
        jdiff.log_snr(schedule, t)
    # Traced steps pass unseen.
    jax.jit(jdiff.log_snr)(schedule, t)


@pytest.mark.parametrize("builder", BUILDERS)
def test_log_snr_is_the_logarithm_of_the_signal_to_noise_ratio(builder):
    schedule = builder(100)
    alpha, sigma = tables(schedule)
    inner = np.arange(1, 100)
    expected = np.log(alpha[inner] ** 2 / sigma[inner] ** 2)
    got = jdiff.log_snr(schedule, inner)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_log_snr_is_infinite_where_there_is_only_signal_or_only_noise():
    schedule = jdiff.flow_schedule(10)
    assert jdiff.log_snr(schedule, 0) == math.inf
    assert jdiff.log_snr(schedule, 10) == -math.inf


def test_numpy_tables_serve_outside_jit_and_are_refused_inside():
    tables = [np.asarray(table) for table in jdiff.flow_schedule(10)]
    schedule, x = jdiff.Schedule(*tables), jnp.ones(3)
    noised = functools.partial(jdiff.q_sample, schedule, x, eps=2 * x)
    np.testing.assert_allclose(noised(t=5), 1.5 * x)
    with pytest.raises(ValueError, match="must hold JAX arrays inside jit"):
        jax.jit(lambda t: noised(t=t))(5)


@given(st.data())
def test_timesteps_descend_strictly_from_the_last_step_to_data(data):
    last = data.draw(st.integers(1, 1000))
    num_steps = data.draw(st.integers(1, last))
    schedule = jdiff.Schedule(np.ones(last + 1), np.ones(last + 1))
    times = jdiff.timesteps(schedule, num_steps)
    assert times.dtype == np.int32
    assert times.shape == (num_steps + 1,)
    assert times[0] == last
    assert times[-1] == 0
    gaps = -np.diff(times)
    assert gaps.min() > 0
    assert gaps.max() - gaps.min() <= 1 + (last % num_steps > 0)  # uniform


def test_as_many_timesteps_as_steps_visit_every_step():
    times = jdiff.timesteps(jdiff.flow_schedule(77), 77)
    assert times.tolist() == list(range(77, -1, -1))


@pytest.mark.parametrize("num_steps", [0, -1, 11])
def test_more_timesteps_than_steps_are_refused(num_steps):
    with pytest.raises(ValueError, match=rf"in \[1, 10\], got {num_steps}\."):
        jdiff.timesteps(jdiff.flow_schedule(10), num_steps)


LONG_SCHEDULES = {
    "linear": jdiff.linear_schedule(1000),
    "cosine": jdiff.cosine_schedule(1000),
    "flow": jdiff.flow_schedule(1000),
    "karras": jdiff.karras_schedule(1000),
}


@pytest.mark.parametrize("name", LONG_SCHEDULES)
@pytest.mark.parametrize("spacing", [jdiff.log_snr, jdiff.karras_spacing])
@given(st.data())
def test_spaced_steps_descend_strictly_from_the_last_step_to_data(name, spacing, data):
    schedule = LONG_SCHEDULES[name]
    sigma_min = data.draw(st.floats(0.0, 1.0))
    level = np.asarray(schedule.sigma, np.float64) / np.maximum(schedule.alpha, 1e-30)
    t_min = int(np.flatnonzero((level >= sigma_min) & (level > 0))[0])
    num_steps = data.draw(st.integers(1, 1001 - t_min))
    times = jdiff.spaced_timesteps(schedule, num_steps, spacing, sigma_min)
    assert times.dtype == np.int32 and times.shape == (num_steps + 1,)
    assert times[0] == 1000 and times[-1] == 0
    assert (np.diff(times) < 0).all()
    assert num_steps == 1 or times[-2] == t_min


@pytest.mark.parametrize("name", LONG_SCHEDULES)
def test_steps_are_uniform_in_log_snr_up_to_rounding(name):
    schedule = LONG_SCHEDULES[name]
    grid = jdiff.spaced_timesteps(schedule, 9, sigma_min=0.1, sigma_max=10.0)
    times = grid[:-1]
    values = np.asarray(jdiff.log_snr(schedule, np.arange(1, 1001)), np.float64)
    inside = values[np.abs(values) <= 2 * math.log(10.0)]
    targets = np.linspace(inside[-1], inside[0], 9)
    gaps = np.pad(np.abs(np.diff(values)), 1)
    one = np.maximum(gaps[times - 1], gaps[times])  # to the next step, up or down
    assert (np.abs(values[times - 1] - targets) <= one)[1:].all()  # T is the first


def test_karras_spacing_on_the_karras_schedule_is_uniform_in_t():
    times = jdiff.spaced_timesteps(LONG_SCHEDULES["karras"], 10, jdiff.karras_spacing)
    assert times.tolist() == [*range(1000, 0, -111), 0]


def test_karras_spacing_is_equation_5_of_karras_et_al():
    schedule = jdiff.karras_schedule(100_000, rho=3.0)
    spacing = functools.partial(jdiff.karras_spacing, rho=7.0)
    times = jdiff.spaced_timesteps(schedule, 18, spacing)
    i = np.arange(18)
    high, low = 80 ** (1 / 7), 0.002 ** (1 / 7)
    expected = (high + i / 17 * (low - high)) ** 7
    np.testing.assert_allclose(schedule.sigma[times[:-1]], expected, rtol=1e-3)


def test_grid_may_be_made_inside_a_compiled_function():
    schedule = LONG_SCHEDULES["cosine"]
    expected = jdiff.spaced_timesteps(schedule, 5)
    got = jax.jit(lambda: jax.numpy.asarray(jdiff.spaced_timesteps(schedule, 5)))()
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_steps": 0}, r"num_steps must be in \[1, 1000\], got 0"),
        ({"num_steps": 1001}, r"num_steps must be in \[1, 1000\], got 1001"),
        ({"num_steps": 5, "sigma_min": 90.0}, "must have steps of the schedule"),
        (
            {"num_steps": 5, "spacing": lambda schedule, t: np.cos(t)},
            "spacing must be finite and strictly monotone",
        ),
    ],
)
def test_grid_argument_outside_its_range_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        jdiff.spaced_timesteps(LONG_SCHEDULES["cosine"], **arguments)


def test_a_grid_recompiles_once_per_length():
    traces = []

    def counting(x_t, t):
        traces.append(t)
        return 0.5 * x_t

    schedule = LONG_SCHEDULES["cosine"]
    solver = jdiff.dpmpp_2m(schedule)
    sample = jax.jit(
        lambda times: jdiff.sample(jax.random.key(0), counting, solver, times, (2,)).x_0
    )
    sample(jdiff.timesteps(schedule, 5))
    once = len(traces)
    sample(jdiff.spaced_timesteps(schedule, 5))
    sample(jdiff.spaced_timesteps(schedule, 5, jdiff.karras_spacing))
    assert len(traces) == once
    sample(jdiff.timesteps(schedule, 6))
    assert len(traces) == 2 * once


@pytest.mark.parametrize("name", LONG_SCHEDULES)
@given(st.integers(1, 1000))
def test_karras_timesteps_serve_any_number_of_steps(name, num_steps):
    times = jdiff.karras_timesteps(LONG_SCHEDULES[name], num_steps)
    assert times.shape == (num_steps + 1,)
    assert times[0] == 1000 and times[-1] == 0
    assert (np.diff(times) < 0).all()


@given(st.data())
def test_karras_timesteps_serve_the_shortest_schedules(data):
    last = data.draw(st.integers(1, 8))
    num_steps = data.draw(st.integers(1, last))
    times = jdiff.karras_timesteps(jdiff.flow_schedule(last), num_steps)
    assert times[0] == last and times[-1] == 0 and len(times) == num_steps + 1
    assert (np.diff(times) < 0).all()


@pytest.mark.parametrize("num_steps", [0, 11])
def test_more_karras_timesteps_than_steps_are_refused(num_steps):
    with pytest.raises(ValueError, match=rf"in \[1, 10\], got {num_steps}\."):
        jdiff.karras_timesteps(jdiff.flow_schedule(10), num_steps)


@pytest.mark.parametrize(
    "options",
    [{"rho": 0.0}, {"rho": math.nan}, {"sigma_max": -1.0}, {"sigma_max": math.inf}],
)
def test_karras_timesteps_without_a_curve_are_refused(options):
    with pytest.raises(ValueError, match="rho must be in .* sigma_max finite and > 0"):
        jdiff.karras_timesteps(jdiff.flow_schedule(10), 5, **options)


def test_karras_timesteps_are_the_levels_of_the_papers_equation():
    # Karras et al. 2022, Eq. 5 with sigma_min = 0, to the nearest of the table's steps.
    schedule = LONG_SCHEDULES["karras"]
    times = jdiff.karras_timesteps(schedule, 8, rho=3.0, sigma_max=10.0)[1:-1]
    expected = [10.0 * (1 - i / 8) ** 3 for i in range(1, 8)]
    levels = np.asarray(schedule.sigma, np.float64)
    for t, level in zip(times, expected, strict=True):
        assert levels[t - 1] <= level <= levels[t + 1]
