"""Compares networks for pen strokes after equal time of training.

    python scripts/benchmarks/strokes.py --data pen-train.npz --minutes 4

A residual perceptron of all 60 points, convolutions along them, and a transformer of
groups of four. Each learns by the recipe of `jdiff train pen`, without judges. Printed
are the losses of writers learned from and of those held back, who are not told. Nothing
else may run meanwhile.
"""

import time
from pathlib import Path

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from command import header, make_parser, run

import jdiff
from jdiff import data, models, networks, runs
from jdiff.recipes import pen as recipe
from jdiff.recipes import pen_data

NUM_CLASSES = len(data.PEN_CHARS)
POINTS, WIDTH = 60, 5  # of a character; of a convolution
GROUP = 4  # points of a token
BATCH, STEPS, RATE = 512, 25, 1.5e-3


def convolve(x: jax.Array, num_channels: int, rate: int) -> jax.Array:
    """Returns a convolution of points `rate` apart, as one product of matrices.

    XLA's gradient of `hk.Conv1D` takes seconds a step on a CPU.
    """
    reach = rate * (WIDTH // 2)
    padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0)))
    shifted = [padded[:, k * rate : k * rate + POINTS] for k in range(WIDTH)]
    return hk.Linear(num_channels)(jnp.concatenate(shifted, axis=-1))


def make_convolutions(num_channels: int, num_layers: int) -> hk.Transformed:
    """Returns residual layers of convolutions, ever farther apart, as (init, apply)."""

    def network(x_t, log_snr, label):
        c = networks.Conditioning(NUM_CLASSES, num_channels)(log_snr, label)
        x = hk.Linear(num_channels)(x_t)
        for k in range(num_layers):
            inside = convolve(
                networks.modulate(x, c[:, None]), num_channels, 2 ** (k % 4)
            )
            x += hk.Linear(num_channels, w_init=jnp.zeros)(jax.nn.gelu(inside))
        return hk.Linear(3, w_init=jnp.zeros)(networks.modulate(x, c[:, None]))

    return hk.without_apply_rng(hk.transform(network))


def make_transformer(num_features: int, num_layers: int) -> hk.Transformed:
    """Returns a transformer of groups of points, as (init, apply)."""

    def network(x_t, log_snr, label):
        c = networks.Conditioning(NUM_CLASSES, num_features)(log_snr, label)
        tokens = x_t.reshape(len(x_t), POINTS // GROUP, -1)
        x = hk.Linear(num_features)(tokens)
        x += hk.get_parameter(
            "places", x.shape[1:], init=hk.initializers.RandomNormal(0.02)
        )
        for _ in range(num_layers):
            x = networks.DiTBlock(4)(x, c)
        x = hk.Linear(3 * GROUP, w_init=jnp.zeros)(networks.modulate(x, c[:, None]))
        return x.reshape(x_t.shape)

    return hk.without_apply_rng(hk.transform(network))


NETWORKS = {
    "perceptron, 4 layers of 192": models.make_pen_network(NUM_CLASSES, 192, 4, 96),
    "convolutions, 8 layers of 64": make_convolutions(64, 8),
    "transformer, 4 layers of 96": make_transformer(96, 4),
}


def main(argv=None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="FILE.npz of strokes")
    parser.add_argument("--minutes", type=float, default=4.0, help="for each network")
    args = parser.parse_args(argv)
    if not 0.0 < args.minutes < 1e6:
        raise ValueError(f"--minutes must be in (0, 1e6), got {args.minutes}.")
    pen = data.read_pen(args.data)
    held_back = np.isin(pen.writers, data.HELD_BACK)
    known, others = (
        pen_data.encode(data.select_pen(pen, rows)) for rows in (~held_back, held_back)
    )
    print(header("network", "parameters", "characters", "loss", "loss, held back"))
    for name, network in NETWORKS.items():
        state, loss = fit(network, known, args.minutes)
        num = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        losses = [recipe.measure(loss, state.ema_params, s) for s in (known, others)]
        cells = [
            f"{num:,}",
            f"{BATCH * int(state.step):,}",
            *map("{:.4f}".format, losses),
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def fit(network: hk.Transformed, strokes: pen_data.Strokes, minutes: float):
    """Returns the state of training after so many minutes, and the loss."""
    loss = recipe.make_loss(network, recipe.DESCRIPTION)
    optimizer = runs.make_optimizer(RATE)
    step = jdiff.make_train_step(loss, optimizer, 0.999)
    epoch = jdiff.make_epoch(step, BATCH, STEPS, recipe.draw_batch)
    num_style = recipe.NUM_CODES + models.NUM_QUALITIES
    condition = networks.Condition(jnp.zeros(1, jnp.int32), jnp.zeros((1, num_style)))
    x = jnp.zeros((1, POINTS, 3))
    params = jax.jit(network.init)(jax.random.key(0), x, jnp.zeros(1), condition)
    codes = jax.random.normal(
        jax.random.key(1), (strokes.writers.max() + 1, recipe.NUM_CODES)
    )
    params = dict(params) | {"hands": {"codes": 0.5 * codes}}
    state = jdiff.init_train_state(jax.random.key(2), params, optimizer)
    source = recipe.weigh(strokes)
    compiled = runs.compile_step(epoch, RATE)
    budget = runs.Budget(time.monotonic(), minutes)
    return runs.train(state, compiled, runs.Feed(lambda: source, BATCH), budget), loss


if __name__ == "__main__":
    run(main)
