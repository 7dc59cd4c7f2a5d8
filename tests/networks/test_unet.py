"""Laws of the UNet and its parts, and of its sizes."""

import functools
import math

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import shapes_of
from hypothesis import given, settings
from hypothesis import strategies as st

import jdiff
from jdiff.networks import ScaleShiftNorm, sinusoidal
from jdiff.networks.layers import depth_to_space, space_to_depth

KEY = jax.random.key(0)
CHARS = "dehlorw"
TINY = 3, 16, 1, 3  # classes, channels, blocks, levels
SHALLOW = 3, 16, 1, 1  # four blocks and attention
HASTE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
HALF = jnp.dtype("bfloat16")


@functools.cache
def random_params(*sizes):
    """Weights of which none is 0, rounded as files hold them."""
    rng = np.random.default_rng(0)
    shapes = shapes_of(jdiff.networks.make_unet(*sizes), 8)
    return jax.tree.map(
        lambda leaf: np.float32(np.float16(0.1 * rng.normal(size=leaf.shape))), shapes
    )


def loss_of(params, network):
    x_t = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    output = network.apply(params, x_t, jnp.array([-1.0, 2.0]), jnp.array([0, 3]))
    return jnp.mean(jnp.square(output - 1.0))


@functools.cache
def gradient(**how):
    """(loss, its gradient) of the shallow network."""
    params = random_params(*SHALLOW)
    loss = functools.partial(loss_of, network=jdiff.networks.make_unet(*SHALLOW, **how))
    lowered = jax.jit(jax.value_and_grad(loss)).lower(params)
    loss, grads = lowered.compile(compiler_options=HASTE)(params)
    return float(loss), grads


def test_where_there_are_many_positions_the_lowest_level_alone_has_attention():
    for size, num in ((64, 3), (128, 1)):
        params = shapes_of(jdiff.networks.make_unet(3, 16, 0, 3), size)
        found = [module for module in params if module.endswith("/linear_1")]
        assert sum("attention" in module for module in found) == num


@pytest.mark.parametrize("num_levels", [0, 9, 10**9])
def test_a_network_has_at_least_one_level_and_not_very_many(num_levels):
    with pytest.raises(ValueError, match="num_levels must be in"):
        shapes_of(jdiff.networks.make_unet(3, 16, 0, num_levels), 8)


def test_images_that_the_levels_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="divisible by 8, got 12 x 12"):
        shapes_of(jdiff.networks.make_unet(*TINY), 12)


@pytest.mark.slow
def test_gradients_computed_again_are_the_same():
    (loss, plain), (again, remat) = gradient(), gradient(remat=True)
    assert loss == pytest.approx(again, rel=1e-6)
    for got, expected in zip(*map(jax.tree.leaves, (remat, plain)), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=0.0, atol=1e-5 * scale)


def test_neither_way_changes_the_weights():
    plain, other = (
        jdiff.models.init_params(
            jax.random.key(0), jdiff.networks.make_unet(*sizes), (8, 8, 3)
        )
        for sizes in ((3, 16, 0, 1), (3, 16, 0, 1, True, HALF))
    )
    jax.tree.map(np.testing.assert_array_equal, plain, other)
    assert {leaf.dtype for leaf in jax.tree.leaves(other)} == {jnp.dtype("float32")}


def test_bfloat16_learns_what_float32_does():
    (loss, plain), (rounded, half) = gradient(), gradient(dtype=HALF)
    assert rounded != loss and rounded == pytest.approx(loss, rel=0.02)
    for got, expected in zip(*map(jax.tree.leaves, (half, plain)), strict=True):
        assert got.dtype == jnp.float32
        error = np.linalg.norm(got - expected) / np.linalg.norm(expected)
        assert error < 0.1


def test_a_step_in_bfloat16_leaves_a_state_in_float32():
    network = jdiff.networks.make_unet(3, 16, 0, dtype=HALF)
    loss_fn = jdiff.make_diffusion_loss(
        network.apply, jdiff.cosine_schedule(10), jdiff.PREDICT_V, 3, 0.1
    )
    optimizer = optax.adam(1e-3)
    step = jdiff.make_train_step(loss_fn, optimizer, 0.9)
    params = shapes_of(network, 8)
    init = functools.partial(jdiff.init_train_state, optimizer=optimizer)
    state = jax.eval_shape(init, jax.random.key(0), params)
    image = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    batch = jdiff.Batch(image, jax.ShapeDtypeStruct((2,), jnp.int32))
    after, metrics = jax.eval_shape(step, state, batch)
    dtypes = functools.partial(jax.tree.map, lambda leaf: leaf.dtype)
    assert dtypes(after) == dtypes(state) and metrics["loss"].dtype == jnp.float32
    assert HALF not in jax.tree.leaves(dtypes(state))


def operations(dtype):
    """(name, type of what goes in) of all that a pass through the network does."""
    loss = functools.partial(
        loss_of, network=jdiff.networks.make_unet(*TINY, dtype=dtype)
    )

    def walk(jaxpr):
        for op in jaxpr.eqns:
            yield op.primitive.name, op.invars[0].aval.dtype
            for inner in jax.tree.leaves(
                list(op.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
            ):
                yield from walk(inner) if hasattr(inner, "eqns") else ()

    return list(walk(jax.make_jaxpr(loss)(random_params(*TINY)).jaxpr))


def test_bfloat16_is_for_products_and_never_unasked():
    assert HALF not in {dtype for _, dtype in operations(None)}
    half = operations(HALF)
    products = [dtype for name, dtype in half if name == "conv_general_dilated"]
    # The last convolution makes the output.
    assert products[:-1] == [HALF] * (len(products) - 1) and len(products) > 10
    assert products[-1] == jnp.float32
    # Moments, and softmax.
    for precise in ("rsqrt", "exp", "reduce_max"):
        assert {dtype for name, dtype in half if name == precise} == {
            jnp.dtype("float32")
        }


def shapes_for(network, image_shape):
    return jax.eval_shape(
        functools.partial(jdiff.models.init_params, network=network, shape=image_shape),
        KEY,
    )


@functools.cache
def tiny_params():
    """Weights of which none is 0, so that everything reaches the output."""
    rng = np.random.default_rng(0)
    shapes = shapes_for(jdiff.networks.make_unet(len(CHARS), 16, 1), (8, 8, 1))
    return jax.tree.map(
        lambda leaf: (0.2 * rng.standard_normal(leaf.shape)).astype(np.float32), shapes
    )


@functools.cache
def tiny_unet():
    network = jdiff.networks.make_unet(len(CHARS), 16, 1)
    return jax.jit(network.apply), network


@settings(max_examples=6)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4), st.integers(1, 3))
def test_output_has_the_shape_of_any_image_divisible_by_4(h, w, channels, batch):
    network = jdiff.networks.make_unet(3, 16, 1)
    image_shape = (4 * h, 4 * w, channels)
    output = jax.eval_shape(
        network.apply,
        shapes_for(network, image_shape),
        jnp.zeros((batch, *image_shape)),
        jnp.zeros(batch),
        jnp.zeros(batch, jnp.int32),
    )
    assert output.shape == (batch, *image_shape)
    assert output.dtype == jnp.float32


@pytest.mark.parametrize("size", [(6, 8), (8, 10), (7, 7), (2, 4)])
def test_image_that_is_not_divisible_by_4_is_refused(size):
    network = jdiff.networks.make_unet(3, 16, 1)
    message = rf"must be divisible by 4, got {size[0]} x {size[1]}\."
    with pytest.raises(ValueError, match=message):
        shapes_for(network, (*size, 1))


def test_fresh_network_predicts_zero():
    network = jdiff.networks.make_unet(len(CHARS), 16, 0)
    params = jdiff.models.init_params(KEY, network, (8, 8, 1))
    apply = jax.jit(network.apply)
    x_t, log_snr, _ = inputs_of_network()
    for first in range(0, len(CHARS) + 1, 2):
        label = np.array([first, first + 1], np.int32)
        np.testing.assert_array_equal(apply(params, x_t, log_snr, label), 0.0)


def inputs_of_network():
    x_t = np.random.default_rng(1).standard_normal((2, 8, 8, 1), np.float32)
    return x_t, np.zeros(2, np.float32), np.array([0, 1], np.int32)


def test_output_depends_on_image_noise_level_and_label():
    apply, _ = tiny_unet()
    x_t, log_snr, label = inputs_of_network()
    base = apply(tiny_params(), x_t, log_snr, label)
    for other in (
        (x_t + np.float32(0.1), log_snr, label),
        (x_t, log_snr + np.float32(0.5), label),
        (x_t, log_snr, label + np.int32(1)),
        (x_t, log_snr, np.full(2, len(CHARS), np.int32)),  # no condition
    ):
        change = np.abs(apply(tiny_params(), *other) - base)
        assert change.max((1, 2, 3)).min() > 1e-3


def test_examples_of_a_batch_do_not_see_each_other():
    apply, _ = tiny_unet()
    x_t, log_snr, label = inputs_of_network()
    base = apply(tiny_params(), x_t, log_snr, label)
    changed = apply(
        tiny_params(), x_t * [[[[1.0]]], [[[9.0]]]], log_snr + [0, 5], label + [0, 3]
    )
    np.testing.assert_array_equal(changed[0], base[0])
    assert (changed[1] != base[1]).any()


def test_every_pixel_sees_every_pixel():
    apply, _ = tiny_unet()
    x_t, log_snr, label = inputs_of_network()
    corner = x_t.copy()
    corner[:, 0, 0] += 1.0
    change = apply(tiny_params(), corner, log_snr, label) - apply(
        tiny_params(), x_t, log_snr, label
    )
    assert (change != 0.0).all()


def test_output_is_finite_where_no_signal_or_no_noise_is_left():
    apply, _ = tiny_unet()
    x_t, _, label = inputs_of_network()
    log_snr = np.array([-math.inf, math.inf], np.float32)
    assert np.isfinite(apply(tiny_params(), x_t, log_snr, label)).all()


def test_space_to_depth_turns_patches_into_channels():
    x = np.arange(4 * 6 * 3).reshape(4, 6, 3)
    y = space_to_depth(x)
    assert y.shape == (2, 3, 12)
    assert set(y[1, 2].tolist()) == set(x[2:4, 4:6].ravel().tolist())
    np.testing.assert_array_equal(depth_to_space(y), x)


def normalised(x):
    norm = hk.without_apply_rng(
        hk.transform(lambda x, condition: ScaleShiftNorm()(x, condition))
    )
    condition = jnp.ones((x.shape[2], 5))
    return np.asarray(norm.apply(norm.init(KEY, x, condition), x, condition))


def test_norm_gives_each_group_of_each_example_mean_0_and_variance_1():
    x = np.random.default_rng(0).standard_normal((4, 4, 2, 32), np.float32) * 3 + 5
    groups = normalised(x).reshape(16, 2, 2, 16)
    np.testing.assert_allclose(groups.mean((0, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(groups.var((0, 3)), 1.0, rtol=1e-4)


def test_fourier_features_are_bounded_and_tell_noise_levels_apart():
    levels = np.linspace(-15, 15, 301, dtype=np.float32)
    features = np.asarray(sinusoidal(jnp.asarray(levels), 64))
    assert features.shape == (301, 64)
    assert np.abs(features).max() <= 1.0
    distance = np.linalg.norm(features[:, None] - features, axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert distance.min() > 0.1


def test_equal_arguments_make_the_same_network():
    # So that compiled functions are found again.
    assert jdiff.networks.make_unet(5, 16, 1) is jdiff.networks.make_unet(5, 16, 1)
