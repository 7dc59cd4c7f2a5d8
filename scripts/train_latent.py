"""Trains diffusion on the latents of an autoencoder.

    python scripts/train_vae.py --out vae.safetensors
    python scripts/train_latent.py --autoencoder vae.safetensors
    jdiff write "Hello" --weights latent.safetensors

The autoencoder is one that `train_vae.py` wrote, a PCA too; the weights written hold
both. Every epoch draws its latents from the posteriors anew, all classes equally often.
The network learns of each image's style, too (`jdiff.style`), and to do without.
`--resume` goes on from the checkpoint beside the weights.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import train_vae

import jdiff

EPOCH_STEPS = 256
GUIDANCE = 1.85  # that samples are drawn with by default, chosen by `jdiff evaluate`


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="train_latent.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--autoencoder", type=Path, default=Path("vae.safetensors"))
    add("--num-features", type=int, default=256, help="width of the network")
    add("--num-layers", type=int, default=2, help="its hidden layers")
    add("--label-dropout", type=float, default=0.1)
    add("--style-dropout", type=float, default=0.2, help="of a number, and of all four")
    add("--schedule", default="cosine", choices=jdiff.models.SCHEDULES)
    add("--num-steps", type=int, default=1000, help="T of the schedule")
    add("--prediction", default="v", choices=jdiff.models.PREDICTIONS)
    train_vae.add_training_options(parser, Path("latent.safetensors"))
    return parser.parse_args(argv)


def describe(args, dataset: jdiff.data.Dataset, autoencoder_facts: dict) -> dict:
    """Returns what `jdiff.build_model` needs to rebuild the model."""
    names = ("num_features", "num_layers", "schedule", "num_steps", "prediction")
    facts = {name: getattr(args, name) for name in names}
    facts |= {"model": "latent", "chars": dataset.classes, "style": True}
    facts |= {"guidance": GUIDANCE}
    return autoencoder_facts | facts


def load_autoencoder(path: Path, dataset: jdiff.data.Dataset):
    """Returns (autoencoder, its weights, its description), for images of this shape."""
    params, facts = jdiff.storage.load_weights(path)
    autoencoder = jdiff.models.build_autoencoder(facts)
    expected = jax.eval_shape(autoencoder.init, jax.random.key(0))
    jdiff.storage.check_params(params, expected, path)
    shape = list(dataset.images.shape[1:])
    if facts["image_shape"] != shape:
        raise ValueError(
            f"the autoencoder must be of images {shape}, got {facts['image_shape']}."
        )
    return autoencoder, params, facts


def draw_latents(
    posteriors, labels: np.ndarray, styles: np.ndarray, num: int, seed, dropout=0.0
):
    """Returns a Batch of latents, drawn from posteriors of equally many of each class.

    Args:
        posteriors: moments float[N, L] of q(z | image).
        labels: int[N].
        styles: float[N, 4].
        num: how many latents.
        seed: of the draw.
        dropout: share of the styles' numbers that are not given, and of whole styles.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    present, starts, counts = np.unique(
        labels[order], return_index=True, return_counts=True
    )
    k = rng.integers(len(present), size=num)
    rows = order[starts[k] + rng.integers(counts[k])]
    mean, variance = (moment[rows] for moment in posteriors)
    noise = rng.standard_normal(mean.shape, np.float32)
    z = mean + np.sqrt(variance) * noise
    style = jdiff.handwriting.mask_style(rng, styles[rows], dropout)
    condition = jdiff.networks.Condition(jnp.asarray(labels[rows]), jnp.asarray(style))
    return jdiff.Batch(jnp.asarray(z), condition)


def measure_styles(dataset: jdiff.data.Dataset, scale=None):
    """Returns styles float32[N, 4], in [-3, 3], and their scale, if it is not given."""
    measured = jdiff.handwriting.measure_style(dataset.images)
    if scale is None:
        num_classes = len(dataset.classes)
        scale = jdiff.handwriting.fit_style_scale(measured, dataset.labels, num_classes)
    styles = jdiff.handwriting.standardize_style(measured, dataset.labels, scale)
    return styles.clip(-jdiff.handwriting.MAX_STYLE, jdiff.handwriting.MAX_STYLE), scale


def run(args: argparse.Namespace) -> None:
    train_vae.check_args(args, "num_features", "num_layers", "num_steps")
    if not 0.0 <= args.style_dropout <= 1.0:
        raise ValueError(f"style_dropout must be in [0, 1], got {args.style_dropout}.")
    dataset = jdiff.data.load(args.data, "train", args.data_dir)
    autoencoder, fixed, facts = load_autoencoder(args.autoencoder, dataset)
    facts = describe(args, dataset, facts)
    width = args.num_features, args.num_layers
    network = jdiff.networks.make_residual_mlp(len(dataset.classes), *width)
    key = jax.random.key(args.seed)
    shape = (autoencoder.num_latents,)
    params = jdiff.models.init_params(key, network, shape, has_style=True)
    styles, scale = measure_styles(dataset)
    fixed |= {"style": scale._asdict()}
    model = jdiff.models.build_model(facts, params | fixed)
    # If samples cannot be drawn from it, it says so now, not at the end.
    next(jdiff.generate(key, model, [0], num_steps=1))
    loss_fn = jdiff.make_diffusion_loss(
        model.apply,
        model.schedule,
        model.prediction,
        null_label=jdiff.models.make_condition(model, len(model.classes)),
        label_dropout=args.label_dropout,
    )
    started = train_vae.start(args, loss_fn, params, EPOCH_STEPS)
    posteriors = jdiff.models.encode_images(autoencoder, fixed, dataset.images)
    num = EPOCH_STEPS * args.batch_size

    def draw_data(done):
        seed, dropout = [args.seed, done], args.style_dropout
        return draw_latents(posteriors, dataset.labels, styles, num, seed, dropout)

    def write(params):
        jdiff.storage.save_weights(args.out, params | fixed, facts)

    state = train_vae.train(args, started, draw_data, write)
    test = train_vae.load_test(args)
    posteriors = jdiff.models.encode_images(autoencoder, fixed, test.images)
    examine(args, loss_fn, state.ema_params, posteriors, test, scale)


def examine(args, loss_fn, params, posteriors, test, scale) -> None:
    """Prints the loss of test images, whose posteriors are known."""
    styles, _ = measure_styles(test, scale)
    data = draw_latents(posteriors, test.labels, styles, 2**15, [args.seed, 0])
    loss, _ = jax.jit(loss_fn)(params, jax.random.key(args.seed), data)
    print(f"loss of test images {loss:.4f}, of training images the lines above")


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        run(args)
    except (ValueError, OSError) as error:
        print(f"train_latent.py: error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
