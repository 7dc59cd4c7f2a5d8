"""Trains the class-conditional UNet that writes characters.

    python scripts/train_unet.py --data emnist/byclass --minutes 60 --out runs/emnist

The folder holds weights.safetensors (the moving average, for `jdiff write --weights`),
log.jsonl, TensorBoard events, a grid of samples and checkpoints. Ctrl-C stops with a
checkpoint; `--resume` goes on with the arguments that the run began with.
"""

import argparse
import functools
import json
import math
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tensorboardX import SummaryWriter
from tqdm import tqdm

import jdiff

STEPS_PER_LOG = 10  # one wait for the device in that many steps
WARM_UP = 0.02  # share of the run in which the learning rate rises


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", default="emnist/byclass", help="emnist/NAME, mnist, glyphs, FILE.npz")
    add("--data-dir", help="where the data set lies; otherwise JDIFF_DATA_DIR, cache")
    add("--out", type=Path, default=Path("runs/unet"), help="folder of the run")
    add("--minutes", type=float, default=60.0, help="the whole budget of the run")
    add("--steps", type=int, help="a number of steps instead of a budget")
    add("--save-minutes", type=float, default=5.0, help="time between checkpoints")
    add("--batch-size", type=int, default=64)
    add("--learning-rate", type=float, default=2e-3, help="at its highest")
    add("--ema-decay", type=float, default=0.999)
    add("--label-dropout", type=float, default=0.1)
    add("--num-channels", type=int, default=64, help="a multiple of 16")
    add("--num-blocks", type=int, default=1)
    add("--schedule", default="cosine", choices=jdiff.SCHEDULES)
    add("--num-steps", type=int, default=1000, help="T of the schedule")
    add("--prediction", default="v", choices=jdiff.PREDICTIONS)
    add("--seed", type=int, default=0)
    add("--start", help="weights to start from, of the same architecture and data")
    add("--resume", action="store_true", help="go on from the last checkpoint")
    args = parser.parse_args()
    try:
        return check_args(args)
    except ValueError as error:
        parser.error(str(error))


def check_args(args: argparse.Namespace) -> argparse.Namespace:
    """Returns the arguments, those of the first start if this is a resumed run."""
    record = args.out / "arguments.json"
    if args.resume:
        if not record.is_file():
            raise ValueError(f"no run to resume in {args.out}.")
        saved = json.loads(record.read_text())
        # A run may be made longer, and data may have moved; all else stays.
        for name in ("minutes", "steps", "data_dir", "save_minutes"):
            if f"--{name.replace('_', '-')}" in " ".join(sys.argv):
                saved[name] = getattr(args, name)
        return argparse.Namespace(**saved, out=args.out, resume=True)
    for name in ("minutes", "steps", "save_minutes", "batch_size", "learning_rate"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be > 0, got {value}.")
    if record.exists():
        raise ValueError(
            f"{args.out} holds a run: add --resume or choose another --out."
        )
    return args


def make_step(args, model, optimizer, data):
    """Returns the compiled step: (state, progress in [0, 1]) -> (state, metrics)."""
    loss_fn = jdiff.make_diffusion_loss(
        model.apply,
        model.schedule,
        model.prediction,
        null_label=len(model.chars),
        label_dropout=args.label_dropout,
    )
    train_step = jdiff.make_train_step(loss_fn, optimizer, args.ema_decay)

    # The data are an argument: closed over, they would be copied into the program.
    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, progress, data):
        rate = args.learning_rate * share_of_rate(progress)
        state.opt_state.hyperparams["learning_rate"] = rate
        key = jax.random.fold_in(jax.random.key(args.seed), state.step)
        return train_step(state, jdiff.draw_batch(key, data, args.batch_size))

    return lambda state, progress: step(state, np.float32(progress), data)


def share_of_rate(progress):
    """Returns the learning rate as a share of its highest: warm-up, then a cosine."""
    return jnp.minimum(progress / WARM_UP, 1.0) * (
        0.5 + 0.5 * jnp.cos(jnp.pi * progress)
    )


@optax.inject_hyperparams
def make_optimizer(learning_rate):
    adam = optax.adam(learning_rate, b2=0.99)
    return optax.chain(optax.clip_by_global_norm(1.0), adam)


def draw_classes(model: jdiff.Model):
    """Returns batches of samples: each class twice, as `jdiff write` would draw it."""
    labels = [k for k in range(len(model.chars)) for _ in range(2)]
    num_steps = min(10, len(model.schedule.alpha) - 1)
    return jdiff.generate(jax.random.key(0), model, labels, num_steps)


def sample_grid(model: jdiff.Model) -> np.ndarray:
    """Returns one picture of samples, grey ones dark on white."""
    batches = [jdiff.to_uint8(batch.x_0) for batch in draw_classes(model)]
    grid = jdiff.tile(np.concatenate(batches))
    return jdiff.on_paper(grid) if grid.ndim == 2 else grid


def describe(args: argparse.Namespace, dataset: jdiff.data.Dataset) -> dict:
    """Returns what `jdiff.build_model` needs to rebuild the model."""
    names = ("num_channels", "num_blocks", "schedule", "num_steps", "prediction")
    image_shape = list(dataset.images.shape[1:])
    facts = {name: getattr(args, name) for name in names}
    return facts | {"chars": dataset.chars, "image_shape": image_shape}


def start_weights(path: str, description: dict, params):
    """Returns the weights of a file, if they are of this architecture and data."""
    weights, facts = jdiff.load_weights(path)
    if facts != description:
        raise ValueError(f"{path} must be weights of {description}, got {facts}.")
    jdiff.checkpoints.check_params(weights, params, path)
    return jax.tree.map(jnp.asarray, weights)


def start(args, dataset, optimizer):
    """Returns (description, model, state, seconds): a fresh run or a resumed one."""
    description = describe(args, dataset)
    network = jdiff.make_unet(len(dataset.chars), args.num_channels, args.num_blocks)
    key_params, key_state = jax.random.split(jax.random.key(args.seed))
    params = jdiff.init_params(key_params, network, dataset.images.shape[1:])
    if args.start:
        params = start_weights(args.start, description, params)
    state = jdiff.init_train_state(key_state, params, optimizer)
    model = jdiff.build_model(description, params)
    draw_classes(model)  # if samples cannot be drawn, it says so now, not at the end
    checkpoints = args.out / "checkpoints"
    # A run that was killed before its first checkpoint begins again.
    if not any(path.name.isdigit() for path in checkpoints.glob("*")):
        return description, model, state, 0.0
    state, facts = jdiff.restore_state(checkpoints, state)
    return description, model, state, facts["seconds"]


def save(args, description, model, state, seconds, writer) -> None:
    """Writes checkpoint, weights and a grid of samples."""
    step = int(state.step)
    checkpoints = args.out / "checkpoints"
    jdiff.save_state(checkpoints, step, state, {"seconds": seconds})
    jdiff.save_weights(args.out / "weights.safetensors", state.ema_params, description)
    grid = sample_grid(model._replace(params=state.ema_params))
    jdiff.save_png(args.out / "samples.png", grid)
    writer.add_image("samples", grid, step, dataformats="HWC"[: grid.ndim])


def open_log(path: Path, step: int):
    """Opens the log; lines past the checkpoint that a run resumes from are dropped."""
    lines = path.read_text().splitlines() if path.exists() else []
    whole = [line for line in lines if line.endswith("}")]
    kept = [line for line in whole if json.loads(line)["step"] <= step]
    with jdiff.atomic_write(path) as draft:
        draft.write_text("".join(line + "\n" for line in kept))
    return open(path, "a", buffering=1)


def report(log, writer, bar, step: int, metrics: dict[str, float]) -> None:
    """Tells log, TensorBoard and terminal how the run is doing."""
    if not math.isfinite(metrics["loss"]):
        raise ValueError(
            f"the loss must be finite, got {metrics['loss']} at step {step}."
        )
    log.write(json.dumps({"step": step} | metrics) + "\n")
    for name, value in metrics.items():
        writer.add_scalar(name, value, step)
    text = "loss {loss:.4f}, {images_per_s:.0f} images/s"
    bar.set_postfix_str(text.format(**metrics))


def train(args, state, step, seconds, save_now, log, writer) -> None:
    """The loop: steps, a line of the log every few, a checkpoint every few minutes."""
    stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stop.append(number))
    done = int(state.step)
    began = time.monotonic() - seconds
    last_log = last_save = time.monotonic()
    bar_format = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"
    with tqdm(total=1.0, bar_format=bar_format) as bar:
        while not stop:
            seconds = time.monotonic() - began
            progress = done / args.steps if args.steps else seconds / 60 / args.minutes
            if progress >= 1.0:
                break
            state, metrics = step(state, progress)
            done += 1
            if done % STEPS_PER_LOG:
                continue
            metrics = {name: float(value) for name, value in metrics.items()}
            now = time.monotonic()
            metrics["images_per_s"] = args.batch_size * STEPS_PER_LOG / (now - last_log)
            bar.update(progress - bar.n)
            report(log, writer, bar, done, metrics)
            if now - last_save > 60 * args.save_minutes:
                save_now(state, seconds)
                last_save = time.monotonic()
            last_log = time.monotonic()
    save_now(state, seconds)


def main() -> None:
    began = time.monotonic()
    args = parse_args()
    dataset = jdiff.data.load(args.data, "train", args.data_dir)
    height, width, channels = dataset.images.shape[1:]
    if height % 4 or width % 4:
        raise ValueError(
            f"height and width must be divisible by 4, got {height} x {width}."
        )
    if channels not in (1, 3):
        raise ValueError(f"images must be grey or RGB, got {channels} channels.")
    optimizer = make_optimizer(args.learning_rate)
    description, model, state, seconds = start(args, dataset, optimizer)
    step = make_step(args, model, optimizer, jdiff.balance(*dataset[:2]))
    args.out.mkdir(parents=True, exist_ok=True)
    with jdiff.atomic_write(args.out / "arguments.json") as draft:
        saved = {k: v for k, v in vars(args).items() if k not in ("out", "resume")}
        draft.write_text(json.dumps(saved, indent=2))
    log = open_log(args.out / "log.jsonl", int(state.step))
    with log, SummaryWriter(str(args.out)) as writer:
        save_now = functools.partial(save, args, description, model)
        train(
            args,
            state,
            step,
            seconds + time.monotonic() - began,
            lambda state, seconds: save_now(state, seconds, writer),
            log,
            writer,
        )


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        sys.exit(2)
