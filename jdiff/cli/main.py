"""The command `jdiff`: sentences and samples from trained weights.

Everything that can be wrong with a command is found before the first sample is
drawn, but for what only the letters' widths tell: one sentence on stderr, exit code 2,
no file. What a command does not use is not imported.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jdiff
from jdiff import writing
from jdiff.cli import train

SOLVERS = ["ddpm", "ddim", "heun", "dpmpp_2m", "unipc"]
GRIDS = {"karras": "karras_timesteps", "uniform": "timesteps"}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line; exits with code 2 and one sentence if it is wrong."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except (ValueError, OSError) as error:
        print(f"jdiff {args.command}: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jdiff", description="Diffusion that writes.")
    version = f"jdiff {jdiff.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", required=True)

    write = commands.add_parser("write", help="write a sentence in handwriting")
    write.set_defaults(run=_write)
    write.add_argument("text", help=r"what to write; \n begins a new line")
    writing.add_options(write)
    writing.add_style_options(write)

    sample = commands.add_parser("sample", help="draw characters, for a file")
    sample.set_defaults(run=_sample)
    sample.add_argument("--chars", help="which, names as cat,dog; by default all")
    sample.add_argument("--num", type=int, default=10, help="images per character")
    sample.add_argument("--out", type=Path, required=True, help="F.npz or F.png")

    evaluate = commands.add_parser("evaluate", help="how good are samples or weights?")
    evaluate.set_defaults(run=_evaluate)
    add = evaluate.add_argument
    add("weights", type=Path, help="the samples, an .npz file, or weights to draw with")
    add("--reference", default="emnist/byclass", help="or mnist, or a FILE.npz")
    add("--data-dir", type=Path, help="where it lies; else JDIFF_DATA_DIR, a download")
    add("--out", type=Path, help="F.json for all figures, with the picture F.png")
    add("--num", type=int, default=6200, help="samples to draw with weights")
    add("--natural", action="store_true", help="characters as frequent as in reference")

    training = commands.add_parser(
        "train", help="train a model of one's own", allow_abbrev=False
    )
    training.set_defaults(run=train.run)
    train.add_options(training)

    for command in (write, sample, evaluate):
        add = command.add_argument
        # The README shows seed 7 of `write`; evaluations are all of seed 0.
        seed = 7 if command is write else 0
        add("--seed", type=int, default=seed, help="same seed, same letters")
        add("--steps", type=int, default=10, help="1 .. T (1000); up to 4: distilled")
        add("--guidance", type=float, help="0: any letter, 1: the letter; about 2")
        add("--solver", choices=SOLVERS, help="by default unipc")
        add("--grid", choices=GRIDS, default="karras", help="which steps those are")
    for command in (write, sample):
        add = command.add_mutually_exclusive_group().add_argument
        names = ["latent", "unet", "mixture"]
        add("--model", choices=names, default="latent", help="that ships; latent")
        add("--weights", type=Path, help="a file of weights, instead")
    return parser


def _write(args: argparse.Namespace) -> None:
    from jdiff import handwriting

    message = args.text.replace("\\n", "\n")
    outputs = writing.check_options(args, message)
    model = _model(args)
    if not isinstance(model.classes, str):
        got = ", ".join(model.classes[:5])
        raise ValueError(f"the weights must draw characters, to write, got {got}.")
    labels = handwriting.encode(message, model.classes)
    style = writing.style_of(args, model.has_style)
    with_path = not args.no_gif and any(map(writing.is_animated, outputs))
    glyphs = _run(args, model, labels, with_path, style)
    writing.save(args, message, outputs, *glyphs, style)
    for output in outputs:
        print(f"wrote {output}")


def _sample(args: argparse.Namespace) -> None:
    import numpy as np

    from jdiff import handwriting, images, storage

    out = storage.check_output(args.out, ".npz", ".png")
    if args.num < 1:
        raise ValueError(f"--num must be >= 1, got {args.num}.")
    model = _model(args, colour=True)
    labels = np.arange(len(model.classes))
    if args.chars is not None:
        labels = handwriting.encode(args.chars, model.classes)
    labels = np.repeat(labels, args.num)
    x_0, _, _ = _run(args, model, labels, with_path=False)
    if out.suffix.lower() == ".png":
        grid = images.tile(x_0, args.num if args.num > 1 else None)
        images.save_png(out, images.on_paper(grid) if grid.ndim == 2 else grid)
    else:
        names = np.array([model.classes[label] for label in labels])
        with storage.atomic_write(out) as draft:
            np.savez_compressed(draft, images=x_0, chars=names)
    print(f"wrote {out}: {len(x_0)} images")


def _evaluate(args: argparse.Namespace) -> None:
    import json
    import time

    from jdiff import data, evaluation, images, models, storage

    out = storage.check_output(args.out, ".json") if args.out else None
    sheet = storage.check_output(out.with_suffix(".png")) if out else None
    if args.seed < 0:
        raise ValueError(f"--seed must be >= 0, got {args.seed}.")
    settings: dict[str, Any] = {name: str(getattr(args, name)) for name in _ABOUT_FILES}
    settings["seed"] = args.seed
    is_file = args.weights.suffix.lower() == ".npz"
    samples = data.read_npz(args.weights) if is_file else None
    model: Any = None if is_file else _model(args)
    splits = evaluation.reference_splits(args.reference, args.data_dir)
    reader = evaluation.load_judge()
    if samples is None:
        samples = _blank_samples(args, model, splits[0])
        evaluation.check(reader, samples, *splits)
        began = time.monotonic()
        x_0, _, _ = _run(args, model, samples.labels, with_path=False)
        seconds = (time.monotonic() - began) / len(x_0)
        settings |= {name: getattr(args, name) for name in _ABOUT_DRAWING}
        settings["solver"] = args.solver or models.default_solver(model).__name__
        settings["seconds_per_image"] = seconds
        samples = samples._replace(images=x_0[..., None])
    result = evaluation.evaluate(reader, samples, *splits, args.seed)
    if out and sheet:
        text = json.dumps({"settings": settings} | evaluation.as_dict(result), indent=1)
        page = evaluation.picture(result, samples, splits[0])
        # Neither takes its name before both are written.
        with (
            storage.atomic_write(out) as draft,
            storage.atomic_write(sheet) as draft_sheet,
        ):
            draft.write_text(text)
            images.save_png(draft_sheet, page)
        print(f"wrote {out} and {sheet}")
    print(evaluation.format_table(result))


_ABOUT_FILES = ("weights", "reference")
_ABOUT_DRAWING = ("num", "natural", "steps", "guidance", "solver", "grid")


def _blank_samples(args: argparse.Namespace, model: Any, train: Any) -> Any:
    """Returns the samples to draw with weights, still without ink."""
    import numpy as np

    from jdiff import data, evaluation

    labels = evaluation.choose_labels(model.classes, args.num, train, args.natural)
    images = np.zeros((len(labels), *model.image_shape), np.uint8)
    return data.Dataset(images, labels, model.classes)


def _model(args: argparse.Namespace, colour: bool = False) -> Any:
    if not 0 <= args.seed < 2**32:
        raise ValueError(f"--seed must be in [0, 2^32), got {args.seed}.")
    if args.guidance is not None and not math.isfinite(args.guidance):
        raise ValueError(f"--guidance must be a finite number, got {args.guidance}.")
    if args.steps < 1:
        raise ValueError(f"--steps must be >= 1, got {args.steps}.")
    from jdiff import models, storage

    storage.enable_compile_cache()
    model = models.load_model(args.weights or _shipped(args))
    if model.image_shape[2] != 1 and not colour:
        raise ValueError(f"the weights must draw grey images, got {model.image_shape}.")
    return model


def _shipped(args: argparse.Namespace) -> str:
    """Returns the name of the model that an option or the number of steps asks for."""
    # Few steps are what distillation is for; who names a solver knows better.
    few = args.steps <= MAX_FEW_STEPS and args.solver is args.guidance is None
    return "distilled" if args.model == "latent" and few else args.model


def _run(
    args: argparse.Namespace,
    model: Any,
    labels: Any,
    with_path: bool,
    style: Any = None,
) -> tuple[Any, Any, Any]:
    """Returns glyphs uint8[N, H, W], their path uint8[F, N, H, W], its steps int[F].

    Coloured ones have an axis more, [..., 3].
    """
    import jax
    import numpy as np

    from jdiff import images, models, schedules, solvers

    solver = getattr(solvers, args.solver) if args.solver else None
    grid = getattr(schedules, GRIDS[args.grid])
    times = grid(model.schedule, args.steps)
    frames = np.unique(np.linspace(0, args.steps, MAX_FRAMES).round().astype(int))
    batches = models.generate(
        jax.random.key(args.seed),
        model,
        labels,
        args.steps,
        args.guidance,
        solver,
        grid,
        with_path=with_path,
        style=style,
    )
    glyphs, paths = [], []
    pixel = 0 if model.image_shape[2] == 1 else slice(None)
    for batch in _progress(batches, len(labels)):
        glyphs.append(images.to_uint8(batch.x_0[..., pixel]))
        if with_path:
            paths.append(images.to_uint8(batch.path[:, frames][..., pixel]))
    path = np.concatenate(paths).swapaxes(0, 1) if with_path else None
    return np.concatenate(glyphs), path, times[frames]


MAX_FEW_STEPS = 4

# More frames than this make a GIF larger, not smoother.
MAX_FRAMES = 41


def _progress(batches: Iterator[Any], total: int) -> Iterator[Any]:
    from tqdm import tqdm

    with tqdm(total=total, unit="glyph") as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch.x_0))
