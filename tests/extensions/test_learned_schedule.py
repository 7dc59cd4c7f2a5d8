"""Laws of the learned schedule: monotone, of the same mean, and of less variance."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import KEY
from hypothesis import given
from hypothesis import strategies as st

import jdiff

VARIANCE = 0.25  # of the data, N(0, VARIANCE I) in two dimensions
ENDS = 8.0, -6.0
logits = st.floats(-6, 6, width=32)
weights = st.lists(logits, min_size=4, max_size=4)
shares = st.lists(logits, min_size=5, max_size=5)
U = jnp.linspace(0.0, 1.0, 101)


def path_of(*weights):
    return jdiff.extensions.MonotoneLogSnr(
        jnp.array(ENDS), *(jnp.asarray(w, jnp.float32) for w in weights)
    )


def values(path):
    return np.asarray(jax.vmap(jdiff.extensions.learned_log_snr, (None, 0))(path, U))


STRAIGHT = jdiff.extensions.init_log_snr(*ENDS)
BENT = path_of([0.0, 2.0, 1.0], [2.0, 3.0], [-2.0, 1.0])


@given(shares, weights, weights)
def test_log_snr_falls_whatever_the_weights(logits, steepness, centre):
    got = values(path_of(logits, steepness, centre))
    np.testing.assert_allclose(got[[0, -1]], ENDS, rtol=1e-5)
    assert (np.diff(got) <= 1e-5).all()


@given(shares, weights, weights, st.sampled_from([2, 50, 1000]))
def test_tables_are_a_schedule_whatever_the_weights(logits, steep, centre, num_steps):
    schedule = jdiff.extensions.as_schedule(path_of(logits, steep, centre), num_steps)
    alpha, sigma = (np.asarray(table) for table in schedule)
    assert alpha.dtype == sigma.dtype == np.float32
    assert alpha.shape == sigma.shape == (num_steps + 1,)
    assert (alpha[0], sigma[0]) == (1.0, 0.0)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, rtol=1e-6)
    got = jdiff.log_snr(schedule, np.array([1, num_steps]))
    np.testing.assert_allclose(got, ENDS, rtol=1e-5)
    jdiff.ddim(schedule)  # refuses an SNR that rises


def test_path_starts_nearly_straight():
    line = ENDS[0] + (ENDS[1] - ENDS[0]) * U
    assert np.abs(values(STRAIGHT) - line).max() < 0.03 * (ENDS[0] - ENDS[1])


# The loss.


def denoiser(network, x_u, log_snr, label):
    """The exact denoiser of the data, plus an error."""
    alpha, snr = jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.exp(log_snr)
    gain = VARIANCE * snr / (alpha * (1.0 + VARIANCE * snr))
    return gain[:, None] * x_u + network[None]


LOSS = jdiff.extensions.make_continuous_loss(denoiser, jdiff.PREDICT_X_0)


def batch_of(key, num_examples=128):
    image = math.sqrt(VARIANCE) * jax.random.normal(key, (num_examples, 2))
    return jdiff.Batch(image, jnp.zeros(num_examples, int))


@functools.partial(jax.jit, static_argnums=1)
def measure(path, num_batches=50):
    """Mean of the loss over many batches, its standard error, variance of a term."""

    def one(key):
        return LOSS((jnp.zeros(2), path), key, batch_of(key, 512))[1]

    metrics = jax.lax.map(one, jax.random.split(KEY, num_batches))
    error = jnp.std(metrics["loss"]) / math.sqrt(num_batches)
    return jnp.mean(metrics["loss"]), error, jnp.mean(metrics["variance"])


def integral():
    """1/2 int Var[x_0 | x] dSNR = 1/2 log of the ratio of 1 + VARIANCE SNR."""
    high, low = (math.log1p(VARIANCE * math.exp(end)) for end in ENDS)
    return 0.5 * (high - low) / math.log(2)


@functools.cache
def learned():
    """The path after 600 steps of training, the network's error held at 0."""
    optimizer = optax.adam(0.02)
    train_step = jdiff.make_train_step(LOSS, optimizer, 0.9)

    @jax.jit
    def train(state):
        def step(state, key):
            return train_step(state, batch_of(key))[0], None

        return jax.lax.scan(step, state, jax.random.split(KEY, 600))[0]

    state = jdiff.init_train_state(KEY, (jnp.zeros(2), STRAIGHT), optimizer)
    return train(state).ema_params[1]


@pytest.mark.parametrize("path", [STRAIGHT, BENT], ids=["straight", "bent"])
def test_mean_is_an_integral_over_the_snr_whatever_the_path(path):
    mean, error, _ = measure(path)
    assert abs(mean - integral()) < 4.5 * error


def test_learning_lessens_the_variance_and_leaves_the_mean():
    mean, error, variance = measure(learned())
    assert abs(mean - integral()) < 4.5 * error
    # A term is mean(u) chi^2_2 / 2: the least variance is that of a constant mean.
    least = integral() ** 2
    assert variance < 1.1 * least
    assert 1.3 * variance < measure(STRAIGHT)[2] < measure(BENT)[2]


def test_ends_stay_where_they_are():
    np.testing.assert_array_equal(learned().ends, ENDS)


def test_network_descends_the_mean_alone_and_the_path_the_squares_alone():
    @jax.jit
    def gradients(network, path):
        metric = jax.grad(lambda n: LOSS((n, path), KEY, batch_of(KEY))[1]["loss"])
        grads = jax.grad(lambda p: LOSS(p, KEY, batch_of(KEY))[0])((network, path))
        return *grads, metric(network)

    network, path, expected = gradients(jnp.array([0.3, -0.1]), BENT)
    np.testing.assert_allclose(network, expected, rtol=1e-5)
    assert all(np.abs(leaf).max() > 0 for leaf in path[1:])
    assert not np.asarray(path.ends).any()


def test_loss_is_the_limit_of_the_bound_with_many_steps():
    schedule = jdiff.extensions.as_schedule(BENT, 4000)
    alpha, sigma = (np.asarray(table, np.float64)[1:] for table in schedule)
    snr = (alpha / sigma) ** 2
    left = VARIANCE / (1 + VARIANCE * snr[1:])
    bits = 0.5 * np.sum((snr[:-1] - snr[1:]) * left) / math.log(2)
    assert 0 < bits / integral() - 1 < 5e-3


# Bad input.


@pytest.mark.parametrize("ends", [(1.0, 1.0), (-5.0, 5.0), (math.inf, 0.0)])
def test_ends_that_do_not_fall_are_refused(ends):
    with pytest.raises(ValueError, match="log_snr_max and log_snr_min must be finite"):
        jdiff.extensions.init_log_snr(*ends)


@pytest.mark.parametrize("num_features", [0, 10_001])
def test_number_of_features_outside_its_range_is_named(num_features):
    with pytest.raises(ValueError, match=r"num_features must be in \[1, 10000\], got"):
        jdiff.extensions.init_log_snr(num_features=num_features)


@pytest.mark.parametrize("num_steps", [1, 100_001])
def test_number_of_steps_outside_its_range_is_named(num_steps):
    with pytest.raises(ValueError, match=r"num_steps must be in \[2, 100000\], got"):
        jdiff.extensions.as_schedule(STRAIGHT, num_steps)
