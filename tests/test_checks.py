"""Values that jit traces are checked on demand, and cost nothing otherwise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import KEY, SCHEDULES, T, bend

import jdiff

FLOW = SCHEDULES["flow"]
NETWORKS = {
    "mlp": (jdiff.networks.make_mlp(10, 8, 1), (2,)),
    "residual": (jdiff.networks.make_residual_mlp(10, 8, 1, 8), (2,)),
    "unet": (jdiff.networks.make_unet(10, 16, 0), (8, 8, 1)),
}


def noised(t):
    return jdiff.q_sample(FLOW, jnp.ones(3), t, jnp.zeros(3))


def drawn(times):
    return jdiff.sample(KEY, bend, jdiff.ddim(FLOW), times, (2,)).x_0


@pytest.mark.parametrize("t", [-1, T + 1, 2000])
def test_steps_outside_the_schedule_are_refused(t):
    with pytest.raises(ValueError, match=rf"t must be an int in \[0, {T}\], got {t}"):
        noised(t)
    with pytest.raises(ValueError, match=rf"t must be an int in \[0, {T}\], got {t}"):
        jdiff.checked(noised)(t)
    with pytest.raises(ValueError, match=rf"got \[ *{t}\]|got {t}"):
        jdiff.checked(jax.vmap(noised))(jnp.array([3, t]))


@pytest.mark.parametrize("times", [[5, 5, 0], [0, 5, 9], [T + 1, 3, 0], [9, 3, -1]])
def test_traced_grids_that_do_not_descend_are_refused(times):
    with pytest.raises(ValueError, match="times must|s must be less than t"):
        jdiff.checked(drawn)(jnp.array(times))


def test_traced_tables_that_do_not_begin_with_data_are_refused():
    def solve(schedule):
        return jdiff.sample(KEY, bend, jdiff.ddim(schedule), [T, 0], (2,)).x_0

    noisy = FLOW._replace(sigma=FLOW.sigma.at[0].set(0.1))
    with pytest.raises(ValueError, match="must begin with data"):
        jdiff.checked(solve)(noisy)
    with pytest.raises(ValueError, match="must begin with data"):
        jdiff.make_diffusion_loss(None, noisy, jdiff.PREDICT_V)


@functools.cache
def network_of(name):
    network, shape = NETWORKS[name]
    params = jdiff.models.init_params(KEY, network, shape)
    return network, params, jnp.zeros((3, *shape))


@pytest.mark.parametrize("label", [-1, 11, 99])
@pytest.mark.parametrize("name", NETWORKS)
def test_labels_that_a_network_does_not_know_are_refused(name, label):
    network, params, x_t = network_of(name)
    labels = jnp.array([0, label, 10])
    for apply in (network.apply, jdiff.checked(network.apply)):
        with pytest.raises(ValueError, match=r"label must be in \[0, 10\], got"):
            apply(params, x_t, jnp.zeros(3), labels)


def test_a_step_of_training_is_checked_and_is_the_same_step():
    network, params, x = network_of("mlp")
    loss_fn = jdiff.make_diffusion_loss(network.apply, FLOW, jdiff.PREDICT_V)
    train_step = jax.jit(jdiff.make_train_step(loss_fn, optax.adam(1e-3), 0.9))
    state = jdiff.init_train_state(KEY, params, optax.adam(1e-3))
    good, bad = (jdiff.Batch(x, jnp.array([0, k, 2])) for k in (9, 99))
    got, _ = jdiff.checked(train_step)(state, good)
    expected, _ = train_step(state, good)
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(*map(jax.tree.leaves, (got.params, expected.params)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert np.isfinite(train_step(state, bad)[1]["loss"])  # numbers, and no word
    with pytest.raises(ValueError, match="label must be in"):
        jdiff.checked(train_step)(state, bad)


def test_what_is_right_passes():
    np.testing.assert_array_equal(jdiff.checked(noised)(T // 2), noised(T // 2))
    times = jnp.array([T, 5, 0])
    np.testing.assert_allclose(jdiff.checked(drawn)(times), drawn(times), rtol=1e-5)


def test_checks_leave_nothing_in_other_programs():
    # Else they could not be exported, for instance.
    jdiff.checked(noised)(3)
    assert not jax.make_jaxpr(noised)(3).effects
    compiled = jax.jit(noised)
    compiled(3)
    with pytest.raises(ValueError, match="t must be an int"):
        jdiff.checked(compiled)(-1)  # traced again, with its checks


def test_labels_that_are_constants_of_a_program_are_checked_when_it_is_traced():
    network, params, x_t = network_of("mlp")
    for label, fails in ((10, False), (11, True)):
        labels = jnp.array([0, 1, label])
        call = jax.jit(lambda x: network.apply(params, x, jnp.zeros(3), labels))  # noqa: B023
        if fails:
            with pytest.raises(ValueError, match="label must be in"):
                call(x_t)
        else:
            assert np.isfinite(call(x_t)).all()
