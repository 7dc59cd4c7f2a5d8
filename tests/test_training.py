"""Laws of the train step, the moving average and the balanced batch."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jdiff
from jdiff.training import ema_decay_at

KEY = jax.random.key(0)
BATCH = jdiff.Batch(jnp.zeros((1, 1)), jnp.zeros(1, jnp.int32))


def slope_loss(params, key, batch):
    """A loss whose gradient is (3, 4) everywhere."""
    loss = 3.0 * params["a"] + 4.0 * params["b"]
    return loss, {"loss": loss}


def slope_state(optimizer, step=0):
    params = {"a": jnp.array(1.0), "b": jnp.array(2.0)}
    state = jdiff.init_train_state(KEY, params, optimizer)
    return state._replace(step=jnp.array(step, jnp.int32))


def ema_after(num_steps, first_step, ema_decay, start=0.0, weight=1.0):
    """The average of a weight that stands still, begun at `start`."""
    optimizer = optax.sgd(0.0)
    train_step = jax.jit(jdiff.make_train_step(slope_loss, optimizer, ema_decay))
    state = slope_state(optimizer, first_step)
    state = state._replace(
        params={"a": jnp.array(weight), "b": jnp.array(weight)},
        ema_params={"a": jnp.array(start), "b": jnp.array(start)},
    )
    for _ in range(num_steps):
        state, _ = train_step(state, BATCH)
    return float(state.ema_params["a"])


def test_average_keeps_the_old_weights():
    # The tutorial's step_size = 0.95 kept 5% of them.
    assert ema_after(1, 10**6, 0.999) == pytest.approx(0.001, rel=1e-3)


@pytest.mark.parametrize("ema_decay", [0.0, 0.5, 0.99])
def test_average_of_standing_weights_decays_geometrically(ema_decay):
    ema = ema_after(20, 10**6, ema_decay, start=-1.0, weight=2.0)
    assert ema == pytest.approx(2 - 3 * ema_decay**20, rel=1e-5)


def test_average_warms_up_as_in_tensorflow():
    # decay_n = min(decay, (1 + n) / (10 + n)), n = 0, 1, ...
    kept = math.prod((1 + n) / (10 + n) for n in range(8))
    assert ema_after(8, 0, 0.999) == pytest.approx(1 - kept, rel=1e-5)
    capped = 0.1 * (2 / 11) * 0.2**6
    assert ema_after(8, 0, 0.2) == pytest.approx(1 - capped, rel=1e-5)


def test_average_starts_at_the_weights_and_follows_the_new_ones():
    optimizer = optax.sgd(1.0)
    state = slope_state(optimizer)
    assert state.ema_params == {"a": 1.0, "b": 2.0}
    state, _ = jdiff.make_train_step(slope_loss, optimizer, 0.999)(state, BATCH)
    assert state.params == {"a": 1.0 - 3.0, "b": 2.0 - 4.0}
    assert state.ema_params["a"] == pytest.approx(0.1 * 1.0 + 0.9 * -2.0)


@given(st.integers(0, 10**7), st.floats(0.0, 0.9999))
def test_share_of_the_old_average_never_exceeds_the_decay(step, ema_decay):
    share = float(ema_decay_at(step, ema_decay))
    assert 0.0 <= share <= ema_decay * (1 + 1e-6)


def test_gradient_norm_is_that_of_the_whole_gradient():
    optimizer = optax.sgd(0.1)
    train_step = jdiff.make_train_step(slope_loss, optimizer, 0.9)
    _, metrics = train_step(slope_state(optimizer), BATCH)
    assert metrics["gradient_norm"] == pytest.approx(5.0)
    assert metrics["loss"] == 3.0 + 8.0


def test_every_step_counts_and_has_a_key_of_its_own():
    seen = []

    def loss_fn(params, key, batch):
        seen.append(jax.random.key_data(key).tolist())
        return slope_loss(params, key, batch)

    optimizer = optax.sgd(0.1)
    train_step = jdiff.make_train_step(loss_fn, optimizer, 0.9)
    state = slope_state(optimizer)
    for _ in range(3):
        state, _ = train_step(state, BATCH)
    assert state.step == 3
    assert len({*map(tuple, seen)}) == 3
    # No key is used by the loss and split again by the step.
    assert jax.random.key_data(KEY).tolist() not in seen
    assert jax.random.key_data(state.key).tolist() not in seen


@pytest.mark.parametrize("ema_decay", [-0.1, 1.0, math.nan])
def test_ema_decay_outside_its_range_is_named(ema_decay):
    with pytest.raises(ValueError, match=r"ema_decay must be in \[0, 1\), got"):
        jdiff.make_train_step(slope_loss, optax.sgd(0.1), ema_decay)


# A tiny network on tiny images.

SCHEDULE = jdiff.cosine_schedule(50)


@functools.cache
def tiny_run():
    """(state, jitted step, batch, list of traces of the loss) of a tiny UNet."""
    network = jdiff.networks.make_unet(2, 16, 1)
    params = jdiff.models.init_params(KEY, network, (8, 8, 1))
    optimizer = optax.adam(3e-3)
    diffusion_loss = jdiff.make_diffusion_loss(
        network.apply, SCHEDULE, jdiff.PREDICT_X_0, null_label=2, label_dropout=0.1
    )
    traces = []

    def loss_fn(params, key, batch):
        traces.append(key)
        return diffusion_loss(params, key, batch)

    # On a device of its own choice, as a restored state is: all runs compile once.
    state = jdiff.init_train_state(KEY, params, optimizer)
    state = jax.device_put(state, jax.devices()[0])
    train_step = jax.jit(jdiff.make_train_step(loss_fn, optimizer, 0.99))
    ramp = jnp.linspace(-1, 1, 64).reshape(8, 8, 1)
    batch = jdiff.Batch(jnp.stack([ramp, -ramp] * 4), jnp.array([0, 1] * 4))
    return state, train_step, batch, traces


def run_steps(state, num_steps):
    _, train_step, batch, _ = tiny_run()
    losses = []
    for _ in range(num_steps):
        state, metrics = train_step(state, batch)
        losses.append(float(metrics["loss"]))
    return state, losses


@pytest.mark.slow
def test_training_overfits_two_images():
    _, losses = run_steps(tiny_run()[0], 60)
    mean_square = np.mean(np.linspace(-1, 1, 64) ** 2)
    # A network that is 0 at first has the loss of predicting 0.
    assert losses[0] == pytest.approx(mean_square, rel=1e-5)
    assert np.mean(losses[-10:]) < 0.2 * losses[0]


def test_train_step_compiles_once():
    state, _, _, traces = tiny_run()
    run_steps(state, 3)
    assert len(traces) == 1


def test_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path):
    start, *_ = tiny_run()
    whole, whole_losses = run_steps(start, 5)

    half, first_losses = run_steps(start, 2)
    jdiff.storage.save_checkpoint(tmp_path, 2, half, {"seconds": 1.5})
    del half
    resumed, facts = jdiff.storage.restore_checkpoint(tmp_path, start)
    resumed, last_losses = run_steps(resumed, 3)

    assert facts == {"seconds": 1.5}
    assert first_losses + last_losses == whole_losses
    assert jax.tree.structure(resumed) == jax.tree.structure(whole)
    for a, b in zip(jax.tree.leaves(resumed), jax.tree.leaves(whole), strict=True):
        assert a.dtype == b.dtype
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def test_state_can_be_donated_to_the_step():
    # Weights and average must not share a buffer.
    optimizer = optax.adam(0.1)
    train_step = jdiff.make_train_step(slope_loss, optimizer, 0.9)
    state = slope_state(optimizer)._replace(key=jax.random.key(1))
    state, _ = jax.jit(train_step, donate_argnums=0)(state, BATCH)
    assert np.isfinite(state.ema_params["a"])


# An epoch as one program.


def mean_loss(params, key, batch):
    """Of a mean of points, with noise of its own; it shows the labels it has seen."""
    eps = 0.1 * jax.random.normal(key, batch.x.shape)
    loss = jnp.square(batch.x + eps - params["mean"][None]).mean()
    return loss, {"loss": loss, "labels": batch.label}


def points_and_state():
    image = jax.random.normal(jax.random.key(3), (50, 2)) + jnp.array([[1.0, -2.0]])
    state = jdiff.init_train_state(KEY, {"mean": jnp.zeros(2)}, optax.adam(0.1))
    return jdiff.Batch(image, jnp.arange(50)), state


def test_epoch_is_the_loop_of_its_steps_bit_for_bit():
    data, state = points_and_state()
    train_step = jdiff.make_train_step(mean_loss, optax.adam(0.1), 0.9)
    whole, metrics = jax.jit(jdiff.make_epoch(train_step, 8, 12))(state, data)
    # The key of the first step is the only one that the epoch itself has split.
    state = state._replace(key=jax.random.split(state.key)[0])
    one_step = jax.jit(train_step)
    for k, rows in enumerate(metrics["labels"]):
        state, seen = one_step(state, jdiff.Batch(data.x[rows], rows))
        assert seen["loss"] == metrics["loss"][k]
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(state), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def test_epoch_compiles_once_and_goes_on_with_new_batches():
    data, state = points_and_state()
    traces = []

    def loss_fn(*args):
        traces.append(args)
        return mean_loss(*args)

    train_step = jdiff.make_train_step(loss_fn, optax.adam(0.1), 0.9)
    epoch = jax.jit(jdiff.make_epoch(train_step, 8, 12))
    seen = []
    for _ in range(3):
        state, metrics = epoch(state, data)
        seen.append(np.asarray(metrics["labels"]))
    assert len(traces) == 1 and state.step == 36
    assert len(np.unique(np.concatenate(seen), axis=0)) == 36


def test_epoch_draws_every_example_equally_often():
    data, state = points_and_state()
    train_step = jdiff.make_train_step(mean_loss, optax.sgd(0.0), 0.9)
    # A batch may be larger than the data.
    _, metrics = jax.jit(jdiff.make_epoch(train_step, 200, 100))(state, data)
    counts = np.bincount(np.asarray(metrics["labels"]).ravel(), minlength=50)
    # Chi-square of 49 degrees of freedom; 98 has probability 4e-5.
    assert ((counts - 400) ** 2 / 400).sum() < 98


@pytest.mark.parametrize(("batch_size", "num_steps"), [(0, 1), (1, 0), (-2, 1)])
def test_epoch_without_work_is_refused(batch_size, num_steps):
    with pytest.raises(ValueError, match="(batch_size|num_steps) must be >= 1, got"):
        jdiff.make_epoch(None, batch_size, num_steps)


# Batches in which every class is equally likely.

COUNTS = {3: 1, 0: 10, 61: 1000}


def unbalanced_data():
    """Every pixel of an image is the number of the image within its class."""
    labels = np.concatenate([np.full(n, label) for label, n in COUNTS.items()])
    index = np.concatenate([np.arange(n) % 256 for n in COUNTS.values()])
    order = np.random.default_rng(0).permutation(len(labels))
    images = np.zeros((len(labels), 4, 4, 1), np.uint8) + index[:, None, None, None]
    images[:, 0, 0, 0] = labels
    return images.astype(np.uint8)[order], labels[order]


def drawn(seed=0, batch_size=3000):
    data = jdiff.balance(*unbalanced_data())
    return jax.jit(jdiff.draw_batch, static_argnums=2)(
        jax.random.key(seed), data, batch_size
    )


def levels(image):
    """uint8 grey levels of an image in [-1, 1]."""
    return np.round((np.asarray(image) + 1) * 127.5).astype(int)


def test_every_class_is_drawn_equally_often():
    label = np.asarray(drawn().label)
    for k in COUNTS:
        spread = math.sqrt(3000 * (1 / 3) * (2 / 3))
        assert abs((label == k).sum() - 1000) < 5 * spread
    assert set(label.tolist()) == set(COUNTS)


def test_an_image_comes_with_its_own_label():
    batch = drawn()
    np.testing.assert_array_equal(levels(batch.x)[:, 0, 0, 0], batch.label)


def test_every_image_of_a_class_is_drawn_equally_often():
    batch = drawn()
    index = levels(batch.x)[np.asarray(batch.label) == 0, 1, 1, 0]
    counts = np.bincount(index, minlength=10)
    assert len(counts) == 10
    expected = len(index) / 10
    # Chi-square of 9 degrees of freedom; 33.7 has probability 1e-4.
    assert ((counts - expected) ** 2 / expected).sum() < 33.7


def test_batch_lies_in_minus_1_to_1_and_reaches_both_ends():
    images = np.array([0, 255], np.uint8)[:, None, None, None]
    batch = jdiff.draw_batch(KEY, jdiff.balance(images, np.array([0, 1])), 32)
    assert set(np.asarray(batch.x).ravel().tolist()) == {-1.0, 1.0}
    assert batch.x.dtype == jnp.float32


def test_draw_depends_on_the_key_alone():
    np.testing.assert_array_equal(drawn(1).x, drawn(1).x)
    assert (drawn(1).x != drawn(2).x).any()
