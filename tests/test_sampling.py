"""Laws of denoisers, guidance, solvers and the one loop."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, POINT, SCHEDULES, TARGETS, T, bend, point

import jdiff

SOLVERS = {
    "ddpm": jdiff.ddpm,
    "ddim": jdiff.ddim,
    "ddim eta 0.5": functools.partial(jdiff.ddim, eta=0.5),
    "ddim eta 1": functools.partial(jdiff.ddim, eta=1.0),
}


@functools.partial(jax.jit, static_argnames=("solver", "denoise", "shape"))
def draw(key, schedule, times, x_T=None, *, solver, denoise=bend, shape=(2,)):
    return jdiff.sample(key, denoise, SOLVERS[solver](schedule), times, shape, x_T)


# Where sampling starts.


@pytest.mark.parametrize("t", [T, T // 2])
@pytest.mark.parametrize("name", SCHEDULES)
def test_sampling_starts_from_noise_of_the_first_step_of_the_grid(name, t):
    schedule = SCHEDULES[name]
    times = np.array([t, 0])
    start = draw(KEY, schedule, times, solver="ddim", denoise=bend, shape=(5000,))
    expected = float(schedule.sigma[t])
    x_T = np.asarray(start.path[0])
    assert abs(x_T.mean()) < 5 * expected / math.sqrt(5000)
    assert x_T.std() == pytest.approx(expected, rel=5 / math.sqrt(10_000))


def test_path_runs_from_x_T_to_x_0():
    times = jdiff.timesteps(SCHEDULES["flow"], 7)
    x_T = jnp.array([0.1, 0.2])
    sample = draw(KEY, SCHEDULES["flow"], times, x_T, solver="ddpm")
    assert sample.path.shape == (8, 2)
    np.testing.assert_array_equal(sample.path[0], x_T)
    np.testing.assert_array_equal(sample.path[-1], sample.x_0)


def test_start_of_another_shape_is_refused():
    solver = jdiff.ddim(SCHEDULES["flow"])
    with pytest.raises(AssertionError):
        jdiff.sample(KEY, bend, solver, [T, 0], (2,), jnp.ones(3))


# The loop.


@pytest.mark.parametrize("times", [[T, 0], [T, 23, 22, 5, 0], [30, 10]])
def test_sample_is_the_loop_over_the_grid(times):
    schedule = SCHEDULES["cosine"]
    x_T = jnp.array([1.0, -0.5])
    solver = jdiff.ddim(schedule)
    state, path = solver.init(x_T), [x_T]
    for t, s in zip(times, times[1:], strict=False):
        state = solver.step(KEY, bend, state, t, s)
        path.append(state.x)
    sample = draw(KEY, schedule, np.array(times), x_T, solver="ddim")
    np.testing.assert_allclose(sample.path, jnp.stack(path), rtol=1e-5, atol=1e-6)


def test_solver_meets_every_step_of_the_grid_with_a_key_of_its_own():
    visits = []

    def step(key, denoise, state, t, s):
        bits = jax.random.bits(key)
        jax.debug.callback(lambda *visit: visits.append(visit), t, s, bits)
        return state

    solver = jdiff.Solver(jdiff.SolverState, step)
    jax.block_until_ready(jdiff.sample(KEY, bend, solver, [9, 4, 3, 0], (2,)))
    jax.effects_barrier()
    assert {(int(t), int(s)) for t, s, _ in visits} == {(9, 4), (4, 3), (3, 0)}
    assert len({int(bits) for *_, bits in visits}) == len(visits) == 3


class Fibonacci(NamedTuple):
    """The state of a solver that remembers the sample before."""

    x: jax.Array
    previous: jax.Array


def test_solver_may_remember_more_than_the_sample():
    solver = jdiff.Solver(
        lambda x_T: Fibonacci(x_T, jnp.zeros_like(x_T)),
        lambda key, denoise, state, t, s: Fibonacci(state.x + state.previous, state.x),
    )
    times = jdiff.timesteps(SCHEDULES["flow"], 6)
    sample = jdiff.sample(KEY, bend, solver, times, (1,), jnp.ones(1))
    assert sample.path[:, 0].tolist() == [1, 1, 2, 3, 5, 8, 13]


def test_solver_without_a_prior_starts_from_the_standard_normal():
    still = jdiff.Solver(jdiff.SolverState, lambda key, denoise, state, t, s: state)
    x_T = np.asarray(jdiff.sample(KEY, bend, still, [T, 0], (5000,)).x_0)
    assert x_T.std() == pytest.approx(1.0, rel=5 / math.sqrt(10_000))


def test_another_grid_of_the_same_length_does_not_retrace():
    traces = []

    def counting(x_t, t):
        traces.append(t)
        return jnp.tanh(x_t)

    solver = jdiff.ddpm(SCHEDULES["cosine"])
    sample = jax.jit(
        lambda key, times: jdiff.sample(key, counting, solver, times, (2,)).x_0
    )
    sample(KEY, np.array([T, 20, 0]))
    first = len(traces)
    sample(KEY, np.array([T, 3, 0]))
    sample(jax.random.key(1), np.array([10, 5, 2]))
    assert len(traces) == first


def test_sample_k_of_a_batch_depends_on_key_k_alone():
    schedule = SCHEDULES["cosine"]
    times = jdiff.timesteps(schedule, 7)
    batch = jax.jit(
        jax.vmap(lambda key: draw(key, schedule, times, solver="ddpm").path)
    )
    keys = jax.random.split(KEY, 4)
    paths = batch(keys)
    others = batch(jax.random.split(jax.random.key(1), 4).at[2].set(keys[2]))
    np.testing.assert_array_equal(paths[2], others[2])
    assert (np.delete(paths, 2, 0) != np.delete(others, 2, 0)).all()
    alone = draw(keys[2], schedule, times, solver="ddpm").path
    np.testing.assert_allclose(alone, paths[2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([], "at least 2 int steps"),
        ([5], "at least 2 int steps"),
        (5, "at least 2 int steps"),
        ([[5, 0]], "at least 2 int steps"),
        ([5.0, 0.0], "at least 2 int steps"),
        ([0, 5], "descend strictly"),
        ([5, 5, 0], "descend strictly"),
        ([5, 0, -1], "descend strictly"),
        (np.array([5, 7, 0], np.uint8), "descend strictly"),
        ([T + 1, 0], f"at most T = {T}, got {T + 1}"),
    ],
)
def test_grid_that_does_not_descend_to_data_is_refused(times, message):
    with pytest.raises(ValueError, match=message):
        jdiff.sample(KEY, bend, jdiff.ddim(SCHEDULES["flow"]), times, (2,))


# Denoisers and guidance.


@pytest.mark.parametrize("t", [1, 25, T])
@pytest.mark.parametrize("name", TARGETS)
def test_denoiser_of_a_perfect_network_returns_x_0(name, t):
    schedule, prediction = SCHEDULES["linear"], TARGETS[name]
    x_0, eps = np.random.default_rng(0).uniform(-1, 1, (2, 3)).astype(np.float32)
    target = prediction.target(schedule, x_0, eps, t)
    denoise = jdiff.make_denoiser(lambda *_: target[None], {}, schedule, prediction)
    x_t = jdiff.q_sample(schedule, x_0, t, eps)
    np.testing.assert_allclose(denoise(x_t, t), x_0, atol=1e-4)


def test_network_sees_a_batch_of_one_with_log_snr_and_label():
    seen = []

    def apply(params, *inputs):
        seen.extend([params, *inputs])
        return inputs[0]

    schedule = SCHEDULES["cosine"]
    denoise = jdiff.make_denoiser(apply, "weights", schedule, jdiff.PREDICT_X_0, 7)
    denoise(jnp.ones((4, 4, 1)), 9)
    params, x_t, log_snr, label = seen
    assert params == "weights"
    assert x_t.shape == (1, 4, 4, 1)
    alpha, sigma = float(schedule.alpha[9]), float(schedule.sigma[9])
    np.testing.assert_allclose(log_snr, [2 * math.log(alpha / sigma)], rtol=1e-5)
    np.testing.assert_array_equal(label, [7])


def test_network_without_labels_sees_none():
    denoise = jdiff.make_denoiser(
        lambda params, x_t, log_snr: 0.5 * x_t,
        {},
        SCHEDULES["cosine"],
        jdiff.PREDICT_X_0,
    )
    np.testing.assert_array_equal(denoise(jnp.ones(3), 9), np.full(3, 0.5))


@pytest.mark.parametrize(("clip", "expected"), [(1.0, 1.0), (0.5, 0.5), (None, 3.0)])
def test_estimate_is_clipped_at_the_bound(clip, expected):
    denoise = jdiff.make_denoiser(
        lambda params, x_t, log_snr: 3.0 * jnp.sign(x_t),
        {},
        SCHEDULES["cosine"],
        jdiff.PREDICT_X_0,
        clip=clip,
    )
    np.testing.assert_array_equal(
        denoise(jnp.array([1.0, -1.0]), 9), [expected, -expected]
    )


@pytest.mark.parametrize("name", ["eps", "score"])
def test_noise_and_score_are_refused_where_no_signal_is_left(name):
    with pytest.raises(ValueError, match="predict x_0, v or the flow"):
        jdiff.make_denoiser(lambda *_: 0.0, {}, SCHEDULES["flow"], TARGETS[name])


@pytest.mark.parametrize("name", ["x_0", "v", "flow"])
def test_other_predictions_start_where_no_signal_is_left(name):
    denoise = jdiff.make_denoiser(
        lambda params, x_t, log_snr: 0.1 * x_t, {}, SCHEDULES["flow"], TARGETS[name]
    )
    assert np.isfinite(denoise(jnp.ones(3), T)).all()


def test_estimates_beyond_1_are_kept_unless_a_bound_is_given():
    # Standardised points reach 2 and more; they came out at most 1.
    apply = lambda params, x_t, log_snr: jnp.full_like(x_t, 2.27)  # noqa: E731
    denoise = jdiff.make_denoiser(apply, {}, SCHEDULES["cosine"], jdiff.PREDICT_X_0)
    solver = jdiff.ddim(SCHEDULES["cosine"])
    x_0 = jdiff.sample(KEY, denoise, solver, [T, 5, 0], (2,)).x_0
    np.testing.assert_allclose(x_0, 2.27, rtol=1e-6)


def test_clipping_after_guidance_keeps_the_whole_difference():
    guided = jdiff.guide(lambda x, t: 0.5 * x, lambda x, t: 2.0 * x, 2.0)  # -1
    clipped = jdiff.clip_x_0(guided, 0.75)
    np.testing.assert_array_equal(clipped(jnp.ones(1), 1), [-0.75])


def test_solver_may_be_built_inside_a_compiled_function():
    """Where indexing the schedule's concrete tables would give tracers."""
    schedule = jdiff.cosine_schedule(T)

    def one(key):
        solver, times = jdiff.ddim(schedule), jdiff.timesteps(schedule, 3)
        return jdiff.sample(key, point, solver, times, (2,)).x_0

    samples = jax.jit(jax.vmap(one))(jax.random.split(KEY, 2))
    np.testing.assert_array_equal(samples, [POINT, POINT])


def test_unsigned_steps_are_steps():
    times = np.array([T, 5, 0], np.uint8)
    sample = jdiff.sample(KEY, point, jdiff.ddim(SCHEDULES["flow"]), times, (2,))
    np.testing.assert_array_equal(sample.x_0, POINT)


# Memory.


def temporary_bytes(function, *arguments):
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_a_path_that_is_not_used_costs_no_memory():
    schedule, shape = jdiff.cosine_schedule(1000), (100, 100)
    solver, times = jdiff.ddim(schedule), jdiff.timesteps(schedule, 1000)

    def draw(key):
        return jdiff.sample(key, bend, solver, times, shape)

    image = 4 * 100 * 100
    assert temporary_bytes(lambda key: draw(key).x_0, KEY) < 20 * image
    # The path itself would be a thousand images.
    path = jax.eval_shape(draw, KEY).path
    assert path.size * path.dtype.itemsize > 1000 * image


def test_chunks_bound_the_memory_of_many_samples():
    schedule, shape = jdiff.cosine_schedule(100), (28, 28)
    solver, times = jdiff.ddpm(schedule), jdiff.timesteps(schedule, 5)

    def draw(keys):
        one = lambda key: jdiff.sample(key, bend, solver, times, shape).x_0  # noqa: E731
        return jax.lax.map(one, keys, batch_size=16)

    few, many = (temporary_bytes(draw, jax.random.split(KEY, n)) for n in (64, 1024))
    results = 4 * 28 * 28 * 1024
    assert many < few + 1.5 * results
