"""The convolution by matrix products against XLA's own."""

import contextlib

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jdiff.networks.layers import Conv2D, convolve, winograd, winograd_matrices

SIZES = [(7, 7), (14, 14), (5, 8), (1, 20), (16, 3)]  # one tile, equal ones, ragged


@contextlib.contextmanager
def float64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def plain(x, w):
    layout = ("HWNC", "HWIO", "HWNC")
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=layout)


def draw(size, dtype, num_channels=3):
    random = np.random.default_rng(0)
    x = random.normal(size=(*size, 2, num_channels))
    w = random.normal(size=(3, 3, num_channels, 4))
    return x.astype(dtype), w.astype(dtype)


@pytest.mark.parametrize("num_outputs", range(1, 8))
def test_matrices_filter_with_the_fewest_multiplications(num_outputs):
    a, g, b = winograd_matrices(num_outputs)
    d = np.arange(num_outputs + 2.0) ** 2 - 3
    taps = np.array([2.0, -1.0, 5.0])
    filtered = [taps @ d[i : i + 3] for i in range(num_outputs)]
    np.testing.assert_allclose(a @ ((g @ taps) * (b @ d)), filtered, rtol=1e-11)


@pytest.mark.parametrize("size", SIZES)
def test_it_and_its_gradients_are_those_of_a_convolution(size):
    with float64():
        x, w = draw(size, np.float64)
        y, pull = jax.vjp(plain, x, w)
        cotangent = np.random.default_rng(1).normal(size=y.shape)
        mine, pull_mine = jax.vjp(jax.jit(winograd), x, w)
        assert mine.dtype == np.float64
        np.testing.assert_allclose(mine, y, rtol=0, atol=1e-11)
        for ours, theirs in zip(pull_mine(cotangent), pull(cotangent), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_error_in_float32_is_small():
    x, w = draw((7, 7), np.float32, num_channels=128)
    expected = plain(x.astype(np.float64), w.astype(np.float64))
    error = np.abs(winograd(x, w) - expected).max() / np.abs(expected).max()
    assert error < 1e-4


def test_one_example_at_a_time_is_a_batch():
    x, w = draw((7, 7), np.float32)
    one = jax.vmap(lambda x: winograd(x[:, :, None], w)[:, :, 0], 2, 2)
    np.testing.assert_allclose(one(x), winograd(x, w), atol=1e-4)


def test_half_precision_takes_the_plain_convolution():
    x, w = (jnp.asarray(a, jnp.bfloat16) for a in draw((7, 7), np.float32, 16))
    w = jnp.tile(w, (1, 1, 1, 4))
    np.testing.assert_array_equal(convolve(x, w), plain(x, w))


def test_module_has_the_parameters_and_the_output_of_haikus():
    def theirs(x):
        return hk.Conv2D(32, 3, b_init=hk.initializers.RandomNormal())(x)

    x = np.random.default_rng(0).normal(size=(3, 7, 7, 16)).astype(np.float32)
    ours = hk.without_apply_rng(hk.transform(lambda x: Conv2D(32)(x)))
    theirs = hk.without_apply_rng(hk.transform(theirs))
    params = theirs.init(jax.random.key(0), x)
    fresh = ours.init(jax.random.key(0), x.transpose(1, 2, 0, 3))
    np.testing.assert_array_equal(fresh["conv2_d"]["w"], params["conv2_d"]["w"])
    y = ours.apply(params, x.transpose(1, 2, 0, 3)).transpose(2, 0, 1, 3)
    np.testing.assert_allclose(y, theirs.apply(params, x), atol=1e-4)
