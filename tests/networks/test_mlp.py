"""Laws of the multilayer perceptron and of the two ways to tell it the noise level."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdiff
from jdiff.networks.conditioning import MAX_LOG_SNR

B, D, CLASSES = 6, 2, 3
LEVELS = (jdiff.networks.sinusoidal, jdiff.networks.raw_log_snr)


@functools.cache
def network(embed_log_snr=jdiff.networks.sinusoidal, num_outputs=None, num_layers=2):
    """(init, apply) and weights that are nowhere 0."""
    net = jdiff.networks.make_mlp(CLASSES, 16, num_layers, num_outputs, embed_log_snr)
    params = jdiff.models.init_params(jax.random.key(0), net, (D,))
    rng = np.random.default_rng(0)
    return net, jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(scale=0.3, size=leaf.shape), jnp.float32),
        params,
    )


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    x_t = jnp.asarray(rng.normal(size=(B, D)), jnp.float32)
    log_snr = jnp.asarray(rng.uniform(-9, 9, B), jnp.float32)
    return x_t, log_snr, jnp.arange(B) % (CLASSES + 1)


@pytest.mark.parametrize("embed_log_snr", LEVELS)
@pytest.mark.parametrize("num_outputs", [None, 1, 4])
def test_it_returns_as_many_numbers_as_asked_for(embed_log_snr, num_outputs):
    net, params = network(embed_log_snr, num_outputs)
    assert net.apply(params, *inputs()).shape == (B, num_outputs or D)


def test_fresh_weights_predict_0():
    net, _ = network()
    params = jdiff.models.init_params(jax.random.key(1), net, (D,))
    np.testing.assert_array_equal(net.apply(params, *inputs()), np.zeros((B, D)))


@pytest.mark.parametrize("embed_log_snr", LEVELS)
def test_example_k_of_a_batch_depends_on_example_k_alone(embed_log_snr):
    net, params = network(embed_log_snr)
    whole = net.apply(params, *inputs())
    for k in range(B):
        alone = net.apply(params, *(leaf[k : k + 1] for leaf in inputs()))
        np.testing.assert_allclose(alone[0], whole[k], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("embed_log_snr", LEVELS)
def test_it_sees_point_level_and_class(embed_log_snr):
    net, params = network(embed_log_snr)
    x_t, log_snr, label = inputs()
    here = net.apply(params, x_t, log_snr, label)
    for other in (
        (x_t + 0.1, log_snr, label),
        (x_t, log_snr + 0.3, label),
        (x_t, log_snr, (label + 1) % (CLASSES + 1)),  # the null label is one of them
    ):
        assert (np.abs(net.apply(params, *other) - here).max(1) > 1e-5).all()


@pytest.mark.parametrize("embed_log_snr", LEVELS)
def test_both_ends_of_the_path_are_finite_levels(embed_log_snr):
    net, params = network(embed_log_snr)
    x_t, _, label = inputs()
    for end in (np.inf, -np.inf):
        out = net.apply(params, x_t, jnp.full(B, end), label)
        bound = net.apply(params, x_t, jnp.full(B, np.sign(end) * MAX_LOG_SNR), label)
        np.testing.assert_array_equal(out, bound)
        assert np.isfinite(out).all()


def test_raw_log_snr_is_linear_in_the_log_snr_and_bounded():
    levels = jnp.linspace(-MAX_LOG_SNR, MAX_LOG_SNR, 9)
    np.testing.assert_allclose(
        jdiff.networks.raw_log_snr(levels)[:, 0], np.linspace(-1, 1, 9), atol=1e-6
    )
    beyond = jdiff.networks.raw_log_snr(jnp.array([-1e9, 1e9]))
    np.testing.assert_array_equal(beyond[:, 0], [-1, 1])


def test_the_way_the_level_enters_is_the_only_difference():
    one, other = (network(embed)[1] for embed in LEVELS)
    shapes = [jax.tree.map(lambda leaf: leaf.shape, p) for p in (one, other)]
    first = "mlp/linear"
    assert shapes[0].pop(first)["w"] == (D + 32 + CLASSES + 1, 16)
    assert shapes[1].pop(first)["w"] == (D + 1 + CLASSES + 1, 16)
    assert shapes[0] == shapes[1]


def test_no_layers_is_refused():
    net = jdiff.networks.make_mlp(CLASSES, 16, 0)
    with pytest.raises(ValueError, match="num_layers must be >= 1, got 0"):
        jdiff.models.init_params(jax.random.key(0), net, (D,))


def test_images_are_refused():
    net, params = network()
    _, log_snr, label = inputs()
    with pytest.raises(AssertionError):
        net.apply(params, jnp.zeros((B, 4, 4, 1)), log_snr, label)
