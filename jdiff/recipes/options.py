"""Options that recipes share, and what they check before any work."""

import argparse
import math
import time
from pathlib import Path

from jdiff import models, runs

DATA = "emnist/NAME, mnist, ascii, glyphs, FILE.npz, folder:PATH, tfds:NAME[/CONFIG]"
# What belongs to one command, not to the run.
_OWN = {"command", "recipe", "run", "out", "resume", "dry_run"}
_OWN |= {"coordinator", "num_processes", "process_id"}
# What may be given anew when a run goes on, and its default.
_RENEWABLE = {"steps": None, "data_dir": None, "save_minutes": 5.0}


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


def check_run(
    args: argparse.Namespace, minutes: float, *positive: str
) -> argparse.Namespace:
    """Returns the arguments of a run, those of its first start if it is resumed.

    Args:
        args: as parsed.
        minutes: the budget, if none is given.
        positive: names of options that must be > 0, besides those of every run.

    Raises:
        ValueError: a number is outside its range, the folder holds a run that is not
            to be resumed, or none that is.
    """
    defaults = _RENEWABLE | {"minutes": minutes}
    given = {k: v for k, v in vars(args).items() if k not in defaults or v is not None}
    if args.resume:
        # A run may be made longer, and data may have moved; all else stays. What a run
        # of an older version does not know has its default.
        new = {name: given[name] for name in defaults if name in given}
        given |= runs.log.read_arguments(args.out) | new
    args = argparse.Namespace(**defaults | given)
    check_positive(args, "minutes", "steps", "save_minutes", "batch_size")
    check_positive(args, "learning_rate", *positive)
    if args.seed < 0:
        raise ValueError(f"seed must be >= 0, got {args.seed}.")
    if args.out.suffix == ".safetensors":
        raise ValueError(f"out must be a folder, got {args.out}.")
    if not args.resume and (args.out / runs.log.ARGUMENTS).exists():
        raise ValueError(
            f"{args.out} holds a run: add --resume or choose another --out."
        )
    return args


def check_positive(args: argparse.Namespace, *names: str) -> None:
    """Raises a ValueError unless all these options are > 0, finite or not given."""
    for name in names:
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be > 0, got {value}.")


def save_arguments(args: argparse.Namespace) -> None:
    """Writes what `--resume` needs to know of a run."""
    kept = {name: value for name, value in vars(args).items() if name not in _OWN}
    kept = {name: str(v) if isinstance(v, Path) else v for name, v in kept.items()}
    runs.log.save_arguments(args.out, kept)


def start_budget(args: argparse.Namespace) -> runs.Budget:
    """Returns the budget of a run whose clock starts now."""
    return runs.Budget(time.monotonic(), args.minutes, args.steps, args.save_minutes)
