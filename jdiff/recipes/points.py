"""Trains diffusion on points in the plane, and draws what it has learned.

    jdiff train points --data moons --out moons.safetensors
    jdiff train points --data parabola --predict x_0 --level raw \\
        --loss huber --weight snr_difference --schedule linear --beta-end 0.2
    jdiff train points --draw moons.safetensors --guidance 2 --steps 10 --gif moons.gif

Writes weights, and beside them a picture; --draw draws other pictures from the same
weights. An epoch is 64 batches, compiled as one program; it draws from the points with
replacement.
"""

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import data, losses, models, runs, storage, training
from jdiff.recipes import options, point_models, point_pictures
from jdiff.recipes.point_models import PointModel

EPOCH_STEPS = 64
LOSSES = {"l2": losses.l2_loss, "huber": losses.huber_loss}
WEIGHTS = {
    "uniform": losses.uniform_weight,
    "min_snr": losses.min_snr_weight,
    "snr_difference": losses.snr_difference_weight,
}


class Beginning(NamedTuple):
    """What training begins with."""

    description: dict[str, Any]  # of the weights file
    model: PointModel  # with fresh weights
    state: training.TrainState
    points: training.Batch  # standardized, with their labels, on the device


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this recipe."""
    add = parser.add_argument
    densities = ", ".join(data.DENSITIES)
    add("--data", default="moons", help=f"{densities} or FILE.npz")
    add("--num-points", type=int, default=2**17, help="to train on; 2000 is few-shot")
    add("--labelled", type=float, default=1.0, help="share of points with a label")
    add("--label-dropout", type=float, default=0.1)
    add("--predict", default="v", choices=models.PREDICTIONS)
    add("--schedule", default="cosine", choices=point_models.SCHEDULES)
    add("--beta-end", type=float, default=0.25, help="linear, quadratic and sigmoid")
    add("--num-steps", type=int, default=200, help="T of the schedule")
    add("--level", default="sinusoidal", choices=point_models.LEVELS, help="embedding")
    add("--loss", default="l2", choices=LOSSES)
    add("--weight", default="uniform", choices=WEIGHTS)
    add("--num-features", type=int, default=64, help="width of the network")
    add("--num-layers", type=int, default=4, help="its hidden layers")
    add("--batch-size", type=int, default=512)
    add("--learning-rate", type=float, default=5e-3, help="at its highest")
    add("--ema-decay", type=float, default=0.999)
    add("--epochs", type=int, default=600, help="of 64 batches")
    add("--seconds", type=float, help="a budget of time instead of epochs")
    add("--out", type=Path, help="FILE.safetensors; FILE.png of --draw")
    add("--draw", type=Path, metavar="FILE", help="draw these weights, train nothing")
    point_pictures.add_options(parser)


def check(args: argparse.Namespace) -> argparse.Namespace:
    """Returns the arguments; raises a ValueError for what cannot be done."""
    names = ("num_features", "epochs", "seconds", "learning_rate")
    options.check_numbers(args, *names)
    point_pictures.check(args, args.num_steps)
    if args.guidance and not args.labelled:
        raise ValueError(f"guidance must be 0 without labels, got {args.guidance}.")
    if args.guidance not in (0, 1) and not args.label_dropout:
        raise ValueError("label_dropout must be > 0 to sample with guidance, got 0.")
    args.out = args.out or Path("points.safetensors")
    storage.check_output(args.out, ".safetensors")
    storage.check_output(args.out.with_suffix(".png"))
    return args


def run(args: argparse.Namespace) -> None:
    """Trains, and writes weights and a picture; or only draws."""
    if args.draw:
        draw(args)
        return
    args = check(args)
    points, num_classes = data.load_points(args.data, args.num_points, args.seed)
    beginning = begin(args, points, num_classes)
    model = train(args, beginning)
    storage.save_weights(args.out, model.params, beginning.description)
    point_pictures.show(args.out.with_suffix(".png"), model, points, args)


def draw(args: argparse.Namespace) -> None:
    """Writes the picture that the options ask for, from weights."""
    parser = argparse.ArgumentParser()
    point_pictures.add_options(parser)
    ignored = args.typed - vars(parser.parse_args([])).keys() - {"draw", "out"}
    if ignored:
        names = ", ".join(sorted(ignored))
        raise ValueError(f"draw takes the options of pictures alone, got {names}.")
    out = args.out or args.draw.with_suffix(".png")
    path = storage.check_output(out, ".png")
    model, description = point_models.load_model(args.draw)
    point_pictures.check(args, description["num_steps"])
    num = max(args.num_samples, 2)
    points, _ = data.load_points(description["data"], num, args.seed + 1)
    point_pictures.show(path, model, points, args)


def describe(
    args: argparse.Namespace, num_classes: int, scale: np.ndarray
) -> dict[str, Any]:
    """Returns what `point_models.build_model` needs to rebuild the model."""
    names = ["data", "predict", "schedule", "beta_end", "num_steps", "level"]
    names += ["num_features", "num_layers"]
    description = {name: getattr(args, name) for name in names}
    description |= {"model": "points", "num_classes": num_classes}
    return description | {"scale": scale.tolist()}


def begin(args: argparse.Namespace, points: data.Points, num_classes: int) -> Beginning:
    """Returns what training begins with, if samples can be drawn then."""
    scaled, scale = data.standardize(points.points)
    labels = data.hide_labels(points.labels, args.labelled, num_classes, args.seed)
    description = describe(args, num_classes, scale)
    key_params, key_state = jax.random.split(jax.random.key(args.seed))
    network = point_models.make_network(description)
    params = models.init_params(key_params, network, scaled.shape[1:])
    model = point_models.build_model(description, params)
    point_models.make_denoise(model, num_classes, args.guidance)
    optimizer = runs.make_optimizer(args.learning_rate)
    state = training.init_train_state(key_state, params, optimizer)
    batch = training.Batch(jnp.asarray(scaled), jnp.asarray(labels))
    return Beginning(description, model, state, batch)


def make_step(args: argparse.Namespace, model: PointModel) -> runs.Step:
    """Returns the compiled epoch: (state, progress, points) -> (state, metrics)."""
    loss_fn = losses.make_diffusion_loss(
        model.apply,
        model.schedule,
        model.prediction,
        model.num_classes,
        args.label_dropout,
        LOSSES[args.loss],
        WEIGHTS[args.weight],
    )
    optimizer = runs.make_optimizer(args.learning_rate)
    train_step = training.make_train_step(loss_fn, optimizer, args.ema_decay)
    epoch = training.make_epoch(train_step, args.batch_size, EPOCH_STEPS)
    return runs.compile_step(epoch, args.learning_rate)


def train(args: argparse.Namespace, beginning: Beginning) -> PointModel:
    """Returns the trained model."""
    began = time.monotonic()
    step = make_step(args, beginning.model)
    feed = runs.Feed(lambda: beginning.points, args.batch_size)
    minutes, steps = (args.seconds or 0) / 60, args.epochs * EPOCH_STEPS
    budget = runs.Budget(began, minutes, None if args.seconds else steps)
    state = runs.train(beginning.state, step, feed, budget)
    return beginning.model._replace(params=state.ema_params)
