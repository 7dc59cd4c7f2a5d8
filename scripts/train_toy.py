"""Trains diffusion on points in the plane, and draws what it has learned.

    python scripts/train_toy.py --data moons --out moons.safetensors
    python scripts/train_toy.py --data parabola --predict x_0 --level raw \\
        --loss huber --weight snr_difference --schedule linear --beta-end 0.02

Writes the weights and beside them the picture of `draw_toy.py`, which draws other
pictures from the same weights. An epoch is 64 batches, compiled as one program; it
draws from the points with replacement.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import draw_toy
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jdiff

EPOCH_STEPS = 64
LOSSES = {"l2": jdiff.l2_loss, "huber": jdiff.huber_loss}
WEIGHTS = {
    "uniform": jdiff.uniform_weight,
    "min_snr": jdiff.min_snr_weight,
    "snr_difference": jdiff.snr_difference_weight,
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="train_toy.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    densities = ", ".join(jdiff.data.points.DENSITIES)
    add("--data", default="moons", help=f"{densities} or FILE.npz")
    add("--num-points", type=int, default=2**17, help="to train on; 2000 is few-shot")
    add("--labelled", type=float, default=1.0, help="share of points with a label")
    add("--label-dropout", type=float, default=0.1)
    add("--predict", default="v", choices=jdiff.models.PREDICTIONS)
    add("--schedule", default="cosine", choices=draw_toy.SCHEDULES)
    add("--beta-end", type=float, default=0.25, help="linear, quadratic and sigmoid")
    add("--num-steps", type=int, default=200, help="T of the schedule")
    add("--level", default="sinusoidal", choices=draw_toy.LEVELS, help="its embedding")
    add("--loss", default="l2", choices=LOSSES)
    add("--weight", default="uniform", choices=WEIGHTS)
    add("--num-features", type=int, default=64, help="width of the network")
    add("--num-layers", type=int, default=4, help="its hidden layers")
    add("--batch-size", type=int, default=512)
    add("--learning-rate", type=float, default=5e-3, help="at the beginning")
    add("--ema-decay", type=float, default=0.999)
    add("--epochs", type=int, default=600, help="of 64 batches")
    add("--seconds", type=float, help="a budget of time instead of epochs")
    add("--out", type=Path, default=Path("points.safetensors"))
    draw_toy.add_sampling_options(parser)
    return parser.parse_args(argv)


def check_args(args: argparse.Namespace) -> None:
    """Raises a ValueError for what would fail after training, or make no sense."""
    for name in ("num_features", "epochs", "seconds", "learning_rate"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be > 0, got {value}.")
    draw_toy.check_sampling(args, args.num_steps)
    if args.guidance and not args.labelled:
        raise ValueError(f"guidance must be 0 without labels, got {args.guidance}.")
    if args.guidance not in (0, 1) and not args.label_dropout:
        raise ValueError("label_dropout must be > 0 to sample with guidance, got 0.")
    jdiff.storage.check_output(args.out, ".safetensors")
    jdiff.storage.check_output(args.out.with_suffix(".png"))


def describe(args: argparse.Namespace, num_classes: int, scale: np.ndarray) -> dict:
    """Returns what `draw_toy.build_model` needs to rebuild the model."""
    names = ("data", "predict", "schedule", "beta_end", "num_steps", "level")
    facts = {name: getattr(args, name) for name in names}
    facts |= {"num_features": args.num_features, "num_layers": args.num_layers}
    return facts | {
        "model": "points",
        "num_classes": num_classes,
        "scale": scale.tolist(),
    }


@optax.inject_hyperparams
def make_optimizer(learning_rate):
    adam = optax.adam(learning_rate, b2=0.99)
    return optax.chain(optax.clip_by_global_norm(1.0), adam)


def make_epoch(args, model):
    """Returns (optimizer, compiled epoch: (state, points) -> (state, metrics))."""
    loss_fn = jdiff.make_diffusion_loss(
        model.apply,
        model.schedule,
        model.prediction,
        model.num_classes,
        args.label_dropout,
        LOSSES[args.loss],
        WEIGHTS[args.weight],
    )
    optimizer = make_optimizer(args.learning_rate)
    train_step = jdiff.make_train_step(loss_fn, optimizer, args.ema_decay)
    epoch = jdiff.make_epoch(train_step, args.batch_size, EPOCH_STEPS)
    return optimizer, jax.jit(epoch, donate_argnums=0)


def start(args, data: jdiff.data.Points, num_classes: int):
    """Returns (description, model with fresh weights, key, points on the device)."""
    scaled, scale = jdiff.data.standardize(data.points)
    labels = jdiff.data.hide_labels(data.labels, args.labelled, num_classes, args.seed)
    facts = describe(args, num_classes, scale)
    key_params, key_state = jax.random.split(jax.random.key(args.seed))
    network = draw_toy.make_network(facts)
    params = jdiff.models.init_params(key_params, network, scaled.shape[1:])
    model = draw_toy.build_model(facts, params)
    # If samples cannot be drawn from it, it says so now, not at the end.
    draw_toy.make_denoise(model, num_classes, args.guidance)
    return (
        facts,
        model,
        key_state,
        jdiff.Batch(jnp.asarray(scaled), jnp.asarray(labels)),
    )


def train(args, data: jdiff.data.Points, num_classes: int):
    """The loop: returns (description, model, its last loss, seconds that it took)."""
    began = time.monotonic()
    facts, model, key, points = start(args, data, num_classes)
    optimizer, epoch = make_epoch(args, model)
    state = jdiff.init_train_state(key, model.params, optimizer)
    progress, done, loss = 0.0, 0, math.nan
    while progress < 1.0:
        rate = args.learning_rate * (0.5 + 0.5 * math.cos(math.pi * progress))
        state.opt_state.hyperparams["learning_rate"] = jnp.float32(rate)
        state, metrics = epoch(state, points)
        loss, done = float(metrics["loss"].mean()), done + 1
        if not math.isfinite(loss):
            raise ValueError(f"the loss must be finite, got {loss} in epoch {done}.")
        seconds = time.monotonic() - began
        progress = seconds / args.seconds if args.seconds else done / args.epochs
    return facts, model._replace(params=state.ema_params), loss, seconds


def run(args: argparse.Namespace) -> None:
    check_args(args)
    facts = args.data, args.num_points, args.seed
    data, num_classes = jdiff.data.load_points(*facts)
    facts, model, loss, seconds = train(args, data, num_classes)
    print(f"trained for {seconds:.1f} s, loss {loss:.4f}")
    jdiff.storage.save_weights(args.out, model.params, facts)
    draw_toy.show(args.out.with_suffix(".png"), model, data, args)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        run(args)
    except (ValueError, OSError) as error:
        print(f"train_toy.py: error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
