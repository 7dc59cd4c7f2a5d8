"""Trains the class-conditional UNet that writes characters.

    python scripts/train_unet.py --data emnist/byclass --minutes 60 --out runs/emnist

The folder holds weights.safetensors (the moving average, for `jdiff write --weights`),
log.jsonl, TensorBoard events, a grid of samples and checkpoints. Ctrl-C and SIGTERM
stop with a checkpoint; `--resume` goes on with the arguments that the run began with.
Every device takes part; `--dry-run` tells what a run costs and writes nothing.
"""

import argparse
import functools
import json
import math
import sys
import time
from pathlib import Path

import feed as feeds
import jax
import jax.numpy as jnp
import numpy as np
import optax
import presets
import processes
import records
import scale
from tqdm import tqdm

import jdiff

STEPS_PER_LOG = 10  # one wait for the device in that many steps
WARM_UP = 0.02  # share of the run in which the learning rate rises


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", default="emnist/byclass", help=feeds.KINDS)
    add("--data-dir", help="where the data set lies; otherwise JDIFF_DATA_DIR, cache")
    add("--skip-broken", action="store_true", help="leave out a folder's broken files")
    add("--out", type=Path, default=Path("runs/unet"), help="folder of the run")
    add("--minutes", type=float, default=60.0, help="the whole budget of the run")
    add("--steps", type=int, help="a number of steps instead of a budget")
    add("--save-minutes", type=float, default=5.0, help="time between checkpoints")
    add("--batch-size", type=int, default=64, help="of a step, on all devices together")
    add("--accumulate", type=int, default=1, help="batches to an update of the weights")
    add("--learning-rate", type=float, default=2e-3, help="at its highest")
    add("--ema-decay", type=float, default=0.999)
    add("--label-dropout", type=float, default=0.1)
    presets.add_options(add)
    add("--schedule", default="cosine", choices=jdiff.models.SCHEDULES)
    add("--num-steps", type=int, default=1000, help="T of the schedule")
    add("--prediction", default="v", choices=jdiff.models.PREDICTIONS)
    add("--seed", type=int, default=0)
    add("--start", help="weights to start from, of the same architecture and data")
    add("--shard-parameters", action="store_true", help="cut weights between devices")
    add("--resume", action="store_true", help="go on from the last checkpoint")
    add("--dry-run", action="store_true", help="print memory and time; write nothing")
    processes.add_options(add)
    args = parser.parse_args(argv)
    try:
        args = check_args(presets.fill(args))
        processes.meet(args.coordinator, args.num_processes, args.process_id)
        scale.check_batch_size(args.batch_size, jax.device_count())
        return args
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
        # What a run of an older version does not know has its default.
        return argparse.Namespace(**vars(args) | saved)
    names = ("minutes", "steps", "save_minutes", "batch_size", "learning_rate")
    for name in (*names, "accumulate"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be > 0, got {value}.")
    if record.exists():
        raise ValueError(
            f"{args.out} holds a run: add --resume or choose another --out."
        )
    return args


def make_step(args, model, optimizer, state):
    """Returns the compiled step: (state, progress in [0, 1], data) -> (state, metrics).

    The state keeps its layout. A batch is drawn as on one device and then cut, so it is
    the same on any number of them; weights are put together where they are used.
    """
    shardings = scale.shardings_of(state)
    mesh = shardings.step.mesh
    whole = scale.replicated(mesh)
    diffusion_loss = jdiff.make_diffusion_loss(
        model.apply,
        model.schedule,
        model.prediction,
        null_label=len(model.classes),
        label_dropout=args.label_dropout,
        num_levels=records.NUM_LEVELS,
    )

    def loss_fn(params, *rest):
        return diffusion_loss(jax.lax.with_sharding_constraint(params, whole), *rest)

    train_step = jdiff.make_train_step(loss_fn, optimizer, args.ema_decay)

    # The data are an argument: closed over, they would be copied into the program.
    @functools.partial(jax.jit, donate_argnums=0, out_shardings=(shardings, whole))
    def step(state, progress, data):
        rate = args.learning_rate * share_of_rate(progress)
        several = args.accumulate > 1
        opt_state = state.opt_state.inner_opt_state if several else state.opt_state
        opt_state.hyperparams["learning_rate"] = rate
        key = jax.random.fold_in(jax.random.key(args.seed), state.step)
        batch = feeds.draw(key, data, args.batch_size)
        batch = jax.lax.with_sharding_constraint(batch, scale.by_example(mesh))
        if several:
            return scale.accumulate(train_step, state, batch, args.accumulate)
        return train_step(state, batch)

    return step


def share_of_rate(progress):
    """Returns the learning rate as a share of its highest: warm-up, then a cosine."""
    warm_up = jnp.minimum(progress / WARM_UP, 1.0)
    return warm_up * (0.5 + 0.5 * jnp.cos(jnp.pi * progress))


@optax.inject_hyperparams
def make_optimizer(learning_rate):
    adam = optax.adam(learning_rate, b2=0.99)
    return optax.chain(optax.clip_by_global_norm(1.0), adam)


def start(args, source, optimizer, mesh):
    """Returns (description, model, state, facts): a fresh run or a resumed one."""
    place = functools.partial(
        scale.place, mesh=mesh, shard_parameters=args.shard_parameters
    )
    description = records.describe(args, source)
    network = presets.make_network(args, len(source.classes))
    key_params, key_state = jax.random.split(jax.random.key(args.seed))
    params = jdiff.models.init_params(key_params, network, source.image_shape)
    if args.start:
        params = records.start_weights(args.start, description, params)
    model = jdiff.models.build_model(description, jax.device_get(params))
    # In pieces, if so wished, before the optimizer makes copies of their size.
    state = place(jdiff.init_train_state(key_state, place(params), optimizer))
    # If samples cannot be drawn, it says so now, not at the end.
    records.draw_classes(model)
    checkpoints = args.out / "checkpoints"
    # A run that was killed before its first checkpoint begins again.
    if not any(path.name.isdigit() for path in checkpoints.glob("*")):
        return description, model, state, {"seconds": 0.0, "loss": None}
    state, facts = jdiff.storage.restore_checkpoint(checkpoints, state)
    return description, model, state, {"loss": None} | facts  # older ones lack it


def train(args, state, step, facts, save_now, log, writer) -> None:
    """The loop: steps, a line of the log every few, a checkpoint every few minutes."""
    stop = processes.catch_signals()
    done = start = int(state.step)
    recent: list[dict] = []  # metrics that are still on the device
    loss, (_, seconds) = facts["loss"], processes.decide(stop, facts["seconds"])
    last_log, last_save = time.monotonic(), seconds
    began = last_log - seconds
    # Several processes have to wait for each other to decide anything.
    every = 1 if jax.process_count() == 1 else STEPS_PER_LOG
    bar_format = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"
    with tqdm(total=1, bar_format=bar_format, disable=not processes.is_first()) as bar:
        while True:
            if (done - start) % every == 0:
                is_over, seconds = processes.decide(stop, time.monotonic() - began)
            progress = done / args.steps if args.steps else seconds / 60 / args.minutes
            if is_over or progress >= 1.0:
                break
            state, metrics = step(state, progress)
            done += 1
            recent.append(metrics)
            if done % STEPS_PER_LOG:
                continue
            fetched = records.fetch(recent, done)
            loss, metrics = records.smooth(loss, fetched), fetched[-1]
            recent.clear()
            now = time.monotonic()
            metrics["images_per_s"] = args.batch_size * STEPS_PER_LOG / (now - last_log)
            bar.update(progress - bar.n)
            records.report(log, writer, bar, done, metrics)
            if seconds - last_save > 60 * args.save_minutes:
                save_now(state, {"seconds": seconds, "loss": loss})
                last_save = seconds
            last_log = time.monotonic()
    records.fetch(recent, done)
    save_now(state, {"seconds": seconds, "loss": loss})


def main() -> None:
    began = time.monotonic()
    args = parse_args()
    source = feeds.open_source(args)
    optimizer = scale.once_in(args.accumulate, make_optimizer(args.learning_rate))
    mesh = scale.make_mesh()
    description, model, state, facts = start(args, source, optimizer, mesh)
    feed = feeds.make_feed(args, source, mesh, facts.get("position"))
    step = make_step(args, presets.for_steps(args, model), optimizer, state)
    if args.dry_run:
        sizes = source.num_images, args.batch_size, mesh.size
        cost = scale.rehearse(step, state, feed.next_data(), *sizes)
        cost += "\n" + feeds.rehearse(feed, args.batch_size)
        return print(cost) if processes.is_first() else None
    records.save_arguments(args)
    with (  # what is left last has the last word when a disk is full
        jdiff.storage.open_checkpoints(
            args.out / "checkpoints", int(state.step)
        ) as keep,
        records.open_log(args.out, int(state.step)) as log,
        records.open_events(args.out) as writer,
        processes.until_one_is_lost(),
    ):
        save = functools.partial(records.save, args, description, model, writer, keep)
        train(
            args,
            state,
            lambda state, progress: step(state, np.float32(progress), feed.next_data()),
            facts | {"seconds": facts["seconds"] + time.monotonic() - began},
            lambda state, facts: save(state, facts | {"position": feed.position()}),
            log,
            writer,
        )


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        sys.exit(2)
