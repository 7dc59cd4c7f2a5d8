"""The training loop, with steps that only count."""

import math
import os
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jdiff
from jdiff import runs
from jdiff.runs import loop


def init_state(step=0):
    params = {"w": jnp.zeros(())}
    state = jdiff.init_train_state(jax.random.key(0), params, runs.make_optimizer(1.0))
    return state._replace(step=jnp.int32(step))


def counting(losses=None, size=None, before=lambda k: None):
    """A step that counts, and the list of how far the run was at each call."""
    seen = []

    def step(state, progress, data):
        before(len(seen))
        seen.append(float(progress))
        loss = losses[len(seen) - 1] if losses else 1.0
        metrics = {"loss": loss, "gradient_norm": 1.0}
        shape = () if size is None else (size,)
        metrics = {k: np.full(shape, v, np.float32) for k, v in metrics.items()}
        return state._replace(step=state.step + (size or 1)), metrics

    return step, seen


FEED = runs.Feed(lambda: None, batch_size=8, position=lambda: "here")


def steps(number, **others):
    return runs.Budget(time.monotonic(), 1.0, number, **others)


@pytest.mark.parametrize("several", [1, 4])
def test_the_learning_rate_rises_and_falls_as_half_a_cosine(several):
    optimizer = runs.devices.accumulate_gradients(runs.make_optimizer(3.0), several)
    params = {"w": jnp.zeros(())}
    state = jdiff.init_train_state(jax.random.key(0), params, optimizer)

    def rate(progress):
        inner = runs.set_learning_rate(state, 3.0, progress).opt_state
        inner = inner.inner_opt_state if several > 1 else inner
        return float(inner.hyperparams["learning_rate"])

    assert rate(0.0) == 0.0 and rate(1.0) == pytest.approx(0.0, abs=1e-6)
    assert rate(0.5) == pytest.approx(1.5)
    half = loop.WARM_UP / 2
    assert rate(half) == pytest.approx(1.5 * (0.5 + 0.5 * math.cos(math.pi * half)))
    rates = [rate(k / 100) for k in range(101)]
    highest = int(loop.WARM_UP * 100)
    assert rates[: highest + 1] == sorted(rates[: highest + 1])
    assert rates[highest:] == sorted(rates[highest:], reverse=True)


def test_an_optimizer_moves_at_the_rate_of_the_moment():
    train_step = jdiff.make_train_step(
        lambda params, key, batch: (params["w"], {"loss": params["w"]}),
        runs.make_optimizer(0.1),
        0.9,
    )
    step = runs.compile_step(lambda state, data: train_step(state, data), 0.1)
    for progress, moved in ((0.0, 0.0), (0.5, 0.05), (1.0, 0.0)):
        state, _ = step(init_state(), np.float32(progress), None)
        assert float(state.params["w"]) == pytest.approx(-moved, abs=1e-6)


@pytest.mark.parametrize("shape", [(48, 16), (3, 3, 16, 32)])
def test_muon_moves_a_matrix_by_an_orthogonal_one_and_other_arrays_as_adam(shape):
    shapes = {"w": shape, "b": (16,), "last": (3, 3, 16, 4), "embeddings": (20, 16)}
    keys = jax.random.split(jax.random.key(0), len(shapes))
    params = {name: jnp.zeros(size) for name, size in shapes.items()}
    gradients = {
        name: jax.random.normal(key, size)
        for key, (name, size) in zip(keys, shapes.items(), strict=True)
    }
    optimizer = runs.make_optimizer(0.1, kind="muon")
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    matrix = np.asarray(updates["w"]).reshape(-1, shape[-1])
    # Newton and Schulz's five steps bring singular values near 1, not to it.
    values = np.linalg.svd(matrix, compute_uv=False) / (0.02 * max(matrix.shape) ** 0.5)
    assert 0.6 < values.min() < values.max() < 1.3
    # Adam's first step is as long as the learning rate, in the signs of the gradient;
    # with Nesterov's momentum 1 + b1 / (1 + b1) times as long (Dozat 2016).
    for name in ("b", "last", "embeddings"):
        expected = -0.1 * (1 + 0.9 / 1.9) * np.sign(gradients[name])
        np.testing.assert_allclose(updates[name], expected, rtol=1e-2)


def test_the_first_step_checks_what_compiled_programs_do_not():
    schedule = jdiff.flow_schedule(10)

    def loss(params, key, batch):
        noised = jdiff.q_sample(schedule, batch.x, batch.label, batch.x)
        loss = jnp.mean(params["w"] * noised)
        return loss, {"loss": loss}

    train_step = jdiff.make_train_step(loss, runs.make_optimizer(1.0), 0.9)
    step = runs.compile_step(train_step, 0.1)

    def train(t, state):
        batch = jdiff.Batch(jnp.ones(3), jnp.int32(t))
        return runs.train(state, step, runs.Feed(lambda: batch, 1), steps(3))

    assert int(train(10, init_state()).step) == 3
    with pytest.raises(ValueError, match=r"t must be an int in \[0, 10\], got 11"):
        train(11, init_state())
    # A run that goes on has been checked before.
    assert int(train(11, init_state(1)).step) == 3


def test_a_budget_of_steps_is_spent_exactly():
    step, seen = counting()
    state = runs.train(init_state(), step, FEED, steps(7))
    assert int(state.step) == 7
    np.testing.assert_allclose(seen, np.arange(7) / 7, rtol=1e-6)


def test_a_run_goes_on_where_it_was():
    step, seen = counting()
    lines, saved = [], []
    runs.train(
        init_state(13),
        step,
        FEED,
        steps(20),
        runs.Progress(seconds=50.0, loss=2.0),
        lambda done, metrics: lines.append((done, metrics["loss"])),
        lambda state, progress: saved.append((int(state.step), progress)),
    )
    np.testing.assert_allclose(seen, np.arange(13, 20) / 20, rtol=1e-6)
    # A line where there would have been one, and the running mean of the loss.
    assert lines == [(20, 1.0)]
    ((done, progress),) = saved
    assert done == 20 and progress.position == "here"
    assert progress.loss == pytest.approx(0.9 * 2.0 + 0.1 * 1.0)
    assert 50.0 <= progress.seconds < 60.0


def test_a_call_may_be_several_steps():
    step, seen = counting(size=64)
    lines = []
    report = lambda done, metrics: lines.append(done)  # noqa: E731
    state = runs.train(init_state(), step, FEED, steps(192), report=report)
    assert int(state.step) == 192 and len(seen) == 3 and lines == [64, 128, 192]


def test_a_budget_of_time_that_is_spent_leaves_no_step():
    step, seen = counting()
    budget = runs.Budget(time.monotonic(), minutes=1.0)
    runs.train(init_state(), step, FEED, budget, runs.Progress(seconds=60.0))
    assert seen == []


def test_what_came_before_the_loop_counts():
    step, seen = counting()
    budget = runs.Budget(time.monotonic() - 61.0, minutes=1.0)
    runs.train(init_state(), step, FEED, budget)
    assert seen == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_step_at_hand(number):
    def kill(calls):
        if calls == 3:
            os.kill(os.getpid(), number)

    step, seen = counting(before=kill)
    saved, handler = [], signal.getsignal(number)
    save = lambda state, progress: saved.append(int(state.step))  # noqa: E731
    runs.train(init_state(), step, FEED, steps(100), save=save)
    assert saved == [4] and len(seen) == 4
    assert signal.getsignal(number) is handler


def test_a_run_is_saved_every_few_minutes_and_at_the_end():
    saved = []
    save = lambda state, progress: saved.append(int(state.step))  # noqa: E731
    step, _ = counting()
    runs.train(init_state(), step, FEED, steps(35, save_minutes=1e-12), save=save)
    # With a line of the log, of which there is one every ten steps.
    assert saved == [10, 20, 30, 35]


def test_a_loss_that_is_not_finite_ends_the_run_unsaved():
    saved = []
    save = lambda state, progress: saved.append(int(state.step))  # noqa: E731
    step, _ = counting(losses=[1.0] * 4 + [math.nan] * 10)
    with pytest.raises(ValueError, match="got a loss of nan .* at step 5"):
        runs.train(init_state(), step, FEED, steps(8), save=save)
    assert saved == []


def test_clipping_is_of_the_norm_and_may_be_left_out():
    grads = {"w": jnp.array([30.0, 40.0])}
    for max_norm, norm in ((1.0, 1.0), (None, 50.0)):
        optimizer = runs.make_optimizer(1.0, max_norm)
        _, state = optimizer.update(grads, optimizer.init(grads))
        moments = [leaf for leaf in jax.tree.leaves(state) if np.shape(leaf) == (2,)]
        # Adam's first moment after a step is a tenth of the gradient.
        assert float(optax.tree.norm(moments[0])) == pytest.approx(0.1 * norm)
