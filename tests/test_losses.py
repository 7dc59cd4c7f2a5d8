"""Laws of the losses, their weights and the draw of steps, noise and labels."""

import functools
import math
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jdiff

PREDICTIONS = [
    jdiff.PREDICT_EPS,
    jdiff.PREDICT_X_0,
    jdiff.PREDICT_V,
    jdiff.PREDICT_SCORE,
    jdiff.PREDICT_FLOW,
]
COSINE = jdiff.cosine_schedule(1000)
FLOW = jdiff.flow_schedule(10)
errors = st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=5)
deltas = st.floats(0.01, 10)


def batch_of(num_examples):
    image = jnp.full((num_examples, 2), 0.5)
    return jdiff.Batch(image, jnp.arange(num_examples) % 10)


@functools.partial(jax.jit, static_argnums=2)
def corrupt(key, batch, label_dropout):
    seen = []

    def apply(params, *inputs):
        seen.extend(inputs)
        return jnp.zeros_like(inputs[0])

    loss_fn = jdiff.make_diffusion_loss(
        apply, FLOW, jdiff.PREDICT_V, null_label=10, label_dropout=label_dropout
    )
    loss_fn(None, key, batch)
    return seen


def seen_by_the_network(num_examples=4000, seed=0, label_dropout=0.0):
    """What one call of the loss shows the network: (x_t, log_snr, label)."""
    seen = corrupt(jax.random.key(seed), batch_of(num_examples), label_dropout)
    return [np.asarray(value) for value in seen]


def noise_seen(x_t, log_snr):
    """(eps, sigma) of what the network saw, by the straight path's own algebra."""
    sigma = 1 / (1 + np.exp(log_snr / 2))
    return (x_t - (1 - sigma[:, None]) * 0.5) / sigma[:, None], sigma


def min_snr_weights(schedule, prediction, gamma):
    t = jnp.arange(1, len(schedule.alpha))
    return jax.vmap(lambda t: jdiff.min_snr_weight(schedule, prediction, t, gamma))(t)


def snr_of(schedule):
    alpha, sigma = (np.asarray(table, np.float64)[1:] for table in schedule)
    return (alpha / sigma) ** 2


@given(errors, deltas)
def test_huber_is_quadratic_near_zero_and_linear_far_out(errors, delta):
    expected = [
        e**2 / 2 if abs(e) <= delta else delta * (abs(e) - delta / 2) for e in errors
    ]
    got = jdiff.huber_loss(jnp.array(errors), jnp.zeros(len(errors)), delta)
    assert got == pytest.approx(np.mean(expected), rel=1e-5, abs=1e-6)


@given(errors)
def test_huber_with_a_large_delta_is_half_the_squared_error(errors):
    output, target = jnp.array(errors), jnp.ones(len(errors))
    half = 0.5 * float(jdiff.l2_loss(output, target))
    assert jdiff.huber_loss(output, target, 100.0) == pytest.approx(half, rel=1e-5)


@given(st.floats(-50, 50), deltas)
def test_huber_bounds_the_gradient_by_delta(error, delta):
    gradient = jax.grad(jdiff.huber_loss)(jnp.array([error]), jnp.zeros(1), delta)
    assert gradient[0] == pytest.approx(np.clip(error, -delta, delta), rel=1e-5)


@given(errors)
def test_l2_is_the_mean_square(errors):
    output = jnp.array(errors) + 3.0
    expected = np.mean(np.square((np.asarray(output) - 3).astype(np.float64)))
    assert jdiff.l2_loss(output, jnp.full(len(errors), 3.0)) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("loss", [jdiff.l2_loss, jdiff.huber_loss])
def test_output_of_another_shape_is_refused(loss):
    with pytest.raises(AssertionError):
        loss(jnp.ones((2, 1)), jnp.ones(2))


@pytest.mark.parametrize("gamma", [1.0, 5.0])
@pytest.mark.parametrize("schedule", [COSINE, jdiff.linear_schedule(1000)])
def test_min_snr_weights_are_the_published_ones(schedule, gamma):
    # Hang et al. 2023, Sec. 3.4.
    snr = snr_of(schedule)
    bounded = np.minimum(snr, gamma)
    for prediction, expected in (
        (jdiff.PREDICT_X_0, bounded),
        (jdiff.PREDICT_EPS, bounded / snr),
        (jdiff.PREDICT_V, bounded / (snr + 1)),
    ):
        got = min_snr_weights(schedule, prediction, gamma)
        np.testing.assert_allclose(got, expected, rtol=2e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("t", [1, 300, 900])
def test_min_snr_weighs_every_target_by_its_error_of_x_0(prediction, t):
    x_0, eps, error = np.random.default_rng(0).standard_normal((3, 6), np.float32)
    x_t = jdiff.q_sample(COSINE, x_0, t, eps)
    target = prediction.target(COSINE, x_0, eps, t)
    # An error large enough for the difference below not to cancel.
    output = target + error * (1.0 + jnp.abs(target).max())
    weight = jdiff.min_snr_weight(COSINE, prediction, t)
    estimate = prediction.x_0(COSINE, x_t, output, t)
    assert weight * jdiff.l2_loss(output, target) == pytest.approx(
        min(snr_of(COSINE)[t - 1], 5.0) * float(jdiff.l2_loss(estimate, x_0)),
        rel=1e-3,
    )


def test_uniform_weight_is_1_at_every_step():
    t = jnp.arange(1, 1001)
    weights = jax.vmap(lambda t: jdiff.uniform_weight(COSINE, jdiff.PREDICT_EPS, t))(t)
    np.testing.assert_array_equal(weights, 1.0)


@functools.partial(jax.jit, static_argnums=1)
def loss_of_a_shifted_perfect_network(schedule, prediction, shift):
    """The network that knows that all data is 0.5, with an error of `shift`."""
    alpha, sigma = schedule
    steps = jnp.arange(1, len(alpha))

    def apply(params, x_t, log_snr, label):
        def one(x_t, level):
            t = jnp.argmin(jnp.abs(jdiff.log_snr(schedule, steps) - level)) + 1
            eps = (x_t - alpha[t] * 0.5) / sigma[t]
            x_0 = jnp.full_like(x_t, 0.5)
            return prediction.target(schedule, x_0, eps, t) + shift

        return jax.vmap(one)(x_t, log_snr)

    loss_fn = jdiff.make_diffusion_loss(apply, schedule, prediction)
    return loss_fn({}, jax.random.key(0), batch_of(16))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_perfect_network_has_no_loss_and_an_error_of_1_has_loss_1(prediction):
    for schedule in (jdiff.cosine_schedule(50), jdiff.karras_schedule(50, 0.1)):
        for shift, expected in ((0.0, 0.0), (1.0, 1.0)):
            loss, metrics = loss_of_a_shifted_perfect_network(
                schedule, prediction, shift
            )
            assert loss == pytest.approx(expected, abs=1e-3)
            assert metrics["loss"] == loss


def test_losses_are_told_apart_by_level():
    losses, level = jnp.array([1.0, 2.0, 4.0, 8.0]), jnp.array([0, 0, 2, 3])
    sums, numbers = jdiff.losses.sum_by_noise_level(losses, level, 4)
    np.testing.assert_array_equal(sums, [3.0, 0.0, 4.0, 8.0])
    np.testing.assert_array_equal(numbers, [2, 0, 1, 1])


def test_levels_of_noise_share_steps_and_loss():
    def apply(params, x_t, log_snr, label):
        steps.append(log_snr)
        return x_t

    steps = []
    options = {"distance": lambda output, target: 1.0, "num_noise_levels": 5}
    loss_fn = jdiff.make_diffusion_loss(apply, FLOW, jdiff.PREDICT_V, **options)
    loss, metrics = loss_fn(None, jax.random.key(0), batch_of(50))
    # Of ten steps each level has two; the log-SNR falls from step to step.
    bounds = jdiff.log_snr(FLOW, jnp.array([9, 7, 5, 3]))
    levels = 4 - np.digitize(steps[0], bounds, right=True)
    numbers = np.bincount(levels, minlength=5)
    np.testing.assert_array_equal(metrics["noise_levels"], [numbers, numbers])
    assert loss == 1.0 and numbers.all()


def test_distance_and_weight_of_each_example_are_averaged():
    x_t, log_snr, _ = seen_by_the_network(seed=3)
    t = np.round(10 * noise_seen(x_t, log_snr)[1])  # sigma = t / 10
    loss_fn = jdiff.make_diffusion_loss(
        lambda params, x_t, log_snr, label: jnp.zeros_like(x_t),
        FLOW,
        jdiff.PREDICT_X_0,
        distance=lambda output, target: jnp.sum(jnp.abs(output - target)),
        weight=lambda schedule, prediction, t: t.astype(jnp.float32),
    )
    loss, _ = jax.jit(loss_fn)(None, jax.random.key(3), batch_of(len(t)))
    assert loss == pytest.approx(t.mean() * 2 * 0.5)  # two pixels of 0.5


def test_steps_are_uniform_on_1_to_T():
    _, log_snr, _ = seen_by_the_network()
    levels = np.asarray(jdiff.log_snr(FLOW, jnp.arange(11)))
    assert levels[0] == math.inf
    counts = np.isclose(log_snr[:, None], levels, atol=1e-5).sum(0)
    assert counts[0] == 0  # data is no training example ...
    assert counts.sum() == 4000
    # ... and every other step is, the last one too, within 5 standard errors.
    assert np.abs(counts[1:] - 400).max() < 5 * math.sqrt(4000 * 0.1 * 0.9)


# Other distributions of steps.

KEYS = jax.random.split(jax.random.key(7), 20_000)


def test_steps_of_low_discrepancy_visit_each_step_alike():
    schedule = jdiff.flow_schedule(16)
    draw = jax.jit(lambda keys: jdiff.low_discrepancy_steps(keys, schedule))
    for size, times in ((16, 1), (64, 4)):
        t = draw(jax.random.split(jax.random.key(size), size))
        np.testing.assert_array_equal(np.bincount(t, minlength=17)[1:], times)
    # Each is uniform: u_0 is drawn anew for each batch.
    first = jax.vmap(draw)(KEYS[:4000].reshape(1000, 4))[:, 0]
    counts = np.bincount(first, minlength=17)
    spread = math.sqrt(1000 * (1 / 16) * (15 / 16))
    assert counts[0] == 0 and np.abs(counts[1:] - 1000 / 16).max() < 5 * spread


def fraction_below(samples, bound):
    """Fraction of samples that are at most a bound, and its standard error times 5."""
    return np.mean(np.asarray(samples) <= bound), 5 * 0.5 / math.sqrt(len(samples))


@pytest.mark.parametrize("mean", [0.0, 0.8])
@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_steps_are_logit_normal(mean, quantile):
    # Esser et al. 2024, Eq. 19: logit(u) ~ N(m, s^2).
    normal = statistics.NormalDist(mean, 1.5)
    t = jdiff.logit_normal_steps(KEYS, COSINE, mean, 1.5)
    assert 1 <= t.min() and t.max() <= 1000
    bound = 1000 / (1 + math.exp(-normal.inv_cdf(quantile)))
    got, error = fraction_below(t, round(bound))
    assert got == pytest.approx(quantile, abs=error + 1e-3)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("schedule", [COSINE, jdiff.karras_schedule(1000)])
def test_steps_are_log_normal_in_the_noise_level(schedule, quantile):
    # Karras et al. 2022, Table 1: ln(sigma) ~ N(-1.2, 1.2^2).
    t = jdiff.log_normal_steps(KEYS, schedule)
    noise_level = np.asarray(schedule.sigma / schedule.alpha)[t]
    bound = math.exp(statistics.NormalDist(-1.2, 1.2).inv_cdf(quantile))
    got, error = fraction_below(noise_level, bound)
    assert got == pytest.approx(quantile, abs=error + 4e-3)  # and the grid's


def test_the_loss_of_karras_et_al_is_their_equation_8():
    """E[lambda c_out^2 |F(c_in (y + n)) - (y - c_skip (y + n)) / c_out|^2]."""
    sigma_data, y = 0.6, np.linspace(-1, 1, 512, dtype=np.float32)[:, None]
    seen = []

    def network(params, x, log_snr):
        seen.extend([np.asarray(x, np.float64), np.asarray(log_snr, np.float64)])
        return jnp.tanh(2.0 * x)

    loss_fn = jdiff.make_diffusion_loss(
        jdiff.precondition(network, sigma_data),
        jdiff.karras_schedule(1000),
        jdiff.PREDICT_X_0,
        weight=functools.partial(jdiff.edm_weight, sigma_data=sigma_data),
        steps=jdiff.log_normal_steps,
    )
    loss, _ = loss_fn(None, jax.random.key(0), jdiff.Batch(jnp.asarray(y)))
    scaled, log_snr = seen
    sigma = np.exp(-0.5 * log_snr)[:, None]
    total = sigma**2 + sigma_data**2
    noisy = scaled * np.sqrt(total)  # c_in = 1 / sqrt(total)
    c_skip, c_out = sigma_data**2 / total, sigma * sigma_data / np.sqrt(total)
    weight = total / (sigma * sigma_data) ** 2
    error = np.tanh(2.0 * scaled) - (y - c_skip * noisy) / c_out
    assert loss == pytest.approx(np.mean(weight * c_out**2 * error**2), rel=1e-3)
    # n is noise of that sigma, and ln(sigma) ~ N(-1.2, 1.2^2).
    assert np.std((noisy - y) / sigma) == pytest.approx(1, rel=5 / math.sqrt(1024))
    assert np.log(sigma).mean() == pytest.approx(-1.2, abs=5 * 1.2 / math.sqrt(512))


def test_the_steps_may_be_any_function_of_keys():
    seen = []

    def apply(params, x_t, log_snr):
        seen.append(log_snr)
        return x_t

    loss_fn = jdiff.make_diffusion_loss(
        apply,
        FLOW,
        jdiff.PREDICT_V,
        steps=lambda keys, schedule: jnp.full(len(keys), 7),
    )
    loss_fn(None, jax.random.key(0), jdiff.Batch(jnp.ones((5, 2))))
    np.testing.assert_array_equal(seen[0], jnp.full(5, jdiff.log_snr(FLOW, 7)))


def test_network_sees_data_under_standard_normal_noise_of_its_log_snr():
    x_t, log_snr, _ = seen_by_the_network()
    eps, _ = noise_seen(x_t, log_snr)
    assert abs(eps.mean()) < 5 / math.sqrt(eps.size)
    assert abs(eps.std() - 1) < 5 / math.sqrt(2 * eps.size)


def test_noise_differs_between_pixels_examples_and_steps():
    x_t, log_snr, _ = seen_by_the_network()
    eps, sigma = noise_seen(x_t, log_snr)
    for a, b in ((eps[:, 0], eps[:, 1]), (eps[:-1, 0], eps[1:, 0]), (eps[:, 0], sigma)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / math.sqrt(len(a))


def test_example_k_does_not_depend_on_how_many_follow():
    few = seen_by_the_network(3, label_dropout=0.5)
    many = seen_by_the_network(label_dropout=0.5)
    for short, long in zip(few, many, strict=True):
        # The logarithm of a vector's remainder may differ in its last bit.
        np.testing.assert_allclose(short, long[:3], rtol=1e-6, atol=1e-7)


def test_another_key_gives_other_noise_steps_and_dropped_labels():
    first, second = (seen_by_the_network(seed=k, label_dropout=0.5) for k in (0, 1))
    for a, b in zip(first, second, strict=True):
        assert (a != b).any()


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_labels_are_dropped_at_the_given_rate(rate):
    *_, label = seen_by_the_network(label_dropout=rate)
    dropped = label == 10
    tolerance = 5 * math.sqrt(rate * (1 - rate) / len(label))
    assert abs(dropped.mean() - rate) <= tolerance
    given = np.asarray(batch_of(len(label)).label)
    np.testing.assert_array_equal(label[~dropped], given[~dropped])


def test_label_dropout_leaves_steps_and_noise_alone():
    with_dropout, without = (seen_by_the_network(label_dropout=p) for p in (0.5, 0.0))
    for a, b in zip(with_dropout[:2], without[:2], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_label_dropout_outside_its_range_is_named(rate):
    with pytest.raises(ValueError, match=r"label_dropout must be in \[0, 1\], got"):
        jdiff.make_diffusion_loss(
            None, COSINE, jdiff.PREDICT_EPS, null_label=10, label_dropout=rate
        )


@pytest.mark.parametrize("prediction", [jdiff.PREDICT_EPS, jdiff.PREDICT_SCORE])
def test_predictions_that_do_not_determine_x_0_at_T_are_refused(prediction):
    flow = jdiff.flow_schedule(10)
    with pytest.raises(ValueError, match="predict x_0, v or the flow"):
        jdiff.make_diffusion_loss(None, flow, prediction)
    # Also where the loss is made inside a compiled function, of concrete tables.
    with pytest.raises(ValueError, match="predict x_0, v or the flow"):
        jax.jit(lambda: jdiff.make_diffusion_loss(None, flow, prediction) and 0)()


def test_label_dropout_without_a_null_label_is_refused():
    with pytest.raises(ValueError, match="needs a null_label"):
        jdiff.make_diffusion_loss(None, COSINE, jdiff.PREDICT_EPS, label_dropout=0.1)
    loss_fn = jdiff.make_diffusion_loss(None, COSINE, jdiff.PREDICT_V, 10, 0.1)
    with pytest.raises(ValueError, match="must be 0 for a batch without labels"):
        loss_fn(None, jax.random.key(0), jdiff.Batch(jnp.ones((5, 2))))


# The weight of the variational bound.


def bound_weights(schedule, prediction):
    t = jnp.arange(1, len(schedule.alpha))
    weight = jdiff.snr_difference_weight
    return np.asarray(jax.vmap(lambda t: weight(schedule, prediction, t))(t))


@pytest.mark.parametrize(
    "schedule", [COSINE, FLOW, jdiff.linear_schedule(200, 1e-4, 0.25)]
)
def test_snr_differences_add_up_to_the_snr_at_either_end(schedule):
    # w_1 = SNR_1 and w_2 + ... + w_T = SNR_1 - SNR_T, by telescoping.
    snr = snr_of(schedule)
    first, *others = bound_weights(schedule, jdiff.PREDICT_X_0).astype(np.float64)
    assert first == pytest.approx(snr[0], rel=1e-5)
    assert sum(others) == pytest.approx(snr[0] - snr[-1], rel=1e-5)
    np.testing.assert_allclose(others, snr[:-1] - snr[1:], rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_weighted_errors_of_any_prediction_are_those_of_x_0(prediction):
    # The weight undoes what an error of the output makes of x_0.
    weights = bound_weights(COSINE, prediction)
    of_x_0 = bound_weights(COSINE, jdiff.PREDICT_X_0)
    for t in (1, 2, 300, 900):
        moved = prediction.x_0(COSINE, 1.0, 0.7, t) - prediction.x_0(
            COSINE, 1.0, 0.5, t
        )
        assert weights[t - 1] * 0.2**2 == pytest.approx(
            of_x_0[t - 1] * float(moved) ** 2, rel=2e-2
        )


def test_the_weighted_loss_is_the_variational_bound():
    # Of a denoiser that is off by a constant: T D / 2 mean_t w_t |error|^2 / D in nats.
    schedule = jdiff.cosine_schedule(20)
    off, x_0 = 0.3, jnp.array([0.4, -0.2])
    weights = bound_weights(schedule, jdiff.PREDICT_X_0).astype(np.float64)
    loss = 20 * 2 / 2 * (weights * off**2).mean()

    def bound(error):
        keys, times = jax.random.key(0), jdiff.timesteps(schedule, 20)
        denoise = lambda x_t, t: x_0 + error  # noqa: E731
        terms = jdiff.likelihood.variational_bound(keys, denoise, schedule, x_0, times)
        return float(sum(terms)) * 2 * math.log(2)

    assert bound(off) - bound(0.0) == pytest.approx(loss, rel=1e-4)
