"""Laws of the grids of steps."""

import functools
import math

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jdiff


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


SCHEDULES = {
    "linear": jdiff.linear_schedule(1000),
    "cosine": jdiff.cosine_schedule(1000),
    "flow": jdiff.flow_schedule(1000),
    "karras": jdiff.karras_schedule(1000),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("spacing", [jdiff.log_snr, jdiff.karras_spacing])
@given(st.data())
def test_spaced_steps_descend_strictly_from_the_last_step_to_data(name, spacing, data):
    schedule = SCHEDULES[name]
    sigma_min = data.draw(st.floats(0.0, 1.0))
    level = np.asarray(schedule.sigma, np.float64) / np.maximum(schedule.alpha, 1e-30)
    t_min = int(np.flatnonzero((level >= sigma_min) & (level > 0))[0])
    num_steps = data.draw(st.integers(1, 1001 - t_min))
    times = jdiff.spaced_timesteps(schedule, num_steps, spacing, sigma_min)
    assert times.dtype == np.int32 and times.shape == (num_steps + 1,)
    assert times[0] == 1000 and times[-1] == 0
    assert (np.diff(times) < 0).all()
    assert num_steps == 1 or times[-2] == t_min


@pytest.mark.parametrize("name", SCHEDULES)
def test_steps_are_uniform_in_log_snr_up_to_rounding(name):
    schedule = SCHEDULES[name]
    grid = jdiff.spaced_timesteps(schedule, 9, sigma_min=0.1, sigma_max=10.0)
    times = grid[:-1]
    values = np.asarray(jdiff.log_snr(schedule, np.arange(1, 1001)), np.float64)
    inside = values[np.abs(values) <= 2 * math.log(10.0)]
    targets = np.linspace(inside[-1], inside[0], 9)
    gaps = np.pad(np.abs(np.diff(values)), 1)
    one = np.maximum(gaps[times - 1], gaps[times])  # to the next step, up or down
    assert (np.abs(values[times - 1] - targets) <= one)[1:].all()  # T is the first


def test_karras_spacing_on_the_karras_schedule_is_uniform_in_t():
    times = jdiff.spaced_timesteps(SCHEDULES["karras"], 10, jdiff.karras_spacing)
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
    schedule = SCHEDULES["cosine"]
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
def test_argument_outside_its_range_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        jdiff.spaced_timesteps(SCHEDULES["cosine"], **arguments)


def test_a_grid_recompiles_once_per_length():
    traces = []

    def counting(x_t, t):
        traces.append(t)
        return 0.5 * x_t

    schedule = SCHEDULES["cosine"]
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


@pytest.mark.parametrize("name", SCHEDULES)
@given(st.integers(1, 1000))
def test_karras_timesteps_serve_any_number_of_steps(name, num_steps):
    times = jdiff.karras_timesteps(SCHEDULES[name], num_steps)
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


def test_karras_timesteps_are_the_levels_of_the_papers_equation():
    # Karras et al. 2022, Eq. 5 with sigma_min = 0, to the nearest of the table's steps.
    schedule = SCHEDULES["karras"]
    times = jdiff.karras_timesteps(schedule, 8, rho=3.0, sigma_max=10.0)[1:-1]
    expected = [10.0 * (1 - i / 8) ** 3 for i in range(1, 8)]
    levels = np.asarray(schedule.sigma, np.float64)
    for t, level in zip(times, expected, strict=True):
        assert levels[t - 1] <= level <= levels[t + 1]
