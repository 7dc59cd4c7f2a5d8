"""Laws of the solvers that are made stochastic; exactness is in test_solvers.py."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdiff

KEY = jax.random.key(0)
FLOW = jdiff.flow_schedule(1000)
RECORD = jdiff.Solver(
    jdiff.SolverState,
    lambda key, denoise, state, t, s: jdiff.SolverState(
        jnp.concatenate([state.x, jnp.stack([t, s]).astype(jnp.float32)])
    ),
)


def bend(x_t, t):
    return jnp.tanh(x_t - 0.001 * t)


@pytest.mark.parametrize("t", [200, 400, 600])
def test_churn_starts_the_step_from_a_level_that_much_louder(t):
    solver = jdiff.with_churn(RECORD, FLOW, 0.2)
    x_s = solver.step(KEY, bend, jdiff.SolverState(jnp.zeros(3)), t, 10).x
    louder, s = x_s[3:]
    level = FLOW.sigma / FLOW.alpha
    ratio = level[int(louder)] / level[t]
    assert s == 10
    assert ratio == pytest.approx(1.2, abs=0.02)


def test_churn_adds_the_noise_of_the_forward_process():
    """x_u ~ q(x_u | x_t): mean alpha_u / alpha_t x_t, and what is left to sigma_u."""
    t, x_t = 400, jnp.full(20_000, 0.7)
    x_u = jdiff.with_churn(RECORD, FLOW, 0.2).step(
        KEY, bend, jdiff.SolverState(x_t), t, 10
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
        KEY, bend, jdiff.SolverState(x_t), t, 0
    )
    np.testing.assert_array_equal(x_s.x, np.float32([0.3, -2.0, t, 0]))


def test_without_churn_or_correction_the_solver_is_left_as_it_is():
    times = jdiff.timesteps(FLOW, 9)
    heun = jdiff.heun(FLOW)
    expected = jdiff.sample(KEY, bend, heun, times, (2,)).path
    for solver in (
        jdiff.with_churn(heun, FLOW, 0.0),
        jdiff.with_corrector(heun, FLOW, 0.0),
    ):
        path = jdiff.sample(KEY, bend, solver, times, (2,)).path
        np.testing.assert_allclose(path, expected, rtol=1e-4, atol=1e-5)


def test_correction_is_a_langevin_step_for_small_shares():
    """Song et al. 2021, Alg. 4: x + e score + sqrt(2 e) z, e = (share sigma)^2 / 2."""
    schedule, t, share = jdiff.cosine_schedule(1000), 500, 1e-2
    x_t = jnp.linspace(-1.0, 1.0, 5)
    still = jdiff.Solver(jdiff.SolverState, lambda key, denoise, state, t, s: state)
    state = jdiff.SolverState(x_t)
    moved = jdiff.with_corrector(still, schedule, share).step(KEY, bend, state, t, 0).x
    alpha, sigma = float(schedule.alpha[t]), float(schedule.sigma[t])
    score = (alpha * bend(x_t, t) - x_t) / sigma**2
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
        ({"churn": 1e-4}, "that the schedule's steps can honour"),
        # Beyond T there is no louder step.
        ({"noise_range": (0.1, 2000.0)}, "that the schedule's steps can honour"),
    ],
)
def test_churn_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        jdiff.with_churn(jdiff.heun(FLOW), FLOW, **arguments)


def test_churn_on_a_coarse_schedule_is_refused():
    schedule = jdiff.karras_schedule(10)
    with pytest.raises(ValueError, match=r"no step is near 1\.1 times the noise level"):
        jdiff.with_churn(jdiff.heun(schedule), schedule, 0.1)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_share_outside_its_range_is_named(share):
    with pytest.raises(ValueError, match=r"share must be in \[0, 1\], got"):
        jdiff.with_corrector(jdiff.ddim(FLOW), FLOW, share)
