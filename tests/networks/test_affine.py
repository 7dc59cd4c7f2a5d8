"""The affine network: what training finds is what algebra gives."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jdiff
from jdiff import closed_form
from jdiff.networks import AffineDenoiser

T = 8
SCHEDULE = jdiff.cosine_schedule(T)
STEPS = (2, 4, 6)
LEVELS = tuple(float(jdiff.log_snr(SCHEDULE, t)) for t in STEPS[::-1])
SHAPE = (3,)


@hk.without_apply_rng
@hk.transform
def network(x_t, log_snr, label):
    return AffineDenoiser(2, LEVELS)(x_t, log_snr, label)


def make_normals():
    rng = np.random.default_rng(0)
    normals = []
    for _ in range(2):
        root = rng.normal(size=(3, 3))
        covariance = jnp.asarray(root @ root.T / 3 + 0.2 * np.eye(3), jnp.float32)
        mean = jnp.asarray(rng.normal(size=3), jnp.float32)
        normals.append(closed_form.gaussian.from_covariance(mean, covariance))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *normals)


@pytest.mark.slow
def test_training_converges_to_the_posterior_mean():
    normals = make_normals()
    steps = jnp.array(STEPS)

    def example(key):
        key_label, key_t, key_x, key_eps = jax.random.split(key, 4)
        label = jax.random.randint(key_label, (), 0, 2)
        t = jax.random.choice(key_t, steps)
        normal = jax.tree.map(lambda leaf: leaf[label], normals)
        x_0 = closed_form.gaussian.colour(normal, jax.random.normal(key_x, SHAPE))
        x_t = jdiff.q_sample(SCHEDULE, x_0, t, jax.random.normal(key_eps, SHAPE))
        return x_0, x_t, jdiff.log_snr(SCHEDULE, t), label

    def loss_fn(params, key):
        x_0, *inputs = jax.vmap(example)(jax.random.split(key, 1024))
        return jnp.square(network.apply(params, *inputs) - x_0).mean()

    # Adam with a falling rate, so that the noise of its steps dies out.
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, 1500))

    def step(state, key):
        params, opt_state = state
        updates, opt_state = optimizer.update(
            jax.grad(loss_fn)(params, key), opt_state, params
        )
        return (optax.apply_updates(params, updates), opt_state), None

    params = network.init(None, jnp.zeros((1, 3)), jnp.zeros(1), jnp.zeros(1, int))
    keys = jax.random.split(jax.random.key(0), 1500)
    (params, _), _ = jax.jit(lambda *args: jax.lax.scan(step, *args))(
        (params, optimizer.init(params)), keys
    )

    for label in range(2):
        exact = closed_form.gaussian.denoiser(
            jax.tree.map(lambda leaf, k=label: leaf[k], normals), SCHEDULE
        )
        trained = jdiff.make_denoiser(
            network.apply, params, SCHEDULE, jdiff.PREDICT_X_0, label, clip=None
        )
        for t in STEPS:
            for x_t in np.eye(3, dtype=np.float32):
                np.testing.assert_allclose(trained(x_t, t), exact(x_t, t), atol=0.03)


def random_params():
    params = network.init(None, jnp.zeros((1, 3)), jnp.zeros(1), jnp.zeros(1, int))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape, scale=1.0), params)


@pytest.mark.parametrize("level", [*LEVELS, 0.3, -100.0, -np.inf, np.inf])
def test_it_is_affine_in_x_t_at_every_level_of_noise(level):
    params = jax.tree.map(jnp.float32, random_params())
    x, y = np.random.default_rng(1).normal(size=(2, 1, 3)).astype(np.float32)
    args = jnp.array([level]), jnp.array([1])
    f = [network.apply(params, z, *args) for z in (x, y, 0.3 * x + 0.7 * y)]
    assert np.isfinite(f[2]).all()
    np.testing.assert_allclose(0.3 * f[0] + 0.7 * f[1], f[2], rtol=1e-4, atol=1e-5)


def test_example_k_of_a_batch_depends_on_example_k_alone():
    params = jax.tree.map(jnp.float32, random_params())
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 3)).astype(np.float32)
    levels, labels = jnp.array([-1.0, 0.2, 3.0, 0.0]), jnp.array([0, 1, 0, 1])
    whole = network.apply(params, x, levels, labels)
    for k in range(4):
        alone = network.apply(params, x[k : k + 1], levels[k : k + 1], labels[k][None])
        np.testing.assert_allclose(alone[0], whole[k], rtol=1e-5)
