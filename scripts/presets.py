"""How large the network of a run is, and what it computes in."""

import argparse
from collections.abc import Callable

import jax.numpy as jnp

import jdiff

# `jdiff.make_unet` says what the sizes mean. A preset is named by what it is in
# relation to the weights that ship, which are small.
PRESETS = {
    "small": {"num_channels": 64, "num_blocks": 1, "num_levels": 2},
    "base": {"num_channels": 128, "num_blocks": 2, "num_levels": 3},
    "large": {"num_channels": 256, "num_blocks": 3, "num_levels": 3},
}


def add_options(add: Callable) -> None:
    """Adds the options of the network to a parser, by its `add_argument`."""
    add("--preset", default="small", choices=PRESETS, help="sizes of the network")
    add("--num-channels", type=int, help="instead of the preset's; a multiple of 16")
    add("--num-blocks", type=int, help="instead of the preset's")
    add("--num-levels", type=int, help="instead of the preset's; 2 is down to a 1/4")
    add("--remat", action="store_true", help="less memory, a sixth more arithmetic")
    dtypes = ("float32", "bfloat16")
    add("--dtype", default="float32", choices=dtypes, help="of a step; not of weights")


def fill(args: argparse.Namespace) -> argparse.Namespace:
    """Returns the arguments with the preset's sizes where none are given.

    Raises:
        ValueError: no network has such a size.
    """
    given = {name: getattr(args, name) for name in PRESETS[args.preset]}
    given = {name: size for name, size in given.items() if size is not None}
    if not 1 <= given.get("num_levels", 1) <= 8:
        raise ValueError(f"num_levels must be in [1, 8], got {given['num_levels']}.")
    return argparse.Namespace(**vars(args) | PRESETS[args.preset] | given)


def make_network(args: argparse.Namespace, num_classes: int):
    """Returns the network that a run trains, as `jdiff.make_unet` does."""
    sizes = args.num_channels, args.num_blocks, args.num_levels
    return jdiff.networks.make_unet(
        num_classes, *sizes, args.remat, jnp.dtype(args.dtype)
    )


def for_steps(
    args: argparse.Namespace, model: jdiff.models.Model
) -> jdiff.models.Model:
    """Returns a model as steps compute it; samples are drawn as ever, in float32."""
    return model._replace(apply=make_network(args, len(model.classes)).apply)
