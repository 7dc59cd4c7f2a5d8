"""Laws of learned variance: exact on Gaussian data, with any number of steps."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, SCHEDULES, TARGETS, T
from hypothesis import given
from hypothesis import strategies as st

import jdiff

VARIANCE = np.array([0.04, 0.5, 1.0, 3.0], np.float32)  # of each number of x_0
FLOW = SCHEDULES["flow"]
steps = st.integers(1, T).flatmap(
    lambda t: st.tuples(st.just(t), st.integers(0, t - 1))
)
schedules = st.sampled_from(sorted(SCHEDULES))


def variances(schedule, t):
    """Of x_t, and of x_0 given x_t."""
    of_x_t = schedule.alpha[t] ** 2 * VARIANCE + schedule.sigma[t] ** 2
    return of_x_t, VARIANCE * schedule.sigma[t] ** 2 / of_x_t


def exact(schedule):
    """The denoiser and the w of data N(0, diag(VARIANCE))."""

    def denoise(x_t, t):
        return schedule.alpha[t] * VARIANCE / variances(schedule, t)[0] * x_t

    def predict_w(x_t, t):
        alpha, sigma = schedule.alpha[t], schedule.sigma[t]
        return variances(schedule, t)[1] * (alpha**2 + sigma**2) / sigma**2

    return denoise, predict_w


DENOISE, SHARE = exact(FLOW)


@functools.cache
def scaled(factor):
    return lambda x_t, t: factor * SHARE(x_t, t)


@functools.cache
def fixed(w):
    return lambda x_t, t: w


def variance_back(schedule, predict_w, t, s):
    x = jnp.zeros_like(VARIANCE)
    posterior = jdiff.extensions.learned_posterior(schedule, x, x, predict_w, t, s)
    return np.asarray(posterior.variance)


@given(schedules, steps)
def test_share_0_is_the_posterior_of_known_data(name, step):
    schedule = SCHEDULES[name]
    x_t, x_0 = np.random.default_rng(0).standard_normal((2, 4), np.float32)
    known = jdiff.q_posterior(schedule, x_t, x_0, *step)
    learned = jdiff.extensions.learned_posterior(schedule, x_t, x_0, 0.0, *step)
    np.testing.assert_array_equal(learned.mean, known.mean)
    np.testing.assert_array_equal(learned.variance, known.variance)


@given(st.sampled_from(["cosine", "linear"]), st.integers(1, T))
def test_share_1_is_the_variance_of_the_forward_step(name, t):
    # beta_t, the other choice of Ho et al. 2020, Sec. 3.2.
    alpha, _ = (np.asarray(table, np.float64) for table in SCHEDULES[name])
    beta = 1.0 - (alpha[t] / alpha[t - 1]) ** 2
    got = variance_back(SCHEDULES[name], 1.0, t, t - 1)
    np.testing.assert_allclose(got, beta, rtol=1e-3)


@given(schedules, steps, st.floats(0, 1))
def test_variance_lies_between_the_two_fixed_ones(name, step, predict_w):
    lower, between, upper = (
        variance_back(SCHEDULES[name], w, *step) for w in (0.0, predict_w, 1.0)
    )
    assert (lower >= 0).all() and (upper > lower).all()
    assert (lower * (1 - 1e-6) <= between).all()
    assert (between <= upper * (1 + 1e-6)).all()


@given(schedules, steps)
def test_step_back_of_a_gaussian_has_the_law_of_x_s(name, step):
    schedule, (t, s) = SCHEDULES[name], step
    denoise, predict_w = exact(schedule)
    x_t = jnp.ones_like(VARIANCE)
    slope, variance = jdiff.extensions.learned_posterior(
        schedule, x_t, denoise(x_t, t), predict_w(x_t, t), t, s
    )
    (of_x_t, _), (of_x_s, _) = (variances(schedule, i) for i in (t, s))
    np.testing.assert_allclose(slope**2 * of_x_t + variance, of_x_s, rtol=2e-4)


@functools.partial(jax.jit, static_argnames="predict_w")
def draws(predict_w, times):
    solver = jdiff.extensions.learned_ddpm(FLOW, predict_w)
    return jax.vmap(
        lambda key: jdiff.sample(key, DENOISE, solver, times, VARIANCE.shape).x_0
    )(jax.random.split(KEY, 20_000))


def test_few_steps_draw_a_gaussian_exactly_and_with_fixed_variance_do_not():
    times = np.array([T, 25, 8, 0])
    error = VARIANCE * math.sqrt(2 / 20_000)
    x_0 = np.asarray(draws(SHARE, times))
    assert (np.abs(x_0.var(0) - VARIANCE) < 4.5 * error).all()
    np.testing.assert_allclose(np.corrcoef(x_0.T), np.eye(4), atol=0.035)
    for w in (0.0, 1.0):
        x_0 = np.asarray(draws(fixed(w), times))
        wrong = np.abs(x_0.var(0) - VARIANCE) > 4.5 * error
        # Upper is right where the variance of the data is 1.
        np.testing.assert_array_equal(wrong, [True, True, w == 0.0, True])


# The bound.


@functools.partial(jax.jit, static_argnames=("measure", "predict_w"))
def bits(measure, predict_w, times, x_0):
    args = (DENOISE, FLOW) if predict_w is None else (DENOISE, predict_w, FLOW)
    keys = jax.random.split(KEY, len(x_0))
    return jax.vmap(lambda key, x_0: measure(key, *args, x_0, times))(keys, x_0)


def data(num_examples=4000):
    eps = np.random.default_rng(0).standard_normal((num_examples, 4), np.float32)
    x_0 = eps * np.sqrt(VARIANCE)
    nats = 0.5 * (np.square(eps) + np.log(2 * math.pi * VARIANCE)).sum(1)
    return x_0, nats / (4 * math.log(2))


@pytest.mark.parametrize("num_steps", [1, 3, T])
def test_bound_of_a_gaussian_is_its_likelihood_with_any_number_of_steps(num_steps):
    x_0, likelihood = data()
    times = jdiff.timesteps(FLOW, num_steps)
    gap = sum(bits(jdiff.extensions.learned_bound, SHARE, times, x_0)) - likelihood
    error = np.std(gap) / math.sqrt(len(gap))
    assert abs(np.mean(gap)) < 4.5 * error + 1e-5


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_any_other_share_costs_bits(factor):
    x_0, _ = data()
    times = jdiff.timesteps(FLOW, 3)
    shares = scaled(factor), SHARE
    costs = (bits(jdiff.extensions.learned_bound, w, times, x_0) for w in shares)
    extra = np.subtract(*(np.asarray(sum(cost)) for cost in costs))
    assert extra.mean() > 4.5 * extra.std() / math.sqrt(len(extra))


def test_share_0_is_the_bound_of_fixed_variance_step_by_step():
    x_0, _ = data(50)
    times = jdiff.timesteps(FLOW, 8)
    expected = bits(jdiff.likelihood.variational_bound, None, times, x_0)
    # Up to the last step, which has no variance to decode with.
    learned = bits(jdiff.extensions.learned_bound, fixed(0.0), times, x_0)
    np.testing.assert_array_equal(learned.prior, expected.prior)
    np.testing.assert_allclose(learned.diffusion, expected.diffusion, rtol=1e-4)


# The hybrid loss.


def one_step(t):
    return t - 1


def half_way(t):
    return t // 2


def losses(prediction, back_to):
    """Hybrid and simple loss of a network of the exact denoiser plus an offset.

    Its parameters are the offset and what is added to the logarithm of the best w.
    """

    def hybrid(params, x_t, log_snr, label):
        def one(x_t, level):
            t = jnp.round(T / (1.0 + jnp.exp(0.5 * level))).astype(int)
            x_0 = DENOISE(x_t, t)
            eps = (x_t - FLOW.alpha[t] * x_0) / FLOW.sigma[t]
            output = prediction.target(FLOW, x_0, eps, t) + params["offset"]
            v = jnp.log(SHARE(x_t, t)) + params["v"]
            return jnp.concatenate([output, jnp.broadcast_to(v, x_t.shape)])

        return jax.vmap(one)(x_t, log_snr)

    def simple(*inputs):
        return jdiff.extensions.split_output(hybrid(*inputs))[0]

    return (
        jdiff.extensions.make_hybrid_loss(hybrid, FLOW, prediction, back_to=back_to),
        jdiff.make_diffusion_loss(simple, FLOW, prediction),
    )


def batch(key):
    image = jax.random.normal(key, (128, 4)) * jnp.sqrt(VARIANCE)[None]
    return jdiff.Batch(image, jnp.zeros(128, int))


@functools.partial(jax.jit, static_argnums=(0, 1))
def gradients(prediction, back_to, params):
    def gradient(loss_fn, key):
        return jax.grad(lambda p: loss_fn(p, key, batch(key))[0])(params)

    hybrid, simple = losses(prediction, back_to)
    keys = jax.random.split(KEY, 60)
    return [jax.lax.map(lambda k, f=f: gradient(f, k), keys) for f in (hybrid, simple)]


@pytest.mark.parametrize(("name", "back_to"), [("x_0", one_step), ("v", half_way)])
def test_best_share_is_where_the_hybrid_loss_is_flat(name, back_to):
    for v, flat in ((0.0, True), (0.5, False), (-0.5, False)):
        params = {"offset": jnp.zeros(4), "v": jnp.full(4, v)}
        gradient = np.asarray(gradients(TARGETS[name], back_to, params)[0]["v"])
        error = gradient.std(0) / math.sqrt(len(gradient))
        off = gradient.mean(0) / error
        assert (np.abs(off) < 4.5).all() if flat else (off * np.sign(v) > 4.5).all()


def test_variance_is_learned_without_moving_the_mean():
    params = {"offset": jnp.arange(4.0), "v": jnp.ones(4)}
    hybrid, simple = gradients(TARGETS["v"], half_way, params)
    np.testing.assert_allclose(hybrid["offset"], simple["offset"], rtol=1e-5, atol=1e-6)
    assert np.abs(hybrid["v"]).min() > 0


def test_hybrid_loss_is_the_simple_one_plus_a_thousandth_of_the_bound():
    hybrid, simple = losses(TARGETS["v"], one_step)
    params = {"offset": jnp.zeros(4), "v": 0.0}
    keys = jax.random.split(KEY, 200)

    @jax.jit
    @jax.vmap
    def difference(key):
        ours, plain = (loss(params, key, batch(key))[0] for loss in (hybrid, simple))
        return ours - plain

    vlb = 1000 * np.asarray(difference(keys), np.float64)
    x_0, _ = data()
    terms = bits(jdiff.extensions.learned_bound, SHARE, jdiff.timesteps(FLOW, T), x_0)
    bound = np.asarray(sum(terms))
    error = math.hypot(
        vlb.std() / math.sqrt(len(vlb)), bound.std() / math.sqrt(len(bound))
    )
    assert abs(vlb.mean() - bound.mean()) < 4.5 * error


# The network's two halves.


def network(params, x_t, log_snr, label):
    return jnp.tanh(x_t @ params) * label[:, None]


def test_halves_of_a_network_are_its_denoiser_and_its_share():
    params = jax.random.normal(KEY, (4, 8))
    x_t, prediction = jnp.arange(4.0), TARGETS["v"]
    denoise, predict_w = jdiff.extensions.make_learned_denoiser(
        network, params, FLOW, prediction, 2, clip=None
    )
    output = 2 * np.tanh(x_t @ params)
    expected = prediction.x_0(FLOW, x_t, output[:4], 10)
    np.testing.assert_allclose(denoise(x_t, 10), expected, rtol=1e-5)
    np.testing.assert_allclose(predict_w(x_t, 10), np.exp(output[4:]), rtol=1e-5)


def test_network_is_computed_once_for_both():
    params = jnp.ones((64, 128))
    halves = jdiff.extensions.make_learned_denoiser(
        network, params, FLOW, TARGETS["v"], 1
    )

    def flops(*functions):
        both = jax.jit(lambda x_t: [f(x_t, 10) for f in functions])
        return both.lower(jnp.ones(64)).compile().cost_analysis()["flops"]

    assert flops(*halves) < 1.2 * flops(halves[0])


# Bad input.


def test_output_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match=r"last axis must be even, got shape \(2, 3\)"):
        jdiff.extensions.split_output(jnp.ones((2, 3)))


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan])
def test_vlb_weight_outside_its_range_is_named(weight):
    with pytest.raises(ValueError, match="vlb_weight must be > 0, got"):
        jdiff.extensions.make_hybrid_loss(
            network, FLOW, TARGETS["v"], vlb_weight=weight
        )


def test_bound_needs_a_grid_that_ends_in_data():
    with pytest.raises(ValueError, match="down to 0"):
        jdiff.extensions.learned_bound(KEY, DENOISE, SHARE, FLOW, jnp.zeros(4), [T, 5])
