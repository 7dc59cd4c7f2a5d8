"""Laws of the UNet for series."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY

import jdiff
from jdiff.networks.unet1d import SERIES, Conv1D

NETWORK = jdiff.networks.make_unet_1d(2, 16, 1, 2)
X = jnp.asarray(np.random.default_rng(1).standard_normal((3, 8, 5)), jnp.float32)


def test_its_convolution_is_haikus():
    x = X.transpose(1, 0, 2)[:, None]  # [L, 1, B, C]
    ours = hk.without_apply_rng(hk.transform(lambda x: Conv1D(4)(x)))
    theirs = hk.without_apply_rng(hk.transform(lambda x: hk.Conv1D(4, 3)(x)))
    (weights,) = ours.init(KEY, x).values()
    filters = {"conv1_d": {"w": weights["w"].reshape(3, 5, 4), "b": weights["b"]}}
    expected = theirs.apply(filters, X).transpose(1, 0, 2)[:, None]
    got = ours.apply(ours.init(KEY, x), x)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_pairs_go_there_and_back():
    x = X.transpose(1, 0, 2)[:, None]
    pairs = SERIES.to_patches(x)
    assert pairs.shape == (4, 1, 3, 10)
    np.testing.assert_array_equal(pairs[2, 0, 0], np.concatenate([X[0, 4], X[0, 5]]))
    np.testing.assert_array_equal(SERIES.from_patches(pairs), x)


def test_training_begins_at_0_and_everything_reaches_the_output():
    params = jdiff.models.init_params(KEY, NETWORK, (8, 5))
    inputs = jnp.zeros(3), jnp.array([0, 1, 2])
    np.testing.assert_array_equal(NETWORK.apply(params, X, *inputs), np.zeros(X.shape))
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: 0.3 * random.standard_normal(leaf.shape), params)
    output = NETWORK.apply(params, X, *inputs)
    moved = NETWORK.apply(params, X.at[0, 0, 0].add(1.0), *inputs)
    assert (np.abs(moved - output)[0] > 0).all()
    np.testing.assert_allclose(moved[1:], output[1:], atol=1e-5)


def test_series_that_the_levels_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="divisible by 4, got 6 x 1"):
        jdiff.models.init_params(KEY, NETWORK, (6, 5))
