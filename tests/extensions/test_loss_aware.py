"""Laws of loss-aware sampling: unbiased, and of the least variance there is."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import KEY, SCHEDULES, TARGETS, T
from hypothesis import given
from hypothesis import strategies as st

import jdiff

LINEAR = SCHEDULES["linear"]
STEPS = jnp.arange(1, T + 1)
moments = st.lists(st.floats(0.01, 1e4), min_size=8, max_size=8)


def known(second_moment):
    """A history that has seen enough of every step."""
    second_moment = jnp.asarray(second_moment, jnp.float32)
    return jdiff.extensions.LossHistory(
        second_moment, jnp.full_like(second_moment, 10.0)
    )


def probabilities(history):
    return np.asarray(jdiff.extensions.step_probabilities(history), np.float64)


def variance_under(weights, moments):
    """Second moment of L_t / (T p_t), whose mean is the same for all p ~ weights."""
    p = weights / weights.sum()
    return np.sum(moments / p) / len(p) ** 2


@given(moments)
def test_probabilities_are_the_roots_of_the_moments_but_for_a_thousandth(moments):
    got = probabilities(known(moments))
    root = np.sqrt(moments)
    expected = 0.999 * root / root.sum() + 0.001 / len(root)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert got.sum() == pytest.approx(1.0, abs=1e-6)


@given(moments, st.lists(st.floats(0.01, 1), min_size=8, max_size=8))
def test_no_other_probabilities_give_less_variance(moments, weights):
    best = variance_under(probabilities(known(moments)), np.asarray(moments))
    # A thousandth of all draws is uniform.
    assert best <= 1.002 * variance_under(np.asarray(weights), np.asarray(moments))


@pytest.mark.parametrize("unseen", [0.0, 9.0])
def test_probabilities_are_uniform_until_all_steps_are_known(unseen):
    history = known(np.arange(1.0, 9.0))
    history = history._replace(visits=history.visits.at[3].set(unseen))
    np.testing.assert_allclose(probabilities(history), 1 / 8, rtol=1e-6)
    np.testing.assert_allclose(
        probabilities(jdiff.extensions.init_history(8)), 1 / 8, rtol=1e-6
    )


def test_losses_that_are_all_0_leave_the_probabilities_uniform():
    np.testing.assert_allclose(probabilities(known(np.zeros(8))), 1 / 8, rtol=1e-6)


# The history.


@pytest.mark.parametrize("sizes", [[1] * 9, [4, 5], [9]])
def test_moment_of_few_losses_is_their_mean_square_however_they_come(sizes):
    losses = np.arange(1.0, 10.0, dtype=np.float32)
    history = jdiff.extensions.init_history(3)
    for some in np.split(losses, np.cumsum(sizes)[:-1]):
        history = jdiff.extensions.record_losses(history, jnp.full(len(some), 2), some)
    np.testing.assert_allclose(
        history.second_moment, [0, np.mean(losses**2), 0], rtol=1e-6
    )
    np.testing.assert_array_equal(history.visits, [0, 9, 0])


def test_old_losses_are_forgotten():
    history = known([4.0, 4.0])
    step_1, losses = jnp.ones(1, int), jnp.array([3.0])
    once = jdiff.extensions.record_losses(history, step_1, losses)
    np.testing.assert_allclose(once.second_moment, [0.9 * 4 + 0.1 * 9, 4], rtol=1e-6)
    for _ in range(100):
        history = jdiff.extensions.record_losses(history, step_1, losses)
    np.testing.assert_allclose(history.second_moment, [9, 4], rtol=1e-3)


# The loss.


def still(params, x_t, log_snr, label):
    return params * x_t


@functools.partial(jax.jit, static_argnums=(0, 1))
def estimates(weight, distance, history):
    """One loss of one example for each of many keys."""
    loss_fn = jdiff.extensions.make_loss_aware_loss(
        still, LINEAR, TARGETS["x_0"], distance, weight
    )
    batch = jdiff.Batch(jnp.ones((1, 2)), jnp.zeros(1, int))
    keys = jax.random.split(KEY, 20_000)
    return jax.vmap(lambda key: loss_fn(0.0, key, (batch, history))[0])(keys)


def one(output, target):
    return jnp.ones(())


def steep(schedule, prediction, t):
    return 1.0 / t


@pytest.mark.parametrize("slope", [0.0, 1.0, -3.0])
def test_loss_has_the_mean_over_all_steps_whatever_the_probabilities(slope):
    got = np.asarray(estimates(steep, one, known(np.arange(1.0, T + 1) ** slope)))
    mean = np.mean(1 / np.asarray(STEPS))
    assert abs(got.mean() - mean) < 4.5 * got.std() / math.sqrt(len(got)) + 1e-6


def test_loss_that_depends_on_the_step_alone_no_longer_varies():
    aware = np.asarray(estimates(steep, one, known(1.0 / STEPS**2)))
    uniform = np.asarray(estimates(steep, one, jdiff.extensions.init_history(T)))
    assert aware.std() < 0.01 * uniform.std()


def test_history_finds_the_probabilities_of_least_variance_within_training():
    def noisy(output, target):  # E[L^2] = E[chi^2_2 / 2]^2 / t^2 = 2 / t^2
        return 0.5 * jnp.sum(jnp.square(output - target))

    loss_fn = jdiff.extensions.make_loss_aware_loss(
        still, LINEAR, TARGETS["eps"], noisy, lambda schedule, prediction, t: 1.0 / t
    )
    train_step = jdiff.make_train_step(loss_fn, optax.sgd(0.0), 0.9)
    batch = jdiff.Batch(jnp.zeros((512, 2)), jnp.zeros(512, int))

    @jax.jit
    def train(state, history):
        def step(carry, _):
            state, history = carry
            state, metrics = train_step(state, (batch, history))
            return (state, metrics.pop("history")), metrics["loss"]

        return jax.lax.scan(step, (state, history), length=60)[0]

    state = jdiff.init_train_state(KEY, jnp.zeros(()), optax.sgd(0.0))
    _, history = train(state, jdiff.extensions.init_history(T))
    assert (np.asarray(history.visits) == 10).all()
    moments = 2.0 / np.asarray(STEPS) ** 2
    best, found, uniform = (
        variance_under(p, moments)
        for p in (np.sqrt(moments), probabilities(history), np.ones(T))
    )
    # Ten losses of each step are a rough mean, and yet enough.
    assert found < 1.2 * best < 0.5 * uniform


@pytest.mark.parametrize("num_steps", [0, 100_001])
def test_number_of_steps_outside_its_range_is_named(num_steps):
    with pytest.raises(ValueError, match=r"num_steps must be in \[1, 100000\], got"):
        jdiff.extensions.init_history(num_steps)
