"""The UNet in several sizes: what they are, and what they say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import shapes_of

import jdiff

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
