"""How soon does the UNet draw characters that read well? One change at a time.

    python scripts/benchmarks/speedrun.py --minutes 5 --seeds 3 --out speedrun.json
    python scripts/benchmarks/speedrun.py --minutes 5 --only recipe Muon

Each run trains the network of `jdiff train unet` from scratch on emnist/byclass, for
equally many minutes after compilation, with one change of that recipe, and draws
characters unguided. The table has the share that the plain judge reads right (merged:
look-alikes as one), Fréchet distances by both judges, and recall; of several seeds the
mean. Real test images are the first row. Nothing else may run meanwhile.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from command import check_json, check_positive, header, make_parser, run, save_json

import jdiff
from jdiff import data, evaluation, losses, models, networks, runs

NUM_CLASSES = len(data.EMNIST_CHARS)
JUDGES = ("patch", "plain")


class Recipe(NamedTuple):
    """How a UNet is trained; by default as `jdiff train unet` does it."""

    network: hk.Transformed = networks.make_unet(NUM_CLASSES, 64, 1)
    prediction: str = "v"
    schedule: str = "cosine"
    weight: losses.Weight = losses.uniform_weight
    steps: losses.DrawSteps = losses.uniform_steps
    distance: losses.Distance = losses.l2_loss
    optimizer: str = "muon"
    learning_rate: float = 2e-3
    batch_size: int = 64
    ema_decay: float = 0.999
    label_dropout: float = 0.1


CHANGES: dict[str, dict[str, Any]] = {
    "recipe": {},
    "Muon": {"optimizer": make_muon},
    "Muon, rate 5e-3": {"optimizer": make_muon, "learning_rate": 5e-3},
    "Muon, batch of 128": {"optimizer": make_muon, "batch_size": 128},
    "Muon, batch of 128, rate 4e-3": {"optimizer": make_muon, "batch_size": 128, "learning_rate": 4e-3},
    "Muon, logit-normal": {"optimizer": make_muon, "steps": losses.logit_normal_steps},
    "batch of 128": {"batch_size": 128, "learning_rate": 2.8e-3},
    "t logit-normal": {"steps": losses.logit_normal_steps},
    "weight min-SNR": {"weight": losses.min_snr_weight},
    "prediction x_0": {"prediction": "x_0"},
    "path of flow matching": {"schedule": "flow", "prediction": "flow"},
    "two blocks": {"network": networks.make_unet(NUM_CLASSES, 64, 2)},
    "wider by half": {"network": networks.make_unet(NUM_CLASSES, 96, 1)},
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
    loss = losses.make_diffusion_loss(
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
        figures = {}
        chars = np.array(list(data.EMNIST_CHARS))[labels]
        for name, judge in self.judges.items():
            reading = evaluation.read_images(judge, images)
            pair = reading.features, self.reference[name]
            figures[f"frechet_{name}"] = evaluation.frechet_distance(*pair, 0, 0).value
        read = evaluation.legibility(reading, chars, 0)
        figures["legible"] = read.strict.value
        figures["merged"] = read.merged.value
        manifolds = evaluation.compare_manifolds(*pair, 0, 0)
        figures["recall"] = manifolds.recall.value
        return figures


def make_yardstick(num: int, data_dir: str | None) -> Yardstick:
    """Returns the yardstick of so many images of each class."""
    splits = evaluation.reference_splits("emnist/byclass", data_dir)
    counts = dict.fromkeys(data.EMNIST_CHARS, num)
    reference, real = (
        data.select(split, evaluation.draw(split, counts, 0)) for split in splits
    )
    judges = {name: evaluation.load_judge(name) for name in JUDGES}
    features = {
        name: evaluation.read_images(judge, reference.images).features
        for name, judge in judges.items()
    }
    return Yardstick(judges, features, real)


COLUMNS = {
    "images": ",.0f",
    "legible": ".1%",
    "merged": ".1%",
    "frechet_patch": ".2f",
    "frechet_plain": ".2f",
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
