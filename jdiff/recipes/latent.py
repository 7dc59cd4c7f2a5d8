"""Trains diffusion on the latents of an autoencoder.

    jdiff train autoencoder --out runs/autoencoder
    jdiff train latent --autoencoder runs/autoencoder --out runs/latent
    jdiff write "Hello" --weights runs/latent

The weights hold the autoencoder, too, which may be a PCA. Every epoch draws latents
anew from the posteriors of equally many images of each class. The network also learns
each image's style (`jdiff.handwriting.measure_style`), and to do without.
"""

import argparse
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import data, handwriting, losses, models, networks, runs, storage, training
from jdiff.recipes import autoencoder as autoencoders
from jdiff.recipes import options, pictures

EPOCH_STEPS = 256
NUM_DRAWN = 2048  # samples whose grey values become those of images
NUM_TESTED = 2**15  # latents behind the loss of test images


class Latents(NamedTuple):
    """What batches are drawn from."""

    mean: np.ndarray  # of q(z | image), float32[N, L]
    variance: np.ndarray  # likewise
    labels: np.ndarray  # int[N]
    styles: np.ndarray  # float32[N, 4], in [-3, 3]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this recipe."""
    add = parser.add_argument
    add("--autoencoder", default="runs/autoencoder", help="its run, or its weights")
    add("--num-features", type=int, default=256, help="width of the network")
    add("--num-layers", type=int, default=2, help="its hidden layers")
    add("--style-dropout", type=float, default=0.2, help="of a number, and of all four")
    options.add_diffusion_options(parser)
    options.add_data_options(parser)
    options.add_run_options(parser, "runs/latent", 256, 2e-3)


def run(args: argparse.Namespace) -> None:
    """Trains, and prints the loss of test images."""
    args = options.check_run(args, 15.0, "num_features", "num_layers", "num_steps")
    if not 0.0 <= args.style_dropout <= 1.0:
        raise ValueError(f"style_dropout must be in [0, 1], got {args.style_dropout}.")
    budget = options.start_budget(args)
    dataset = data.load(args.data, "train", args.data_dir)
    fixed, found = load_autoencoder(args.autoencoder, dataset)
    description = describe(args, dataset, found)
    autoencoder = models.build_autoencoder(found)
    sizes = args.num_features, args.num_layers
    network = networks.make_residual_mlp(len(dataset.classes), *sizes)
    key, shape = jax.random.key(args.seed), (autoencoder.num_latents,)
    params = models.init_params(key, network, shape, has_style=True)
    measured = handwriting.measure_style(dataset.images)
    scale = handwriting.fit_style_scale(measured, dataset.labels, len(dataset.classes))
    latents = encode(autoencoder, fixed, dataset, scale)
    fixed |= {"style": scale._asdict()}
    model = models.build_model(description, params | fixed)
    pictures.draw_classes(model)
    loss_fn = losses.make_diffusion_loss(
        model.apply,
        model.schedule,
        model.prediction,
        null_label=models.make_condition(model, len(model.classes)),
        label_dropout=args.label_dropout,
    )
    optimizer = runs.make_optimizer(args.learning_rate, max_norm=None)
    train_step = training.make_train_step(loss_fn, optimizer, args.ema_decay)
    epoch = training.make_epoch(train_step, args.batch_size, EPOCH_STEPS)
    state = training.init_train_state(key, params, optimizer)
    state, progress = runs.restore(args.out, state)
    feed = make_feed(args, latents, int(state.step))
    options.save_arguments(args)
    step = runs.compile_step(epoch, args.learning_rate)
    whole = functools.partial(make_whole, model, fixed, dataset)
    result = pictures.result_of(model, description, whole)
    state = runs.run(args.out, state, step, feed, budget, progress, result)
    test = encode(autoencoder, fixed, autoencoders.load_test(args), scale)
    examine(args, loss_fn, state.ema_params, test)


def describe(
    args: argparse.Namespace, dataset: data.Dataset, autoencoder: dict[str, Any]
) -> dict[str, Any]:
    """Returns what `models.build_model` needs to rebuild the model."""
    names = ("num_features", "num_layers", "schedule", "num_steps", "prediction")
    description = {name: getattr(args, name) for name in names}
    description |= {"model": "latent", "chars": dataset.classes, "style": True}
    description |= options.describe_guidance(args) | {"num_tones": models.NUM_TONES}
    return autoencoder | description


def make_whole(
    model: models.Model, fixed: dict[str, Any], dataset: data.Dataset, params: Any
) -> dict[str, Any]:
    """Returns what a weights file holds, given the weights that are trained.

    The curve of grey values is that of samples drawn at the default guidance, equally
    many of each class.
    """
    params = params | fixed
    labels, rng = dataset.labels, np.random.default_rng(0)
    present = np.unique(labels)
    num = -(-NUM_DRAWN // len(present))
    rows = [rng.choice(np.flatnonzero(labels == k), num) for k in present]
    images = dataset.images[np.concatenate(rows)]
    drawn = models.generate(
        jax.random.key(0),
        model._replace(params=params),
        np.repeat(present, num),
        min(10, len(model.schedule.alpha) - 1),
    )
    return params | models.fit_tone(np.asarray(drawn.x_0), images)


def load_autoencoder(
    path: str | Path, dataset: data.Dataset
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns (weights, description) of an autoencoder for images of this shape."""
    params, description = storage.load_weights(path)
    key, kind = jax.random.key(0), "weights of an autoencoder"
    with storage.reading(path, kind, storage.WeightsError):
        autoencoder = models.build_autoencoder(description)
        expected = jax.eval_shape(autoencoder.init, key)
    storage.check_params(params, expected, path)
    shape, of_autoencoder = list(dataset.images.shape[1:]), description["image_shape"]
    if of_autoencoder != shape:
        raise ValueError(
            f"the autoencoder must be of images {shape}, got {of_autoencoder}."
        )
    return params, description


def encode(
    autoencoder: models.Autoencoder,
    params: Any,
    dataset: data.Dataset,
    scale: handwriting.StyleScale,
) -> Latents:
    """Returns the posteriors and the styles of a data set."""
    measured = handwriting.measure_style(dataset.images)
    styles = handwriting.standardize_style(measured, dataset.labels, scale)
    return Latents(
        *models.encode_images(autoencoder, params, dataset.images),
        dataset.labels,
        styles.clip(-handwriting.MAX_STYLE, handwriting.MAX_STYLE),
    )


def draw_latents(
    latents: Latents, num: int, seed: Any, dropout: float = 0.0
) -> training.Batch:
    """Returns a batch of latents, drawn from posteriors of equally many of each class.

    A share `dropout` of the styles' numbers, and of whole styles, is not given.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(latents.labels, kind="stable")
    _, starts, counts = np.unique(latents.labels[order], True, return_counts=True)
    k = rng.integers(len(starts), size=num)
    rows = order[starts[k] + rng.integers(counts[k])]
    mean, variance = latents.mean[rows], latents.variance[rows]
    noise = rng.standard_normal(mean.shape, np.float32)
    z = mean + np.sqrt(variance) * noise
    style = handwriting.mask_style(rng, latents.styles[rows], dropout)
    condition = map(jnp.asarray, (latents.labels[rows], style))
    return training.Batch(jnp.asarray(z), networks.Condition(*condition))


def make_feed(args: argparse.Namespace, latents: Latents, done: int) -> runs.Feed:
    """Returns the feed of epochs, from a number of steps on."""

    def epochs() -> Iterator[training.Batch]:
        for step in itertools.count(done, EPOCH_STEPS):
            num, seed = EPOCH_STEPS * args.batch_size, [args.seed, step]
            yield draw_latents(latents, num, seed, args.style_dropout)

    return runs.Feed(functools.partial(next, epochs()), args.batch_size)


def examine(
    args: argparse.Namespace, loss_fn: training.LossFn, params: Any, test: Latents
) -> None:
    """Prints the loss of test images, whose posteriors are known."""
    batch = draw_latents(test, NUM_TESTED, [args.seed, 0])
    loss, _ = jax.jit(loss_fn)(params, jax.random.key(args.seed), batch)
    print(f"loss of test images {loss:.4f}, of training images in log.jsonl")
