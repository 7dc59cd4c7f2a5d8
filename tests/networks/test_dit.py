"""Laws of the transformer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY

import jdiff
from jdiff.networks.dit import positions

NETWORK = jdiff.networks.make_dit(2, 16, 2, 2, 4)


def random_params(shape=(8, 12, 3)):
    """Weights of which none is 0, so that everything reaches the output."""
    params = jdiff.models.init_params(KEY, NETWORK, shape)
    random = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: 0.3 * random.standard_normal(leaf.shape), params)


def apply(x_t, label=0, params=None):
    params = random_params() if params is None else params
    labels = jnp.full(len(x_t), label)
    return NETWORK.apply(params, x_t, jnp.zeros(len(x_t)), labels)


X = jnp.asarray(np.random.default_rng(1).standard_normal((2, 8, 12, 3)), jnp.float32)


@pytest.mark.slow
def test_training_begins_at_the_prediction_0():
    params = jdiff.models.init_params(KEY, NETWORK, (8, 12, 3))
    np.testing.assert_array_equal(apply(X, params=params), np.zeros(X.shape))


def test_blocks_begin_as_the_identity():
    params = jdiff.models.init_params(KEY, NETWORK, (8, 12, 3))
    blocks = [
        name for name in params if "di_t_block" in name and name.endswith("linear")
    ]
    assert len(blocks) == 2  # the first linear layer of each is its adaLN-zero
    for name in blocks:
        assert not any(np.any(leaf) for leaf in params[name].values())


def test_every_patch_sees_every_other_and_the_label():
    moved = X.at[0, 0, 0, 0].add(1.0)
    change = np.abs(apply(moved) - apply(X)).reshape(2, 2, 4, 3, 4, 3)
    assert (change[0].max((1, 3, 4)) > 0).all()
    np.testing.assert_array_equal(change[1], 0.0)  # another example is not moved
    assert np.abs(apply(X, 0) - apply(X, 2)).max() > 1e-3


def test_patches_keep_their_places():
    # Of a network without blocks a patch of the output depends on its own place alone.
    network = jdiff.networks.make_dit(2, 16, 0, 2, 4)
    random = np.random.default_rng(0)
    params = jdiff.models.init_params(KEY, network, (8, 12, 3))
    params = jax.tree.map(lambda leaf: random.standard_normal(leaf.shape), params)
    inputs = jnp.zeros(2), jnp.zeros(2, int)
    change = network.apply(params, X.at[:, 5, 9].add(1.0), *inputs)
    change = np.abs(change - network.apply(params, X, *inputs))
    assert change[:, 4:, 8:].max() > 0.0
    change[:, 4:, 8:] = 0.0
    np.testing.assert_array_equal(change, 0.0)


def test_positions_are_told_apart():
    places = positions(7, 7, 32)
    assert places.shape == (49, 32) and len(np.unique(places, axis=0)) == 49
    # Equal rows share one half, equal columns the other.
    np.testing.assert_array_equal(places[0, :16], places[6, :16])
    np.testing.assert_array_equal(places[0, 16:], places[42, 16:])


def test_images_that_patches_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="divisible by 4, got 8 x 10"):
        apply(jnp.zeros((1, 8, 10, 3)))
