"""What a step would cost on devices that are not here, from its compiled program.

    python scripts/benchmarks/plan.py --preset base --devices 1 8 64

The step of `jdiff train unet`, which takes all other options, is compiled for virtual
devices of a CPU and never run; nothing is allocated. Prints a table in Markdown.
"""

import argparse
import math
import os
import re
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
from command import check_positive, header, make_parser, run

import jdiff
from jdiff import runs
from jdiff.recipes import unet
from jdiff.runs import devices

CHARS = "0123456789"
IMAGES = {"small": (28, 28, 1), "base": (32, 32, 3), "large": (64, 64, 3)}
# It is compilation that takes the time, and the program is never run.
HASTE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
# Bytes that each of n devices sends in a ring, in bytes of the operation's result.
RING = {
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: n - 1,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1.0,
}
COLUMNS = "devices", "weights", "GFLOP", "state, MB", "temporary, MB", "sent, MB"


class Cost(NamedTuple):
    """What a step takes of each device: FLOPs and bytes."""

    flops: float
    arguments: int
    temporaries: int
    sent: float


def bytes_sent(program: str, num_devices: int) -> float:
    """Returns the bytes that a device sends in a compiled program, with ring exchanges.

    The program is XLA's text for one of the devices, without loops.
    """
    total = 0.0
    for shapes, name in re.findall(rf"= (.*?) ({'|'.join(RING)})\(", program):
        for bits, sizes in re.findall(r"[a-z]+(\d+)\[([\d,]*)\]", shapes):
            numbers = math.prod(int(size) for size in sizes.split(",") if size)
            total += RING[name](num_devices) * numbers * int(bits) / 8
    return total


def lower(args: argparse.Namespace, num_devices: int):
    """Returns the step of a run, not yet compiled."""
    mesh = devices.make_mesh(jax.devices()[:num_devices])
    image_shape = IMAGES[args.preset]
    source = argparse.Namespace(classes=CHARS, image_shape=image_shape)
    network = unet.make_network(args, len(CHARS))
    optimizer = runs.make_optimizer(args.learning_rate)

    def init(key):
        params = jdiff.models.init_params(key, network, image_shape)
        return jdiff.init_train_state(key, params, optimizer)

    def laid_out(leaf, sharding):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    state = jax.eval_shape(init, jax.random.key(0))
    shardings = devices.layout(state, mesh, args.shard_parameters)
    state = jax.tree.map(laid_out, state, shardings)
    image = jax.ShapeDtypeStruct((args.batch_size, *image_shape), jnp.uint8)
    label = jax.ShapeDtypeStruct((args.batch_size,), jnp.int32)
    cut = devices.by_example(mesh)
    batch = jdiff.Batch(laid_out(image, cut), laid_out(label, cut))
    model = jdiff.models.build_model(unet.describe(args, source), None)
    step = unet.make_step(args, model, optimizer, state)
    # Accelerators convolve in the plain way.
    with mock.patch("jdiff.networks.layers.MIN_CHANNELS", math.inf):
        return step.lower(state, jnp.float32(0.0), batch)


def cost_of(lowered, num_devices: int) -> Cost:
    """Returns what a step costs each of the devices."""
    compiled = lowered.compile(compiler_options=HASTE)
    flops, _ = devices.cost_of(compiled)
    memory = compiled.memory_analysis()
    sent = bytes_sent(compiled.as_text(), num_devices)
    sizes = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    return Cost(flops or math.nan, *sizes, sent)


def arguments_of(options: list[str], num_devices: int, num_images: int):
    """Yields arguments of `jdiff train unet`: in copies and, of several, in pieces."""
    batch = ["--batch-size", str(num_devices * num_images), "--out", os.devnull]
    for layout in ([], ["--shard-parameters"])[: min(num_devices, 2)]:
        parser = argparse.ArgumentParser(allow_abbrev=False)
        unet.add_options(parser)
        args = unet.check(parser.parse_args([*options, *batch, *layout]))
        if args.accumulate > 1:
            raise ValueError(f"accumulate must be 1, got {args.accumulate}.")
        yield args


def main(argv=None) -> None:
    parser = make_parser(__doc__)
    parser.allow_abbrev = False  # all else is for the run
    numbers = [1, 8, 64]
    parser.add_argument("--devices", type=int, nargs="+", default=numbers)
    parser.add_argument("--images", type=int, default=64, help="on each device")
    plan, options = parser.parse_known_args(argv)
    check_positive(plan, "devices", "images")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(plan.devices))
    # All of them before the first is compiled, so that an error comes at once.
    steps = [
        (num_devices, args, lower(args, num_devices))
        for num_devices in plan.devices
        for args in arguments_of(options, num_devices, plan.images)
    ]
    print(header(*COLUMNS))
    for num_devices, args, lowered in steps:
        cost = cost_of(lowered, num_devices)
        megabytes = (f"{size / 1e6:,.1f}" for size in cost[1:])
        where = "in pieces" if args.shard_parameters else "copies"
        row = num_devices, where, f"{cost.flops / 1e9:,.1f}", *megabytes
        print("|", " | ".join(map(str, row)), "|", flush=True)


if __name__ == "__main__":
    run(main)
