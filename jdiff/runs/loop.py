"""The training loop: one clock, one learning-rate curve, checkpoints and a log.

`train` repeats a step until its budget is spent. `run` does so in a folder, which holds
the log, checkpoints, weights and a picture; a run that stops goes on from there. No
value that is not finite is kept: a run that diverges stops with its last good state.
"""

import functools
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jdiff import images, storage
from jdiff.checks import checked
from jdiff.runs import devices, log, processes
from jdiff.runs.feed import Feed
from jdiff.training import TrainState

STEPS_PER_LOG = 10  # one wait for the device in that many steps
WARM_UP = 0.02  # share of the run in which the learning rate rises
MIN_MUON = 16  # the smaller side of a matrix that Muon updates
BAR = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"

# (state, progress in [0, 1], data) -> (state, metrics of a step, or of several)
Step = Callable[[TrainState, np.float32, Any], tuple[TrainState, dict[str, jax.Array]]]


class Budget(NamedTuple):
    """How long a run lasts: so many steps or, where `steps` is None, minutes.

    `began` is when its clock started, on that of `time.monotonic`.
    """

    began: float
    minutes: float
    steps: int | None = None
    save_minutes: float = math.inf


class Progress(NamedTuple):
    """How far a run has come, besides its state.

    Attributes:
        seconds: spent so far.
        loss: running mean, None before the first.
        position: of the feed, None if it has none.
    """

    seconds: float = 0.0
    loss: float | None = None
    position: Any = None


START = Progress()


class Look(NamedTuple):
    """How a run stands: samples.png, uint8[H, W] or [H, W, 3], and figures by name."""

    picture: np.ndarray
    figures: dict[str, float]


class Result(NamedTuple):
    """What a run leaves for others, made of the averaged weights.

    Attributes:
        description: of the weights file.
        weights: params -> what the file holds.
        look: params -> `Look` at each checkpoint; None for none.
    """

    description: dict[str, Any]
    weights: Callable[[Any], Any] = lambda params: params
    look: Callable[[Any], Look] | None = None


def make_optimizer(
    learning_rate: float, max_norm: float | None = 1.0, kind: str = "adam"
) -> Any:
    """Returns an optimizer whose learning rate `set_learning_rate` changes.

    Args:
        learning_rate: at its highest.
        max_norm: of the gradient, which is clipped to it.
        kind: "adam", or "muon" for `make_muon`.
    """
    import optax  # here, because help texts need no optimizer

    @optax.inject_hyperparams
    def make(learning_rate):
        optimizer = OPTIMIZERS[kind](learning_rate)
        if max_norm is None:
            return optimizer
        return optax.chain(optax.clip_by_global_norm(max_norm), optimizer)

    return make(learning_rate)


def make_adam(learning_rate: Any) -> Any:
    """Returns Adam (Kingma & Ba 2015) with b2 = 0.99."""
    import optax

    return optax.adam(learning_rate, b2=0.99)


def make_muon(learning_rate: Any) -> Any:
    """Returns Muon (Jordan et al. 2024) for the matrices of a network.

    The momentum of a matrix is replaced by the orthogonal matrix nearest to it, as
    large as an update of Adam (Liu et al. 2025, Eq. 4), so the learning rate is Adam's.
    A kernel [h, w, I, O] is the matrix [h w I, O]. Adam with Nesterov's momentum
    updates all else: biases, embeddings, and matrices with a side below 16, which are
    first and last layers.
    """
    import optax

    def axes(params):
        def of(path, leaf):
            inner = min(leaf.shape[-2:], default=0) if leaf.ndim > 1 else 0
            if inner < MIN_MUON or "embeddings" in jax.tree_util.keystr(path):
                return None
            last = leaf.ndim - 1
            return optax.contrib.MuonDimensionNumbers(tuple(range(last)), last)

        return jax.tree_util.tree_map_with_path(of, params)

    return optax.contrib.muon(
        learning_rate,
        adam_b2=0.99,
        muon_weight_dimension_numbers=axes,
        consistent_rms=0.2,
    )


OPTIMIZERS = {"adam": make_adam, "muon": make_muon}


def set_learning_rate(
    state: TrainState, highest: float, progress: jax.typing.ArrayLike
) -> TrainState:
    """Returns the state with the learning rate of a moment in the run.

    It rises in the first 2% of the run, then falls as half a cosine to 0.

    Args:
        state: of `make_optimizer`, or of several batches to one update.
        highest: the learning rate at its peak.
        progress: share of the run that is done, in [0, 1].
    """
    warm_up = jnp.minimum(progress / WARM_UP, 1.0)
    share = warm_up * (0.5 + 0.5 * jnp.cos(jnp.pi * progress))
    # Gradients of several batches are summed by an optimizer around the other.
    outer, rate = state.opt_state, {"learning_rate": highest * share}
    inner = getattr(outer, "inner_opt_state", outer)
    inner = inner._replace(hyperparams=inner.hyperparams | rate)
    if hasattr(outer, "inner_opt_state"):
        inner = outer._replace(inner_opt_state=inner)
    return state._replace(opt_state=inner)


def compile_step(
    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]],
    learning_rate: float,
    **options: Any,
) -> Step:
    """Returns the compiled step of a run: (state, progress, data) -> (state, metrics).

    The data are an argument: closed over, they would be copied into the program.

    Args:
        step: (state, data) -> (state, metrics), of one step or of an epoch.
        learning_rate: at its highest; see `set_learning_rate`.
        options: of `jax.jit`.
    """

    @functools.partial(jax.jit, donate_argnums=0, **options)
    def compiled(state, progress, data):
        return step(set_learning_rate(state, learning_rate, progress), data)

    return compiled


def train(
    state: TrainState,
    step: Step,
    feed: Feed,
    budget: Budget,
    progress: Progress = START,
    report: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    save: Callable[[TrainState, Progress], None] = lambda state, progress: None,
) -> TrainState:
    """Returns the state when the budget is spent, or a signal has come.

    SIGINT and SIGTERM end the loop after the step at hand. Several processes stop, and
    save, together.

    Args:
        state: to begin with; its step is the number of steps done.
        step: compiled; it may consume the state. A call may be several steps, whose
            metrics have a leading axis then.
        feed: what steps take.
        budget: of the whole run, with what is behind it.
        progress: what is behind it.
        report: called about every ten steps.
        save: called every few minutes, and at the end.

    Raises:
        ValueError: loss or gradient is NaN or infinite; the state is not saved then.
    """
    recent: list[dict[str, jax.Array]] = []  # metrics that are still on the device
    done = counted = int(state.step)
    last_log, last_save, loss = time.monotonic(), progress.seconds, progress.loss
    began = budget.began - progress.seconds
    # Several processes have to wait for each other to agree.
    every = 1 if jax.process_count() == 1 else STEPS_PER_LOG
    bar = tqdm(total=1, bar_format=BAR, disable=not processes.is_first())
    with processes.catch_signals() as signals, bar:
        for calls in itertools.count():
            if calls % every == 0:
                now = time.monotonic() - began
                is_over, seconds = processes.agree(signals, now)
            share = (
                done / budget.steps if budget.steps else seconds / 60 / budget.minutes
            )
            if is_over or share >= 1.0:
                break
            data = feed.next_data()
            if done == 0 and isinstance(step, jax.stages.Wrapped):
                _check_first(step, state, data)
            state, metrics = step(state, np.float32(share), data)
            done += metrics["loss"].size
            recent.append(metrics)
            if done // STEPS_PER_LOG == counted // STEPS_PER_LOG:
                continue
            fetched = log.fetch(recent, done)
            loss, last = log.smooth(loss, fetched), fetched[-1]
            recent.clear()
            speed = feed.batch_size * (done - counted) / (time.monotonic() - last_log)
            report(done, last | {"images_per_s": speed})
            bar.set_postfix_str(f"loss {last['loss']:.4f}, {speed:.0f} images/s")
            bar.update(share - bar.n)
            if seconds - last_save > 60 * budget.save_minutes:
                save(state, Progress(seconds, loss, feed.position()))
                last_save = seconds
            counted, last_log = done, time.monotonic()
        log.fetch(recent, done)
        save(state, Progress(seconds, loss, feed.position()))
    return state


def _check_first(step: Step, state: TrainState, data: Any) -> None:
    """Raises if the loss of the first step is made of values that `checked` refuses.

    The step itself is taken by the program that takes all others, bit for bit.
    """
    loss = checked(lambda *args: step(*args)[1]["loss"], indices=False)
    loss(state, np.float32(0), data)


def run(
    out: Path,
    state: TrainState,
    step: Step,
    feed: Feed,
    budget: Budget,
    progress: Progress,
    result: Result,
) -> TrainState:
    """Returns the last state of a run in a folder; see `train`.

    Beside weights.safetensors and samples.png it leaves log.jsonl, TensorBoard events,
    and checkpoints, from which `restore` goes on.

    Raises:
        ValueError: a number is NaN or infinite; the folder keeps what was finite.
        OSError: a file cannot be written.
    """
    done = int(state.step)
    # What is left last has the last word when a disk is full.
    with (
        storage.open_checkpoints(out / "checkpoints", done) as keep,
        log.open_log(out, done) as opened,
        processes.until_one_is_lost(),
    ):
        report = functools.partial(log.report, opened)
        save = functools.partial(_save, out, result, keep, opened.events)
        return train(state, step, feed, budget, progress, report, save)


def restore(out: Path, state: TrainState) -> tuple[TrainState, Progress]:
    """Returns the state of the newest checkpoint of a run, and how far the run was.

    A run that has none, because it is new or was killed early, begins with the state
    given.

    Args:
        out: folder of the run.
        state: of the same structure, laid out as the result will be.

    Raises:
        WeightsError: no checkpoint is whole, or they are of another architecture.
    """
    checkpoints = out / "checkpoints"
    if not any(path.name.isdecimal() for path in checkpoints.glob("*")):
        return state, START
    state, facts = storage.restore_checkpoint(checkpoints, state)
    known = {name: facts[name] for name in Progress._fields if name in facts}
    return state, Progress(**known)


def _save(
    out: Path, result: Result, keep: Any, events: Any, state: TrainState, progress
) -> None:
    """Writes checkpoint, weights, picture and figures; of a finite state alone."""
    step = int(state.step)
    if not devices.is_finite((state.params, state.ema_params, state.opt_state)):
        raise ValueError(f"weights must be finite, got NaN or infinity at step {step}.")
    keep(step, state, progress._asdict() | {"description": result.description})
    params = devices.gather(state.ema_params)
    # By every process on a device of its own, so that none has to wait for another.
    look = result.look and result.look(params)
    if not processes.is_first():
        return
    storage.save_weights(
        out / storage.WEIGHTS_NAME, result.weights(params), result.description
    )
    if look is not None:
        picture = look.picture
        images.save_png(out / "samples.png", picture)
        events.add_image("samples", picture, step, dataformats="HWC"[: picture.ndim])
        for name, value in look.figures.items():
            events.add_scalar(name, value, step)
