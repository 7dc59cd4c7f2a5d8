"""Options that several commands share: weights, and how samples are drawn from them."""

import argparse
import contextlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

SOLVERS = ["ddpm", "ddim", "heun", "dpmpp_2m", "unipc"]
MODELS = ["pen", "latent", "unet", "mixture"]
# Of images that are drawn: for a file of arrays, and for what needs copies of them.
MAX_BYTES, MAX_COPIED_BYTES = 2**30, 2**27
GRIDS = {"karras": "karras_timesteps", "uniform": "timesteps"}


def add_weights(command: argparse.ArgumentParser) -> None:
    """Gives a command the choice of weights, the first by default."""
    add = command.add_mutually_exclusive_group().add_argument
    add("--model", choices=MODELS, default=MODELS[0], help="weights that ship")
    add("--weights", type=Path, help="a file of weights, or the folder of a run")


def add_hand(command: argparse.ArgumentParser) -> None:
    """Gives a command the options of a hand that writes strokes."""
    add = command.add_argument
    add("--neatness", type=float, help="pen: 0, a doctor's hand .. 1, a teacher's; 1")
    add("--draws", type=int, help="pen: of a character, of which one is chosen; 4")
    add("--hand", type=Path, help="pen: F.hand of `jdiff hand learn`")


def add_sampling(command: argparse.ArgumentParser, seed: int = 0) -> None:
    """Gives a command the options that say how samples are drawn."""
    add = command.add_argument
    same = f"the same seed gives the same letters; by default {seed}"
    add("--seed", type=int, default=seed, help=same)
    steps = "in [1, 1000], by default 10; up to 4: distilled"
    add("--steps", type=int, default=10, help=steps)
    add("--guidance", type=float, help="0 ignores the letter, 1 follows it; about 2")
    add("--solver", choices=SOLVERS, help="by default unipc")
    add("--grid", choices=GRIDS, default="karras", help="how the steps are spaced")


def check_seed(seed: int) -> None:
    """Raises a ValueError unless a seed is one."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed must be in [0, 2^32), got {seed}.")


@contextlib.contextmanager
def needing(extra: str, purpose: str) -> Iterator[None]:
    """Says in one sentence which package of an extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{error.name} must be installed {purpose}: "
            f"pip install 'jdiffusion[{extra}]'."
        ) from error


def start_jax() -> None:
    """Readies JAX for a command: its device, and the cache of compiled programs."""
    from jdiff import storage

    check_device()  # later, it would seem to be the weights' fault
    storage.enable_compile_cache()


def check_device() -> None:
    """Raises a ValueError if JAX finds no device."""
    import jax

    try:
        jax.devices()
    except Exception as error:  # of some versions a bare AssertionError
        wanted = os.environ.get("JAX_PLATFORMS", "")
        raise ValueError(
            f"JAX must find a device, got none for JAX_PLATFORMS={wanted!r}."
        ) from error


def sampling_of(args: argparse.Namespace) -> dict[str, Any]:
    """Returns guidance, solver and grid as they were chosen; None is the default."""
    from jdiff import schedules, solvers

    solver = getattr(solvers, args.solver) if args.solver else None
    grid = getattr(schedules, GRIDS[args.grid])
    return {"guidance": args.guidance, "solver": solver, "grid": grid}


def load_model(args: argparse.Namespace) -> Any:
    """Returns the model that was chosen, of images or of pen strokes."""
    check_seed(args.seed)
    if args.guidance is not None and not math.isfinite(args.guidance):
        raise ValueError(f"--guidance must be a finite number, got {args.guidance}.")
    if args.steps < 1:
        raise ValueError(f"--steps must be >= 1, got {args.steps}.")
    from jdiff import models

    start_jax()
    name = args.weights or args.model
    return models.find_pen(name) or models.load_model(
        models.suit_steps(name, args.steps, solver=args.solver, guidance=args.guidance)
    )


def check_num(
    args: argparse.Namespace, shape: Sequence[int], num_classes: int, max_bytes: int
) -> None:
    """Raises a ValueError unless --num is >= 1 and its images fit in memory."""
    most = max_bytes // (num_classes * math.prod(shape))
    if not 1 <= args.num <= most:
        raise ValueError(f"--num must be in [1, {most}], got {args.num}.")


def draw(args: argparse.Namespace, model: Any, labels: Any) -> Any:
    """Returns images of labels, uint8[N, H, W] or, in colour, uint8[N, H, W, 3]."""
    import jax
    import numpy as np

    from jdiff import images, models

    key, sampling = jax.random.key(args.seed), sampling_of(args)
    batches = models.generate_batches(key, model, labels, args.steps, **sampling)
    pixel = 0 if model.shape[2] == 1 else slice(None)
    # Not a list that is joined, which would take twice the memory.
    drawn, done = np.empty((len(labels), *model.shape), np.uint8)[..., pixel], 0
    for batch in show_progress(batches, len(labels)):
        some = images.to_uint8(batch.x_0[..., pixel])
        drawn[done : done + len(some)] = some
        done += len(some)
    return drawn


def draw_strokes(
    args: argparse.Namespace, model: Any, labels: Any, writers: Any
) -> list[Any]:
    """Returns the strokes of characters, float32[n, 2] each.

    Writer k of int[N] has the hand of the seed that is higher by k.
    """
    import jax
    import numpy as np

    from jdiff import handwriting, models

    draws, neatness = (getattr(args, name, None) for name in ("draws", "neatness"))
    draws = models.NUM_DRAWS if draws is None else draws
    own = getattr(args, "hand", None)
    seeds = range(args.seed, args.seed + max(writers) + 1)
    hands = [models.find_hand(model, own, seed, neatness) for seed in seeds]
    batches = models.generate_strokes(
        jax.random.key(args.seed),
        model,
        labels,
        hands[0]._replace(code=np.stack([hand.code for hand in hands])[writers]),
        args.steps,
        **sampling_of(args),
        num_draws=draws,
    )
    return [
        handwriting.decode_strokes(x_0)
        for batch in show_progress(batches, len(labels))
        for x_0 in batch.x_0
    ]


def show_progress(batches: Iterable[Any], total: int) -> Iterator[Any]:
    """Yields the batches of `generate`, with a bar on stderr."""
    from tqdm import tqdm

    with tqdm(total=total, unit="glyph") as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch.x_0))
