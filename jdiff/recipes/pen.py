"""Trains the model of pen strokes.

    jdiff train pen --data pen-train.npz --out runs/pen
    jdiff write "Hello" --model pen --weights runs/pen/weights.safetensors

The network learns characters as arrays of strokes, a code for each writer, and how neat
and even a character is (`jdiff.recipes.pen_data`). Each of these is hidden in some of
the examples, so that the network can do without, and be guided.
"""

import argparse
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import data, losses, models, networks, runs, training
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
NUM_CODES = 16  # numbers that tell hands apart
CODE_NOISE = 0.25  # on them in training, so that there are hands between hands


LABEL_DROPOUT, WRITER_DROPOUT, NEATNESS_DROPOUT, EVENNESS_DROPOUT = 0.1, 0.1, 0.3, 0.2
EPOCH_STEPS = 250


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this recipe."""
    add = parser.add_argument
    add("--data", type=Path, required=True, help="FILE.npz of pen strokes")
    for name in ("num_features", "num_layers", "num_conditions"):
        flag = "--" + name.replace("_", "-")
        add(flag, type=int, default=DESCRIPTION[name], help="of the network")
    add("--judge-steps", type=int, default=pen_data.JUDGE_STEPS, help="for each judge")
    options.add_run_options(parser, "runs/pen", 384, 1.5e-3)


def run(args: argparse.Namespace) -> None:
    """Trains the judges, then the network.

    Raises:
        ValueError: an option is outside its range; see `options.check_run`.
        DataError: the data are not pen strokes.
    """
    sizes = "num_features", "num_layers", "num_conditions"
    args = options.check_run(args, 60.0, *sizes, "judge_steps")
    budget = options.start_budget(args)
    pen = data.read_pen(args.data)
    strokes = pen_data.prepare(pen, args.judge_steps)
    _, judge = pen_data.fit_judge(
        strokes.arrays, strokes.labels, args.seed, args.judge_steps
    )
    hands = pen_data.rank_hands(strokes)
    description = DESCRIPTION | {name: getattr(args, name) for name in sizes}
    fixed = jax.device_get(judge) | {"spacing": {"sides": pen_data.fit_sides(pen)}}
    optimizer = runs.make_optimizer(args.learning_rate)
    step = training.make_train_step(make_loss(description), optimizer, args.ema_decay)
    epoch = training.make_epoch(step, args.batch_size, EPOCH_STEPS)
    key_init, key = jax.random.split(jax.random.key(args.seed))
    params = init_params(key_init, description, pen.writers.max() + 1)
    state = training.init_train_state(key, params, optimizer)
    state, progress = runs.restore(args.out, state)
    options.save_arguments(args)

    def weights(params):
        codes = np.asarray(params["hands"]["codes"])[hands]
        return params | fixed | {"hands": {"codes": codes}}

    runs.run(
        args.out,
        state,
        runs.compile_step(epoch, args.learning_rate),
        make_feed(args, strokes, int(state.step)),
        budget,
        progress,
        runs.Result(description, weights),
    )


def init_params(key: jax.Array, description: dict[str, Any], num_writers: int) -> Any:
    """Returns fresh weights: of the network, and a code for each writer."""
    key_network, key_codes = jax.random.split(key)
    init = functools.partial(
        models.init_pen, description=description, num_codes=NUM_CODES
    )
    params = jax.jit(init)(key_network)
    own = {name: leaves for name, leaves in params.items() if "judge" not in name}
    codes = 0.5 * jax.random.normal(key_codes, (num_writers, NUM_CODES))
    return own | {"hands": {"codes": codes}}


def make_feed(args: argparse.Namespace, strokes: Strokes, done: int) -> runs.Feed:
    """Returns the feed of epochs, from a number of steps on."""

    def epochs() -> Iterator[training.Batch]:
        for step in itertools.count(done, EPOCH_STEPS):
            random = np.random.default_rng([args.seed, step])
            yield draw_data(strokes, EPOCH_STEPS * args.batch_size, random)

    return runs.Feed(functools.partial(next, epochs()), args.batch_size)


def make_loss(description: dict[str, Any]) -> Any:
    """Returns the diffusion loss whose labels are `Condition`s of `draw_data`."""
    sizes = [description[f"num_{n}"] for n in ("features", "layers", "conditions")]
    network = models.make_pen_network(len(description["classes"]), *sizes)

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


def draw_data(
    strokes: Strokes, num: int, random: np.random.Generator
) -> training.Batch:
    """Returns a Batch of characters, each with its writer, its qualities, and noise.

    Rare characters and rare writers are drawn more often than they occur. Some of what
    is known of a character is hidden.
    """
    kinds = np.bincount(strokes.labels)[strokes.labels]
    hands = np.bincount(strokes.writers)[strokes.writers]
    total = np.cumsum(kinds**-0.5 * hands**-0.3)
    rows = np.searchsorted(total, total[-1] * random.random(num))
    writer, qualities = strokes.writers[rows, None], strokes.qualities[rows]
    known = np.concatenate([writer, qualities], 1).astype(np.float32)
    dropout = WRITER_DROPOUT, NEATNESS_DROPOUT, EVENNESS_DROPOUT
    hidden = random.random((num, 3)) < dropout
    known[hidden[:, [0, 1, 2, 2, 2]]] = np.nan
    noise = CODE_NOISE * random.standard_normal((num, NUM_CODES), np.float32)
    style = np.concatenate([known, noise], 1)
    condition = networks.Condition(
        jnp.asarray(strokes.labels[rows]), jnp.asarray(style)
    )
    return training.Batch(jnp.asarray(strokes.arrays[rows]), condition)
