"""Trains a class-conditional UNet on MNIST, in one file and on any machine.

    pip install '.[train]'
    python scripts/train_mnist.py --minutes 10 --out runs/mnist

The folder then holds samples.png, ten digits of each class, and weights:

    jdiff write 2026 --weights runs/mnist/weights.safetensors

`scripts/train_unet.py` adds checkpoints, logs and more than one device.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

import jdiff

BATCH_SIZE = 64
LEARNING_RATE = 2e-3  # at its highest
NETWORK = {"num_channels": 64, "num_blocks": 1, "num_levels": 2}
PROBLEM = {"image_shape": [28, 28, 1], "chars": "0123456789"}
PROBLEM |= {"schedule": "cosine", "num_steps": 1000, "prediction": "v"}
STEPS_PER_REPORT = 10  # reading the loss waits for the device


def make_model(key: jax.Array) -> jdiff.models.Model:
    """Returns a model with fresh weights."""
    network = jdiff.networks.make_unet(len(PROBLEM["chars"]), **NETWORK)
    params = jdiff.models.init_params(key, network, PROBLEM["image_shape"])
    return jdiff.models.build_model(NETWORK | PROBLEM, params)


def train(key: jax.Array, model: jdiff.models.Model, dataset, minutes: float) -> dict:
    """Returns the moving average of the weights after that many minutes."""
    key_state, key_batches = jax.random.split(key)
    # One image in ten loses its label, which trains the network for guidance.
    loss_fn = jdiff.make_diffusion_loss(
        model.apply, model.schedule, model.prediction, len(model.classes), 0.1
    )
    optimizer = optax.inject_hyperparams(optax.adam)(LEARNING_RATE, b2=0.99)
    train_step = jdiff.make_train_step(loss_fn, optimizer, ema_decay=0.999)

    @jax.jit
    def step(state, progress, data):
        # The rate rises for a fiftieth of the time, then falls to 0 by a cosine.
        factor = jnp.minimum(50 * progress, 1.0) * (1 + jnp.cos(jnp.pi * progress)) / 2
        state.opt_state.hyperparams["learning_rate"] = factor * LEARNING_RATE
        key_batch = jax.random.fold_in(key_batches, state.step)
        return train_step(state, jdiff.draw_batch(key_batch, data, BATCH_SIZE))

    data = jdiff.balance(dataset.images, dataset.labels)
    state = jdiff.init_train_state(key_state, model.params, optimizer)
    state, _ = step(state, 0.0, data)  # compiles; a rate of 0 moves nothing
    began = time.monotonic()
    with tqdm(total=1.0, bar_format="{percentage:3.0f}%|{bar}| {postfix}") as bar:
        while bar.n < 1.0:
            for _ in range(STEPS_PER_REPORT):
                state, metrics = step(state, bar.n, data)
            bar.set_postfix(step=int(state.step), loss=f"{metrics['loss']:.3f}")
            seconds = time.monotonic() - began
            bar.update(min(seconds / 60 / minutes, 1.0) - bar.n)
    return jax.device_get(state.ema_params)


def draw(key: jax.Array, model: jdiff.models.Model, num_each: int) -> np.ndarray:
    """Returns a sheet with a row of samples for each class, uint8[H, W]."""
    labels = np.repeat(np.arange(len(model.classes)), num_each)
    samples = jdiff.generate(key, model, labels, num_steps=20).x_0
    sheet = jdiff.images.tile(jdiff.images.to_uint8(samples), num_each)
    return jdiff.images.on_paper(sheet)


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of training")
    parser.add_argument("--data-dir", help="with MNIST's files; else it is downloaded")
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"), help="a folder")
    args = parser.parse_args(argv)
    if not 0 < args.minutes < math.inf:
        parser.error(f"--minutes must be > 0, got {args.minutes}.")
    dataset = jdiff.data.mnist("train", args.data_dir)
    key_params, key_train, key_draw = jax.random.split(jax.random.key(0), 3)
    model = make_model(key_params)
    params = train(key_train, model, dataset, args.minutes)
    args.out.mkdir(parents=True, exist_ok=True)
    weights = args.out / "weights.safetensors"
    # The description is what `load_model` needs to build the network again.
    jdiff.storage.save_weights(weights, params, NETWORK | PROBLEM)
    sheet = draw(key_draw, model._replace(params=params), num_each=10)
    jdiff.images.save_png(args.out / "samples.png", sheet)
    print(f"wrote weights.safetensors and samples.png to {args.out}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"train_mnist.py: error: {error}", file=sys.stderr)
        sys.exit(2)
