"""Trains the class-conditional UNet that writes characters.

    jdiff train unet --data emnist/byclass --minutes 60 --out runs/emnist
    jdiff write "Hello" --weights runs/emnist

The folder holds weights.safetensors (the moving average), log.jsonl, TensorBoard
events, samples.png and checkpoints. Ctrl-C and SIGTERM stop with a checkpoint;
`--resume` goes on with the arguments that the run began with. Every device takes part;
`--dry-run` prints what a run costs and writes nothing.
"""

import argparse
import functools
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from jdiff import data, losses, models, networks, runs, storage, training
from jdiff.recipes import options, pictures
from jdiff.runs import devices, processes

# `make_unet` says what the sizes mean. A preset is named by what it is in relation to
# the weights that ship, which are small.
PRESETS = {
    "small": {"num_channels": 64, "num_blocks": 1, "num_levels": 2},
    "base": {"num_channels": 128, "num_blocks": 2, "num_levels": 3},
    "large": {"num_channels": 256, "num_blocks": 3, "num_levels": 3},
}
NUM_NOISE_LEVELS = 8  # whose losses are logged apart


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this recipe."""
    add = parser.add_argument
    options.add_data_options(parser)
    add("--skip-broken", action="store_true", help="leave out a folder's broken files")
    options.add_run_options(parser, "runs/unet", 64, 2e-3)
    add("--accumulate", type=int, default=1, help="batches to an update of the weights")
    add("--preset", default="small", choices=PRESETS, help="sizes of the network")
    add("--num-channels", type=int, help="instead of the preset's; a multiple of 16")
    add("--num-blocks", type=int, help="instead of the preset's")
    add("--num-levels", type=int, help="instead of the preset's; 2 is down to a 1/4")
    add("--remat", action="store_true", help="less memory, a sixth more arithmetic")
    add("--optimizer", default="muon", choices=runs.OPTIMIZERS)
    dtypes = ("float32", "bfloat16")
    add("--dtype", default="float32", choices=dtypes, help="of a step; not of weights")
    options.add_diffusion_options(parser)
    add("--start", help="weights to start from, of the same architecture and data")
    add("--shard-parameters", action="store_true", help="cut weights between devices")
    add("--dry-run", action="store_true", help="print memory and time; write nothing")
    add("--coordinator", metavar="HOST:PORT", help="where process 0 of several listens")
    add("--num-processes", type=int, help="how many there are; a cluster tells")
    add("--process-id", type=int, help="0 .. NUM_PROCESSES - 1; a cluster tells")


def check(args: argparse.Namespace) -> argparse.Namespace:
    """Returns the arguments of a run, with the preset's sizes where none are given.

    Raises:
        ValueError: a number is outside its range; see `options.check_run`.
    """
    for name, size in PRESETS[args.preset].items():
        if getattr(args, name) is None:
            setattr(args, name, size)
    if not 1 <= args.num_levels <= 8:
        raise ValueError(f"num_levels must be in [1, 8], got {args.num_levels}.")
    return options.check_run(args, 60.0, "accumulate")


def open_source(args: argparse.Namespace) -> data.Source:
    """Returns the data set of a run.

    Raises:
        DataError: it is missing or broken.
        ValueError: the UNet does not take its images.
    """
    source = data.open_source(args.data, "train", args.data_dir, args.skip_broken)
    height, width, channels = source.image_shape
    divisor = 2**args.num_levels
    if height % divisor or width % divisor:
        raise ValueError(
            f"height and width must be divisible by {divisor}, for {args.num_levels} "
            f"levels, got {height} x {width}."
        )
    if channels not in (1, 3):
        raise ValueError(f"images must be grey or RGB, got {channels} channels.")
    return source


def describe(args: argparse.Namespace, source: data.Source) -> dict[str, Any]:
    """Returns what `models.build_model` needs to rebuild the model."""
    names = ["num_channels", "num_blocks", "num_levels"]
    names += ["schedule", "num_steps", "prediction"]
    description = {name: getattr(args, name) for name in names}
    description |= options.describe_guidance(args)
    # A list, as it will be once it is read from JSON.
    chars = source.classes if isinstance(source.classes, str) else list(source.classes)
    return description | {"chars": chars, "image_shape": list(source.image_shape)}


def make_network(args: argparse.Namespace, num_classes: int) -> hk.Transformed:
    """Returns the network that a run trains."""
    sizes = args.num_channels, args.num_blocks, args.num_levels
    dtype = jnp.dtype(args.dtype)
    return networks.make_unet(num_classes, *sizes, args.remat, dtype)


def init_model(args: argparse.Namespace, description: dict[str, Any]) -> models.Model:
    """Returns the model before the first step: fresh, or with the weights of --start.

    Raises:
        ValueError: no samples can be drawn from it, or the weights are of another one.
    """
    key, _ = jax.random.split(jax.random.key(args.seed))
    network = make_network(args, len(description["chars"]))
    params = models.init_params(key, network, description["image_shape"])
    if args.start:
        params = load_start(args.start, description, params)
    model = models.build_model(description, jax.device_get(params))
    pictures.draw_classes(model)
    return model


def load_start(path: str, description: dict[str, Any], params: Any) -> Any:
    """Returns the weights of a file, if they are of this architecture and data."""
    weights, found = storage.load_weights(path)
    # How samples are drawn does not matter, and older files lack a number of levels.
    drawing = {k: v for k, v in description.items() if k.startswith("guidance")}
    if {"num_levels": 2} | found | drawing != description:
        raise ValueError(f"{path} must be weights of {description}, got {found}.")
    storage.check_params(weights, params, path)
    return weights


def init_state(
    args: argparse.Namespace, params: Any, optimizer: Any, mesh: jax.sharding.Mesh
) -> training.TrainState:
    """Returns the state before the first step, laid out on the devices."""
    _, key = jax.random.split(jax.random.key(args.seed))
    shard = functools.partial(
        devices.shard, mesh=mesh, shard_parameters=args.shard_parameters
    )
    # In pieces, if so wished, before the optimizer makes copies of their size.
    return shard(training.init_train_state(key, shard(params), optimizer))


def make_step(
    args: argparse.Namespace,
    model: models.Model,
    optimizer: Any,
    state: training.TrainState,
) -> runs.Step:
    """Returns the compiled step: (state, progress in [0, 1], data) -> (state, metrics).

    The state keeps its layout. A batch is drawn as on one device and then cut, so it is
    the same on any number of them; weights are put together where they are used.
    """
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    mesh = shardings.step.mesh
    whole = devices.replicated(mesh)
    diffusion_loss = losses.make_diffusion_loss(
        make_network(args, len(model.classes)).apply,
        model.schedule,
        model.prediction,
        null_label=len(model.classes),
        label_dropout=args.label_dropout,
        num_noise_levels=NUM_NOISE_LEVELS,
    )

    def loss_fn(params, *rest):
        return diffusion_loss(jax.lax.with_sharding_constraint(params, whole), *rest)

    train_step = training.make_train_step(loss_fn, optimizer, args.ema_decay)

    def step(state, images):
        key = jax.random.fold_in(jax.random.key(args.seed), state.step)
        batch = runs.draw_images(key, images, args.batch_size)
        batch = jax.lax.with_sharding_constraint(batch, devices.by_example(mesh))
        if args.accumulate > 1:
            return devices.step_of_several(train_step, state, batch, args.accumulate)
        return train_step(state, batch)

    layout = {"out_shardings": (shardings, whole)}
    return runs.compile_step(step, args.learning_rate, **layout)


def run(args: argparse.Namespace) -> None:
    """Trains, or prints what that costs."""
    args = check(args)
    budget = options.start_budget(args)
    processes.join(args.coordinator, args.num_processes, args.process_id)
    devices.check_batch_size(args.batch_size, jax.device_count())
    source, mesh = open_source(args), devices.make_mesh()
    description = describe(args, source)
    model = init_model(args, description)
    optimizer = runs.make_optimizer(args.learning_rate, kind=args.optimizer)
    optimizer = devices.accumulate_gradients(optimizer, args.accumulate)
    state = init_state(args, model.params, optimizer, mesh)
    state, progress = runs.restore(args.out, state)
    feed = runs.make_feed(source, mesh, args.batch_size, args.seed, progress.position)
    step = make_step(args, model, optimizer, state)
    if args.dry_run:
        sizes = source.num_images, args.batch_size, mesh.size
        cost = devices.estimate_cost(step, state, feed.next_data(), *sizes)
        cost += "\n" + runs.estimate_speed(feed)
        return print(cost) if processes.is_first() else None
    options.save_arguments(args)
    result = pictures.result_of(model, description)
    runs.run(args.out, state, step, feed, budget, progress, result)
