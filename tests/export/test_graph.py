"""Functions of JAX as ONNX graphs."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from jdiff.export import to_onnx
from jdiff.networks import make_mlp, make_residual_mlp

VECTOR = {"x": jax.ShapeDtypeStruct((6,), jnp.float32)}


def run(graph, **inputs):
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (output,) = session.run(None, inputs)
    return output


def batch(num=5, seed=0):
    return np.random.default_rng(seed).standard_normal((num, 6), np.float32)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.where(jnp.isnan(x), 0.0, x),
        lambda x: jnp.concatenate([jnp.sin(x), jnp.ones(2), jnp.cos(x)]),
        lambda x: jax.nn.gelu(x) + jax.nn.silu(x),
        lambda x: (x - x.mean()) * jax.lax.rsqrt(x.var() + 1e-5),
        lambda x: jnp.concatenate(jnp.split(x, 3)[::-1]) / x.max()[None],
        lambda x: x**3,
        lambda x: jax.lax.slice(x, (1,), (6,), (2,)),
        lambda x: x @ jnp.arange(24.0).reshape(6, 4),
        lambda x: jnp.clip(x, -0.5, 0.5).reshape(2, 3) * jnp.arange(3.0)[None],
        lambda x: jnp.log(1.0 + jnp.exp(x)),
        lambda x: (x > 0) & (x < 1) | (x != x),
        jax.grad(
            lambda x: (jax.nn.gelu(x @ jnp.arange(24.0).reshape(6, 4)) ** 2).sum()
        ),
        jax.grad(lambda x: (jnp.tanh(x).reshape(2, 3).sum(1) / x.max()).sum()),
    ],
)
def test_a_graph_computes_what_jax_does(function):
    graph = to_onnx(function, VECTOR, "y")
    x = batch()
    np.testing.assert_allclose(run(graph, x=x), jax.vmap(function)(x), 1e-5, 1e-6)


def test_a_row_of_a_table_is_looked_up():
    table = jnp.arange(12.0).reshape(4, 3) / 7.0
    inputs = {"label": jax.ShapeDtypeStruct((), jnp.int32)}
    graph = to_onnx(lambda label: table[label[None]][0], inputs, "row")
    label = np.array([3, 0, 2], np.int32)
    np.testing.assert_array_equal(run(graph, label=label), table[label])


@pytest.mark.parametrize("make", [make_mlp, make_residual_mlp])
def test_networks_have_a_batch_axis(make):
    network = make(10, 16, 2)
    label, log_snr = np.arange(7, dtype=np.int32), np.linspace(-20, 20, 7)
    x = batch(7), log_snr.astype(np.float32), label
    fresh = network.init(jax.random.key(0), *x)
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: random.standard_normal(leaf.shape).astype(np.float32), fresh
    )

    def one(x, log_snr, label):
        return network.apply(params, x[None], log_snr[None], label[None])[0]

    numbers = {"log_snr": jnp.float32, "label": jnp.int32}
    inputs = VECTOR | {k: jax.ShapeDtypeStruct((), v) for k, v in numbers.items()}
    graph = to_onnx(one, inputs, "output")
    expected = network.apply(params, *x)
    for num in (1, 7):
        given = dict(zip(inputs, (array[:num] for array in x), strict=True))
        np.testing.assert_allclose(run(graph, **given), expected[:num], 1e-5, 1e-5)


def test_weights_are_halved_only_if_that_changes_none():
    exact = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float16)
    for weights, dtype in ((exact, np.float16), (exact / np.float32(3), np.float32)):
        weights = weights.astype(np.float32)
        graph = to_onnx(lambda x, w=weights: x @ w, VECTOR, "y")
        stored = [onnx.numpy_helper.to_array(i) for i in graph.graph.initializer]
        (found,) = [array for array in stored if array.size == weights.size]
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.astype(np.float32), weights)


@pytest.mark.parametrize(
    "function, message",
    [
        (lambda x: jnp.sort(x), "got sort"),
        (lambda x: x[:, None] @ x[None], "a product must be"),
    ],
)
def test_what_is_not_known_is_named(function, message):
    with pytest.raises(ValueError, match=message):
        to_onnx(function, VECTOR, "y")
