"""Options that recipes share, and what they check before any work."""

import argparse
import importlib
import math
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from jdiff import models, runs

DATA = "emnist/NAME, mnist, ascii, glyphs, FILE.npz, folder:PATH, tfds:NAME[/CONFIG]"
# What belongs to one command, not to the run.
_OWN = {"command", "recipe", "run", "typed", "out", "resume", "dry_run"}
_OWN |= {"coordinator", "num_processes", "process_id"}
# The scale of guidance that samples are drawn with by default, and the share of all
# steps that it exaggerates: chosen by `jdiff evaluate`.
_GUIDANCE, _GUIDED = 2.0, 0.9
# What may be given anew when a run goes on, and its default.
_RENEWABLE = {"steps": None, "data_dir": None, "save_minutes": 5.0}
# More would only fill the memory. Other ints have 32 bits, other floats are finite.
_MOST = {"batch_size": 2**16, "num_blocks": 64, "num_layers": 256, "num_levels": 8}
_MOST |= {"num_channels": 2**12, "num_features": 2**14, "num_latents": 2**14}
_MOST |= {"num_conditions": 2**14, "accumulate": 2**16, "paths": 2**16}
_MOST |= {"num_points": 10**8, "num_samples": 10**7, "seed": 2**32 - 1}
_MOST |= {"guidance": 1000}


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name a data set."""
    add = parser.add_argument
    add("--data", default="emnist/byclass", help=DATA)
    add("--data-dir", help="where the data set lies; otherwise JDIFF_DATA_DIR, cache")


def add_run_options(
    parser: argparse.ArgumentParser, out: str, batch_size: int, learning_rate: float
) -> None:
    """Adds the options of a run in a folder."""
    add = parser.add_argument
    add("--out", type=Path, default=Path(out), help="folder of the run")
    add("--minutes", type=float, help="the whole budget of the run")
    add("--steps", type=int, help="a number of steps instead of a budget")
    add("--save-minutes", type=float, help="time between checkpoints; 5")
    add("--batch-size", type=int, default=batch_size, help="on all devices together")
    add("--learning-rate", type=float, default=learning_rate, help="at its highest")
    add("--ema-decay", type=float, default=0.999)
    add("--seed", type=int, default=0)
    add("--resume", action="store_true", help="go on from the last checkpoint")


def add_diffusion_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the path from data to noise, and of what is predicted."""
    add = parser.add_argument
    add("--label-dropout", type=float, default=0.1)
    add("--schedule", default="cosine", choices=models.SCHEDULES)
    add("--num-steps", type=int, default=1000, help="T of the schedule")
    add("--prediction", default="v", choices=models.PREDICTIONS)


def describe_guidance(args: argparse.Namespace) -> dict[str, Any]:
    """Returns what a weights file says of guidance."""
    last = round(_GUIDED * args.num_steps)
    return {"guidance": _GUIDANCE, "guidance_last": last}


def check_run(
    args: argparse.Namespace, minutes: float, *positive: str
) -> argparse.Namespace:
    """Returns the arguments of a run, those of its first start if it is resumed.

    Refused are numbers outside their range, a folder that holds a run which is not to
    be resumed, or none that is.
    """
    defaults = _RENEWABLE | {"minutes": minutes}
    given = {k: v for k, v in vars(args).items() if k not in defaults or v is not None}
    if args.resume:
        # A run may be made longer, and data may have moved; all else stays.
        new = {name: given[name] for name in defaults if name in given}
        began_with = _first_arguments(args)
        for name in sorted(args.typed & began_with.keys() - defaults.keys()):
            if given[name] != began_with[name]:
                raise ValueError(
                    f"{name} of a run that goes on must be what it began with, "
                    f"{began_with[name]}, got {given[name]}."
                )
        given |= began_with | new
    args = argparse.Namespace(**defaults | given)
    names = ("minutes", "steps", "save_minutes", "batch_size", "learning_rate")
    check_numbers(args, *names, *positive)
    if args.out.suffix == ".safetensors":
        raise ValueError(f"out must be a folder, got {args.out}.")
    if not args.resume and (args.out / runs.log.ARGUMENTS).exists():
        raise ValueError(
            f"{args.out} holds a run: add --resume or choose another --out."
        )
    return args


def check_numbers(args: argparse.Namespace, *positive: str) -> None:
    """Raises a ValueError for a number that is not finite, too large, or not > 0."""
    for name, value in vars(args).items():
        for number in value if isinstance(value, list) else [value]:
            # A process_id is one of num_processes, which `processes.join` checks.
            if not isinstance(number, int | float) or name == "process_id":
                continue
            if name in positive and not 0 < number < math.inf:
                raise ValueError(f"{name} must be > 0, got {number}.")
            is_int = isinstance(number, int)
            most = _MOST.get(name, 2**31 - 1 if is_int else sys.float_info.max)
            least = 0 if is_int else -most
            if not least <= number <= most:
                raise ValueError(f"{name} must be in [{least}, {most}], got {number}.")


class _StoredArguments(argparse.ArgumentParser):
    """Parses the arguments that a run has stored."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.prog} must hold arguments of this recipe: {message}.")


def _first_arguments(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the arguments with which a run began, checked like a command line."""
    path = args.out / runs.log.ARGUMENTS
    parser = _StoredArguments(prog=str(path), allow_abbrev=False)
    importlib.import_module(f"jdiff.recipes.{args.recipe}").add_options(parser)
    argv: list[str] = []
    before_muon = {"optimizer": "adam"}
    for name, value in (before_muon | runs.log.read_arguments(args.out)).items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, list):
            argv += [flag, *map(str, value)]
        elif value is True:
            argv.append(flag)
        elif value is not None and value is not False:
            argv.append(f"{flag}={value}")
    found, _ = parser.parse_known_args(argv)
    return {name: v for name, v in vars(found).items() if name not in _OWN}


def save_arguments(args: argparse.Namespace) -> None:
    """Writes what `--resume` needs to know of a run."""
    kept = {name: value for name, value in vars(args).items() if name not in _OWN}
    kept = {name: str(v) if isinstance(v, Path) else v for name, v in kept.items()}
    runs.log.save_arguments(args.out, kept)


def start_budget(args: argparse.Namespace) -> runs.Budget:
    """Returns the budget of a run whose clock starts now."""
    return runs.Budget(time.monotonic(), args.minutes, args.steps, args.save_minutes)
