"""Trains the autoencoder whose latents `jdiff train latent` learns to draw.

    jdiff train autoencoder --minutes 15 --out runs/autoencoder
    jdiff train autoencoder --num-latents 16 --widths 256 128 --beta 1
    jdiff train autoencoder --autoencoder pca --num-latents 16

The second is the article's; the third is solved, not trained. The folder holds weights,
with the moments of the latents, and what every run leaves. Prints the error on test
images.
"""

import argparse
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import data, likelihood, models, runs, storage, training
from jdiff.images import from_uint8
from jdiff.recipes import options

# Steps in a compiled program. XLA:CPU is slow at convolutions in loops of more than 1.
EPOCH_STEPS = {"mlp": 256, "conv": 1}
DECODERS = {
    "gaussian": likelihood.gaussian_decoder,
    "bernoulli": likelihood.bernoulli_decoder,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this recipe."""
    add = parser.add_argument
    add("--autoencoder", default="mlp", choices=models.AUTOENCODERS)
    add("--num-latents", type=int, default=40)
    add("--widths", type=int, nargs="*", default=[384, 192], help="of the encoder")
    add("--decoder", default="gaussian", choices=DECODERS, help="what pixels are")
    add("--beta", type=float, default=0.25, help="weight of the divergence")
    options.add_data_options(parser)
    options.add_run_options(parser, "runs/autoencoder", 256, 2e-3)


def run(args: argparse.Namespace) -> None:
    """Trains or solves an autoencoder, and prints the error on test images."""
    args = options.check_run(args, 15.0, "num_latents")
    if min(args.widths, default=1) < 1:
        raise ValueError(f"widths must be >= 1, got {args.widths}.")
    budget = options.start_budget(args)
    images = data.load(args.data, "train", args.data_dir).images
    make = models.AUTOENCODERS[args.autoencoder]
    autoencoder = make(args.num_latents, images.shape[1:], tuple(args.widths))
    add_latents = functools.partial(with_latents, autoencoder, images)
    result = runs.Result(describe(args, images), add_latents)
    if args.autoencoder == "pca":
        params = models.fit_pca(images, args.num_latents)
        options.save_arguments(args)
        out, weights = args.out / storage.WEIGHTS_NAME, result.weights(params)
        storage.save_weights(out, weights, result.description)
    else:
        params = fit(args, budget, autoencoder, images, result)
    examine(args, autoencoder, params, load_test(args).images)


def describe(args: argparse.Namespace, images: np.ndarray) -> dict[str, Any]:
    """Returns what `models.build_autoencoder` needs to rebuild the autoencoder."""
    names = ("autoencoder", "num_latents", "widths")
    description = {name: getattr(args, name) for name in names}
    shape = list(images.shape[1:])
    return description | {"model": "autoencoder", "image_shape": shape}


def with_latents(autoencoder: models.Autoencoder, images: np.ndarray, params: Any):
    """Returns params with, for diffusion, the moments of the latents of all images."""
    moments = models.encode_images(autoencoder, params, images)
    return params | {"latents": models.aggregate_posterior(*moments)}


def load_test(args: argparse.Namespace) -> data.Dataset:
    """Returns images to test with; some have none but those to train with."""
    alone = args.data.endswith(".npz") or args.data.startswith("folder:")
    return data.load(args.data, "train" if alone else "test", args.data_dir)


def make_log_likelihood(args: argparse.Namespace, autoencoder: models.Autoencoder):
    """Returns (params, image, z) -> log p(image | z)."""
    decoder = DECODERS[args.decoder]

    def log_likelihood(params, image, z):
        mean, variance = autoencoder.decode(params, z)
        return decoder(image, mean, jnp.sqrt(variance))

    return log_likelihood


def fit(
    args: argparse.Namespace,
    budget: runs.Budget,
    autoencoder: models.Autoencoder,
    images: np.ndarray,
    result: runs.Result,
) -> Any:
    """Trains the autoencoder; returns the moving average of its weights."""
    elbo_loss = likelihood.make_elbo_loss(
        autoencoder.encode, make_log_likelihood(args, autoencoder), args.beta
    )

    def loss_fn(params, key, batch):
        return elbo_loss(params, key, batch._replace(x=from_uint8(batch.x)))

    # The gradient is a sum over pixels, whose norm is not to be clipped.
    optimizer = runs.make_optimizer(args.learning_rate, max_norm=None)
    train_step = training.make_train_step(loss_fn, optimizer, args.ema_decay)
    num_steps = EPOCH_STEPS[args.autoencoder]
    epoch = training.make_epoch(train_step, args.batch_size, num_steps)
    params = autoencoder.init(jax.random.key(args.seed + 1))
    state = training.init_train_state(jax.random.key(args.seed), params, optimizer)
    state, progress = runs.restore(args.out, state)
    batch = training.Batch(jnp.asarray(images), jnp.zeros(len(images), jnp.int32))
    feed = runs.Feed(lambda: batch, args.batch_size)
    step = runs.compile_step(epoch, args.learning_rate)
    options.save_arguments(args)
    state = runs.run(args.out, state, step, feed, budget, progress, result)
    return state.ema_params


def examine(
    args: argparse.Namespace,
    autoencoder: models.Autoencoder,
    params: Any,
    images: np.ndarray,
) -> None:
    """Prints what is lost of a pixel, and the bound of the likelihood of an image."""
    log_likelihood = make_log_likelihood(args, autoencoder)

    @jax.jit
    @jax.vmap
    def measure(key, image):
        image = from_uint8(image)
        posterior = autoencoder.encode(params, image)
        lost = image - autoencoder.decode(params, posterior.mean).mean
        terms = likelihood.evidence_bound(
            key, posterior, functools.partial(log_likelihood, params, image)
        )
        return jnp.square(lost).mean(), *terms

    # All at once they would need a gigabyte or two.
    keys = jax.random.split(jax.random.key(args.seed), len(images))
    parts = [
        np.stack(measure(keys[k : k + 4096], images[k : k + 4096]))
        for k in range(0, len(images), 4096)
    ]
    error, reconstruction, divergence = np.concatenate(parts, axis=1).mean(1)
    print(f"{len(images):,} images: squared error {error:.4f} of a pixel in [-1, 1]")
    nats = f"{reconstruction:.1f} - {divergence:.1f}"
    print(f"bound {reconstruction - divergence:.1f} = {nats} nats of an image")
