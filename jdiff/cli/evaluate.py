"""`jdiff evaluate`: how good are samples, or the samples of weights?"""

import argparse
from pathlib import Path
from typing import Any

from jdiff.cli import options

_ABOUT_FILES = ("weights", "reference")
_ABOUT_DRAWING = ("num", "natural", "steps", "guidance", "solver", "grid")


def add_command(commands: Any) -> None:
    """Adds the command to `argparse`'s subparsers."""
    command = commands.add_parser(
        "evaluate", help="how good are samples or weights?", allow_abbrev=False
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("weights", type=Path, help="samples, FILE.npz; or weights, a file or a name")
    sets = "emnist/byclass, mnist or FILE.npz"
    add("--reference", default="emnist/byclass", help=sets)
    add("--data-dir", type=Path, help="of reference; else JDIFF_DATA_DIR, a download")
    add("--out", type=Path, help="F.json, all figures; beside it F.png, a picture")
    add("--num", type=int, default=6200, help="samples to draw with weights")
    add("--natural", action="store_true", help="characters as often as in reference")
    add("--fast", action="store_true", help="do not search the training images")
    options.add_sampling(command)


def run(args: argparse.Namespace) -> None:
    """Prints the table and writes the files."""
    import json
    import time

    from jdiff import evaluation, images, models, storage

    out = storage.check_output(args.out, ".json") if args.out else None
    sheet = storage.check_output(out.with_suffix(".png")) if out else None
    options.check_seed(args.seed)
    settings: dict[str, Any] = {name: str(getattr(args, name)) for name in _ABOUT_FILES}
    settings["seed"] = args.seed
    options.start_jax()
    is_file = args.weights.suffix.lower() == ".npz"
    samples = _read_samples(args.weights) if is_file else None
    model: Any = None if is_file else options.load_model(args)
    shape = _image_shape(model)
    if shape[2] != 1:
        raise ValueError(f"the weights must draw grey images, got {shape}.")
    if model is not None:
        options.check_num(args, shape, 1, options.MAX_COPIED_BYTES)
    splits = evaluation.reference_splits(args.reference, args.data_dir)
    judges = evaluation.load_judges()
    if samples is None:
        samples = _blank_samples(args, model, splits[0])
        evaluation.check(judges, samples, *splits)
        began = time.monotonic()
        samples = samples._replace(images=_draw(args, model, samples.labels))
        seconds = (time.monotonic() - began) / len(samples.images)
        settings |= {name: getattr(args, name) for name in _ABOUT_DRAWING}
        settings["solver"] = args.solver or models.default_solver(model).__name__
        settings["seconds_per_image"] = seconds
    result = evaluation.evaluate(judges, samples, *splits, args.seed, args.fast)
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


def _read_samples(path: Path) -> Any:
    """Returns the samples in a file; strokes are drawn as EMNIST has characters."""
    from jdiff import data, handwriting

    if not data.holds_strokes(path):
        return data.read_npz(path)
    pen = data.read_pen(path)
    images = handwriting.draw_glyphs(pen.strokes)[..., None]
    return data.Dataset(images, pen.labels, data.PEN_CHARS)


def _image_shape(model: Any) -> tuple[int, int, int]:
    """Returns (H, W, C) of the images that are judged, (28, 28, 1) of strokes."""
    return getattr(model, "shape", (28, 28, 1))


def _blank_samples(args: argparse.Namespace, model: Any, train: Any) -> Any:
    """Returns the samples to draw with weights, still without ink."""
    import numpy as np

    from jdiff import data, evaluation

    labels = evaluation.choose_labels(model.classes, args.num, train, args.natural)
    images = np.zeros((len(labels), *_image_shape(model)), np.uint8)
    return data.Dataset(images, labels, model.classes)


def _draw(args: argparse.Namespace, model: Any, labels: Any) -> Any:
    """Returns images of labels in ascending order, uint8[N, H, W, 1].

    Of strokes each character of a class is in another hand.
    """
    import numpy as np

    from jdiff import handwriting, models

    if not isinstance(model, models.PenModel):
        return options.draw(args, model, labels)[..., None]
    writers = np.arange(len(labels)) - np.searchsorted(labels, labels)
    strokes = options.draw_strokes(args, model, labels, writers)
    return handwriting.draw_glyphs(strokes)[..., None]
