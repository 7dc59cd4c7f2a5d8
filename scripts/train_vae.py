"""Trains the autoencoder whose latents `train_latent.py` learns to draw.

    python scripts/train_vae.py --minutes 15
    python scripts/train_vae.py --num-latents 16 --widths 256 128 --beta 1
    python scripts/train_vae.py --autoencoder pca --num-latents 16

The second is the article's, the third is solved, not trained. Writes weights, with the
moments of the latents, and beside them checkpoints, from which `--resume` goes on;
prints what is lost of test images.
"""

import argparse
import functools
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jdiff

# Steps in a compiled program. XLA:CPU is slow at convolutions in loops of more than 1.
EPOCH_STEPS = {"mlp": 256, "conv": 1}
DECODERS = {
    "gaussian": jdiff.likelihood.gaussian_decoder,
    "bernoulli": jdiff.likelihood.bernoulli_decoder,
}
WARM_UP = 0.02  # share of the run in which the learning rate rises


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="train_vae.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--autoencoder", default="mlp", choices=jdiff.models.AUTOENCODERS)
    add("--num-latents", type=int, default=40)
    add("--widths", type=int, nargs="*", default=[384, 192], help="of the encoder")
    add("--decoder", default="gaussian", choices=DECODERS, help="what pixels are")
    add("--beta", type=float, default=0.25, help="weight of the divergence")
    add_training_options(parser, Path("vae.safetensors"))
    return parser.parse_args(argv)


def add_training_options(parser: argparse.ArgumentParser, out: Path) -> None:
    add = parser.add_argument
    add("--data", default="emnist/byclass", help="emnist/NAME, mnist, glyphs, FILE.npz")
    add("--data-dir", help="where the data set lies; otherwise JDIFF_DATA_DIR, cache")
    add("--batch-size", type=int, default=256)
    add("--learning-rate", type=float, default=2e-3, help="at its highest")
    add("--ema-decay", type=float, default=0.999)
    add("--minutes", type=float, default=15.0, help="the budget of time")
    add("--steps", type=int, help="a number of steps instead of a budget")
    add("--save-minutes", type=float, default=5.0, help="time between checkpoints")
    add("--resume", action="store_true", help="go on from the last checkpoint")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=out)


def check_args(args: argparse.Namespace, *names: str) -> None:
    """Raises a ValueError for what would fail after training, or make no sense.

    The numbers named have to be positive, besides those that every training has.
    """
    common = ("minutes", "steps", "save_minutes", "batch_size", "learning_rate")
    for name in (*common, *names):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be > 0, got {value}.")
    if args.seed < 0:
        raise ValueError(f"seed must be >= 0, got {args.seed}.")
    jdiff.storage.check_output(args.out, ".safetensors")
    if checkpoints(args).exists() and not args.resume:
        raise ValueError(
            f"{checkpoints(args)} holds a run: add --resume or choose another --out."
        )


@optax.inject_hyperparams
def make_optimizer(learning_rate):
    return optax.adam(learning_rate, b2=0.99)


def start(args, loss_fn, params, epoch_steps: int):
    """Returns (state, seconds, epoch), the state fresh or that of the checkpoint."""
    optimizer = make_optimizer(args.learning_rate)
    train_step = jdiff.make_train_step(loss_fn, optimizer, args.ema_decay)
    epoch = jdiff.make_epoch(train_step, args.batch_size, epoch_steps)
    state = jdiff.init_train_state(jax.random.key(args.seed), params, optimizer)
    seconds = 0.0
    if args.resume:
        state, facts = jdiff.storage.restore_checkpoint(checkpoints(args), state)
        seconds = facts["seconds"]
    return state, seconds, jax.jit(epoch, donate_argnums=0)


def checkpoints(args) -> Path:
    """The folder of checkpoints, beside the weights."""
    return args.out.with_suffix(".checkpoints")


def train(args, started, draw_data, write):
    """The loop: epochs until the budget is spent; returns the last state.

    draw_data: number of steps done -> data of an epoch; write: params -> None.
    """
    state, seconds, epoch = started
    began = last_save = last_log = time.monotonic()
    began -= seconds
    while True:
        done = int(state.step)
        seconds = time.monotonic() - began
        progress = done / args.steps if args.steps else seconds / 60 / args.minutes
        if progress >= 1.0:
            break
        rate = min(progress / WARM_UP, 1.0) * (0.5 + 0.5 * math.cos(math.pi * progress))
        rate = jnp.float32(args.learning_rate * rate)
        state.opt_state.hyperparams["learning_rate"] = rate
        state, metrics = epoch(state, draw_data(done))
        now = time.monotonic()
        if now - last_log > 10 or not done:
            report(int(state.step), seconds, metrics)
            last_log = now
        if now - last_save > 60 * args.save_minutes:
            save(args, state, seconds, write)
            last_save = now
    save(args, state, seconds, write)
    return state


def report(step: int, seconds: float, metrics) -> None:
    means = {name: float(value.mean()) for name, value in metrics.items()}
    if not math.isfinite(means["loss"]):
        raise ValueError(f"the loss must be finite, got {means} at step {step}.")
    text = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
    print(f"{seconds:.0f} s, step {step}: {text}", flush=True)


def save(args, state, seconds: float, write) -> None:
    folder, step = checkpoints(args), int(state.step)
    if not (folder / str(step)).exists():  # as it does if nothing was left to do
        jdiff.storage.save_checkpoint(folder, step, state, {"seconds": seconds})
    write(state.ema_params)


def describe(args: argparse.Namespace, dataset: jdiff.data.Dataset) -> dict:
    """Returns what `jdiff.build_autoencoder` needs to rebuild the autoencoder."""
    facts = {n: getattr(args, n) for n in ("autoencoder", "num_latents", "widths")}
    shape = list(dataset.images.shape[1:])
    return facts | {"model": "autoencoder", "image_shape": shape}


def write_weights(path: Path, facts: dict, autoencoder, images, params) -> None:
    """Writes params and, for diffusion, the moments of the latents of all images."""
    moments = jdiff.models.encode_images(autoencoder, params, images)
    latents = jdiff.models.aggregate_posterior(*moments)
    jdiff.storage.save_weights(path, params | {"latents": latents}, facts)


def load_test(args) -> jdiff.data.Dataset:
    """Returns images to test with; some have none but those to train with."""
    alone = args.data.endswith(".npz") or args.data.startswith("folder:")
    split = "train" if alone else "test"
    return jdiff.data.load(args.data, split, args.data_dir)


def make_log_likelihood(args, autoencoder):
    decoder = DECODERS[args.decoder]

    def log_likelihood(params, image, z):
        mean, variance = autoencoder.decode(params, z)
        return decoder(image, mean, jnp.sqrt(variance))

    return log_likelihood


def fit(args, autoencoder, images: np.ndarray, write):
    """Trains or solves the autoencoder and writes its weights; returns them."""
    if args.autoencoder == "pca":
        params = jdiff.models.fit_pca(images, args.num_latents)
        write(params)
        return params
    log_likelihood = make_log_likelihood(args, autoencoder)
    elbo_loss = jdiff.likelihood.make_elbo_loss(
        autoencoder.encode, log_likelihood, args.beta
    )

    def loss_fn(params, key, batch):
        scaled = batch.x.astype(jnp.float32) / 127.5 - 1.0
        return elbo_loss(params, key, batch._replace(x=scaled))

    params = autoencoder.init(jax.random.key(args.seed + 1))
    started = start(args, loss_fn, params, EPOCH_STEPS[args.autoencoder])
    data = jdiff.Batch(jnp.asarray(images), jnp.zeros(len(images), jnp.int32))
    return train(args, started, lambda _: data, write).ema_params


def examine(args, autoencoder, params, images: np.ndarray) -> None:
    """Prints what is lost of a pixel, and the bound of the likelihood of an image."""
    log_likelihood = make_log_likelihood(args, autoencoder)

    @jax.jit
    @jax.vmap
    def measure(key, image):
        image = image / 127.5 - 1.0
        posterior = autoencoder.encode(params, image)
        lost = image - autoencoder.decode(params, posterior.mean).mean
        terms = jdiff.likelihood.evidence_bound(
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


def run(args: argparse.Namespace) -> None:
    check_args(args, "num_latents")
    if min(args.widths, default=1) < 1:
        raise ValueError(f"widths must be >= 1, got {args.widths}.")
    train_set = jdiff.data.load(args.data, "train", args.data_dir)
    facts, images = describe(args, train_set), train_set.images
    make = jdiff.models.AUTOENCODERS[args.autoencoder]
    autoencoder = make(args.num_latents, images.shape[1:], tuple(args.widths))
    write = functools.partial(write_weights, args.out, facts, autoencoder, images)
    params = fit(args, autoencoder, images, write)
    examine(args, autoencoder, params, load_test(args).images)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        run(args)
    except (ValueError, OSError) as error:
        print(f"train_vae.py: error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
