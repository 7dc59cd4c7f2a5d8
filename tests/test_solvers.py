"""Laws of solvers: orders, marginals, churn and corrector."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, POINT, SCHEDULES, T, bend, point
from hypothesis import given
from hypothesis import strategies as st

import jdiff

SOLVERS = {
    "ddpm": jdiff.ddpm,
    "ddim": jdiff.ddim,
    "ddim eta 0.5": functools.partial(jdiff.ddim, eta=0.5),
    "ddim eta 1": functools.partial(jdiff.ddim, eta=1.0),
    "heun": jdiff.heun,
    "dpmpp_2m": jdiff.dpmpp_2m,
    "dpmpp_2m eta 0.5": functools.partial(jdiff.dpmpp_2m, eta=0.5),
    "dpmpp_2m eta 1": functools.partial(jdiff.dpmpp_2m, eta=1.0),
    "unipc": jdiff.unipc,
    "churned": lambda schedule: jdiff.with_churn(
        jdiff.heun(schedule), schedule, 0.4, noise_range=(0.3, 2.0)
    ),
    "corrected": lambda schedule: jdiff.with_corrector(jdiff.ddim(schedule), schedule),
}
DETERMINISTIC = ["ddim", "heun", "dpmpp_2m", "unipc"]
STOCHASTIC = [name for name in SOLVERS if name not in DETERMINISTIC]


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


@pytest.mark.parametrize("num_steps", [1, 7])
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


@pytest.mark.parametrize("solver", STOCHASTIC)
def test_stochastic_solvers_use_the_keys_of_the_steps(solver):
    times = jdiff.timesteps(SCHEDULES["flow"], 7)
    first, second = (
        draw(jax.random.key(k), SCHEDULES["flow"], times, jnp.ones(2), solver=solver)
        for k in (0, 1)
    )
    assert (first.x_0 != second.x_0).all()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("solver", DETERMINISTIC)
def test_deterministic_solvers_ignore_the_keys_of_the_steps(solver, name):
    times = jdiff.timesteps(SCHEDULES[name], 7)
    first, second = (
        draw(jax.random.key(k), SCHEDULES[name], times, jnp.ones(2), solver=solver)
        for k in (0, 1)
    )
    np.testing.assert_array_equal(first.path, second.path)
    assert np.isfinite(first.path).all()


def velocity(x_t, t):
    """dx/dt of flow matching for the denoiser `bend`: eps - x_0, per unit of time."""
    x_0 = bend(x_t, t)
    return (x_t - (1 - t / T) * x_0) / (t / T) - x_0


def test_on_the_flow_ddim_is_the_euler_method_and_heun_is_heuns():
    schedule, x_t, t, s = SCHEDULES["flow"], jnp.array([1.0, -0.5]), 30, 20
    euler = x_t + (s - t) / T * velocity(x_t, t)
    state = jdiff.SolverState(x_t)
    ddim = jdiff.ddim(schedule).step(KEY, bend, state, t, s).x
    np.testing.assert_allclose(ddim, euler, rtol=1e-5)
    expected = x_t + (s - t) / T * (velocity(x_t, t) + velocity(euler, s)) / 2
    heun = jdiff.heun(schedule).step(KEY, bend, state, t, s).x
    np.testing.assert_allclose(heun, expected, rtol=1e-5)


def test_heun_is_algorithm_1_of_karras_et_al():
    schedule, x_t, t, s = SCHEDULES["karras"], jnp.array([1.0, -0.5]), 30, 20
    high, low = float(schedule.sigma[t]), float(schedule.sigma[s])
    d = (x_t - bend(x_t, t)) / high
    x_s = x_t + (low - high) * d
    d_prime = (x_s - bend(x_s, s)) / low
    expected = x_t + (low - high) * (d / 2 + d_prime / 2)
    heun = jdiff.heun(schedule).step(KEY, bend, jdiff.SolverState(x_t), t, s).x
    np.testing.assert_allclose(heun, expected, rtol=1e-5)


def test_heun_never_asks_for_a_denoiser_of_data():
    def refuses_data(x_t, t):
        return jnp.where(t > 0, jnp.tanh(x_t), jnp.nan)

    solver, times = jdiff.heun(SCHEDULES["flow"]), np.array([T, 20, 0])
    keys = jax.random.split(KEY, 3)
    x_0 = jax.vmap(lambda k: jdiff.sample(k, refuses_data, solver, times, (2,)).x_0)
    assert np.isfinite(x_0(keys)).all()


@pytest.mark.parametrize("solver", ["dpmpp_2m", "dpmpp_2m eta 0.5", "dpmpp_2m eta 1"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_dpmpp_2m_of_one_step_is_ddim(name, solver):
    schedule, times = SCHEDULES[name], np.array([T, 0])
    expected = draw(KEY, schedule, times, solver="ddim").x_0
    x_0 = draw(KEY, schedule, times, solver=solver).x_0
    np.testing.assert_allclose(x_0, expected, rtol=1e-6)


@pytest.mark.parametrize("solver", ["dpmpp_2m", "unipc"])
def test_two_estimates_integrate_a_line_in_log_snr(solver):
    """x_0 linear in lambda: Lu et al. 2022, Eq. B.4 keeps the term (1 - e^-h) h / 2."""
    schedule, times = SCHEDULES["cosine"], np.array([30, 26, 22])
    log_snr = np.asarray(jdiff.log_snr(schedule, times), np.float64) / 2
    alpha, sigma = (np.asarray(table, np.float64)[times] for table in schedule)
    slope = 0.3
    steps = [0.1 + slope * lam for lam in log_snr]

    def line(x_t, t):
        return jnp.full(1, 0.1) + slope * 0.5 * jdiff.log_snr(schedule, t)

    h = np.diff(log_snr)
    x_1 = sigma[1] / sigma[0] * 0.7 + alpha[1] * -np.expm1(-h[0]) * steps[0]
    if solver == "unipc":  # UniC-1: half of the change of x_0
        x_1 += alpha[1] * -np.expm1(-h[0]) * 0.5 * (steps[1] - steps[0])
    middle = steps[1] + slope * h[1] / 2
    expected = sigma[2] / sigma[1] * x_1 + alpha[2] * -np.expm1(-h[1]) * middle
    sample = jdiff.sample(
        KEY, line, SOLVERS[solver](schedule), times, (1,), jnp.full(1, 0.7)
    )
    np.testing.assert_allclose(sample.x_0, [expected], rtol=1e-5)


def test_unipc_corrects_by_the_exact_integral_of_a_parabola():
    """UniC-2 has three estimates, and its weights depend on h: nothing is left."""
    sigma = np.append(0.0, 20 * np.exp(-0.7 * np.arange(4)[::-1]))
    schedule = jdiff.Schedule(jnp.ones(5), jnp.asarray(sigma, jnp.float32))

    def parabola(x_t, t):
        lam = 0.5 * jdiff.log_snr(schedule, t)
        return jnp.full(1, 0.2) + 0.3 * lam - 0.4 * lam**2

    def integral(t):  # of x_0 d(1 / sigma)
        lam = -np.log(sigma[t])
        return (0.2 + 0.3 * (lam - 1) - 0.4 * (lam**2 - 2 * lam + 2)) / sigma[t]

    def corrected(state, t):
        return state.base + state.weight * (parabola(None, t) - state.x_0)

    solver = jdiff.unipc(schedule)
    first = solver.step(KEY, parabola, solver.init(jnp.ones(1)), 4, 3)
    second = solver.step(KEY, parabola, first, 3, 2)
    exact = corrected(first, 3) / sigma[3] + integral(2) - integral(3)
    np.testing.assert_allclose(corrected(second, 2), sigma[2] * exact, rtol=1e-5)


# Gaussian data: every deterministic solver is an affine map, so its error is computed.

ORDERS = {"ddim": 1, "heun": 2, "dpmpp_2m": 2, "unipc": 2}
FINE = 20_160


def fine_schedule(name):
    """Float64 tables with steps enough for 320 of them, well spaced."""
    u = np.arange(FINE + 1) / FINE
    alpha, sigma = {
        "flow": (1 - u, u),
        "preserving": (np.cos(1.57 * u), np.sin(1.57 * u)),
        "exploding": (np.ones(FINE + 1), (80 ** (1 / 7) * u) ** 7),
    }[name]
    return jdiff.Schedule(jnp.asarray(alpha), jnp.asarray(sigma))


@functools.partial(jax.jit, static_argnames="solver")
def step_all(normal, schedule, state, t, s, *, solver):
    """One step of many states: a grid of any length compiles no more than this."""
    denoise = jdiff.closed_form.gaussian.denoiser(normal, schedule)
    step = SOLVERS[solver](schedule).step
    return jax.vmap(lambda one: step(KEY, denoise, one, t, s))(state)


@jax.jit
def ends_of_flow(normal, schedule, eps, t):
    """x_t of many draws of noise, and where the probability flow takes them."""

    def one(eps):
        law = jdiff.closed_form.gaussian.marginal(normal, schedule, t)
        x_t = jdiff.closed_form.gaussian.colour(law, eps)
        flow = jdiff.closed_form.gaussian.probability_flow
        return x_t, flow(normal, schedule, x_t, t, 0)

    return jax.vmap(one)(eps)


def affine_error(normal, schedule, times, solver):
    """Exact Wasserstein-2 distance of the solver's x_0 from the flow's.

    Both maps are affine with the eigenvectors of the covariance, so they commute,
    and pairing by x_T is the optimal plan: E|b + M eps|^2 = |b|^2 + |M|^2.
    """
    size = normal.mean.size
    eps = np.concatenate([np.zeros((1, size)), np.eye(size)])
    x_T, exact = ends_of_flow(normal, schedule, eps, times[0])
    state = jax.vmap(SOLVERS[solver](schedule).init)(x_T)
    for t, s in itertools.pairwise(np.asarray(times)):
        state = step_all(normal, schedule, state, t, s, solver=solver)
    error = np.asarray(state.x - exact)
    return np.sqrt(np.square(error[0]).sum() + np.square(error[1:] - error[0]).sum())


def full_gaussian(size):
    rng = np.random.default_rng(size)
    root = rng.standard_normal((size, size)) / np.sqrt(size)
    covariance = root @ root.T + 0.1 * np.eye(size)
    return jdiff.closed_form.gaussian.from_covariance(
        rng.standard_normal(size), covariance
    )


@pytest.mark.parametrize(
    ("size", "path"), [(1, "preserving"), (2, "flow"), (32, "exploding")]
)
@pytest.mark.parametrize("solver", ORDERS)
def test_solver_converges_to_the_probability_flow_at_its_order(solver, size, path):
    with jax.enable_x64(True):
        schedule, normal = fine_schedule(path), full_gaussian(size)
        steps = [5, 40, 160, 320]
        errors = [
            affine_error(
                normal,
                schedule,
                jdiff.spaced_timesteps(
                    schedule, num_steps, sigma_min=1e-3, sigma_max=1e3
                ),
                solver,
            )
            for num_steps in steps
        ]
    assert (np.diff(errors) < 0).all()
    order = -np.polyfit(np.log(steps[1:]), np.log(errors[1:]), 1)[0]
    assert order > ORDERS[solver] - 0.25
    if solver != "unipc":  # its corrector is of order 3, in the limit
        assert order < ORDERS[solver] + 0.25


# With many steps each may churn little: S_churn = 40 of Karras et al. is 0.04 each.
MANY = SOLVERS | {
    "churned": lambda schedule: jdiff.with_churn(jdiff.heun(schedule), schedule, 0.04),
}


@pytest.mark.parametrize("solver", STOCHASTIC)
def test_stochastic_solvers_draw_the_mean_and_covariance_of_the_data(solver):
    schedule = jdiff.flow_schedule(1000)
    times = jdiff.timesteps(schedule, 1000)
    mean = np.array([0.5, -0.2], np.float32)
    covariance = np.array([[1.0, 0.6], [0.6, 0.5]], np.float32)
    normal = jdiff.closed_form.gaussian.from_covariance(mean, covariance)
    denoise = jdiff.closed_form.gaussian.denoiser(normal, schedule)
    keys = jax.random.split(KEY, 2000)

    @jax.jit
    def draw_all(keys, schedule, times):
        made = MANY[solver](schedule)
        return jax.vmap(lambda key: jdiff.sample(key, denoise, made, times, (2,)).x_0)(
            keys
        )

    x_0 = np.asarray(draw_all(keys, schedule, times))
    error = 4.5 / math.sqrt(len(keys))
    np.testing.assert_allclose(x_0.mean(0), mean, atol=error)
    # A variance v has the standard error v sqrt(2 / N).
    np.testing.assert_allclose(np.cov(x_0.T), covariance, atol=math.sqrt(2) * error)


# A mixture of Gaussians.


def ring(num_cells=8):
    """Narrow Gaussians on the unit circle."""
    angle = np.arange(num_cells, dtype=np.float32) * 2 * np.pi / num_cells
    centres = jnp.stack([jnp.cos(angle), jnp.sin(angle)], 1)
    cells = jax.vmap(
        lambda centre: jdiff.closed_form.gaussian.from_covariance(
            centre, 0.01 * jnp.eye(2)
        )
    )(centres)
    return jdiff.closed_form.gaussian.Mixture(
        jnp.full(num_cells, -math.log(num_cells)), cells
    )


def ring_error(solver, schedule, times, num_samples=4000):
    """Wasserstein-2 distance of one coordinate, samples and truth less centres."""
    data = ring()
    denoise = jdiff.closed_form.gaussian.mixture_denoiser(data, schedule)

    @jax.jit
    def offsets(keys):
        def one(key):
            key_0, key_eps, key_steps = jax.random.split(key, 3)
            x_0 = jdiff.closed_form.gaussian.draw_mixture(key_0, data)
            eps = jax.random.normal(key_eps, (2,))
            x_T = jdiff.q_sample(schedule, x_0, times[0], eps)
            x = jdiff.sample(key_steps, denoise, solver, times, (2,), x_T).x_0
            centres = data.cells.mean
            return x - centres[jnp.square(centres - x[None]).sum(1).argmin()]

        return jax.vmap(one)(keys)

    x = np.sort(np.asarray(offsets(jax.random.split(KEY, num_samples))).ravel())
    share = (np.arange(x.size) + 0.5) / x.size
    truth = 0.1 * np.asarray(jax.scipy.stats.norm.ppf(share))
    return np.sqrt(np.square(x - truth).mean())


def test_ten_steps_of_the_best_solver_beat_a_hundred_of_ddpm_on_a_mixture():
    schedule = jdiff.cosine_schedule(1000)
    # From where the cells merge to where one cell is sharp: their own noise is 0.1.
    times = jdiff.spaced_timesteps(schedule, 10, sigma_min=0.03, sigma_max=10.0)
    best = ring_error(jdiff.unipc(schedule), schedule, times)
    ddpm = ring_error(jdiff.ddpm(schedule), schedule, jdiff.timesteps(schedule, 100))
    assert best < ddpm


# Bad input.


@pytest.mark.parametrize("builder", [jdiff.ddim, jdiff.dpmpp_2m])
@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_eta_outside_its_range_is_named(builder, eta):
    with pytest.raises(ValueError, match=r"eta must be in \[0, 1\], got"):
        builder(SCHEDULES["cosine"], eta)


@pytest.mark.parametrize(
    "builder", [jdiff.ddpm, jdiff.ddim, jdiff.heun, jdiff.dpmpp_2m, jdiff.unipc]
)
def test_schedule_whose_snr_rises_is_refused(builder):
    alpha, sigma = (np.asarray(table).copy() for table in SCHEDULES["cosine"])
    sigma[[9, 10]] = sigma[[10, 9]]
    with pytest.raises(ValueError, match=r"SNR that falls with t, got .* t = 10\."):
        builder(jdiff.Schedule(jnp.asarray(alpha), jnp.asarray(sigma)))


@pytest.mark.parametrize(
    "builder", [jdiff.ddpm, jdiff.ddim, jdiff.heun, jdiff.dpmpp_2m, jdiff.unipc]
)
@pytest.mark.parametrize(("alpha_0", "sigma_0"), [(0.9, 0.0), (1.0, 0.01)])
def test_schedule_that_does_not_begin_with_data_is_refused(builder, alpha_0, sigma_0):
    alpha, sigma = (np.asarray(table).copy() for table in SCHEDULES["cosine"])
    alpha[0], sigma[0] = alpha_0, sigma_0
    with pytest.raises(ValueError, match="schedule must begin with data"):
        builder(jdiff.Schedule(jnp.asarray(alpha), jnp.asarray(sigma)))


@pytest.mark.parametrize("solver", SOLVERS)
def test_step_beyond_the_schedule_is_refused(solver):
    schedule = SCHEDULES["karras"]
    with pytest.raises(ValueError, match=rf"times must be at most T = {T}, got 41\."):
        jdiff.sample(KEY, bend, SOLVERS[solver](schedule), [T + 1, 0], (2,))


FLOW = jdiff.flow_schedule(1000)
RECORD = jdiff.Solver(
    jdiff.SolverState,
    lambda key, denoise, state, t, s: jdiff.SolverState(
        jnp.concatenate([state.x, jnp.stack([t, s]).astype(jnp.float32)])
    ),
)


def bend_slowly(x_t, t):
    return jnp.tanh(x_t - 0.001 * t)


@pytest.mark.parametrize("t", [200, 400, 600])
def test_churn_starts_the_step_from_a_level_that_much_louder(t):
    solver = jdiff.with_churn(RECORD, FLOW, 0.2)
    x_s = solver.step(KEY, bend_slowly, jdiff.SolverState(jnp.zeros(3)), t, 10).x
    louder, s = x_s[3:]
    level = FLOW.sigma / FLOW.alpha
    ratio = level[int(louder)] / level[t]
    assert s == 10
    assert ratio == pytest.approx(1.2, abs=0.02)


def test_churn_adds_the_noise_of_the_forward_process():
    """x_u ~ q(x_u | x_t): mean alpha_u / alpha_t x_t, and what is left to sigma_u."""
    t, x_t = 400, jnp.full(20_000, 0.7)
    x_u = jdiff.with_churn(RECORD, FLOW, 0.2).step(
        KEY, bend_slowly, jdiff.SolverState(x_t), t, 10
    )
    x_u, u = np.asarray(x_u.x[:-2]), int(x_u.x[-2])
    alpha, sigma = (np.asarray(table, np.float64) for table in FLOW)
    kept = alpha[u] / alpha[t]
    std = math.sqrt(sigma[u] ** 2 - (kept * sigma[t]) ** 2)
    assert x_u.mean() == pytest.approx(kept * 0.7, abs=5 * std / math.sqrt(20_000))
    assert x_u.std() == pytest.approx(std, rel=5 / math.sqrt(40_000))


@pytest.mark.parametrize("t", [1, 20, 990, 1000])
def test_outside_its_range_of_noise_churn_does_nothing(t):
    x_t = jnp.array([0.3, -2.0])
    x_s = jdiff.with_churn(RECORD, FLOW, 0.2, noise_range=(0.1, 10.0)).step(
        KEY, bend_slowly, jdiff.SolverState(x_t), t, 0
    )
    np.testing.assert_array_equal(x_s.x, np.float32([0.3, -2.0, t, 0]))


def test_without_churn_or_correction_the_solver_is_left_as_it_is():
    times = jdiff.timesteps(FLOW, 9)
    heun = jdiff.heun(FLOW)
    expected = jdiff.sample(KEY, bend_slowly, heun, times, (2,)).path
    for solver in (
        jdiff.with_churn(heun, FLOW, 0.0),
        jdiff.with_corrector(heun, FLOW, 0.0),
    ):
        path = jdiff.sample(KEY, bend_slowly, solver, times, (2,)).path
        np.testing.assert_allclose(path, expected, rtol=1e-4, atol=1e-5)


def test_correction_is_a_langevin_step_for_small_shares():
    """Song et al. 2021, Alg. 4: x + e score + sqrt(2 e) z, e = (share sigma)^2 / 2."""
    schedule, t, share = jdiff.cosine_schedule(1000), 500, 1e-2
    x_t = jnp.linspace(-1.0, 1.0, 5)
    still = jdiff.Solver(jdiff.SolverState, lambda key, denoise, state, t, s: state)
    state = jdiff.SolverState(x_t)
    moved = (
        jdiff.with_corrector(still, schedule, share)
        .step(KEY, bend_slowly, state, t, 0)
        .x
    )
    alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
    score = (alpha * bend_slowly(x_t, t) - x_t) / sigma**2
    e = (share * sigma) ** 2 / 2
    z = jax.random.normal(jax.random.split(KEY)[0], (5,))
    np.testing.assert_allclose(moved, x_t + e * score + math.sqrt(2 * e) * z, atol=1e-6)


@pytest.mark.parametrize("make", [jdiff.with_churn, jdiff.with_corrector])
@pytest.mark.parametrize("solver", [jdiff.dpmpp_2m, jdiff.unipc])
def test_solver_with_a_memory_is_refused(make, solver):
    with pytest.raises(ValueError, match="solver must have no memory"):
        make(solver(FLOW), FLOW)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"churn": -0.1}, r"churn must be in \[0, sqrt\(2\) - 1\], got -0.1"),
        ({"churn": 0.5}, r"churn must be in \[0, sqrt\(2\) - 1\], got 0.5"),
        ({"noise_range": (2.0, 1.0)}, "noise_range must be 0 <= low < high"),
        ({"inflation": 0.0}, "inflation must be > 0, got 0.0"),
        ({"churn": 1e-4}, "churn must reach another step of the schedule"),
        # Beyond T there is no louder step.
        (
            {"noise_range": (0.1, 2000.0)},
            "churn must reach another step of the schedule",
        ),
    ],
)
def test_churn_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        jdiff.with_churn(jdiff.heun(FLOW), FLOW, **arguments)


def test_churn_on_a_coarse_schedule_is_refused():
    schedule = jdiff.karras_schedule(10)
    with pytest.raises(ValueError, match=r"no step is near 1\.1 times the noise level"):
        jdiff.with_churn(jdiff.heun(schedule), schedule, 0.1)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_fraction_outside_its_range_is_named(fraction):
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\], got"):
        jdiff.with_corrector(jdiff.ddim(FLOW), FLOW, fraction)
