"""Laws of denoisers, guidance, solvers and the one loop."""

import functools
import math
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jdiff

T = 40
SCHEDULES = {
    "linear": jdiff.linear_schedule(T, 1e-3, 0.5),
    "cosine": jdiff.cosine_schedule(T),
    "flow": jdiff.flow_schedule(T),
    "karras": jdiff.karras_schedule(T, sigma_min=0.01, sigma_max=20.0),
}
SOLVERS = {
    "ddpm": jdiff.ddpm,
    "ddim": jdiff.ddim,
    "ddim eta 0.5": functools.partial(jdiff.ddim, eta=0.5),
    "ddim eta 1": functools.partial(jdiff.ddim, eta=1.0),
}
TARGETS = {
    "eps": jdiff.PREDICT_EPS,
    "x_0": jdiff.PREDICT_X_0,
    "v": jdiff.PREDICT_V,
    "score": jdiff.PREDICT_SCORE,
    "flow": jdiff.PREDICT_FLOW,
}
POINT = np.array([0.7, -0.3], np.float32)
KEY = jax.random.key(0)


def point(x_t, t):
    """The exact denoiser of data that is a single point."""
    return jnp.asarray(POINT)


def bend(x_t, t):
    """A denoiser that is neither linear nor constant in t."""
    return jnp.tanh(x_t - 0.01 * t)


@functools.partial(jax.jit, static_argnames=("solver", "denoise", "shape"))
def draw(key, schedule, times, x_T=None, *, solver, denoise=bend, shape=(2,)):
    return jdiff.sample(key, denoise, SOLVERS[solver](schedule), times, shape, x_T)


@functools.partial(jax.jit, static_argnames=("solver",))
def paths_to_the_point(key, schedule, times, *, solver):
    """4000 paths of point data, which start where the forward process ends."""

    def one(key):
        key_T, key = jax.random.split(key)
        eps = jax.random.normal(key_T, (2,))
        x_T = jdiff.q_sample(schedule, jnp.asarray(POINT), times[0], eps)
        return draw(key, schedule, times, x_T, solver=solver, denoise=point).path

    return jax.vmap(one)(jax.random.split(key, 4000))


# Exactness on point-mass data.


@pytest.mark.parametrize("num_steps", [1, 7, T])
@pytest.mark.parametrize("solver", SOLVERS)
def test_point_data_is_sampled_exactly(solver, num_steps):
    for schedule in SCHEDULES.values():
        times = jdiff.timesteps(schedule, num_steps)
        sample = draw(KEY, schedule, times, solver=solver, denoise=point)
        np.testing.assert_array_equal(sample.x_0, POINT)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_marginal_of_point_data_is_exact(solver):
    for schedule in SCHEDULES.values():
        times = jdiff.timesteps(schedule, 5)
        path = np.asarray(paths_to_the_point(KEY, schedule, times, solver=solver))
        for x_t, t in zip(path.swapaxes(0, 1)[:-1], times[:-1], strict=True):
            alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
            error = sigma / math.sqrt(len(x_t))
            assert np.abs(x_t.mean(0) - alpha * POINT).max() < 4.5 * error
            assert np.abs(x_t.std(0) - sigma).max() < 4.5 * error / math.sqrt(2)


def test_deterministic_steps_keep_the_noise_of_point_data():
    for schedule in SCHEDULES.values():
        times = jdiff.timesteps(schedule, 5)
        sample = draw(KEY, schedule, times, solver="ddim", denoise=point)
        alpha, sigma = (np.asarray(table)[times[:-1], None] for table in schedule)
        eps = (np.asarray(sample.path[:-1]) - alpha * POINT) / sigma
        np.testing.assert_allclose(eps, np.tile(eps[:1], (5, 1)), rtol=1e-4, atol=1e-4)


def test_noise_of_a_ddpm_step_has_the_standard_deviation_of_ho_et_al():
    # Eq. 7: beta_tilde_t = (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) beta_t. Scaling
    # the noise by this variance in place of its root would be off by a factor of 6.
    betas = np.linspace(1e-3, 0.1, 100)
    alpha_bar = np.cumprod(1 - betas)
    t = 40
    variance = betas[t - 1] * (1 - alpha_bar[t - 2]) / (1 - alpha_bar[t - 1])
    solver = jdiff.ddpm(jdiff.linear_schedule(100, 1e-3, 0.1))
    state = solver.init(jnp.ones(20_000))
    x_s = solver.step(KEY, lambda x_t, t: jnp.zeros_like(x_t), state, t, t - 1).x
    assert x_s.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / 20_000))


# Agreement between solvers.


@pytest.mark.parametrize("name", SCHEDULES)
def test_ddim_with_eta_1_is_the_posterior(name):
    schedule = SCHEDULES[name]
    times = jdiff.timesteps(schedule, 7)
    ddpm = draw(KEY, schedule, times, solver="ddpm")
    ddim = draw(KEY, schedule, times, solver="ddim eta 1")
    np.testing.assert_allclose(ddim.path, ddpm.path, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_ddim_with_eta_0_ignores_the_keys_of_the_steps(name):
    times = jdiff.timesteps(SCHEDULES[name], 7)
    first, second = (
        draw(jax.random.key(k), SCHEDULES[name], times, jnp.ones(2), solver="ddim")
        for k in (0, 1)
    )
    np.testing.assert_array_equal(first.path, second.path)


@pytest.mark.parametrize("solver", ["ddpm", "ddim eta 0.5", "ddim eta 1"])
def test_stochastic_solvers_use_the_keys_of_the_steps(solver):
    times = jdiff.timesteps(SCHEDULES["flow"], 7)
    first, second = (
        draw(jax.random.key(k), SCHEDULES["flow"], times, jnp.ones(2), solver=solver)
        for k in (0, 1)
    )
    assert (first.path[1:] != second.path[1:]).all()


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_last_step_adds_no_noise(eta):
    for schedule in SCHEDULES.values():
        for solver in (jdiff.ddpm(schedule), jdiff.ddim(schedule, eta)):
            state = solver.init(jnp.array([1.0, -2.0]))
            first, second = (
                solver.step(jax.random.key(k), bend, state, 9, 0).x for k in (0, 1)
            )
            np.testing.assert_array_equal(first, second)


@functools.partial(jax.jit, static_argnames="eta")
def ddim_steps(schedule, eta):
    """One step t -> t - 1 for every t, compiled, so that XLA may fuse as it likes."""
    solver = jdiff.ddim(schedule, eta)
    t = jnp.arange(1, len(schedule.alpha))
    state = solver.init(jnp.ones(3))
    step = jax.vmap(lambda t: solver.step(KEY, point_of_3, state, t, t - 1).x)
    return step(t)


def point_of_3(x_t, t):
    return jnp.array([0.5, -0.5, 1.0])


@pytest.mark.parametrize("eta", [0.5, 1.0 - 2.0**-24, 1.0])
@pytest.mark.parametrize(
    "builder",
    [
        jdiff.linear_schedule,
        jdiff.cosine_schedule,
        jdiff.flow_schedule,
        jdiff.karras_schedule,
    ],
)
def test_ddim_is_finite_at_every_step(builder, eta):
    assert np.isfinite(ddim_steps(builder(4000), eta)).all()


@given(st.lists(st.floats(1e-12, 0.5), min_size=20, max_size=20))
def test_ddim_is_finite_for_any_variances(betas):
    assert np.isfinite(ddim_steps(jdiff.from_betas(np.array(betas)), 1.0)).all()


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_eta_outside_its_range_is_named(eta):
    with pytest.raises(ValueError, match=r"eta must be in \[0, 1\], got"):
        jdiff.ddim(SCHEDULES["cosine"], eta)


# Gaussian data, for which the path back is known in closed form.

GAUSSIAN_MEAN = np.array([0.5, -0.2], np.float32)
GAUSSIAN_COV = np.array([[1.0, 0.6], [0.6, 0.5]], np.float32)


def gaussian_denoiser(schedule):
    """E[x_0 | x_t] = m + alpha S (alpha^2 S + sigma^2 I)^-1 (x_t - alpha m)."""
    values, vectors = np.linalg.eigh(GAUSSIAN_COV)

    def denoise(x_t, t):
        alpha, sigma = schedule.alpha[t], schedule.sigma[t]
        gain = alpha * values / (alpha**2 * values + sigma**2)
        return GAUSSIAN_MEAN + vectors @ (
            gain * (vectors.T @ (x_t - alpha * GAUSSIAN_MEAN))
        )

    return denoise


@functools.partial(jax.jit, static_argnames="solver")
def draw_gaussian(key, schedule, times, x_T=None, *, solver):
    denoise = gaussian_denoiser(schedule)
    return jdiff.sample(key, denoise, SOLVERS[solver](schedule), times, (2,), x_T)


def probability_flow(schedule, x_T):
    """x_0 of the exact flow: whiten under the law of x_T, colour under that of x_0."""

    def root(alpha, sigma):
        values, vectors = np.linalg.eigh(alpha**2 * GAUSSIAN_COV.astype(np.float64))
        return (vectors * np.sqrt(values + sigma**2)) @ vectors.T

    alpha, sigma = float(schedule.alpha[-1]), float(schedule.sigma[-1])
    white = np.linalg.solve(root(alpha, sigma), x_T - alpha * GAUSSIAN_MEAN)
    return GAUSSIAN_MEAN + root(1.0, 0.0) @ white


@pytest.mark.parametrize("builder", [jdiff.flow_schedule, jdiff.karras_schedule])
def test_ddim_converges_to_the_probability_flow_at_first_order(builder):
    schedule = builder(1024)
    x_T = np.array([1.0, -0.4], np.float32) * float(schedule.sigma[-1])
    exact = probability_flow(schedule, x_T)
    errors = []
    for num_steps in (32, 64, 128):
        times = jdiff.timesteps(schedule, num_steps)
        x_0 = draw_gaussian(KEY, schedule, times, x_T, solver="ddim").x_0
        errors.append(np.abs(x_0 - exact).max())
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert 1.6 < coarse / fine < 2.5
    assert errors[-1] < 0.05


@pytest.mark.parametrize("solver", ["ddpm", "ddim"])
def test_gaussian_data_is_sampled_with_its_mean_and_covariance(solver):
    schedule = jdiff.flow_schedule(200)
    times = jdiff.timesteps(schedule, 200)
    keys = jax.random.split(KEY, 4000)
    x_0 = jax.vmap(lambda k: draw_gaussian(k, schedule, times, solver=solver).x_0)(keys)
    error = 5 / math.sqrt(len(keys))
    np.testing.assert_allclose(x_0.mean(0), GAUSSIAN_MEAN, atol=error)
    # Of the covariance, sqrt(2) standard errors and 1% of discretisation more.
    np.testing.assert_allclose(np.cov(x_0.T), GAUSSIAN_COV, atol=1.5 * error + 0.01)


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


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "schedule",
    [
        jdiff.linear_schedule(50, beta_T=0.1),  # the from-scratch article's
        jdiff.cosine_schedule(50, beta_max=0.1),  # the tutorial's clipping
    ],
)
def test_schedule_that_leaves_signal_at_the_end_is_warned_of(solver, schedule):
    with pytest.warns(UserWarning, match="signal"):
        SOLVERS[solver](schedule)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "schedule",
    [
        jdiff.linear_schedule(1000),
        jdiff.cosine_schedule(50),
        jdiff.flow_schedule(10),
        jdiff.karras_schedule(10),
    ],
)
def test_schedule_that_ends_in_noise_is_not_warned_of(solver, schedule):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SOLVERS[solver](schedule)


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


@pytest.mark.parametrize(
    ("scale", "expected"), [(0.0, 0.25), (1.0, 0.5), (2.0, 0.75), (-1.0, 0.0)]
)
def test_guidance_scale_0_is_unconditional_and_1_conditional(scale, expected):
    guided = jdiff.guide(lambda x, t: 0.5 * x, lambda x, t: 0.25 * x, scale)
    np.testing.assert_array_equal(guided(jnp.ones(3), 1), np.full(3, expected))


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


def test_solver_may_be_built_inside_a_compiled_function():
    """Where indexing the schedule's concrete tables would give tracers."""
    schedule = jdiff.cosine_schedule(T)

    def one(key):
        solver, times = jdiff.ddim(schedule), jdiff.timesteps(schedule, 3)
        return jdiff.sample(key, point, solver, times, (2,)).x_0

    samples = jax.jit(jax.vmap(one))(jax.random.split(KEY, 2))
    np.testing.assert_array_equal(samples, [POINT, POINT])
