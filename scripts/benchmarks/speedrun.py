"""How soon does the UNet draw characters that read well? One change at a time.

    python scripts/benchmarks/speedrun.py --minutes 5 --seeds 3 --out speedrun.json
    python scripts/benchmarks/speedrun.py --minutes 5 --only recipe Adam

Each run trains the network of `jdiff train unet` from scratch on emnist/byclass, for
equally many minutes after compilation, with one change of that recipe, and draws
characters unguided. The table has the share that the plain judge reads right (merged:
look-alikes as one), Fréchet distances by both judges, and recall; of several seeds the
mean. Real test images are the first row. Nothing else may run meanwhile.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from command import check_json, check_positive, header, make_parser, run, save_json

import jdiff
from jdiff import data, evaluation, models, networks, runs

NUM_CLASSES = len(data.EMNIST_CHARS)


class Recipe(NamedTuple):
    """How a UNet is trained; by default as `jdiff train unet` does it."""

    network: hk.Transformed = networks.make_unet(NUM_CLASSES, 64, 1)
    schedule: str = "cosine"
    prediction: str = "v"
    steps: Callable = jdiff.uniform_steps
    weight: Callable = jdiff.uniform_weight
    distance: Callable = jdiff.l2_loss
    optimizer: str = "muon"
    learning_rate: float = 2e-3
    batch_size: int = 64
    ema_decay: float = 0.999
    label_dropout: float = 0.1


UNET = Recipe().network
EDM = {
    "network": hk.Transformed(UNET.init, jdiff.precondition(UNET.apply)),
    "schedule": "karras",
    "prediction": "x_0",
    "steps": jdiff.log_normal_steps,
    "weight": jdiff.edm_weight,
}
CHANGES: dict[str, dict[str, Any]] = {
    "recipe": {},
    "Adam": {"optimizer": "adam"},
    "learning rate 1e-3": {"learning_rate": 1e-3},
    "learning rate 5e-3": {"learning_rate": 5e-3},
    "batch of 128": {"batch_size": 128, "learning_rate": 2.8e-3},
    "batch of 32": {"batch_size": 32, "learning_rate": 1.4e-3},
    "t logit-normal": {"steps": jdiff.logit_normal_steps},
    "t of low discrepancy": {"steps": jdiff.low_discrepancy_steps},
    "weight min-SNR": {"weight": jdiff.min_snr_weight},
    "x_0": {"prediction": "x_0"},
    "flow": {"schedule": "flow", "prediction": "flow"},
    "EDM": EDM,
    "Huber distance": {"distance": jdiff.huber_loss},
    "average 0.9995": {"ema_decay": 0.9995},
    "no label dropped": {"label_dropout": 0.0},
    "two blocks": {"network": networks.make_unet(NUM_CLASSES, 64, 2)},
    "wider by half": {"network": networks.make_unet(NUM_CLASSES, 96, 1)},
    "narrower by a quarter": {"network": networks.make_unet(NUM_CLASSES, 48, 1)},
    "bfloat16": {"network": networks.make_unet(NUM_CLASSES, 64, 1, dtype=jnp.bfloat16)},
}


def train(
    source: data.Source, recipe: Recipe, minutes: float, seed: int
) -> tuple[models.Model, int]:
    """Returns the model of averaged weights, and the number of images seen."""
    key_init, key_state = jax.random.split(jax.random.key(seed))
    params = models.init_params(key_init, recipe.network, source.image_shape)
    model = models.Model(
        recipe.network.apply,
        params,
        models.SCHEDULES[recipe.schedule](1000),
        models.PREDICTIONS[recipe.prediction],
        source.classes,
        source.image_shape,
    )
    loss = jdiff.make_diffusion_loss(
        model.apply,
        model.schedule,
        model.prediction,
        null_label=NUM_CLASSES,
        label_dropout=recipe.label_dropout,
        distance=recipe.distance,
        weight=recipe.weight,
        steps=recipe.steps,
    )
    optimizer = runs.make_optimizer(recipe.learning_rate, kind=recipe.optimizer)
    train_step = jdiff.make_train_step(loss, optimizer, recipe.ema_decay)

    def step(state, images):
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        return train_step(state, runs.draw_images(key, images, recipe.batch_size))

    state = jdiff.init_train_state(key_state, params, optimizer)
    feed = runs.make_feed(source, runs.devices.make_mesh(), recipe.batch_size, seed)
    compiled = runs.compile_step(step, recipe.learning_rate)
    state, _ = compiled(state, np.float32(0.0), feed.next_data())
    jax.block_until_ready(state)
    budget = runs.Budget(time.monotonic(), minutes)
    state = runs.train(state, compiled, feed, budget)
    num_images = recipe.batch_size * int(state.step)
    return model._replace(params=jax.device_get(state.ema_params)), num_images


class Yardstick(NamedTuple):
    """Real images, and what the judges make of them."""

    judges: dict[str, evaluation.Judge]
    reference: dict[str, np.ndarray]
    real: data.Dataset

    def measure(self, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Returns the figures of images, of the labels of the real ones."""
        readings = {
            name: evaluation.read_images(judge, images)
            for name, judge in self.judges.items()
        }
        pairs = {
            name: (reading.features, self.reference[name])
            for name, reading in readings.items()
        }
        chars = np.array(list(data.EMNIST_CHARS))[labels]
        read = evaluation.legibility(readings["plain"], chars)
        manifolds = evaluation.compare_manifolds(*pairs["plain"], num_resamples=0)
        figures = {
            "legible": read.strict.value,
            "merged": read.merged.value,
            "recall": manifolds.recall.value,
        }
        for name, pair in pairs.items():
            distance = evaluation.frechet_distance(*pair, num_resamples=0)
            figures[f"Fréchet, {name}"] = distance.value
        return figures


def make_yardstick(num: int, data_dir: str | None) -> Yardstick:
    """Returns the yardstick of so many images of each class."""
    splits = evaluation.reference_splits("emnist/byclass", data_dir)
    counts = dict.fromkeys(data.EMNIST_CHARS, num)
    reference, real = (
        data.select(split, evaluation.draw(split, counts, 0)) for split in splits
    )
    judges = evaluation.load_judges()
    features = {
        name: evaluation.read_images(judge, reference.images).features
        for name, judge in judges.items()
    }
    return Yardstick(judges, features, real)


COLUMNS = {
    "images": ",.0f",
    "legible": ".1%",
    "merged": ".1%",
    "Fréchet, patch": ".2f",
    "Fréchet, plain": ".2f",
    "recall": ".1%",
}


def row(name: str, figures: list[dict[str, float]]) -> str:
    """Returns a line of the table, with the mean of each figure."""
    cells = [
        format(np.mean([each[column] for each in figures]), spec)
        for column, spec in COLUMNS.items()
    ]
    return f"| {name} | {' | '.join(cells)} |"


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=5.0, help="of each run")
    add("--seeds", type=int, default=1, help="runs of each change")
    add("--only", nargs="+", choices=CHANGES, default=list(CHANGES), help="changes")
    add("--num", type=int, default=50, help="characters of each class to draw")
    add("--data-dir", help="with the data set's files; else it is downloaded")
    add("--out", type=Path, help="a JSON file for all figures")
    args = parser.parse_args(argv)
    check_positive(args, "seeds", "num")
    check_json(args.out)
    if not 0.0 < args.minutes < 1e6:
        raise ValueError(f"--minutes must be in (0, 1e6), got {args.minutes}.")
    source = data.open_source("emnist/byclass", "train", args.data_dir)
    yardstick = make_yardstick(args.num, args.data_dir)
    real = yardstick.real
    print(header("change", *COLUMNS))
    figures = {"real": [yardstick.measure(real.images, real.labels) | {"images": 0}]}
    print(row("real", figures["real"]), flush=True)
    for name in args.only:
        figures[name] = []
        for seed in range(args.seeds):
            recipe = Recipe(**CHANGES[name])
            model, num_images = train(source, recipe, args.minutes, seed)
            key = jax.random.key(seed)
            labels = np.repeat(np.arange(NUM_CLASSES), args.num)
            x_0 = jdiff.generate(key, model, labels, guidance=1.0).x_0
            images = jdiff.images.to_uint8(x_0)
            found = yardstick.measure(images, labels) | {"images": num_images}
            figures[name].append(found)
            save_json(args.out, figures)
        print(row(name, figures[name]), flush=True)


if __name__ == "__main__":
    run(main)
