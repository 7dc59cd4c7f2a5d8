"""Trains the model of pen strokes.

    jdiff train pen --data pen-train.npz --out runs/pen
    jdiff write "Hello" --model pen --weights runs/pen/weights.safetensors

The network learns characters as arrays of strokes, a code for each writer, and how neat
and even a character is (`jdiff.recipes.pen_data`). Each of these is hidden in some of
the examples, so that the network can do without, and be guided. Writers who are held
back are learned from by nothing; the loss of their characters is printed at the end.
"""

import argparse
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import data, losses, models, networks, runs, training
from jdiff.handwriting import MIDDLE, STROKE_SCALE
from jdiff.recipes import options, pen_data
from jdiff.recipes.pen_data import Strokes

DESCRIPTION = {
    "model": "pen",
    "classes": data.PEN_CHARS,
    "num_features": 256,
    "num_layers": 5,
    "num_conditions": 128,
    "judge_features": pen_data.JUDGE_FEATURES,
    "schedule": "cosine",
    "num_steps": 1000,
    "prediction": "v",
    "guidance": 2.0,
}
NUM_CODES = 24  # numbers that tell hands apart
CODE_NOISE = 0.25  # on them in training, so that there are hands between hands
# Standard deviations of the logarithms of width and height, and of the slant, by which
# a character is changed whenever it is drawn: few people wrote many.
SIZE_NOISE, SLANT_NOISE = 0.05, 0.04

LABEL_DROPOUT, WRITER_DROPOUT, NEATNESS_DROPOUT, EVENNESS_DROPOUT = 0.1, 0.1, 0.3, 0.2
EPOCH_STEPS = 250
NUM_TESTED = 2**14  # characters behind the losses that are printed


class Source(NamedTuple):
    """What batches are drawn from: strokes, and sums of how often each is drawn."""

    strokes: Strokes
    cumulative: jax.Array


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this recipe."""
    add = parser.add_argument
    add("--data", type=Path, required=True, help="FILE.npz of pen strokes")
    for name in ("num_features", "num_layers", "num_conditions"):
        flag = "--" + name.replace("_", "-")
        add(flag, type=int, default=DESCRIPTION[name], help="of the network")
    add("--judge-steps", type=int, default=pen_data.JUDGE_STEPS, help="for each judge")
    held_back = "writers to learn nothing from; by default 30 of the extract"
    add("--hold-back", type=int, nargs="*", default=data.HELD_BACK, help=held_back)
    options.add_run_options(parser, "runs/pen", 384, 1.5e-3)


def run(args: argparse.Namespace) -> None:
    """Trains judges, then the network, and prints losses of both kinds of writers."""
    sizes = "num_features", "num_layers", "num_conditions"
    args = options.check_run(args, 60.0, *sizes, "judge_steps")
    budget = options.start_budget(args)
    pen = data.read_pen(args.data)
    is_held_back = np.isin(pen.writers, args.hold_back)
    if is_held_back.all():
        raise ValueError("hold_back must leave writers to learn from, got all of them.")
    known = data.select_pen(pen, ~is_held_back)
    strokes = pen_data.prepare(known, args.judge_steps)
    _, judge = pen_data.fit_judge(
        strokes.arrays, strokes.labels, args.seed, args.judge_steps
    )
    hands = pen_data.rank_hands(strokes)
    description = DESCRIPTION | {name: getattr(args, name) for name in sizes}
    fixed = jax.device_get(judge) | {"spacing": {"sides": pen_data.fit_sides(known)}}
    optimizer = runs.make_optimizer(args.learning_rate)
    widths = [description[name] for name in sizes]
    network = models.make_pen_network(len(data.PEN_CHARS), *widths)
    loss = make_loss(network, description)
    step = training.make_train_step(loss, optimizer, args.ema_decay)
    epoch = training.make_epoch(step, args.batch_size, EPOCH_STEPS, draw_batch)
    key_init, key = jax.random.split(jax.random.key(args.seed))
    params = init_params(key_init, description, pen.writers.max() + 1)
    state = training.init_train_state(key, params, optimizer)
    state, progress = runs.restore(args.out, state)
    options.save_arguments(args)
    source = weigh(strokes)

    def weights(params):
        codes = np.asarray(params["hands"]["codes"])[hands]
        return params | fixed | {"hands": {"codes": codes}}

    state = runs.run(
        args.out,
        state,
        runs.compile_step(epoch, args.learning_rate),
        runs.Feed(lambda: source, args.batch_size),
        budget,
        progress,
        runs.Result(description, weights),
    )
    known_loss = measure(loss, state.ema_params, strokes)
    print(f"loss of writers learned from {known_loss:.4f}")
    if is_held_back.any():
        others = pen_data.encode(data.select_pen(pen, is_held_back))
        others_loss = measure(loss, state.ema_params, others)
        print(f"loss of writers held back {others_loss:.4f}")


def init_params(key: jax.Array, description: dict[str, Any], num_writers: int) -> Any:
    """Returns fresh weights: of the network, and a code for each writer."""
    key_network, key_codes = jax.random.split(key)
    init = functools.partial(
        models.init_pen, description=description, num_codes=NUM_CODES
    )
    params = jax.jit(init)(key_network)
    codes = 0.5 * jax.random.normal(key_codes, (num_writers, NUM_CODES))
    return models.take_network(params) | {"hands": {"codes": codes}}


def make_loss(network: Any, description: dict[str, Any]) -> training.LossFn:
    """Returns the diffusion loss whose labels are `Condition`s of `draw_batch`."""

    def apply(params, x_t, log_snr, given):
        writer, rest = given.style[:, 0], given.style[:, 1:]
        qualities, noise = jnp.split(rest, [models.NUM_QUALITIES], axis=1)
        hidden = jnp.isnan(writer)[:, None]
        rows = jnp.where(hidden[:, 0], 0.0, writer).astype(jnp.int32)
        codes = params["hands"]["codes"][rows] + noise
        style = jnp.concatenate([jnp.where(hidden, jnp.nan, codes), qualities], 1)
        own = {name: leaves for name, leaves in params.items() if name != "hands"}
        return network.apply(own, x_t, log_snr, networks.Condition(given.label, style))

    nothing = np.full(1 + models.NUM_QUALITIES + NUM_CODES, np.nan, np.float32)
    nothing[-NUM_CODES:] = 0.0
    return losses.make_diffusion_loss(
        apply,
        models.SCHEDULES[description["schedule"]](description["num_steps"]),
        models.PREDICTIONS[description["prediction"]],
        null_label=networks.Condition(
            jnp.asarray(len(description["classes"])), jnp.asarray(nothing)
        ),
        label_dropout=LABEL_DROPOUT,
    )


def weigh(strokes: Strokes) -> Source:
    """Returns what batches are drawn from, on the device.

    Rare characters and rare writers are drawn more often than they occur.
    """
    kinds = np.bincount(strokes.labels)[strokes.labels]
    hands = np.bincount(strokes.writers)[strokes.writers]
    cumulative = np.cumsum(kinds**-0.5 * hands**-0.3)
    source = Source(strokes, (cumulative / cumulative[-1]).astype(np.float32))
    return jax.tree.map(jnp.asarray, source)


def draw_batch(key: jax.Array, source: Source, batch_size: int) -> training.Batch:
    """Returns a Batch of characters, each with its writer, its qualities, and noise.

    Size and slant are changed a little, and the qualities with them; some is hidden.
    """
    keys = jax.random.split(key, 5)
    place = jax.random.uniform(keys[0], (batch_size,))
    rows = jnp.searchsorted(source.cumulative, place)
    x, label, writer, qualities = (array[rows] for array in source.strokes)
    grown = SIZE_NOISE * jax.random.normal(keys[1], (batch_size, 2))
    width, height = jnp.exp(grown).T[..., None]
    slant = SLANT_NOISE * jax.random.normal(keys[2], (batch_size, 1))
    base = MIDDLE / STROKE_SCALE
    y = height * (x[:, :, 1] + base) - base
    x = x.at[:, :, 0].set(width * x[:, :, 0] + slant * y).at[:, :, 1].set(y)
    larger = jnp.pad(grown[:, ::-1], ((0, 0), (2, 0))) / models.EVENNESS_SCALE
    known = jnp.concatenate([writer[:, None], qualities + larger], 1)
    dropout = jnp.array([[WRITER_DROPOUT, NEATNESS_DROPOUT, EVENNESS_DROPOUT]])
    hidden = jax.random.uniform(keys[3], (batch_size, 3)) < dropout
    known = jnp.where(hidden[:, np.array([0, 1, 2, 2, 2])], jnp.nan, known)
    noise = CODE_NOISE * jax.random.normal(keys[4], (batch_size, NUM_CODES))
    style = jnp.concatenate([known, noise], 1)
    return training.Batch(x, networks.Condition(label, style))


def measure(loss: training.LossFn, params: Any, strokes: Strokes) -> float:
    """Returns the loss of characters whose writers are not told."""
    strangers = strokes._replace(writers=np.full(len(strokes.labels), np.nan))
    key_batch, key_loss = jax.random.split(jax.random.key(0))
    source = weigh(strokes)._replace(strokes=jax.tree.map(jnp.asarray, strangers))
    batch = draw_batch(key_batch, source, NUM_TESTED)
    return float(jax.jit(loss)(params, key_loss, batch)[0])
