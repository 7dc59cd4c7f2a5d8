"""Laws of consistency: the solver, the loss that distils it, and who may use it.

For Gaussian data the flow is known, and so is the consistency function, its end.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, POINT, SCHEDULES, point

import jdiff

COSINE = jdiff.cosine_schedule(100)
MEAN, STD = 0.4, 0.3


def end_of_path(x_t, t, schedule=COSINE):
    """f(x_t, t) for data N(MEAN, STD^2): the flow keeps the standardised value."""
    alpha, sigma = schedule.alpha[t], schedule.sigma[t]
    std_t = jnp.sqrt(jnp.square(alpha * STD) + jnp.square(sigma))
    return MEAN + STD * (x_t - alpha * MEAN) / std_t


def paths_of_the_flow(key, num_paths, times):
    """Returns exact paths, float[N, n + 1, 5]."""
    alpha, sigma = (table[times][:, None] for table in COSINE)
    std_t = jnp.sqrt(jnp.square(alpha * STD) + jnp.square(sigma))

    def draw(key):
        return alpha * MEAN + std_t * jax.random.normal(key, (1, 5))

    return jax.vmap(draw)(jax.random.split(key, num_paths))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_data_that_is_a_point_is_hit(name, num_steps):
    schedule = SCHEDULES[name]
    solver, times = (
        jdiff.extensions.consistency(schedule),
        jdiff.timesteps(schedule, num_steps),
    )
    x_0 = jdiff.sample(KEY, point, solver, times, (2,)).x_0
    np.testing.assert_allclose(x_0, POINT, rtol=1e-6)


@pytest.mark.parametrize("num_steps", [1, 2, 4])
def test_with_the_exact_function_samples_are_exact_in_any_number_of_steps(num_steps):
    times = jdiff.karras_timesteps(COSINE, num_steps)

    def draw(key):
        solver = jdiff.extensions.consistency(COSINE)
        return jdiff.sample(key, end_of_path, solver, times, ()).x_0

    x_0 = np.asarray(jax.vmap(draw)(jax.random.split(KEY, 20_000)))
    assert x_0.mean() == pytest.approx(MEAN, abs=5 * STD / 20_000**0.5)
    assert x_0.std() == pytest.approx(STD, rel=5 / 40_000**0.5)


def test_steps_forget_the_noise_they_came_with():
    """x_s depends on x_t through f alone: with f constant, z is all there is."""
    step = jdiff.extensions.consistency(COSINE).step
    ends = [
        step(KEY, point, jdiff.SolverState(jnp.full(2, x)), 90, 40).x
        for x in (-3.0, 3.0)
    ]
    np.testing.assert_array_equal(*ends)


def loss_of(function, times, key=KEY, paths=None):
    """The loss of a network whose output, x_0, is function(params, x_t, log_snr)."""

    def apply(params, x_t, log_snr, label):
        return function(params, x_t, log_snr)

    loss_fn = jdiff.extensions.make_consistency_loss(
        apply, COSINE, jdiff.PREDICT_X_0, times
    )
    paths = paths_of_the_flow(KEY, 64, times) if paths is None else paths
    return loss_fn(None, key, jdiff.Batch(paths, jnp.zeros(len(paths), jnp.int32)))


def test_the_consistency_function_has_no_loss():
    times = jdiff.timesteps(COSINE, 5)

    def exact(params, x_t, log_snr):
        levels = jdiff.log_snr(COSINE, times)
        which = jax.vmap(lambda level: jnp.argmin(jnp.abs(levels - level)))(log_snr)
        return jax.vmap(end_of_path)(x_t, jnp.asarray(times)[which])

    loss, metrics = loss_of(exact, times)
    assert loss < 1e-10
    assert metrics["one_step"] < 1e-10


def test_the_posterior_mean_is_not_the_consistency_function():
    def smooth(params, x_t, log_snr):
        snr = jnp.exp(log_snr)[:, None]
        shrink = STD**2 * snr / (STD**2 * snr + 1.0)
        alpha = jnp.sqrt(jax.nn.sigmoid(log_snr))[:, None]
        return MEAN + shrink * (x_t / alpha - MEAN)

    loss, _ = loss_of(smooth, jdiff.timesteps(COSINE, 5))
    assert loss > 1e-3


def test_half_of_the_examples_are_at_the_beginning_the_others_spread_alike():
    times = jdiff.timesteps(COSINE, 5)
    seen = []

    def apply(params, x_t, log_snr, label):
        seen.append(log_snr)
        return x_t

    paths = paths_of_the_flow(KEY, 20_000, times)
    loss_fn = jdiff.extensions.make_consistency_loss(
        apply, COSINE, jdiff.PREDICT_X_0, times
    )
    loss_fn(None, KEY, jdiff.Batch(paths, jnp.zeros(20_000, jnp.int32)))
    levels = np.asarray(jdiff.log_snr(COSINE, times[:-1]))
    shares = (levels[:, None] == np.asarray(seen[0])).mean(1)
    np.testing.assert_allclose(shares, [0.5, *[0.125] * 4], atol=5 * 0.5 / 20_000**0.5)


def test_the_loss_at_the_beginning_is_reported_apart():
    """A network that is right at T alone has loss elsewhere alone."""
    times = jdiff.timesteps(COSINE, 4)
    paths = paths_of_the_flow(KEY, 64, times).at[:, -1].set(0.0)
    first = jdiff.log_snr(COSINE, times[0])

    def right_at_first(params, x_t, log_snr):
        return jnp.where(log_snr[:, None] == first, 0.0, jnp.full_like(x_t, 2.0))

    loss, metrics = loss_of(right_at_first, times, paths=paths)
    assert metrics["one_step"] == 0.0
    assert loss > 0.1


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([100, 0], "times must have at least 2 steps, got 1"),
        ([10, 50, 0], "times must descend strictly"),
        ([101, 50, 0], "times must be at most T = 100, got 101"),
    ],
)
def test_a_loss_on_a_bad_grid_is_refused(times, message):
    with pytest.raises(ValueError, match=message):
        loss_of(lambda params, x_t, log_snr: x_t, np.array(times))


def make_model(distilled):
    def apply(params, x_t, log_snr, label):
        return jnp.zeros_like(x_t) + 0.5

    return jdiff.models.Model(
        apply,
        {},
        COSINE,
        jdiff.PREDICT_X_0,
        "ab",
        (4, 4, 1),
        has_null=not distilled,
        distilled=distilled,
    )


def test_a_distilled_model_takes_its_solver_by_itself():
    path = jdiff.generate(KEY, make_model(True), [0], 2, with_path=True).path
    # By any other solver the middle would hold part of the first noise.
    residue = (path[0, 1] - COSINE.alpha[50] * 0.5).ravel()
    assert abs(np.corrcoef(residue, path[0, 0].ravel())[0, 1]) < 0.9
    np.testing.assert_array_equal(path[0, 2], 0.5)


@pytest.mark.parametrize("solver", [jdiff.ddim, jdiff.unipc])
def test_a_distilled_model_takes_no_other_solver(solver):
    with pytest.raises(ValueError, match="solver must be consistency for a distilled"):
        jdiff.generate(KEY, make_model(True), [0], solver=solver)


def test_a_distilled_model_is_not_guided():
    with pytest.raises(ValueError, match="guidance must be 1"):
        jdiff.generate(KEY, make_model(True), [0], guidance=2.0)
